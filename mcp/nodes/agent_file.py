"""Agent file for the architecture of a node: from a folder, from beside this program, or built.

build.py names them `mcp-agent-VERSION-linux-ARCH.pyz`, and `mcp-agent.pyz` for the architecture of the build machine.
"""

import asyncio
import hashlib
import json
import platform
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mcp.nodes import release_key
from mcp.shared import proc, resources
from mcp.shared.errors import InvalidInput, NotFound, NotReady
from mcp.shared.version import VERSION

MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}  # uname -m -> ours
BUILD_SECONDS = 900.0
_STAMP = "site-packages/mcp/shared/_stamp.py"
_NATIVE = "site-packages/native.json"


@dataclass(frozen=True)
class AgentFile:
    """A zipapp of the agent; `version` and `arch` come from its content, `sha256` is of the whole file, in hex."""

    path: Path
    version: str
    arch: str
    sha256: str

    @cached_property  # several nodes get the same bytes
    def content(self) -> bytes:
        """The content of the file; raises NotFound if it changed since it was found."""
        content = self.path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise NotFound(f"{self.path}: changed meanwhile", "try again")
        return content


def architecture(machine: str) -> str:
    """Convert the output of `uname -m` to MCP's name; raises InvalidInput if there is no agent for it."""
    arch = MACHINES.get(machine.strip())
    if arch is None:
        raise InvalidInput(
            f"no agent for {machine.strip() or 'an unnamed architecture'}", "supported are amd64 and arm64"
        )
    return arch


def own_architecture() -> str:
    """Return the architecture of this machine."""
    return architecture(platform.machine())


async def find(arch: str, folder: Path | None = None, keys: Sequence[str] = ()) -> AgentFile:
    """Find the agent for `arch`, of this program's version if there are several.

    Searches `folder` (--from), else the folder of this program; a source checkout builds it into dist/ first. With
    `keys`, of `[release]` in mcp.toml, the file must be of a release that one of them has signed. Raises NotFound with
    the searched folder, NotReady for a file that is not signed.
    """
    tree = None if folder is not None else resources.source_tree()
    if tree is not None and keys:
        what = "[release] of mcp.toml asks for a signed release, and a source tree builds another agent"
        raise NotReady(what, "name the folder of the release with --from DIR")
    if tree is not None:
        return await _build(arch, tree)
    agent = await asyncio.to_thread(_best, arch, folder)  # it reads megabytes
    if keys:
        await release_key.check(agent.path, agent.sha256, keys)
    return agent


def read(path: Path) -> AgentFile | None:
    """Read version and architecture of a file; None if it is not an agent. Raises OSError."""
    try:
        with zipfile.ZipFile(path) as archive:
            if json.loads(archive.read("environment.json"))["entry_point"] != "agent.main:main":
                return None
            stamp = archive.read(_STAMP).decode()
            names = " ".join(json.loads(archive.read(_NATIVE))["names"])
    except (zipfile.BadZipFile, KeyError, ValueError):
        return None
    version = next((line.split('"')[1] for line in stamp.splitlines() if line.startswith("VERSION = ")), "")
    arch = next((ours for machine, ours in MACHINES.items() if f"-{machine}-linux" in names), "")
    return AgentFile(path, version, arch, hashlib.sha256(path.read_bytes()).hexdigest()) if arch else None


def _best(arch: str, folder: Path | None) -> AgentFile:
    """Return the agent of our version, else the only one; raises NotFound if there are several others."""
    if folder is None:
        folder = Path(sys.argv[0]).resolve().parent
    elif not folder.is_dir():
        raise NotFound(f"--from: {folder} is not a folder")
    paths = sorted(path for path in folder.glob("mcp-agent*.pyz") if path.is_file())  # a named pipe would block
    agents = [agent for path in paths if (agent := read(path))]
    fitting = list({agent.sha256: agent for agent in agents if agent.arch == arch}.values())
    ours = [agent for agent in fitting if agent.version == VERSION]
    if len(ours or fitting) == 1:
        return (ours or fitting)[0]
    if not fitting:
        others = ", ".join(sorted({agent.arch for agent in agents}))
        what = f"{folder} has no agent for {arch}" + (f", only for {others}" if others else "")
        if unknown := sorted({path.name for path in paths} - {agent.path.name for agent in agents}):
            what += f"; damaged, or not an agent: {', '.join(unknown)}"
        raise NotFound(what, f"put mcp-agent-VERSION-linux-{arch}.pyz there, or name its folder with --from DIR")
    versions = ", ".join(sorted({agent.version for agent in fitting}))
    raise NotFound(f"{folder} has several agents for {arch}: {versions}", "keep only one there")


async def _build(arch: str, tree: Path) -> AgentFile:
    """Build the agent from the source checkout of this program."""
    build = [sys.executable, str(tree / "build.py"), "--program", "mcp-agent", "--arch", arch]
    completed = await proc.run(build, seconds=BUILD_SECONDS)
    if completed.returncode != 0:
        raise NotFound(
            f"cannot build the agent for {arch}: {completed.last_words()}", "or name a folder with --from DIR"
        )
    # build.py prints a line per file: PATH: SIZE MB
    paths = [line.rpartition(": ")[0] for line in completed.stderr.decode(errors="replace").splitlines()]
    files = [file for path in paths if path.endswith(f"-linux-{arch}.pyz") and (file := read(Path(path)))]
    if not files:
        raise NotFound(f"build.py built no agent for {arch}", "or name a folder with --from DIR")
    return files[0]
