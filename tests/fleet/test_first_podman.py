"""A node on which podman has never run: the agent's unit is the first, and pulls from a registry."""

from pathlib import Path

import pytest

from mcp.nodes.layout import UID
from tests.fleet.install import install
from tests.fleet.registry import push, registry, trust
from tools.nodelib import fleet

SITE = """
[[components]]
name = "web"
image = "{image}"
"""


@pytest.mark.parametrize("debian", ["12", "13"])
def test_the_agent_is_the_first_to_run_podman(tmp_path: Path, debian: str) -> None:
    with fleet.create({"fresh": debian}) as made, registry(made, tmp_path) as address:
        node = made["fresh"]
        reference = push(address, "web")
        trust(node, address)
        assert node.run(["ls", "-A", "/srv/mcp"]).stdout.split() == [".config"]
        site = install(node, tmp_path / "operator")
        site.systemctl("start", "mcp-agent.service")
        site.define("site", SITE.format(image=reference))
        site.mcp("deploy", "site")
        assert site.states() == {"site/web": "running"}
        form = "{{.Host.CgroupManager}} {{.Store.GraphDriverName}} {{.Store.RunRoot}}"
        info = node.run(["podman", "info", "--format", form], user="mcp").stdout.split()
        assert info == ["systemd", "overlay", f"/run/user/{UID}/containers"]
        assert node.run(["podman", "exec", "site-web", "echo", "hello"], user="mcp").stdout == "hello\n"
