"""Containers that were made by hand on both Debians are adopted as they are, or refused with the option's name."""

import json
from pathlib import Path

from mcp.definitions.definitions import parse
from tests.fleet.install import install
from tools.nodelib.node import Node

WORKER = "localhost/mcp-worker:1.0.0"


def lives(node: Node) -> str:
    """Identity and start of each container."""
    form = "{{.Name}} {{.Id}} {{.State.Status}} {{.State.StartedAt}} {{.RestartCount}}"
    names = node.run(["podman", "ps", "--all", "--format={{.Names}}"], user="mcp").stdout.split()
    return node.run(["podman", "inspect", f"--format={form}", *names], user="mcp").stdout


def test_plain_containers_are_adopted(node: Node, tmp_path: Path) -> None:
    site = install(node, tmp_path / "operator")
    site.systemctl("start", "mcp-agent.service")
    for words in (
        ["--name=plain", WORKER],
        [
            "--name=shop-web",
            "--restart=always",
            "--publish=8080:80",
            "--stop-timeout=30",
            "--stop-signal=SIGINT",
            WORKER,
        ],
        ["--name=odd", "--hostname=other", "--sysctl=net.ipv4.ip_default_ttl=65", WORKER],
    ):
        node.run(["podman", "run", "--detach", *words], user="mcp")
    before = lives(node)
    done = site.cli.run("adopt", "--all", "--json")
    rows = {row["container"]: row for row in json.loads(done.stdout)}
    assert done.code == 1
    assert {name: row["error"] for name, row in rows.items() if row["adopted"]} == {"plain": "", "shop-web": ""}
    for word in ("--hostname", "--sysctl"):
        assert f"{word} cannot be expressed in a definition" in rows["odd"]["error"]
    site.mcp("service", "export", "--node", node.name)
    shop = (site.cli.config.parent / "services/shop-web.toml").read_text()
    (web,) = parse(shop, "shop-web.toml").service.components
    assert (web.stop_timeout, web.stop_signal, web.restart, web.ports) == ("30s", "SIGINT", "always", ("8080:80",))
    for service in ("plain", "shop-web"):
        assert json.loads(site.mcp("plan", service, "--json").stdout) == []
        site.mcp("deploy", "-q", service)
    assert lives(node) == before, "nothing happened to it"
