"""The built files alone, in an empty folder, with Pythons that have no packages: Debian 12's and Debian 13's."""

import json
import shutil
from pathlib import Path

import pytest

from tests.agents import Agent, Cli, Outcome, agent_env, run_program
from tests.roots import Root
from tests.stage import AGENT_FILE, CLI_FILE, deal_out
from tests.zipapps import OWN_ARCH, PYTHON, built


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with the two files in it."""
    place = tmp_path / "empty"
    place.mkdir()
    deal_out(place)
    return place


def run(folder: Path, *argv: str) -> Outcome:
    return run_program(argv, env={"PATH": "/usr/bin:/bin", "HOME": str(folder)}, cwd=folder)


def details(done: Outcome) -> dict[str, object]:
    assert done.code == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("file", [CLI_FILE, AGENT_FILE])
def test_version_says_everything_about_the_build(folder: Path, file: str) -> None:
    found = details(run(folder, PYTHON, "-I", file, "version", "--json"))
    assert {"version", "commit", "python", "architecture", "packages"} <= set(found)
    packages = found["packages"]
    assert isinstance(packages, dict)
    assert {"grpcio", "protobuf"} <= set(packages)
    assert run(folder, PYTHON, file, "version").stdout.split()[1] == found["version"]


def test_help_names_the_whole_thing(folder: Path) -> None:
    for file in (CLI_FILE, AGENT_FILE):
        done = run(folder, PYTHON, file, "--help")
        assert done.code == 0
        assert "Metacircular Control Plane" in " ".join(done.stdout.split())


def test_without_configuration_the_cli_says_what_to_do(folder: Path) -> None:
    done = run(folder, PYTHON, CLI_FILE, "ps")
    assert done.code != 0
    assert done.stdout == ""
    assert len(done.errors) == 1
    assert "mcp-agent dev" in done.errors[0]


def test_without_podman_the_agent_serves_and_says_what_is_missing(folder: Path) -> None:
    tools = folder / "bin"
    tools.mkdir()
    env = {**agent_env(folder), "PATH": str(tools)}
    agent_command = (PYTHON, "-I", str(folder / AGENT_FILE))
    cli = (PYTHON, "-I", str(folder / CLI_FILE))
    with Agent.start_dev(folder / "state", env=env, command=agent_command, cwd=folder, cli_command=cli) as agent:
        done = agent.cli.run("ps")
        assert done.code == 1
        assert done.errors == ["mcp: dev: podman was not found on PATH; install podman on the node"]
        assert agent.cli.run("node", "list").code == 0


def test_without_a_ca_cert_the_systems_authorities_verify_the_agent(folder: Path) -> None:
    cli = (PYTHON, "-I", str(folder / CLI_FILE))
    with Agent.start_dev(
        folder / "state",
        env=agent_env(folder),
        command=(PYTHON, "-I", str(folder / AGENT_FILE)),
        cwd=folder,
        cli_command=cli,
    ) as agent:
        lines = agent.mcp_toml.read_text().splitlines(keepends=True)
        (folder / "mcp.toml").write_text("".join(line for line in lines if not line.startswith("ca_cert")))
        mine = Cli(folder / "mcp.toml", cli, folder)
        done = mine.run("node", "list")
        assert done.code == 4
        assert len(done.errors) == 1
        assert "presented an untrusted certificate" in done.errors[0]
        trusting = {"SSL_CERT_FILE": str(agent.home.folder / "ca.pem")}  # a system that knows the agent's CA
        assert mine.run("node", "list", env=trusting).code == 0


def test_debian_13_runs_both_files(folder: Path, debian13: Root) -> None:
    """Python 3.13: the CLI there talks to an agent here, and the CLI here to an agent there."""
    binds = {folder: "/mnt/empty"}
    inside = (PYTHON, "-I", "/mnt/empty/" + AGENT_FILE)
    found = details(outcome(debian13, [*inside, "version", "--json"], binds))
    assert str(found["python"]).startswith("3.13")

    env = agent_env(folder)
    with Agent.start_dev(
        folder / "state",
        env=env,
        command=(PYTHON, "-I", str(folder / AGENT_FILE)),
        cwd=folder,
        cli_command=(PYTHON, "-I", str(folder / CLI_FILE)),
    ) as agent:
        token, ca = agent.token, agent.ca
        (folder / "ca.pem").write_bytes(ca)
        (folder / "mcp.toml").write_text(mcp_toml(agent.address, "/mnt/empty/ca.pem"))
        done = outcome(
            debian13,
            [PYTHON, "-I", "/mnt/empty/" + CLI_FILE, "node", "list", "--json"],
            binds,
            {"MCP_CONFIG": "/mnt/empty/mcp.toml", "MCP_TOKEN": token},
        )
        assert done.code == 0, done.stderr
        assert json.loads(done.stdout)[0]["state"] == "ready"


def test_debian_13_serves(folder: Path, debian13: Root) -> None:
    state = folder / "state"
    with Agent.start_dev(
        state,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        command=(PYTHON, "-I", str(folder / AGENT_FILE)),
        cwd=folder,
        wrap=lambda argv: debian13.argv(argv, binds={folder: str(folder)}, cwd=str(folder)),
        cli_command=(PYTHON, "-I", str(folder / CLI_FILE)),
    ) as agent:
        done = agent.cli.run("node", "list", "--json")
        assert done.code == 0, done.stderr
        assert "not found" in json.loads(done.stdout)[0]["podman"]


def mcp_toml(address: str, ca: str) -> str:
    return f'[auth]\nca_cert = "{ca}"\n[[nodes]]\nname = "dev"\naddress = "{address}"\n'


def outcome(root: Root, command: list[str], binds: dict[Path, str], env: dict[str, str] | None = None) -> Outcome:
    done = root.run(command, binds=binds, env=env)
    return Outcome(tuple(command), done.returncode, done.stdout, done.stderr)


def test_the_file_of_another_architecture_is_refused_in_one_line(folder: Path) -> None:
    other = "arm64" if OWN_ARCH == "amd64" else "amd64"
    shutil.copyfile(built("mcp", other), folder / "other.pyz")
    done = run(folder, PYTHON, "-I", "other.pyz", "version")
    assert done.code == 1
    assert len(done.errors) == 1
    assert other in done.errors[0]


def test_a_cli_for_two_nodes_shows_the_dead_one_as_a_row(folder: Path) -> None:
    cli = (PYTHON, "-I", str(folder / CLI_FILE))
    with Agent.start_dev(
        folder / "state", env=agent_env(folder), command=(PYTHON, "-I", str(folder / AGENT_FILE)), cwd=folder
    ) as agent:
        config = agent.mcp_toml.with_name("two.toml")
        config.write_text(agent.mcp_toml.read_text() + '\n[[nodes]]\nname = "gone"\naddress = "127.0.0.1:1"\n')
        done = Cli(config, cli, folder).run("node", "list")
        assert done.code == 4
        assert [line.split()[:1] for line in done.stdout.splitlines()] == [["NODE"], ["dev"], ["gone"]]
        assert "unreachable" in done.stdout
        assert len(done.errors) == 1
        assert "127.0.0.1:1 refuses the connection" in done.errors[0]
