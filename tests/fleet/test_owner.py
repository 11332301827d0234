"""Commands of `mcp-agent` that root runs, really as root, on the files of another user, who gains nothing by it.

The program is in a folder that only root can read, as the zipapp's extraction is.
"""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.admin.pki import make_ca
from mcp.shared.resources import ROOT
from tests.agents import Home, Outcome, make_home, run_program

UID = 54321  # of nobody


@dataclass(frozen=True)
class Node:
    """The agent's files, which are of UID, and files of root's beside them."""

    home: Home
    program: Path
    roots: Path

    def run(self, *words: str) -> Outcome:
        """Run `mcp-agent` as root."""
        env = {
            "PATH": "/usr/bin:/bin",
            "HOME": "/root",
            "PYTHONPATH": str(self.program),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return run_program([sys.executable, "-m", "agent.main", *words], env=env, cwd=Path("/"))

    def token(self, *words: str) -> Outcome:
        """Run `mcp-agent token` as root."""
        return self.run("token", "--config", str(self.home.config), *words)

    def of_root(self) -> dict[Path, tuple[int, int, bytes]]:
        """The mode, inode and content of everything in root's folder."""
        files = [path for path in self.roots.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mode, path.stat().st_ino, path.read_bytes()) for path in files}

    def owners(self) -> set[int]:
        """The owners of everything in the agent's folder."""
        return {path.lstat().st_uid for path in self.home.folder.rglob("*")}


@pytest.fixture
def node() -> Iterator[Node]:
    """A node of UID, in a folder that everybody may enter, with a registry of root's beside it."""
    folder = Path(tempfile.mkdtemp(prefix="mcp-owner-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        home = make_home(folder / "agent", make_ca("MCP test CA"))
        program, roots = folder / "program", folder / "roots"
        for part in ("agent", "mcp", "proto"):
            shutil.copytree(ROOT / part, program / part)
        program.chmod(0o700)
        roots.mkdir()
        shutil.copy(home.database, roots / "mcp.db")
        (roots / "mcp.db").chmod(0o644)
        (roots / "secret.toml").write_text("secret = 1\n")
        (roots / "secret.toml").chmod(0o600)
        for path in (home.folder, *home.folder.rglob("*")):
            os.chown(path, UID, UID)
        yield Node(home, program, roots)
    finally:
        shutil.rmtree(folder)


def test_root_works_as_the_owner_of_the_registry(node: Node) -> None:
    before = node.of_root()
    assert node.token("add", "anna", "--role", "deployer", "--services", "shop").code == 0
    assert "anna" in node.token("list", "--json").stdout
    copy = node.home.folder / "copy.db"
    done = node.run("snapshot", "--config", str(node.home.config), str(copy))
    assert (done.code, done.stderr) == (0, "")
    assert (copy.stat().st_uid, stat.S_IMODE(copy.stat().st_mode)) == (UID, 0o600)
    done = node.run("restore", "--config", str(node.home.config), str(copy))
    assert (done.code, done.stdout, done.stderr) == (0, "restored\n", "")
    assert node.token("add", "bob", "--output", str(node.home.folder / "token"), "--expires", "1d").code == 0
    assert node.token("revoke", "anna").code == 0
    assert node.owners() == {UID}
    assert node.of_root() == before


@pytest.mark.parametrize(
    "words", [("token", "list"), ("token", "add", "eve"), ("snapshot", "/nowhere/x"), ("restore", "x")]
)
def test_the_configuration_leads_root_nowhere(node: Node, words: tuple[str, ...]) -> None:
    """The owner names another registry, or makes links: root changes no mode there, and creates no file."""
    before, text = node.of_root(), node.home.config.read_text()
    argv = [words[0], "--config", str(node.home.config), *words[1:]]
    node.home.config.write_text(text.replace(str(node.home.database), str(node.roots / "mcp.db")))
    done = node.run(*argv)
    assert (done.code, len(done.errors)) == (1, 1), done
    assert node.of_root() == before
    node.home.config.write_text(text)
    node.home.database.unlink()
    node.home.database.symlink_to(node.roots / "mcp.db")
    os.chown(node.home.database, UID, UID, follow_symlinks=False)
    done = node.run(*argv)
    assert (done.code, len(done.errors)) == (1, 1), done
    assert node.of_root() == before
    node.home.config.unlink()
    node.home.config.symlink_to(node.roots / "secret.toml")
    done = node.run(*argv)
    assert done.code != 0
    assert "secret = 1" not in done.stderr
    assert done.stderr.endswith("cannot be read: Permission denied\n"), done
    assert node.of_root() == before


def test_roots_own_configuration_with_the_registry_of_another(node: Node) -> None:
    """As on NixOS, where the configuration is in the store."""
    config = node.roots / "mcp-agent.toml"
    config.write_text(node.home.config.read_text())
    before = node.of_root()
    assert node.run("token", "--config", str(config), "add", "anna").code == 0
    assert node.owners() == {UID}
    node.home.database.unlink()
    node.home.database.symlink_to(node.roots / "mcp.db")
    os.chown(node.home.database, UID, UID, follow_symlinks=False)
    assert node.run("token", "--config", str(config), "list").code == 1
    assert node.of_root() == before


def test_root_serves_and_makes_keys_for_nobody_else(node: Node) -> None:
    before = {path: path.lstat().st_mtime_ns for path in node.home.folder.rglob("*")}
    for words in (
        ("server", "--config", str(node.home.config)),
        ("dev", "--state", str(node.home.folder), "--port", "0"),
        ("cert", "request", "--key", str(node.home.folder / "new.pem"), "rift"),
    ):
        done = node.run(*words)
        assert (done.code, done.stdout, len(done.errors)) == (1, "", 1)
        assert f"is of user {UID}, and this is root; run it as user {UID}" in done.stderr
    assert {path: path.lstat().st_mtime_ns for path in node.home.folder.rglob("*")} == before
