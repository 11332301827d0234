"""What mcp doctor makes of what a node says."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mcp import main
from mcp.config.configuration import Node
from mcp.nodes.doctor import account, agent, podman, script, system, unit
from mcp.nodes.doctor.examine import Report
from mcp.nodes.doctor.model import Finding, Inspection, ok
from mcp.nodes.provision.agent import UNIT, unit_text
from mcp.shared.errors import NotReady, Unreachable
from mcp.shared.version import VERSION
from proto.mcp.v1 import mcp_pb2 as pb

NODE = Node("rift", "10.0.0.5:9444", ssh="root@rift", sudo="sudo")
INFO: dict[str, Any] = {
    "version": {"Version": "4.3.1"},
    "host": {"cgroupVersion": "v2", "cgroupManager": "systemd"},
    "store": {
        "graphDriverName": "overlay",
        "graphRoot": "/srv/mcp/.local/share/containers/storage",
        "graphStatus": {"Backing Filesystem": "extfs"},
        "runRoot": "/run/user/850/containers",
    },
}
TREE = {"tree": "/srv/mcp/.cache/mcp/mcp-agent/0-x", "files": 600, "changed": 0, "listed": []}
GOOD = {
    "account": "mcp:x:850:850:MCP agent:/srv/mcp:/bin/bash\n",
    "users": "root:0\nmcp:850\n",
    "groups": "mcp systemd-journal\n",
    "linger": "mcp\n",
    "subuid": "kyle:100000:65536\nmcp:165536:65536\n",
    "subgid": "mcp:100000:65536\n",
    "programs": "/usr/bin/podman\n/usr/bin/newuidmap\n/usr/bin/newgidmap\n/usr/bin/python3\n",
    "runtime": "850\n",
    "bus": "yes\n",
    "ports": "32768\t60999\n",
    "listening": "",
    "unit": f"LoadState=loaded\nActiveState=active\nResult=success\nUnitFileState=enabled\nFragmentPath={UNIT}\n"
    "NeedDaemonReload=no\nEnvironment=XDG_RUNTIME_DIR=/run/user/850\n",
    "unit-file": unit_text(850),
    "switch": "",
    "switching": "inactive\ninactive\n",
    "disk": "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 102400000 1 51200000 1% /\n",
    "inodes": "Filesystem Inodes IUsed IFree IUse% Mounted on\n/dev/sda1 1000000 1 999999 1% /\n",
    "storage-owner": "850\n",
    "staged": "",
    "auth": "600:mcp\n",
    "tree": json.dumps(TREE),
    "podman": json.dumps(INFO),
    "podman-status": "0\n",
}


def findings(**changes: str | None) -> list[Finding]:
    """What all checks say of a good node with these sections changed; None is one that could not be looked at."""
    said = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
    inspection = Inspection(NODE, {name: value for name, value in said.items() if value is not None})
    return [each for check in (account.check, podman.check, system.check, unit.check) for each in check(inspection)]


def bad(**changes: str | None) -> list[tuple[str, str, str]]:
    """Level, check, and what and what to do, of all that is not fine."""
    return [
        (str(each.level), each.check, f"{each.what}; {each.do}") for each in findings(**changes) if each.level != "ok"
    ]


def unit_with(**values: str) -> str:
    old = dict(line.split("=", 1) for line in GOOD["unit"].splitlines())
    return "\n".join(f"{name}={value}" for name, value in {**old, **values}.items())


def info_with(part: str, **values: object) -> str:
    return json.dumps({**INFO, part: {**INFO[part], **values}})


def test_a_good_node() -> None:
    assert bad() == []
    assert {each.check for each in findings()} >= {"linger", "subuid", "subgid", "storage", "runroot", "cgroup", "disk"}


@pytest.mark.parametrize(
    ("changes", "level", "check", "what"),
    [
        ({"account": ""}, "error", "account", "user mcp does not exist"),
        ({"users": "mcp:850\nold:850\n"}, "error", "account", "mcp shares UID 850 with old"),
        ({"linger": "kyle\n"}, "error", "linger", "`ssh root@rift sudo loginctl enable-linger mcp`"),
        ({"groups": "mcp\n"}, "warning", "journal-group", "usermod --append"),
        ({"runtime": ""}, "error", "runtime-dir", "/run/user/850 does not exist"),
        ({"runtime": "0\n"}, "error", "runtime-dir", "belongs to UID 0"),
        ({"bus": ""}, "error", "runtime-dir", "dbus-user-session"),
        ({"subuid": "kyle:100000:65536\n"}, "error", "subuid", "no range for mcp"),
        ({"subgid": "mcp:1:1000\n"}, "warning", "subgid", "only 1000 IDs"),
        ({"subuid": "kyle:100000:65536\nmcp:165535:65536\n"}, "error", "subuid", "overlaps kyle:100000:65536"),
        ({"subuid": "mcp:100000:65536\nmcp:100000:65536\n"}, "error", "subuid", "overlaps mcp:100000:65536"),
        ({"storage_owner": "999\n"}, "error", "storage-owner", "belongs to UID 999, but mcp has UID 850"),
        ({"programs": "/usr/bin/podman\n"}, "error", "podman", "not installed: newuidmap, newgidmap"),
        ({"podman": None, "podman_status": None}, "warning", "podman", "allow root@rift to run sudo"),
        ({"podman": "not since boot\n", "podman_status": None}, "warning", "podman", "was not checked"),
        ({"podman": "", "podman_status": "124"}, "error", "podman", "did not end within 15 s"),
        ({"podman": "Error: no\n", "podman_status": "125"}, "error", "podman", "fails: Error: no"),
        ({"podman": "[]\n"}, "error", "podman", "invalid JSON"),
        ({"podman": info_with("version", Version="3.0.1")}, "error", "podman", "podman 3.0.1 is too old"),
        ({"podman": info_with("store", graphDriverName="vfs")}, "warning", "storage", "a full copy"),
        ({"podman": info_with("store", runRoot="/tmp/podman-run-850")}, "error", "runroot", "pinned"),
        ({"podman": info_with("host", cgroupVersion="v1")}, "error", "cgroup", "cgroups are v1"),
        ({"podman": info_with("host", cgroupManager="cgroupfs")}, "warning", "cgroup", "with cgroupfs"),
        ({"unit": "LoadState=not-found\n"}, "error", "unit", "`mcp node provision rift`"),
        ({"unit": unit_with(ActiveState="failed", Result="exit-code")}, "error", "unit", "journalctl -u mcp-agent"),
        ({"unit": unit_with(ActiveState="inactive")}, "error", "unit", "systemctl start mcp-agent.service"),
        ({"unit": unit_with(ActiveState="activating")}, "warning", "unit", "is starting"),
        ({"unit": unit_with(UnitFileState="disabled")}, "error", "boot", "systemctl enable mcp-agent.service"),
        ({"unit": unit_with(NeedDaemonReload="yes")}, "warning", "unit-file", "daemon-reload"),
        ({"unit": unit_with(Environment="")}, "error", "unit-runtime-dir", "XDG_RUNTIME_DIR=(not set)"),
        ({"unit_file": "[Unit]\n"}, "warning", "unit-file", "differs from the one of this mcp"),
        ({"auth": "640:mcp\n"}, "error", "logins", "/srv/mcp/auth.json has mode 640"),
        ({"auth": "600:root\n"}, "error", "logins", "belongs to root"),
        (
            {"tree": json.dumps({**TREE, "changed": 5, "listed": ["a.py", "b.so", "c", "d", "e"]})},
            *(
                "error",
                "tree",
                f"{TREE['tree']} are not those of /srv/mcp/mcp-agent: a.py, b.so, c and 2 more; find out",
            ),
        ),
        ({"staged": "/srv/mcp/mcp-agent.new\n"}, "warning", "upgrade", "/srv/mcp/mcp-agent.new"),
        ({"switch": "state=switching\nto=v2\n"}, "warning", "upgrade", "an upgrade to v2 was interrupted"),
        ({"switch": "state=switching\n", "switching": "active\n"}, "warning", "upgrade", "is in progress"),
        ({"switch": "state=no-agent\nto=v2\nwhy=no python3\n"}, "warning", "upgrade", "to v2, failed: no python3"),
        ({"switch": "state=rolled-back\nto=v2\nwhy=it=bad\n"}, "warning", "upgrade", "to v2, was rolled back: it=bad"),
    ],
)
def test_what_is_wrong_is_the_only_thing_named(
    changes: dict[str, str | None], level: str, check: str, what: str
) -> None:
    found = bad(**changes)
    assert [each[:2] for each in found][:1] == [(level, check)]
    assert what in found[0][2]
    assert len(found) == 1 or changes == {"account": ""}


@pytest.mark.parametrize("said", [None, "", "killed", "[]", "{}", '{"tree": 1, "files": 2, "changed": 0, "listed": 3}'])
def test_a_tree_that_could_not_be_examined_is_not_judged(said: str | None) -> None:
    assert bad(tree=said) == []
    assert "tree" not in {each.check for each in findings(tree=said)}


def test_where_there_is_no_account_nothing_is_said_of_its_podman() -> None:
    found = bad(account="", podman=None, podman_status=None)
    assert {each[1] for each in found} == {"account"}


def test_a_unit_that_provisioning_did_not_write_is_left_alone() -> None:
    assert bad(unit=unit_with(FragmentPath="/etc/systemd/system/x.service"), unit_file="other") == []


def test_a_finished_upgrade_is_no_trouble() -> None:
    assert bad(switch="state=upgraded\nto=v2\nwhy=\n") == []


@pytest.mark.parametrize("state", ["no-agent", "switching"])
def test_an_upgrade_that_left_no_agent_is_an_error_until_one_runs(state: str) -> None:
    switch = f"state={state}\nto=v2\nwhy=no python3\n"
    found = bad(switch=switch, unit=unit_with(ActiveState="failed"))
    assert ("error", "upgrade") in [each[:2] for each in found]
    assert "error" not in [each[0] for each in bad(switch=switch)]


@pytest.mark.parametrize("state", ["no-agent", "rolled-back", "failed"])
def test_a_failed_upgrade_is_forgotten_once_its_version_or_a_newer_one_runs(state: str) -> None:
    switch = f"state={state}\nto=0.2.0\nwhy=no python3\n"
    for serving in ("0.2.0", "0.3.0"):
        assert bad(switch=switch, unit=unit_with(StatusText=f"serving {serving}")) == []
    for serving in ("0.1.0", "?"):
        found = bad(switch=switch, unit=unit_with(StatusText=f"serving {serving}"))
        assert [each[:2] for each in found] == [("warning", "upgrade")]


@pytest.mark.parametrize(
    ("free_kib", "inodes", "level"), [(1024, 9999999, "error"), (1024**2, 9999999, "warning"), (10**8, 12, "warning")]
)
def test_room(free_kib: int, inodes: int, level: str) -> None:
    disk = f"head\n/dev/sda1 200000000 1 {free_kib} 1% /srv/my data\n"
    found = bad(disk=disk, inodes=f"head\n/dev/sda1 99999999 1 {inodes} 1% /srv/my data\n")
    assert [each[:2] for each in found] == [(level, "disk")]
    assert "/srv/my data" in found[0][2]


def test_a_file_system_without_a_limit_of_inodes_and_one_that_is_listed_twice() -> None:
    rows = "head\n/dev/sda1 200000000 1 100000000 1% /\n/dev/sda1 200000000 1 100000000 1% /\n"
    found = [each for each in findings(disk=rows, inodes="head\nx 0 0 0 - /\n") if each.check == "disk"]
    assert [each.level for each in found] == ["ok"]


def test_ports_that_are_taken() -> None:
    rows = [f"  0: 00000000:{port:04X} 00000000:0000 0A 0 0" for port in range(10000, 59500)]
    found = bad(listening="\n".join(rows))
    assert [each[:2] for each in found] == [("warning", "ports")]
    assert found[0][2].startswith("501 ports of 10000 to 60000 are free; 32768 to 60999 also serve outgoing")
    assert bad(listening="\n".join(row.replace(" 0A ", " 01 ") for row in rows)) == []  # connections, not listeners


@pytest.mark.parametrize(
    ("ahead", "uncertainty", "level"),
    [(0.3, 0.01, "ok"), (-5, 0.1, "warning"), (5, 6, "ok"), (3600, 1, "error"), (-61, 0.5, "error")],
)
def test_clocks(ahead: float, uncertainty: float, level: str) -> None:
    """A stand-in for a node with a wrong clock: the nodes of the tests have the machine's."""
    found = system.clock(system.Skew(ahead, uncertainty), "mend it")
    assert found.level == level
    assert ("ahead of" if ahead > 0 else "behind") in found.what
    assert f"± {uncertainty:.2f} s" in found.what


def test_a_clock_is_measured_from_the_middle_of_the_question() -> None:
    found = system.skew(1000.0, 1010.5, 1001.0)
    assert (found.ahead, found.uncertainty, found.at_least) == (10.0, 0.5, 9.5)


def test_sections_are_cut_at_their_mark_only() -> None:
    text = "motd\nmark a\nx\nother b\n\nmark b\nmark-less y\n\nmark c\n"
    assert script.sections(text, "mark") == {"a": "x\nother b\n", "b": "mark-less y\n", "c": ""}


# --- the agent's side ---


class FakeAgent:
    """A stand-in for a node's agent, which answers what it is told to."""

    def __init__(self, **answers: object) -> None:
        self.node = NODE
        self.answers = {
            "who_am_i": account_until(None),
            "node_status": {},
            "live_check": pb.LiveCheckResponse(),
            "list_services": listed("web", "undefined"),
            **answers,
        }

    def __getattr__(self, name: str) -> Callable[..., object]:
        def answer(**_: object) -> object:
            said = self.answers[name]
            if isinstance(said, Exception):
                raise said
            return node_status(**said) if isinstance(said, dict) else said  # it has the time of the answer

        return answer


def services(states: dict[str, str]) -> pb.LiveCheckResponse:
    """Components of the service shop that should run, or are stopped."""
    components = [
        pb.ComponentInfo(name=name, desired_state="stopped" if state == "stopped" else "running", observed_state=state)
        for name, state in states.items()
    ]
    return pb.LiveCheckResponse(services=[pb.ServiceInfo(name="shop", components=components)])


def listed(*names: str, desired: str = "running") -> pb.ListServicesResponse:
    """Registered services of one component."""
    components = [pb.ComponentInfo(name="api", desired_state=desired)]
    return pb.ListServicesResponse(services=[pb.ServiceInfo(name=name, components=components) for name in names])


def account_until(end: datetime | None) -> pb.WhoAmIResponse:
    response = pb.WhoAmIResponse(user="kyle")
    if end is not None:
        response.expires.FromDatetime(end)
    return response


def node_status(**fields: Any) -> pb.NodeStatusResponse:
    ahead = fields.pop("ahead", 0)
    good = {"agent_version": VERSION, "runtime_version": "4.3.1", "disk_total_bytes": 10**11, "disk_free_bytes": 10**11}
    response = pb.NodeStatusResponse(**{**good, **fields})
    response.now.FromDatetime(datetime.now(UTC) + timedelta(seconds=ahead))
    return response


@pytest.fixture(autouse=True)
def certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked for a certificate; it ends in 400 days."""
    monkeypatch.setattr(agent, "certificate_end", lambda *_: datetime.now(UTC) + timedelta(days=400))


def ask(**answers: object) -> tuple[bool, list[tuple[str, str, str]]]:
    reached, found = agent.check(FakeAgent(**answers), b"", {"moved": "orion", "web": "rift"})  # type: ignore[arg-type]
    return reached, [(str(each.level), each.check, f"{each.what}; {each.do}") for each in found if each.level != "ok"]


def test_a_good_agent() -> None:
    assert ask() == (True, [])


UNUSED = [
    pb.UnusedImage(identifier="1" * 64, names=["localhost/a:1", "localhost/a:2"], bytes=10**9),
    pb.UnusedImage(identifier="2" * 64, bytes=2 * 10**8),
]


def test_unused_images_are_named_where_the_disk_is_short_of_room() -> None:
    _, found = ask(node_status={"disk_free_bytes": 10**9, "unused_images": UNUSED})
    assert [each[:2] for each in found] == [("warning", "disk"), ("warning", "images")]
    names = "localhost/a:1 localhost/a:2 222222222222"
    what = f"2 unused images, up to 1.2 GB: in no container, no component, no recent deploy: {names}"
    assert found[1][2] == f"{what}; `podman rmi {names}` as mcp"
    assert "prune" not in found[0][2]
    assert ask(node_status={"unused_images": UNUSED}) == (True, [])
    assert agent.images(UNUSED, short=False).what == what


def test_unused_volumes_are_named_where_the_disk_is_short_of_room() -> None:
    unused = ["1" * 64, "2" * 64]
    _, found = ask(node_status={"disk_free_bytes": 10**9, "unused_volumes": unused})
    names = " ".join(unused)
    what = f"2 unused anonymous volumes, in no container, which no deploy would mount again: {names}"
    assert found[1] == ("warning", "volumes", f"{what}; look into them, then `podman volume rm {names}` as mcp")
    assert ask(node_status={"unused_volumes": unused}) == (True, [])
    assert agent.volumes(unused, short=False).what == what
    assert agent.images([], short=True).is_fine


@pytest.mark.parametrize(
    ("answers", "level", "check", "what"),
    [
        ({"who_am_i": account_until(datetime.now(UTC) + timedelta(hours=3))}, "warning", "token", "`mcp login`"),
        ({"node_status": {"ahead": 7200}}, "error", "clock", "ahead of this machine's"),
        ({"node_status": {"longest_pause": 6.2}}, "warning", "pauses", "the agent answered nobody for 6.2 s at a time"),
        ({"node_status": {"ahead": -10}}, "warning", "clock", "behind this machine's"),
        ({"node_status": {"disk_free_bytes": 1000}}, "error", "disk", "the disk is full"),
        ({"node_status": {"agent_version": "0.0.1"}}, "warning", "version", "`mcp agent upgrade rift`"),
        (
            {"live_check": services({"web": "removed", "work": "running"})},
            "error",
            "containers",
            "podman has no container of shop/web, which should run; `mcp agent recover rift` creates them",
        ),
        (
            {"live_check": services({"web": "removed", "work": "removed", "old": "stopped"})},
            "error",
            "containers",
            "podman has none of the 2 containers that should run (shop/web, shop/work): was it reset?",
        ),
        (
            {"list_services": listed("moved", "web")},
            "warning",
            "services",
            "moved still runs on rift, but is defined for orion; `mcp undeploy --node rift moved`, or `mcp deploy --mo",
        ),
        (
            {"list_services": listed("moved", desired="stopped")},
            "warning",
            "services",
            "still deployed on rift, stopped",
        ),
        (
            {"live_check": NotReady("podman is broken", node="rift")},
            "error",
            "agent-podman",
            "podman is broken; run `podman ps`",
        ),
    ],
)
def test_what_is_wrong_with_an_agent(answers: dict[str, object], level: str, check: str, what: str) -> None:
    reached, found = ask(**answers)
    assert reached
    assert [each[:2] for each in found] == [(level, check)]
    assert what in found[0][2]


def test_changes_that_are_left_are_named() -> None:
    live = services({"api": "running", "work": "running"})
    assert agent.pending(live.services).is_fine
    live.services[0].components[1].pending = "undo pending: no room"
    _, found = ask(live_check=live)
    tries = "the agent tries again; another command for the service takes its place"
    assert found == [("warning", "changes", f"shop/work: undo pending: no room; {tries}")]


def test_an_agent_that_does_not_answer() -> None:
    reached, found = ask(who_am_i=Unreachable("10.0.0.5:9444 does not respond", "check it", node="rift"))
    assert (reached, found) == (False, [("error", "agent", "10.0.0.5:9444 does not respond; check it")])


@pytest.mark.parametrize(("days", "level"), [(1, "error"), (20, "warning")])
def test_a_certificate_that_ends_soon(days: int, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "certificate_end", lambda *_: datetime.now(UTC) + timedelta(days=days))
    assert [each[:2] for each in ask()[1]] == [(level, "certificate")]


# --- the command ---


WARNINGS = [system.room("/", 10**9, 10**10)]


@pytest.mark.parametrize(
    ("reports", "code"),
    [
        ([], 0),
        ([Report(NODE, True, True, [ok("ssh", "fine")])], 0),
        ([Report(NODE, True, False, WARNINGS)], 0),
        ([Report(NODE, False, True, [system.room("/", 1, 10**10)])], 1),
        ([Report(NODE, False, False, [system.room("/", 1, 10**10)])], 4),
        ([Report(NODE, False, False, WARNINGS), Report(NODE, False, True, WARNINGS)], 0),
    ],
)
def test_exit_codes(
    reports: list[Report],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "mcp.toml").write_text("")
    monkeypatch.setattr("mcp.nodes.doctor.examine.examine", lambda *_: reports)
    assert main.main(["--config", str(tmp_path / "mcp.toml"), "doctor", "-v"]) == code
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{len(reports)} node")


def test_what_a_node_says_is_quoted_for_the_shell() -> None:
    image = pb.UnusedImage(identifier="a" * 64, names=["localhost/x; reboot", "localhost/web:1.0"], bytes=1)
    assert agent.images([image], short=True).do == "`podman rmi 'localhost/x; reboot' localhost/web:1.0` as mcp"
    assert "`podman volume rm '$(reboot)' a`" in agent.volumes(["$(reboot)", "a"], short=True).do
