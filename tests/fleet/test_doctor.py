"""mcp doctor on real nodes: nothing to say of a good one, and what is broken by hand is named with what to do."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from mcp.nodes.layout import UID
from tests.agents import Outcome
from tests.fleet.install import UNIT
from tests.fleet.upgrades import AGENT, STATE, Upgrades, make
from tools.nodelib.fleet import Fleet

NAMES = ("twelve", "thirteen")


@pytest.fixture(scope="module")
def site(nodes: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Upgrades:
    """Both nodes with an agent that runs, and an operator with ssh."""
    made = make(nodes, tmp_path_factory.mktemp("operator"))
    for node in nodes.nodes.values():
        node.run(["systemctl", "start", "mcp-agent.service"])
    return made


def doctor(site: Upgrades, *arguments: str) -> tuple[Outcome, dict[str, dict[str, tuple[str, str]]]]:
    """The command's end, and what it found that is not fine: node -> check -> (level, what and what to do)."""
    done = site.mcp("doctor", "--json", *arguments)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    found = {
        row["node"]: {
            each["check"]: (each["level"], f"{each['what']}; {each['do'] or ''}")
            for each in row["findings"]
            if each["level"] != "ok"
        }
        for row in rows
    }
    return done, found


def test_there_is_nothing_to_say_of_good_nodes(site: Upgrades) -> None:
    done = site.mcp("doctor")
    assert (done.code, done.stderr) == (0, ""), done
    assert len(done.stdout.splitlines()) == 1, done.stdout
    assert done.stdout.startswith("2 nodes: 0 errors, 0 warnings, ")


def test_verbose_shows_what_was_looked_at(site: Upgrades) -> None:
    done = site.mcp("doctor", "-v", "twelve")
    lines = done.stdout.splitlines()[:-1]
    assert done.code == 0
    assert all(line.startswith("ok ") and "twelve: " in line for line in lines)
    for what in (
        "lingering is on",
        f"/run/user/{UID}",
        "65536 IDs",
        "storage is overlay in",
        "cgroups v2",
        "the clock is",
    ):
        assert what in done.stdout
    assert done.stdout.count("the clock is") == 1
    uncertainty = float(done.stdout.partition("(± ")[2].split()[0])
    assert uncertainty < 1


def test_it_changes_nothing(site: Upgrades) -> None:
    others = "! -name '*.db*' ! -name '*.lock' ! -path '*/systemd/*'"
    script = f"find /srv /etc /var/lib -xdev -newer /tmp/before -type f {others}"
    node = site.node("thirteen")
    node.run(["sh", "-c", "sync; touch /tmp/before; sleep 0.1"])
    assert site.mcp("doctor", "thirteen").code == 0
    assert node.run(["sh", "-c", script]).stdout.split() == []


def test_a_changed_file_of_the_agent_is_named_and_the_remedy_mends_it(site: Upgrades) -> None:
    node, cache = site.node("twelve"), "/srv/mcp/.cache/mcp/mcp-agent"
    change = f"""
    file=$(ls {cache}/*/site-packages/grpc/_cython/cygrpc.*.so)
    touch -r $file /tmp/times; printf x | dd of=$file bs=1 seek=5000 conv=notrunc 2>/dev/null; touch -r /tmp/times $file
    """
    assert "the agent runs from are those of" in site.mcp("doctor", "-v", "twelve").stdout
    node.run(["sh", "-euc", change], user="mcp")
    done, found = doctor(site, "twelve")
    assert (done.code, [*found["twelve"]]) == (1, ["tree"])
    level, what = found["twelve"]["tree"]
    assert level == "error"
    assert "are not those of /srv/mcp/mcp-agent: site-packages/grpc/_cython/cygrpc." in what
    for remedy in re.findall(r"`ssh twelve (.*?)`", what):
        node.run(shlex.split(remedy))
    assert doctor(site, "twelve")[1]["twelve"] == {}
    node.run(["sh", "-euc", change], user="mcp")
    node.run(["systemctl", "restart", "mcp-agent"])
    assert doctor(site, "twelve")[1]["twelve"] == {}, "its start has noticed"


def test_what_is_broken_on_a_node_is_named(site: Upgrades) -> None:
    node = site.node("twelve")
    node.run(["loginctl", "disable-linger", "mcp"])
    node.run(["gpasswd", "--delete", "mcp", "systemd-journal"])
    node.run(
        ["sh", "-c", "cp /etc/subuid /etc/subuid.good; grep ^mcp: /etc/subuid | sed s/^mcp:/other:/ >>/etc/subuid"]
    )
    node.run(["sh", "-c", f"cp {UNIT} /tmp/unit; sed -i s/WatchdogSec=30/WatchdogSec=31/ {UNIT}"])
    node.run(["systemctl", "daemon-reload"])
    node.run(["systemctl", "disable", "mcp-agent.service"])
    node.run(["sh", "-c", f"touch {AGENT}.new"])
    try:
        done, found = doctor(site)
    finally:
        node.run(["sh", "-c", f"rm {AGENT}.new; mv /etc/subuid.good /etc/subuid; mv /tmp/unit {UNIT}"])
        node.run(["systemctl", "daemon-reload"])
        node.run(["systemctl", "enable", "mcp-agent.service"])
        node.run(["usermod", "--append", "--groups", "systemd-journal", "mcp"])
        node.run(["loginctl", "enable-linger", "mcp"])
    assert done.code == 1
    assert found["thirteen"] == {}
    said = found["twelve"]
    assert said["linger"][0] == "error"
    assert "`ssh twelve loginctl enable-linger mcp`" in said["linger"][1]
    assert said["journal-group"][0] == "warning"
    assert "other:" in said["subuid"][1]
    assert said["unit-file"] == (
        "warning",
        f"{UNIT} differs from the one of this mcp; `mcp node provision twelve`",
    )
    assert said["boot"][0] == "error"
    assert said["upgrade"][0] == "warning"
    assert f"{AGENT}.new" in said["upgrade"][1]


def test_an_upgrade_that_was_rolled_back_is_remembered(site: Upgrades) -> None:
    node = site.node("twelve")
    result = "id=1\nstate=rolled-back\nsha256=0\nto=9.9.9\ndeadline=10\ntime=now\nwhy=it did not serve within 10 s\n"
    node.run(["mkdir", "-p", STATE])
    node.write(f"{STATE}/result", result)
    try:
        done, found = doctor(site, "twelve")
    finally:
        node.run(["rm", "-r", STATE])
    assert done.code == 0
    assert found["twelve"].keys() == {"upgrade"}
    assert "9.9.9, was rolled back: it did not serve within 10 s" in found["twelve"]["upgrade"][1]


def test_without_ssh_the_agent_is_asked(site: Upgrades, tmp_path: Path) -> None:
    ssh = site.folder / "bin/ssh"
    kept = ssh.read_text()
    ssh.write_text("#!/bin/sh\necho 'ssh: connect to host twelve port 22: Connection refused' >&2\nexit 255\n")
    try:
        done, found = doctor(site, "twelve")
    finally:
        ssh.write_text(kept)
    assert done.code == 0
    assert found["twelve"].keys() == {"ssh"}
    assert found["twelve"]["ssh"][0] == "warning"
    assert "Connection refused" in found["twelve"]["ssh"][1]
    row = json.loads(done.stdout)[0]
    assert (row["agent"], row["ssh"]) == (True, False)
    assert {"agent", "token", "certificate", "version", "clock", "agent-podman"} <= {
        each["check"] for each in row["findings"]
    }


def test_without_the_agent_the_node_is_looked_at(site: Upgrades) -> None:
    node = site.node("thirteen")
    node.run(["systemctl", "stop", "mcp-agent.service"])
    try:
        done, found = doctor(site)
    finally:
        node.run(["systemctl", "start", "mcp-agent.service"])
    assert done.code == 1
    assert found["twelve"] == {}
    assert found["thirteen"].keys() == {"agent", "unit"}
    assert "refuses the connection" in found["thirteen"]["agent"][1]
    assert "`ssh thirteen systemctl start mcp-agent.service`" in found["thirteen"]["unit"][1]


def test_without_a_token_the_node_is_looked_at(site: Upgrades) -> None:
    done = site.cli.run("doctor", "--json", "twelve", env={"MCP_TOKEN": "mcp_wrong"})
    row = json.loads(done.stdout)[0]
    bad = [(each["level"], each["check"]) for each in row["findings"] if each["level"] != "ok"]
    assert done.code == 1
    assert bad == [("error", "token")]
    assert row["ssh"]


def test_as_another_user_with_and_without_sudo(site: Upgrades) -> None:
    node, config = site.node("thirteen"), site.cli.config
    node.run(["useradd", "--create-home", "deploy"])
    node.run(["sh", "-c", "cp -r /root/.ssh /home/deploy/ && chown -R deploy: /home/deploy/.ssh"])
    kept = config.read_text()
    table = '\nname = "thirteen"\n'
    try:
        config.write_text(kept.replace(table, f'{table}ssh = "deploy@thirteen"\n'))
        _, without = doctor(site, "thirteen")
        config.write_text(kept.replace(table, f'{table}ssh = "deploy@thirteen"\nsudo = "sudo"\n'))
        _, refused = doctor(site, "thirteen")
        node.write("/etc/sudoers.d/deploy", "deploy ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
        _, allowed = doctor(site, "thirteen")
    finally:
        config.write_text(kept)
        node.run(["rm", "-f", "/etc/sudoers.d/deploy"])
    assert without["thirteen"].keys() == {"podman"}
    assert 'sudo = "sudo" for thirteen in mcp.toml' in without["thirteen"]["podman"][1]
    assert refused["thirteen"].keys() == {"podman", "sudo"}
    assert allowed["thirteen"] == {}


def test_a_node_that_is_off_is_unreachable(site: Upgrades) -> None:
    site.node("twelve").stop()
    try:
        alone, _ = doctor(site, "twelve")
        both, found = doctor(site)
    finally:
        site.node("twelve").boot()
    assert alone.code == 4
    assert both.code == 1
    assert found["thirteen"] == {}
    assert found["twelve"].keys() == {"agent", "ssh"}


def test_podman_is_not_asked_where_it_has_not_run(site: Upgrades) -> None:
    """Its first command pins its folders, which is the agent's business."""
    node = site.node("thirteen")
    node.run(["systemctl", "disable", "mcp-agent.service"])
    node.reboot()
    try:
        _, found = doctor(site, "thirteen")
        assert found["thirteen"]["podman"][0] == "warning"
        assert node.run(["sh", "-c", f"ls /run/user/{UID}/libpod"], check=False).returncode != 0
    finally:
        node.run(["systemctl", "enable", "--now", "mcp-agent.service"])
