"""Folders that other users may write to, and files that are theirs: nothing is written or trusted through them."""

import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from mcp.files.local import Destination
from mcp.shared.errors import McpError
from tests.agents import Agent, Cli, Outcome
from tests.component.conftest import Rig
from tests.component.definitions import service
from tests.others import Foreign, foreign, running_as_other
from tests.waiting import wait_for

__all__ = ["foreign"]

DONE, FAILED, USAGE = range(3)
ROUNDS = 300


@pytest.fixture
def agent(shared: Rig) -> Agent:
    """An agent with a file of the service web, and a definition of it."""
    shared.agent.define("web", service())
    (shared.agent.home.srv / "web").mkdir(exist_ok=True)
    (shared.agent.home.srv / "web" / "x").write_text("from the node")
    return shared.agent


@pytest.fixture(params=[0o1777, 0o777], ids=["sticky", "not sticky"])
def open_folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder that everyone may write to."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(request.param)
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder of ours with a file in it."""
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "mine" / "x").write_text("mine")
    return tmp_path / "mine"


def refused(done: Outcome, *words: str, code: int = FAILED) -> None:
    """One line on stderr, and nothing else."""
    assert (done.code, done.stdout, len(done.errors)) == (code, "", 1), done
    for word in words:
        assert word in done.stderr, done


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(entry.name for entry in folder.iterdir())


# --- writing ---


def test_pull_follows_no_link_of_another_user(agent: Agent, open_folder: Path, mine: Path, foreign: Foreign) -> None:
    """It followed the link and replaced the file."""
    (open_folder / "x").symlink_to(mine / "x")
    foreign(open_folder / "x")
    done = agent.cli.run("pull", "web/x", f"{open_folder}/")
    refused(done, f"{open_folder}/x: is a symbolic link of another user, which is not followed; name the file")
    assert ((mine / "x").read_text(), names(open_folder), names(mine)) == ("mine", ["x"], ["x"])


def test_pull_goes_through_no_folder_that_is_a_link_of_another_user(
    agent: Agent, open_folder: Path, mine: Path, foreign: Foreign
) -> None:
    (open_folder / "out").symlink_to(mine)
    foreign(open_folder / "out")
    for destination in (f"{open_folder}/out/", f"{open_folder}/out/x", f"{open_folder}/out/../out/new"):
        refused(agent.cli.run("pull", "web/x", destination), f"{open_folder}/out: is a symbolic link of another user")
    assert ((mine / "x").read_text(), names(mine)) == ("mine", ["x"])


def test_a_link_of_ours_that_another_user_linked_again_is_not_followed(
    agent: Agent, open_folder: Path, mine: Path
) -> None:
    """Where fs.protected_hardlinks is off, another user may give our link a second place."""
    (mine / "link").symlink_to(mine / "x")
    os.link(mine / "link", open_folder / "x", follow_symlinks=False)
    refused(agent.cli.run("pull", "web/x", f"{open_folder}/"), "is a symbolic link of another user")
    assert (mine / "x").read_text() == "mine"


def test_pull_into_an_open_folder(agent: Agent, open_folder: Path) -> None:
    for _ in range(2):  # new, and replaced
        assert agent.cli.run("pull", "web/x", f"{open_folder}/").code == DONE
        assert ((open_folder / "x").read_text(), names(open_folder)) == ("from the node", ["x"])


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_export_follows_no_link_of_another_user(
    agent: Agent, open_folder: Path, mine: Path, foreign: Foreign, options: tuple[str, ...]
) -> None:
    assert agent.cli.run("deploy", "-q", "web").code == DONE
    (open_folder / "web.toml").symlink_to(mine / "x")
    foreign(open_folder / "web.toml")
    refused(agent.cli.run("service", "export", "web", "-o", str(open_folder), *options))
    assert (mine / "x").read_text() == "mine"
    (mine / "x").unlink()
    refused(agent.cli.run("service", "export", "web", "-o", str(open_folder), *options))
    assert names(mine) == []


def test_the_mode_of_another_users_file_is_not_kept(agent: Agent, tmp_path: Path, foreign: Foreign) -> None:
    """A definition may contain secrets, and its author would read them."""
    assert agent.cli.run("deploy", "-q", "web").code == DONE
    (tmp_path / "web.toml").write_text("theirs")
    foreign(tmp_path / "web.toml").chmod(0o666)
    assert agent.cli.run("service", "export", "web", "-o", str(tmp_path), "--force").code == DONE
    assert (tmp_path / "web.toml").stat().st_mode & 0o777 == 0o600


SWAP = """
import os, sys
shared, mine = sys.argv[1:]
name, link, folder = f"{shared}/out", f"{shared}/link", f"{shared}/folder"
os.mkdir(folder)
os.symlink(mine, link)
while True:
    os.rename(folder, name)
    os.rename(name, folder)
    os.rename(link, name)
    os.rename(name, link)
"""


def test_a_folder_that_another_user_swaps_meanwhile(mine: Path, foreign: Foreign) -> None:
    """While files are written to SHARED/out, another user makes it a folder and a link to ours in turns."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own is below a folder that others cannot enter
        shared = Path(name) / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        shared.parent.chmod(0o755)
        foreign(shared)
        with running_as_other(SWAP, [str(shared), str(mine)]) as other:
            wait_for(lambda: other.poll() is not None or (shared / "link").is_symlink())
            for _ in range(ROUNDS):
                with suppress(McpError), Destination(f"{shared}/out/x", "x") as destination:
                    destination.write(b"theirs")
                    destination.commit(0o644)
            assert other.poll() is None
    assert ((mine / "x").read_text(), names(mine)) == ("mine", ["x"])


# --- reading ---


def with_files(agent: Agent, folder: Path) -> Cli:
    """A copy of the CLI's configuration: mcp.toml, ca.pem, token and services/web.toml."""
    (folder / "services").mkdir(parents=True)
    (folder / "services" / "web.toml").write_text(service())
    (folder / "ca.pem").write_bytes(agent.ca)
    (folder / "token").write_text(agent.token)
    (folder / "token").chmod(0o600)
    nodes = agent.mcp_toml.read_text().partition("[[nodes]]")[2]
    (folder / "mcp.toml").write_text(f"[[nodes]]{nodes}")
    return Cli(folder / "mcp.toml")


@pytest.mark.parametrize("name", ["mcp.toml", "ca.pem", "token"])
def test_a_file_of_another_user_is_not_trusted(agent: Agent, tmp_path: Path, foreign: Foreign, name: str) -> None:
    cli = with_files(agent, tmp_path / "cli")
    assert cli.run("ps").code == DONE
    foreign(tmp_path / "cli" / name)
    done = cli.run("ps")
    refused(done, "belongs to another user (UID ", "; make a copy of your own", code=done.code)
    assert done.code == (FAILED if name == "token" else USAGE)


@pytest.mark.parametrize("name", ["mcp.toml", "ca.pem"])
@pytest.mark.parametrize("mode", [0o666, 0o602])
def test_a_file_that_others_can_change_is_not_trusted(agent: Agent, tmp_path: Path, name: str, mode: int) -> None:
    cli = with_files(agent, tmp_path / "it's here")
    path = tmp_path / "it's here" / name
    path.chmod(mode)
    refused(cli.run("ps"), f"others can change it (mode {mode:04o}); run: chmod go-w '", code=USAGE)
    path.chmod(0o644)
    assert cli.run("ps").code == DONE


@pytest.mark.parametrize("name", ["mcp.toml", "ca.pem", "token", "services/web.toml"])
def test_a_named_pipe_is_refused_at_once(agent: Agent, tmp_path: Path, name: str) -> None:
    """It was waited for."""
    cli = with_files(agent, tmp_path / "cli")
    path = tmp_path / "cli" / name
    path.unlink()
    os.mkfifo(path, 0o600)
    done = cli.run("plan", "web")
    refused(done, f"{path}: is a device, named pipe or socket, and not a file", code=done.code)


def test_a_file_that_never_ends_is_refused(agent: Agent, tmp_path: Path) -> None:
    cli = with_files(agent, tmp_path / "cli")
    with (tmp_path / "cli" / "ca.pem").open("ab") as file:
        file.truncate(20_000_000)
    refused(cli.run("ps"), "ca.pem: has more than 16384 KiB", code=USAGE)


def test_named_pipes_and_devices_are_not_pushed(agent: Agent, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), "/dev/zero"):
        refused(agent.cli.run("push", path, "web/new"), f"{path}: is a device, named pipe or socket, and not a file")
    assert names(agent.home.srv / "web") == ["x"]


def test_the_pipes_of_a_shell_are_read(agent: Agent, tmp_path: Path) -> None:
    """`<(command)` has no name in any folder."""
    cli = with_files(agent, tmp_path / "cli")
    paths = f'[auth]\\nca_cert = "{tmp_path}/cli/ca.pem"\\ntoken_path = "{tmp_path}/cli/token"\\n'
    services = f'[services]\\ndir = "{tmp_path}/cli/services"\\n'
    mcp = f"{' '.join(cli.command)} --config <(printf '{paths}{services}'; cat {cli.config})"
    script = f"{mcp} push <(echo hello) web/new && {mcp} pull web/new -"
    done = subprocess.run(["bash", "-c", script], env=cli.environment(), cwd=cli.cwd, capture_output=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:], done.stderr) == (DONE, [b"hello"], b""), done
    (agent.home.srv / "web" / "new").unlink()
