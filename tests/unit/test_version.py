"""The version: its order, its one place, and the mark of a build that is not the release's."""

import os
import re
import subprocess
from pathlib import Path

import pytest

import build
from mcp.shared.resources import ROOT
from mcp.shared.version import OLDEST_AGENT, OLDEST_CLI, RELEASE, VERSION, is_older, skew

HASH = "g0123456789ab"


@pytest.mark.parametrize(
    ("other", "own", "expected"),
    [
        ("1.2.3", "1.2.3", "current"),
        ("1.2.2", "1.2.3", "older"),
        ("1.10.0", "1.9.9", "newer"),
        ("1.2.3", f"1.2.3+4.{HASH}", "older"),
        (f"1.2.3+10.{HASH}", "1.2.3+9.gabcdef012345.dirty", "newer"),
        (f"1.2.3+4.{HASH}", "1.2.3+4.gabcdef012345", "different"),
        (f"1.2.3+0.{HASH}.dirty", "1.2.3", "different"),
        (f"1.2.3+{HASH}", "1.2.3", "different"),
        (f"1.2.3+{HASH}", f"1.2.3+4.{HASH}", "different"),
        ("1.2.3", "1.2.3+source", "different"),
        ("1.2.3+source", f"1.2.4+4.{HASH}", "older"),
        ("1.2.4+source", "1.2.3", "newer"),
        ("", "1.2.3", "older"),
        ("v1.2.4-4-gabc", "1.2.3", "older"),
    ],
)
def test_versions_are_put_in_order(other: str, own: str, expected: str) -> None:
    assert skew(other, own) == expected


@pytest.mark.parametrize("version", ["0.9.9", f"0.9.9+1000.{HASH}", "", "1.0", "v1.0.0", "1" * 5000 + ".0.0"])
def test_below_a_release(version: str) -> None:
    assert is_older(version, "1.0.0")


@pytest.mark.parametrize("version", ["1.0.0", "1.0.0+source", f"1.0.0+{HASH}.dirty", "1.0.1", "2.0.0", "10.0.0"])
def test_not_below_a_release(version: str) -> None:
    assert not is_older(version, "1.0.0")


def test_this_program_works_with_its_own_kind() -> None:
    assert f"{RELEASE}+source" == VERSION
    assert not is_older(RELEASE, OLDEST_AGENT)
    assert not is_older(RELEASE, OLDEST_CLI)


def test_the_changelog_has_the_release() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(RELEASE)}\] - \d{{4}}-\d\d-\d\d", headings[1])


class Repository:
    """A git repository that has nothing but the number of a release."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a commit; build.py takes it for its own tree."""
        self.number = folder / "mcp/shared/version.py"
        self.number.parent.mkdir(parents=True)
        self.number.write_text(f'RELEASE = "{RELEASE}"  # comment\n')
        monkeypatch.setattr(build, "HERE", folder)
        self.folder = folder

    def git(self, *arguments: str) -> None:
        settings = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody"]
        subprocess.run(["git", "-C", str(self.folder), *who, *arguments], check=True, env=os.environ | settings)

    def commit(self) -> str:
        """Commit all; returns the mark of the commit: g and 12 digits."""
        self.git("add", ".")
        self.git("commit", "--quiet", "--allow-empty", "--message=x")
        return f"g{build.stamp()[1][:12]}"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository without a commit."""
    made = Repository(tmp_path, monkeypatch)
    made.git("init", "--quiet")
    return made


def test_a_build_says_what_it_was_built_from(repository: Repository) -> None:
    before = repository.commit()
    assert build.stamp()[0] == f"{RELEASE}+{before}"
    repository.commit()
    repository.git("tag", "v0.0.9")
    repository.git("tag", f"v{RELEASE}")
    assert build.stamp()[0] == RELEASE
    repository.number.write_text(repository.number.read_text() + "#\n")
    assert re.fullmatch(rf"{re.escape(RELEASE)}\+0\.g[0-9a-f]{{12}}\.dirty", build.stamp()[0])
    repository.commit()
    after = repository.commit()
    assert build.stamp()[0] == f"{RELEASE}+2.{after}"
    repository.git("checkout", "--quiet", "HEAD~3")  # before the tag
    assert build.stamp()[0] == f"{RELEASE}+{before}"


def test_a_tree_without_git_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Repository(tmp_path, monkeypatch)
    assert build.stamp() == (f"{RELEASE}+source", "unknown")
