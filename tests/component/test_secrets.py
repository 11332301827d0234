"""No secret shows in a process list, a log, or a file that others can read."""

import stat
from pathlib import Path

from tests.agents import Agent, agent_env
from tests.component.conftest import Rig
from tests.component.definitions import component, route, service
from tests.component.fakes import FAIL, FakePodman
from tests.component.processes import command_line
from tests.waiting import wait_for

SECRET = "correct-horse-battery-staple"
ENV = f'env = ["PASSWORD={SECRET}", "QUOTED=\'{SECRET}\' # $HOME"]\n'


def open_to_others(folder: Path) -> list[Path]:
    """Every file below `folder` that somebody else could read."""
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]


def with_content(folder: Path, secret: str) -> list[Path]:
    """Every file below `folder` that holds `secret`."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_environment_values_are_in_no_command_line_and_no_log(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", more=ENV + route())))
    rig.fake.misbehave("hold", ["run"])
    cli = rig.agent.cli.popen("deploy", "-q", "web")
    wait_for(lambda: rig.fake.busy_with("run"))
    for pid in [cli.pid, rig.agent.process.pid, *rig.fake.processes()]:
        assert SECRET not in " ".join(command_line(pid))
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError):  # a look of the monitor's that is over
            assert pid not in (cli.pid, rig.agent.process.pid)
            continue
        assert SECRET.encode() not in environment
        assert rig.agent.token.encode() not in environment
    rig.fake.behave()
    out, err = cli.communicate(timeout=30)
    assert (cli.returncode, err) == (0, "")
    assert f"PASSWORD={SECRET}" in rig.fake.containers()["web-api"]["env"]
    assert f"QUOTED='{SECRET}' # $HOME" in rig.fake.containers()["web-api"]["env"]
    for argv in (["stop", "web"], ["start", "web"], ["ps", "--json"], ["logs", "web"], ["node", "list", "--json"]):
        done = rig.agent.cli.run(*argv)
        out += done.stdout + done.stderr
    rig.fake.change(containers=[])
    assert rig.agent.cli.run("start", "web").code == 0  # made again from the registry, the same way
    assert f"PASSWORD={SECRET}" in rig.fake.containers()["web-api"]["env"]
    for call in rig.fake.calls():
        assert SECRET not in str(call)
        assert "MCP_TOKEN" not in call["environment"]
    for text in (rig.agent.log(), out):
        assert SECRET not in text
        assert rig.agent.token not in text


def test_failures_do_not_give_them_away(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", FAIL, ENV)))
    done = rig.agent.cli.run("deploy", "-q", "web")
    assert done.code == 1
    assert "last log lines" in done.stderr
    rig.fake.misbehave("fail", ["run"])
    again = rig.agent.cli.run("deploy", "-q", "web")
    assert again.code == 1
    rig.agent.define("web", service("web", component("api", more=f'env = ["NOT A KEY {SECRET}"]')))
    wrong = rig.agent.cli.run("deploy", "-q", "web")
    assert wrong.code == 2
    for text in (done.stderr, again.stderr, wrong.stderr, rig.agent.log()):
        assert SECRET not in text


def test_the_agents_environment_is_not_podmans(rig: Rig) -> None:
    rig.agent.stop()
    rig.agent.env = {**rig.agent.env, "MCP_TOKEN": SECRET, "PYTHONPATH": "/nonexistent", "LD_DEBUG_OUTPUT": SECRET}
    rig.fake.forget_calls()
    rig.restart()
    assert rig.agent.cli.run("ps").code == 0
    wait_for(lambda: len(rig.fake.calls()) > 1)
    for call in rig.fake.calls():
        assert set(call["environment"]) <= {"PATH", "HOME", "LC_ALL"}


def test_nobody_else_can_read_an_agents_secrets(rig: Rig) -> None:
    rig.agent.define("web", service("web", component("api", more=ENV)))
    assert rig.agent.cli.run("deploy", "-q", "web").code == 0
    folder = rig.agent.home.folder
    assert with_content(folder, rig.agent.token) == [rig.agent.home.token_file]
    assert stat.S_IMODE(rig.agent.home.token_file.stat().st_mode) == 0o600
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.glob("mcp.db*")}
    assert set(files) >= {"mcp.db", "mcp.db-wal", "mcp.db-shm", "mcp.db.lock"}
    assert set(files.values()) == {0o600}
    assert any(SECRET.encode() in (folder / name).read_bytes() for name in files)  # so the registry must be private


def test_a_registry_that_others_could_read_is_closed(rig: Rig) -> None:
    rig.agent.stop()
    rig.agent.home.database.chmod(0o644)
    rig.restart()
    assert stat.S_IMODE(rig.agent.home.database.stat().st_mode) == 0o600


def test_a_loose_umask_changes_nothing(tmp_path: Path) -> None:
    fake = FakePodman.install(tmp_path / "bin")
    folder = tmp_path / "state"
    env = agent_env(tmp_path, fake.folder)
    loose = ["sh", "-c", 'umask 000; exec "$0" "$@"']
    with Agent.start_dev(folder, env=env, wrap=lambda argv: [*loose, *argv]) as agent:
        agent.define("web", service("web", component("api", more=ENV), node="dev"))
        assert agent.cli.run("deploy", "-q", "web").code == 0
        assert {path.name for path in open_to_others(folder)} == {"ca.pem", "cert.pem", "web.toml"}
        for secret in (agent.token, SECRET, "PRIVATE KEY"):
            assert [path for path in with_content(folder, secret) if path in open_to_others(folder)] in (
                [],
                [agent.services / "web.toml"],  # written by this test
            )
        for part in (folder, folder / "cli", agent.services):
            assert stat.S_IMODE(part.stat().st_mode) == 0o700
        out = agent.log_file.with_suffix(".out").read_text()
        assert agent.token not in out + agent.log()
