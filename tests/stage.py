"""An agent of the built zipapps on real rootless podman, with the CLI beside it, all as the unprivileged user."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile, rmtree
from tempfile import mkdtemp

from tests.agents import Agent
from tests.zipapps import PYTHON, built
from tools.hostlib.private import Private

AGENT_FILE, CLI_FILE = "mcp-agent.pyz", "mcp.pyz"


def deal_out(folder: Path) -> None:
    """Put the two built files, and nothing else, into `folder`."""
    for name, program in ((CLI_FILE, "mcp"), (AGENT_FILE, "mcp-agent")):
        copyfile(built(program), folder / name)
        (folder / name).chmod(0o755)


@contextmanager
def folder_of(podman: Private) -> Iterator[Path]:
    """A new folder of podman's user with the two files in it."""
    folder = Path(mkdtemp(prefix="stage-", dir=podman.home))
    deal_out(folder)
    podman.give(folder)
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)


def start_agent(podman: Private, folder: Path, *, state: str = "state", port: int = 0) -> Agent:
    """`mcp-agent dev` on podman, from `folder`; started again with the same state it goes on with it."""
    return Agent.start_dev(
        folder / state,
        env=dict(podman.env),
        command=(PYTHON, "-I", str(folder / AGENT_FILE)),
        cwd=folder,
        wrap=podman.argv,
        cli_command=podman.argv(["env", f"HOME={podman.home}", PYTHON, "-I", str(folder / CLI_FILE)]),
        logs=folder,
        port=port,
    )
