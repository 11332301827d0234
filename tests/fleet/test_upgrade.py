"""`mcp agent upgrade`, `rollback` and `status` on real nodes: whatever goes wrong, an agent serves at the end."""

import hashlib
import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mcp.shared.resources import ROOT
from tests import previous as history
from tests.agents import Outcome
from tests.fleet.upgrades import (
    AGENT,
    CRASHING,
    MIGRATING,
    MIGRATING_CRASHING,
    MIGRATING_MUTE,
    NEW,
    OLD,
    STATE,
    WEB,
    Upgrades,
    agent_file,
    is_busy,
    left_behind,
    make,
    page,
)
from tests.nodes import boot_bare, load_images
from tests.roots import Arm64
from tests.waiting import wait_for
from tests.zipapps import PYTHON
from tools.nodelib.fleet import Fleet
from tools.nodelib.node import Node

SCHEMA = (
    (ROOT / "agent/store/schema.py").read_text()
    + """
MIGRATIONS += ("CREATE TABLE novel (x INTEGER) STRICT",)
"""
)
CRASH = "import sys\nsys.stderr.write('about to fall\\n')\nraise RuntimeError('no way to serve')\n"
MUTE = 'self._send(f"READY=1\\nSTATUS=serving {VERSION}")'  # systemd is not told, so the agent never serves for it
LATE_CRASH = "    raise RuntimeError('no way to serve')\n    try:\n        address"
MB = 1_000_000


@pytest.fixture(scope="module")
def own_nodes() -> Iterator[Fleet]:
    """Ada, bob with a service each; cyd's disk can be filled up."""
    made = boot_bare({"ada": "12", "bob": "13", "cyd": "12"})
    made["cyd"].run(["sh", "-euc", "mkdir /srv/mcp; mount -t tmpfs -o size=300m,mode=0755 tmpfs /srv/mcp"])
    for node in made.nodes.values():
        node.add_account()
    for name in ("ada", "bob"):
        load_images(made[name])
    yield made
    made.remove()


@pytest.fixture(scope="module")
def site(own_nodes: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Upgrades:
    """The old agent everywhere, and web servers on two nodes."""
    folder = tmp_path_factory.mktemp("operator")
    made = make(own_nodes, folder)
    late_crash = (ROOT / "agent/daemon/server.py").read_text().replace("    try:\n        address", LATE_CRASH, 1)
    systemd = (ROOT / "agent/daemon/systemd.py").read_text()
    assert MUTE in systemd
    mute = systemd.replace(MUTE, "pass")
    changes: dict[str, dict[str, str]] = {
        OLD: {},
        NEW: {},
        CRASHING: {"agent/daemon/server": CRASH},
        MIGRATING: {"agent/store/schema": SCHEMA},
        MIGRATING_CRASHING: {"agent/store/schema": SCHEMA, "agent/daemon/server": late_crash},
        MIGRATING_MUTE: {"agent/store/schema": SCHEMA, "agent/daemon/systemd": mute},
    }
    for version, modules in changes.items():
        made.agents[version] = agent_file(folder / version, version, **modules)
    for name in ("ada", "bob"):
        (folder / f"services/web-{name}.toml").write_text(WEB.format(node=name))
        made.node(name).run(["systemctl", "start", "mcp-agent"])
        done = made.mcp("deploy", f"web-{name}")
        assert done.code == 0, done.stderr
        wait_for(lambda name=name: page(made.node(name)).startswith(b"mcp test image"))  # type: ignore[misc]
    made.reset(*own_nodes.nodes)
    return made


@pytest.fixture
def old(site: Upgrades) -> Upgrades:
    """The same, with the old agent everywhere again."""
    site.reset(*(name for name, version in site.versions().items() if version != OLD or previous(site.node(name))))
    assert set(site.versions().values()) == {OLD}
    return site


def previous(node: Node) -> str:
    """The version of what is kept, if something is."""
    script = f"test ! -e {AGENT}.prev || {AGENT}.prev version"
    return node.run(["sh", "-c", script], user="mcp").stdout.strip().removeprefix("mcp-agent ")


def table(text: str) -> dict[str, list[str]]:
    """Its rows by node."""
    return {row[0]: row[1:] for row in (re.split(r"\s{2,}", line) for line in text.splitlines()[1:])}


def renamed(node: Node) -> None:
    """Wait until the agent's file is another one."""
    path = node.srv / "mcp/mcp-agent"
    before, deadline = path.stat().st_ino, time.monotonic() + 60
    while path.stat().st_ino == before:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_good_are_new_and_the_bad_are_as_they_were(old: Upgrades) -> None:
    ada, bob, cyd = (old.node(name) for name in ("ada", "bob", "cyd"))
    bob.run(["mv", "/usr/bin/python3", "/usr/bin/python3.gone"])
    cyd.run(
        ["sh", "-c", "dd if=/dev/zero of=/srv/mcp/filler bs=1M count=1000 2>/dev/null; truncate -s -4M /srv/mcp/filler"]
    )
    try:
        with old.watched("ada", "bob"):
            done = old.upgrade(NEW)
        assert done.code == 1
        rows = table(done.stdout)
        assert rows["ada"] == [OLD, NEW, "upgraded"]
        assert rows["bob"] == [OLD, OLD, "failed"]
        assert rows["cyd"] == [OLD, OLD, "failed"]
        errors = [line for line in done.errors if line.startswith("mcp: ")]
        assert len(errors) == 2
        assert re.fullmatch(
            r"mcp: bob: the new agent does not start on this node: .*python3.*No such file.*", errors[0]
        )
        assert re.fullmatch(r"mcp: cyd: the copy failed: .*No space left on device", errors[1])
        assert old.versions() == {"ada": NEW, "bob": OLD, "cyd": OLD}
        assert [left_behind(node) for node in (ada, bob, cyd)] == [set()] * 3
        assert (previous(ada), (bob.srv / "mcp/mcp-agent.prev").exists()) == (OLD, False)
    finally:
        bob.run(["mv", "/usr/bin/python3.gone", "/usr/bin/python3"])
        cyd.run(["rm", "-f", "/srv/mcp/filler"])


def test_only_a_signed_agent_is_installed_where_a_key_is_configured(old: Upgrades, tmp_path: Path) -> None:
    key, folder = tmp_path / "key", tmp_path / "release"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    shutil.copytree(old.agents[NEW], folder)
    file, sums = folder / "mcp-agent.pyz", folder / "SHA256SUMS"
    sums.write_text(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  mcp-agent-{NEW}-linux-amd64.pyz\n")
    config = old.folder / "signed.toml"
    config.write_text(
        old.cli.config.read_text() + f'[release]\nkeys = ["{key.with_suffix(".pub").read_text().strip()}"]\n'
    )
    cli = replace(old.cli, config=config)

    def install(*command: str) -> Outcome:
        return cli.run(*command, "ada", "--from", str(folder), timeout=120)

    done = install("agent", "upgrade")
    assert (done.code, table(done.stdout)["ada"]) == (1, [OLD, OLD, "failed"])
    assert f"{folder}/SHA256SUMS.sig: No such file" in done.stderr
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", "mcp-release", sums], check=True)
    good = file.read_bytes()
    file.write_bytes(good + b" ")  # which a zip may end with
    for command in (("agent", "upgrade"), ("node", "provision")):
        done = install(*command)
        assert done.code == 1
        assert done.errors[-1].endswith(
            f"{file} is not in the signed SHA256SUMS beside it: changed, or of another release; "
            "get the files of the release again, and do not use this one"
        )
    assert old.versions()["ada"] == OLD
    file.write_bytes(good)
    done = install("agent", "upgrade")
    assert (done.code, table(done.stdout)["ada"]) == (0, [OLD, NEW, "upgraded"])
    assert old.versions()["ada"] == NEW


def test_an_agent_that_crashes_is_rolled_back_by_the_node(old: Upgrades) -> None:
    with old.watched("ada", "bob"):
        done = old.upgrade(CRASHING, "ada", "bob", "--json")
    assert done.code == 1
    for row in json.loads(done.stdout):
        assert (row["from"], row["to"], row["result"], row["done"]) == (OLD, OLD, "failed: rolled back", False)
        assert "did not start: RuntimeError: no way to serve; the old agent is running again" in row["error"]
    assert set(old.versions().values()) == {OLD}
    for name in ("ada", "bob"):
        assert left_behind(old.node(name)) == set()
        assert previous(old.node(name)) == ""


def schema(node: Node) -> str:
    code = "import sqlite3; print(*sqlite3.connect('/srv/mcp/mcp.db').execute('PRAGMA user_version').fetchone())"
    return node.run(["python3", "-c", code], user="mcp").stdout.strip()


def test_an_agent_that_migrates_and_crashes_is_rolled_back_with_the_registry(old: Upgrades) -> None:
    ada, before = old.node("ada"), schema(old.node("ada"))
    with old.watched("ada"):
        done = old.upgrade(MIGRATING_CRASHING, "ada", "--json")
    (row,) = json.loads(done.stdout)
    assert (done.code, row["result"]) == (1, "failed: rolled back")
    assert row["notes"][0].startswith("the registry is that of ")
    assert (schema(ada), old.versions()["ada"], left_behind(ada), previous(ada)) == (before, OLD, set(), "")


def registered(node: Node) -> list[str]:
    """The services in its registry."""
    query = "SELECT service FROM components ORDER BY service"
    code = f"import sqlite3; print(*(row[0] for row in sqlite3.connect('/srv/mcp/mcp.db').execute('{query}')))"
    return node.run(["python3", "-c", code], user="mcp").stdout.split()


def define_later(site: Upgrades) -> None:
    """A second service of ada's."""
    text = WEB.format(node="ada").replace("web-ada", "later").replace("8080:8080", "8081:8080")
    (site.folder / "services/later.toml").write_text(text)


def container(node: Node, name: str) -> str:
    """Its id and the time of its start."""
    return node.run(["podman", "inspect", "--format={{.Id}} {{.State.StartedAt}}", name], user="mcp").stdout


def test_what_was_deployed_with_an_agent_that_is_rolled_back_is_adopted_again(old: Upgrades) -> None:
    """The new agent migrates the registry, and takes commands, but never serves as far as systemd knows."""
    ada, before = old.node("ada"), schema(old.node("ada"))
    define_later(old)
    with old.watched("ada"):
        upgrade = start(old, MIGRATING_MUTE, "ada", "--json", deadline="45s")
        wait_for(lambda: old.versions().get("ada") == MIGRATING_MUTE)
        assert schema(ada) != before
        deployed = old.mcp("deploy", "later")
        assert deployed.code == 0, deployed
        made = container(ada, "later-web")
        out, err = upgrade.communicate(timeout=300)
    (row,) = json.loads(out)
    assert (upgrade.returncode, row["to"], row["result"]) == (1, OLD, "failed: rolled back"), err
    assert row["error"].startswith("it did not serve within 45 s; the old agent is running again; ")
    assert re.fullmatch(
        r"the registry is that of \d{4}-\d\d-\d\d \d\d:\d\d UTC, put back for this agent", row["notes"][0]
    )
    assert row["notes"][1:] == ["later/web was deployed since and is adopted again"]
    assert (schema(ada), old.versions()["ada"], left_behind(ada), previous(ada)) == (before, OLD, set(), "")
    assert registered(ada) == ["later", "web-ada"]
    assert container(ada, "later-web") == made
    assert old.upgrade(NEW, "ada").code == 0  # the old version is too old for this CLI's commands
    assert old.mcp("undeploy", "later").code == 0


def test_a_rollback_from_a_newer_schema_adopts_what_was_deployed_since(old: Upgrades) -> None:
    ada, before = old.node("ada"), schema(old.node("ada"))
    assert old.upgrade(MIGRATING, "ada").code == 0
    assert schema(ada) != before
    define_later(old)
    assert old.mcp("deploy", "later").code == 0
    with old.watched("ada"):
        done = old.mcp("agent", "rollback", "ada", "--json")
    (row,) = json.loads(done.stdout)
    assert (done.code, row["to"], row["result"]) == (0, OLD, "rolled back")
    assert "later/web was deployed since and is adopted again" in row["notes"]
    assert (schema(ada), registered(ada)) == (before, ["later", "web-ada"])
    assert old.upgrade(NEW, "ada").code == 0
    assert old.mcp("undeploy", "later").code == 0


def test_an_agent_of_the_previous_release_is_upgraded_and_rolled_back(old: Upgrades) -> None:
    """The real files of that release, which know nothing of copies of the registry."""
    ada, release = old.node("ada"), history.previous()
    token = (old.folder / "token").read_bytes()
    ada.run(["sh", "-euc", "systemctl stop mcp-agent; rm -f /srv/mcp/mcp.db*"])
    ada.write(AGENT, release.agent.read_bytes(), owner="mcp", mode=0o755)
    argv = ["/usr/bin/python3", "-I", AGENT, "token", "add", "operator", "--token-stdin"]
    ada.run(argv, user="mcp", stdin=token)
    ada.run(["systemctl", "start", "mcp-agent"])
    its_cli = replace(old.cli, command=(PYTHON, "-I", str(release.mcp)))
    assert its_cli.run("deploy", "web-ada", timeout=120).code == 0
    before, made = schema(ada), container(ada, "web-ada-web")
    with old.watched("ada"):
        upgraded = old.upgrade(NEW, "ada")
        assert upgraded.code == 0, upgraded
        assert old.mcp("status", "--check", "web-ada").code == 0
        back = old.mcp("agent", "rollback", "ada", "--json")
        (row,) = json.loads(back.stdout)
        assert (back.code, row["to"], row["result"]) == (0, release.version, "rolled back"), back
        assert (schema(ada), left_behind(ada)) == (before, set())
        assert "running" in its_cli.run("ps").stdout
        assert old.upgrade(NEW, "ada").code == 0
        assert old.mcp("status", "--check", "web-ada").code == 0
    assert container(ada, "web-ada-web") == made


def test_a_killed_switch_leaves_an_agent_that_runs(old: Upgrades) -> None:
    ada = old.node("ada")
    process = old.cli.popen("agent", "upgrade", "--from", str(old.agents[NEW]), "ada")
    wait_for(lambda: is_busy(ada))
    ada.run(["systemctl", "kill", "--signal=KILL", "mcp-agent-switch.service"], check=False)
    process.communicate(timeout=300)
    wait_for(lambda: ada.run(["systemctl", "is-active", "mcp-agent"], check=False).stdout.strip() == "active")
    assert old.upgrade(NEW, "ada").code == 0
    assert (old.versions()["ada"], left_behind(ada)) == (NEW, set())


def test_a_wave_with_a_failure_is_the_last(old: Upgrades) -> None:
    done = old.upgrade(CRASHING, "--wave", "1", "cyd", "ada", "bob")
    assert done.code == 1
    assert table(done.stdout) == {
        "cyd": [OLD, OLD, "failed: rolled back"],
        "ada": ["-", "-", "skipped"],
        "bob": ["-", "-", "skipped"],
    }
    assert set(old.versions().values()) == {OLD}
    done = old.upgrade(NEW, "--wave", "2")
    assert (done.code, set(old.versions().values())) == (0, {NEW}), done.stderr


def test_current_nodes_are_skipped_and_rollback_goes_back(old: Upgrades) -> None:
    assert table(old.upgrade(NEW, "ada").stdout) == {"ada": [OLD, NEW, "upgraded"]}
    pid = old.node("ada").run(["systemctl", "show", "--property=MainPID", "mcp-agent"]).stdout
    done = old.upgrade(NEW, "ada")
    assert (done.code, table(done.stdout)) == (0, {"ada": [NEW, NEW, "current"]})
    assert old.node("ada").run(["systemctl", "show", "--property=MainPID", "mcp-agent"]).stdout == pid
    assert table(old.upgrade(NEW, "--force", "ada").stdout) == {"ada": [NEW, NEW, "upgraded"]}
    assert old.upgrade(CRASHING, "ada").code == 1
    assert previous(old.node("ada")) == NEW  # what was kept before is kept again
    old.reset("ada")
    assert old.upgrade(NEW, "ada").code == 0
    for before, after in ((NEW, OLD), (OLD, NEW)):
        done = old.mcp("agent", "rollback", "ada")
        assert (done.code, table(done.stdout)) == (0, {"ada": [before, after, "rolled back"]})
        assert (old.versions()["ada"], previous(old.node("ada"))) == (after, before)
    done = old.mcp("agent", "rollback", "bob")
    assert done.code == 1
    assert "mcp: bob: no previous agent /srv/mcp/mcp-agent.prev" in done.stderr


def test_what_was_left_is_cleared_also_where_there_is_nothing_to_do(old: Upgrades) -> None:
    ada = old.node("ada")
    assert old.upgrade(NEW, "ada").code == 0
    ada.run(["touch", f"{AGENT}.new", f"{AGENT}.new.x1Y2z3", f"{AGENT}.prev.old"])
    for _ in range(2):
        done = old.upgrade(NEW, "ada")
        assert (done.code, table(done.stdout)) == (0, {"ada": [NEW, NEW, "current"]}), done
        assert (left_behind(ada), previous(ada)) == (set(), OLD)
        # as a power cut leaves it where nothing can be resumed at boot
        ada.run(["sed", "-i", "s/^state=.*/state=switching/", f"{STATE}/result"])
    assert old.upgrade(NEW, "ada").code == 0
    assert "state=upgraded\n" in ada.run(["cat", f"{STATE}/result"]).stdout


def test_status_shows_what_each_agent_is(old: Upgrades) -> None:
    done = old.mcp("agent", "status", "ada", "bob", "--json")
    rows = json.loads(done.stdout)
    assert done.code == 0
    assert [(row["node"], row["version"], row["architecture"]) for row in rows] == [
        ("ada", OLD, "amd64"),
        ("bob", OLD, "amd64"),
    ]
    assert rows[0]["python"].startswith("3.11.")
    assert rows[1]["python"].startswith("3.13.")
    assert rows[0]["build"] == "0" * 40
    old.node("bob").run(["systemctl", "stop", "mcp-agent"])
    done = old.mcp("agent", "status")
    old.node("bob").run(["systemctl", "start", "mcp-agent"])
    assert done.code == 4
    assert table(done.stdout)["ada"][5] == "yes"
    assert table(done.stdout)["bob"][5] == "no"
    assert "mcp: bob: " in done.stderr


def test_where_ssh_dies_after_the_rename_the_table_says_what_is_so(old: Upgrades) -> None:
    ada = old.node("ada")
    upgrade = start(old, NEW, "ada")
    renamed(ada)
    ada.run(["sh", "-c", "systemctl stop ssh.socket ssh.service; pkill -KILL -x sshd; true"])
    try:
        with old.watched("ada"):
            out, err = upgrade.communicate(timeout=120)
        assert (upgrade.returncode, table(out)) == (0, {"ada": [OLD, NEW, "upgraded"]}), err
        assert "mcp: ada: its agent answers, but ssh: " in err
        assert old.versions()["ada"] == NEW
    finally:
        ada.run(["systemctl", "start", "ssh.service"])
    assert left_behind(ada) == set()


def start(site: Upgrades, version: str, *arguments: str, deadline: str = "10s") -> "subprocess.Popen[str]":
    """Begin an upgrade."""
    return site.cli.popen("agent", "upgrade", "--from", str(site.agents[version]), "--deadline", deadline, *arguments)


@pytest.mark.parametrize("version", [NEW, CRASHING])
@pytest.mark.parametrize("step", ["connecting", "copying", "switching", "renamed", "later"])
def test_a_killed_cli_leaves_a_working_agent(old: Upgrades, step: str, version: str) -> None:
    ada = old.node("ada")
    with old.watched("ada"):
        upgrade = start(old, version, "ada")
        assert upgrade.stderr is not None
        if step in ("renamed", "later"):
            renamed(ada)
            time.sleep(1 if step == "later" else 0)
        else:
            while step not in (line := upgrade.stderr.readline()):
                assert line
        upgrade.send_signal(signal.SIGKILL)
        upgrade.communicate(timeout=60)
        wait_for(lambda: not left_behind(ada) and not is_busy(ada), 180)
    began = step in ("switching", "renamed", "later")
    expected = {NEW if version == NEW and began else OLD, *((NEW,) if step == "copying" and version == NEW else ())}
    assert old.versions()["ada"] in expected
    assert old.mcp("node", "list").code == 0


@pytest.mark.parametrize(("version", "state"), [(NEW, "upgraded"), (CRASHING, "rolled-back")])
def test_a_power_cut_in_the_middle_is_brought_to_its_end(old: Upgrades, version: str, state: str) -> None:
    bob = old.node("bob")
    upgrade = start(old, version, "bob")
    renamed(bob)
    bob.reboot()
    _, err = upgrade.communicate(timeout=120)
    wait_for(lambda: not left_behind(bob) and not is_busy(bob), 60)
    assert f"state={state}\n" in bob.run(["cat", f"{STATE}/result"]).stdout
    assert old.versions()["bob"] == (NEW if version == NEW else OLD)
    assert upgrade.returncode == (0 if version == NEW else 1), err


def test_a_second_upgrade_at_the_same_time_is_refused(old: Upgrades) -> None:
    first = start(old, NEW, "ada")
    renamed(old.node("ada"))
    done = old.upgrade(NEW, "--force", "ada")
    out, err = first.communicate(timeout=120)
    assert (first.returncode, table(out)) == (0, {"ada": [OLD, NEW, "upgraded"]}), err
    assert done.code == 1
    assert "mcp: ada: another upgrade of this node is in progress; wait for its end" in done.stderr
    assert left_behind(old.node("ada")) == set()


def test_the_architecture_is_the_nodes_own(old: Upgrades, tmp_path: Path) -> None:
    ada = old.node("ada")
    ada.write("/usr/local/bin/uname", "#!/bin/sh\necho aarch64\n", mode=0o755)
    try:
        done = old.upgrade(NEW, "ada")
        assert done.code == 1
        assert re.search(
            r"mcp: ada: .* has no agent for arm64, only for amd64; put .*linux-arm64\.pyz there", done.stderr
        )
        wrong = tmp_path / "mcp.toml"
        wrong.write_text(old.cli.config.read_text().replace('"ada"\n', '"ada"\narch = "amd64"\n'))
        done = old.mcp("--config", str(wrong), "agent", "upgrade", "--from", str(old.agents[NEW]), "ada")
        assert done.code == 1
        assert (
            'mcp: ada: it is arm64 (aarch64), but mcp.toml has amd64; set arch = "arm64" for ada there' in done.stderr
        )
        assert old.versions()["ada"] == OLD
    finally:
        ada.run(["rm", "/usr/local/bin/uname"])


def test_an_operator_who_becomes_root_by_sudo(old: Upgrades, tmp_path: Path) -> None:
    bob = old.node("bob")
    bob.run(["useradd", "--create-home", "--shell", "/bin/sh", "deploy"])
    keys = "install -d -m 0700 -o deploy /home/deploy/.ssh && install -m 0600 -o deploy $1 /home/deploy/.ssh/"
    bob.run(["sh", "-euc", keys, "sh", "/root/.ssh/authorized_keys"])
    config = tmp_path / "mcp.toml"
    text = old.cli.config.read_text()
    config.write_text(text.replace('"bob"\n', '"bob"\nssh = "deploy@bob"\nsudo = "sudo"\n'))
    argv = ["--config", str(config), "agent", "upgrade", "--from", str(old.agents[NEW]), "bob"]
    done = old.mcp(*argv)
    assert (done.code, table(done.stdout)) == (1, {"bob": ["-", "-", "failed"]})
    assert re.search(r"mcp: bob: sudo: a password is required; .* allow deploy@bob .* without one", done.stderr)
    bob.write("/etc/sudoers.d/deploy", "deploy ALL=(root) NOPASSWD: ALL\n", mode=0o440)
    done = old.mcp(*argv)
    assert (done.code, table(done.stdout)) == (0, {"bob": [OLD, NEW, "upgraded"]}), done.stderr
    assert left_behind(bob) == set()


@pytest.fixture
def emulated(old: Upgrades, arm64: Arm64) -> Iterator[Node]:
    """Cyd as an arm64 node, as far as user-mode emulation goes: what `uname` says, and the unit's Python."""
    cyd = old.node("cyd")
    cyd.run(["systemctl", "stop", "mcp-agent"])
    (qemu, *words) = arm64.python([])[2:]
    subprocess.run(["cp", "-a", str(arm64.path), f"{cyd.root}/opt/arm64"], check=True)
    shutil.copy(qemu, cyd.root / "usr/local/bin/qemu-aarch64")
    command = " ".join(word.replace(str(arm64.path), "/opt/arm64") for word in words if word != "-I")
    script = f'#!/bin/sh\nexport {arm64.python([])[1]}\nexec /usr/local/bin/qemu-aarch64 {command} "$@"\n'
    cyd.write("/usr/local/bin/python3-arm64", script, mode=0o755)
    cyd.write("/usr/local/bin/uname", "#!/bin/sh\necho aarch64\n", mode=0o755)
    start = f"/usr/local/bin/python3-arm64 -I {AGENT} server --config {AGENT}.toml"
    cyd.run(["mkdir", "-p", "/etc/systemd/system/mcp-agent.service.d"])
    cyd.write("/etc/systemd/system/mcp-agent.service.d/arm64.conf", f"[Service]\nExecStart=\nExecStart={start}\n")
    cyd.run(["systemctl", "daemon-reload"])
    yield cyd
    cyd.run(["rm", "-r", "/usr/local/bin/uname", "/etc/systemd/system/mcp-agent.service.d"])
    cyd.run(["systemctl", "daemon-reload"])
    old.reset("cyd")


@pytest.mark.timeout(300)
def test_an_arm64_node_gets_the_arm64_agent(old: Upgrades, emulated: Node, tmp_path: Path) -> None:
    first, second = (agent_file(tmp_path / version, version, "arm64") for version in (OLD, NEW))
    shutil.copy(old.agents[NEW] / "mcp-agent.pyz", second / "mcp-agent-amd64.pyz")  # that of other nodes
    emulated.write(AGENT, (first / "mcp-agent.pyz").read_bytes(), owner="mcp", mode=0o755)
    emulated.run(["systemctl", "start", "mcp-agent"], timeout=120)
    done = old.mcp("agent", "upgrade", "--from", str(second), "--json", "cyd", timeout=200)
    assert done.code == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["from"], row["to"], row["result"]) == (OLD, NEW, "upgraded")
    (row,) = json.loads(old.mcp("agent", "status", "cyd", "--json").stdout)
    assert (row["version"], row["architecture"]) == (NEW, "arm64")
    assert left_behind(emulated) == set()
