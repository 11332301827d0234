"""An agent that cannot start says why: one line for each problem, its exit code, and no traceback."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.admin.pki import make_ca, make_server_certificate
from agent.store.schema import MIGRATIONS
from tests.agents import Agent, Home, Outcome, agent_env, run_program
from tests.component.conftest import Rig, copy_home
from tests.component.definitions import component, route, service
from tests.component.fakes import FAIL, WEB, WEB2, FakePodman
from tests.waiting import wait_for

CHECK = '[components.health]\ncmd = ["true"]\ninterval = "500ms"\nretries = 1\n'
LIST = ["ps", "--all", "--no-trunc", "--format=json"]


@pytest.fixture
def home(tmp_path: Path, template: Home) -> Home:
    """An agent's files, with no agent that runs."""
    return copy_home(template, tmp_path / "agent")


def test_output_that_cannot_be_written_is_one_line(home: Home) -> None:
    def run(redirect: str, *args: str) -> tuple[int, str]:
        line = f'"$@" {redirect}'
        done = subprocess.run(
            ["sh", "-c", line, "sh", *home.command, *args],
            env=agent_env(home.folder),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    full = "mcp-agent: input or output: No space left on device\n"
    assert run(">/dev/full", "version") == run(">/dev/full", "--help") == (1, full)
    assert run(">&-", "version") == (1, "mcp-agent: input or output: Bad file descriptor\n")


def start(home: Home) -> Outcome:
    """Start an agent that is expected to end at once."""
    argv = [*home.command, "server", "--config", str(home.config)]
    return run_program(argv, env=agent_env(home.folder), timeout=60)


def check(done: Outcome, code: int, *words: str) -> None:
    """One line for each of `words`, which it contains; and the exit code."""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.errors if not line.startswith("time=")]
    assert (done.code, done.stdout, len(lines)) == (code, "", len(words)), done
    for line, word in zip(lines, words, strict=True):
        assert line.startswith("mcp-agent: ")
        assert word in line


MISTAKES: dict[str, tuple[tuple[str, str], tuple[str, ...]]] = {
    "no section": (("[agent]", "[agend]"), ("agent.node_name: is missing", "agend: unknown key; did you mean agent?")),
    "an unknown key": (('node_name = "rift"', 'node_name = "rift"\nnodename = "x"'), ("agent.nodename: unknown key",)),
    "a wrong type": (('settle = "50ms"', "settle = 5"), ("agent.settle: expected a string, found an integer",)),
    "no duration": (('settle = "50ms"', 'settle = "soon"'), ('agent.settle: "soon": expected a duration',)),
    "a name": (('"rift"', '"-rift"'), ('agent.node_name: "-rift": must be lower-case',)),
    "no address": (('"127.0.0.1:0"', '"localhost:9444"'), ('server.grpc_addr: "localhost:9444": expected IP:PORT',)),
    "an address out of range": (('"127.0.0.1:0"', '"127.0.0.1:99999"'), ("server.grpc_addr: ",)),
    "a relative path": (('path = "/', 'path = "'), ("database.path: ",)),
    "another runtime": (('[agent]', '[agent]\ncontainer_runtime = "docker"'), ('agent.container_runtime: "docker"',)),
    "another backend": (("[agent]", '[auth]\nbackend = "ldap"\n[agent]'), ('auth.backend: "ldap" is not one of',)),
    "a section of later": (("[agent]", '[mcns]\nzone = "x"\n[agent]'), ("mcns: is not supported by this version",)),
    "a log level": (("[agent]", '[log]\nlevel = "loud"\n[agent]'), ('log.level: "loud" is not one of',)),
    "not toml": (("[agent]", "[agent"), ("is not valid TOML",)),
    "three at once": (("[server]", "[log]\nlevel = 1\n[x]\n[server]\ny = 1"), ("log.level: ", "server.y: ", "x: ")),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_configuration_that_is_wrong(home: Home, mistake: str) -> None:
    (old, new), words = MISTAKES[mistake]
    text = home.config.read_text()
    assert old in text
    home.config.write_text(text.replace(old, new, 1))
    done = start(home)
    check(done, 2, *words)
    assert all(line.startswith(f"mcp-agent: {home.config}: ") for line in done.errors)


def test_a_configuration_that_cannot_be_read(home: Home) -> None:
    home.config.unlink()
    check(start(home), 2, f"{home.config}: cannot be read: No such file or directory")
    home.config.write_bytes(b"\xff")
    check(start(home), 2, f"{home.config}: is not UTF-8 text (byte 0)")


def test_certificates_that_cannot_be_used(home: Home) -> None:
    certificate, key = (home.folder / "cert.pem").read_bytes(), (home.folder / "key.pem").read_bytes()
    (home.folder / "cert.pem").unlink()
    check(start(home), 1, "server.tls_cert: ")
    (home.folder / "cert.pem").write_bytes(b"hello")
    check(start(home), 1, "server.tls_cert, server.tls_key: not a certificate and its key in PEM")
    (home.folder / "cert.pem").write_bytes(certificate)
    (home.folder / "key.pem").write_bytes(key[:100])
    check(start(home), 1, "not a certificate and its key in PEM")
    other = make_server_certificate(make_ca("other"), ["localhost"])
    (home.folder / "key.pem").write_bytes(other.key)
    check(start(home), 1, "not a certificate and its key in PEM")


def test_an_address_that_is_not_ours(home: Home) -> None:
    home.write_config(address="203.0.113.1:9444")
    check(start(home), 1, "cannot listen on 203.0.113.1:9444; the address must belong to this machine")


def test_a_registry_that_is_no_database(home: Home) -> None:
    content = b"This is not a database, but somebody's letters. " * 100
    home.database.write_bytes(content)
    check(start(home), 1, f"{home.database}: is not a database, or is damaged; restore a copy, or move the file away")
    assert home.database.read_bytes() == content
    assert home.token("list").stderr == start(home).stderr


def test_a_registry_that_is_damaged(home: Home) -> None:
    data = bytearray(home.database.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 16] = b"\xff" * 16
    data[100:116] = b"\xff" * 16
    home.database.write_bytes(data)
    check(start(home), 1, f"{home.database}: is not a database, or is damaged")


def test_a_registry_of_a_newer_agent(home: Home) -> None:
    with sqlite3.connect(home.database) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    check(start(home), 1, f"was written by a newer mcp-agent (schema 99; {len(MIGRATIONS)} is known)")


def test_a_registry_that_cannot_be_opened(home: Home) -> None:
    target = home.folder / "elsewhere"
    shutil.move(home.database, target)
    home.database.symlink_to(target)
    check(start(home), 1, f"{home.database}: cannot be opened: Too many levels of symbolic links")
    home.database.unlink()
    home.database.mkdir()
    check(start(home), 1, f"{home.database}: cannot be opened: Is a directory")
    shutil.rmtree(home.folder / "cli")
    home.config.write_text(home.config.read_text().replace("/mcp.db", "/no/mcp.db"))
    check(start(home), 1, f"{home.folder}/no/mcp.db.lock: cannot be opened: No such file or directory")


def test_a_registry_that_is_locked(rig: Rig) -> None:
    """Another process writes for longer than the agent waits: said so, and fine again afterwards."""
    rig.agent.define("web", service())
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    other = sqlite3.connect(rig.agent.home.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    done = rig.agent.cli.run("stop", "web")
    assert done.code == 1
    (line,) = done.errors
    assert line.startswith("mcp: rift: ")
    assert "is locked by another process for more than 5 s; try again" in line
    other.execute("ROLLBACK")
    other.close()
    assert rig.fake.running() == {"web-api": WEB}
    assert rig.agent.cli.run("stop", "web").code == 0


# --- a full disk ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB: a tmpfs, in a mount namespace of its own where we are not root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    unprivileged = [] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    script = 'mount -t tmpfs -o size=1m mcp-test "$0" && echo ready && read -r _'
    with subprocess.Popen(
        [*unprivileged, "sh", "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"ready\n"
        # seen from outside the namespace through the process that holds it
        yield folder if not unprivileged else Path(f"/proc/{holder.pid}/root{folder}")
        holder.stdin.close()
    if not unprivileged:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Use up what is free."""
    path = folder / "ballast"
    with path.open("ab", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return path


def test_a_full_disk(small_disk: Path, template: Home, tmp_path: Path) -> None:
    fake = FakePodman.install(tmp_path / "bin")
    home = copy_home(template, small_disk / "agent")
    with Agent.start(home, env=agent_env(home.folder, fake.folder)) as agent:
        agent.define("web", service())
        assert agent.cli.run("deploy", "-q", "web").code == 0
        agent.define("web", service("web", component("api", WEB2)))
        agent.define("routed", service("routed", component("api", more=route())))
        ballast = fill(small_disk)
        for name in ("web", "routed"):
            done = agent.cli.run("deploy", "-q", name)
            assert done.code == 1
            (line,) = done.errors
            assert line.startswith(f"mcp: rift: {home.database}: cannot be written: ")
            assert "make room on its disk" in line
        assert fake.running() == {"web-api": WEB}
        assert list(fake.containers()) == ["web-api"]
        assert agent.cli.run("ps").code == 0
        done = home.token("add", "anna")
        assert (done.code, done.stdout, len(done.errors)) == (1, "", 1)
        assert "make room on its disk" in done.stderr
        ballast.unlink()
        assert agent.cli.run("deploy", "-q", "web").code == 0
        assert fake.running() == {"web-api": WEB2}


def test_a_disk_that_fills_while_a_deploy_settles(small_disk: Path, template: Home, tmp_path: Path) -> None:
    """The old container runs, and history says what became of the deploy once there is room."""
    fake = FakePodman.install(tmp_path / "bin")
    home = copy_home(template, small_disk / "agent")
    home.write_config(settle="50ms", runtime_timeout="8s", more='[monitor]\ninterval = "1s"\n')
    with Agent.start(home, env=agent_env(home.folder, fake.folder)) as agent:
        agent.define("web", service())
        assert agent.cli.run("deploy", "-q", "web").code == 0
        fake.misbehave("hold", ["inspect"], after=["run", WEB2], times=1)
        agent.define("web", service("web", component("api", WEB2)))
        with agent.cli.popen("deploy", "-q", "web") as deploy:
            wait_for(lambda: WEB2 in fake.running().values())
            ballast = fill(small_disk)
            fake.behave()
            _, said = deploy.communicate(timeout=60)
        assert deploy.returncode == 1
        assert "cannot be written" in said
        assert "the old container runs again" in said
        assert fake.running() == {"web-api": WEB}
        ballast.unlink()
        wait_for(lambda: "failed" in agent.cli.run("history", "web").stdout)
        assert "the old container runs again" in agent.cli.run("history", "web", "show", "2").stdout
        wait_for(lambda: "pending" not in agent.cli.run("status").stdout)
        assert fake.running() == {"web-api": WEB}


@pytest.fixture
def cramped(small_disk: Path, template: Home, tmp_path: Path) -> Iterator[Rig]:
    """An agent on a small disk with a service that runs, at which it looks each second."""
    fake = FakePodman.install(tmp_path / "bin")
    home = copy_home(template, small_disk / "agent")
    more = '[monitor]\ninterval = "1s"\n'
    home.write_config(settle="50ms", runtime_timeout="8s", more=more)
    with Agent.start(home, env=agent_env(home.folder, fake.folder)) as agent:
        agent.define("web", service("web", component("api", more=CHECK)))
        assert agent.cli.run("deploy", "-q", "web").code == 0
        yield Rig(agent, fake)
        fake.behave()


def wait_rounds(fake: FakePodman) -> None:
    """Wait until the monitor has looked a few times, in which time the agent has tried again what was left."""
    count = fake.commands().count(LIST) + 5
    wait_for(lambda: fake.commands().count(LIST) >= count)


def pending(rig: Rig) -> Any:
    """What `mcp status` says that is left of web."""
    (found,) = json.loads(rig.agent.cli.run("status", "--json").stdout)["components"]
    return found["pending"]


def runs_once_more(rig: Rig, ballast: Path) -> bool:
    """Tell if web runs, was started once since its calls were forgotten, and is left alone from now on."""
    wait_rounds(rig.fake)
    ballast.unlink()
    wait_for(lambda: pending(rig) is None)
    wait_rounds(rig.fake)
    starts = [argv for argv in rig.fake.commands() if argv[0] == "start"]
    return rig.fake.running() == {"web-api": WEB} and len(starts) == 1 and list(rig.fake.containers()) == ["web-api"]


def test_a_disk_that_fills_between_the_stop_and_the_start_of_a_restart(cramped: Rig, small_disk: Path) -> None:
    """The service runs, and is not restarted again and again while its end cannot be noted."""
    fake = cramped.fake
    fake.forget_calls()
    fake.misbehave("hold", ["stop"], when="after", times=1)
    with cramped.agent.cli.popen("restart", "-q", "web") as restart:
        wait_for(lambda: fake.running() == {})
        ballast = fill(small_disk)
        fake.behave()
        restart.communicate(timeout=60)
    assert fake.running() == {"web-api": WEB}
    assert runs_once_more(cramped, ballast)


def test_a_disk_that_fills_between_the_stop_and_the_start_of_a_repair(cramped: Rig, small_disk: Path) -> None:
    fake = cramped.fake
    fake.forget_calls()
    fake.misbehave("hold", ["stop"], when="after", times=1)
    fake.change(containers=[{**each, "health_status": "unhealthy"} for each in fake.state["containers"]])
    wait_for(lambda: fake.running() == {})
    ballast = fill(small_disk)
    fake.behave()
    wait_for(lambda: fake.running() == {"web-api": WEB})
    assert runs_once_more(cramped, ballast)


@pytest.mark.parametrize("command", ["run", "rm", "rename"])
def test_a_disk_that_fills_in_the_undo_of_a_deploy(cramped: Rig, small_disk: Path, command: str) -> None:
    """From the start of the new container on, until the old one has its name back."""
    fake = cramped.fake
    fake.forget_calls()
    fake.misbehave("hold", [command], when="after", times=1, after=["--detach"] if command != "run" else ())
    cramped.agent.define("web", service("web", component("api", FAIL)))
    with cramped.agent.cli.popen("deploy", "-q", "web") as deploy:
        wait_for(lambda: fake.busy_with(command) or deploy.poll() is not None)
        ballast = fill(small_disk)
        fake.behave()
        deploy.communicate(timeout=60)
    assert deploy.returncode == 1
    wait_for(lambda: fake.running() == {"web-api": WEB})
    assert runs_once_more(cramped, ballast)


def test_a_disk_that_is_full_from_the_start(small_disk: Path, template: Home) -> None:
    home = copy_home(template, small_disk / "agent")
    home.database.unlink()
    fill(small_disk)
    check(start(home), 1, f"{home.database}: cannot be written: ")
    done = run_program(
        [*home.command, "dev", "--state", str(small_disk / "dev")], env=agent_env(home.folder), timeout=20
    )
    check(done, 1, ": No space left on device")
