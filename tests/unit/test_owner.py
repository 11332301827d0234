"""Whom root becomes for the files of another user, and when it does not know; see tests/fleet/test_owner.py."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.admin import owner
from mcp.shared.errors import NotReady

UID, GID = 54321, 54322  # nobody of this machine


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[object, ...]]]:
    """Root, and a record of what it becomes."""
    calls: list[tuple[str, tuple[object, ...]]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *values: calls.append((name, values))

    for name in ("setgroups", "initgroups", "setresgid", "setresuid"):
        monkeypatch.setattr(os, name, note(name))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return calls


@pytest.fixture
def owned(monkeypatch: pytest.MonkeyPatch) -> dict[Path, tuple[int, int, int]]:
    """User, group and mode of paths; all others are root's."""
    known: dict[Path, tuple[int, int, int]] = {}

    def lstat(path: Path) -> os.stat_result:
        uid, gid, mode = known.get(path, (0, 0, 0o40755))
        return os.stat_result((mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))

    monkeypatch.setattr(Path, "lstat", lstat)
    return known


Owned = dict[Path, tuple[int, int, int]]
CONFIG = Path("/no-srv/mcp/mcp-agent.toml")
DROPPED = [("setgroups", ([],)), ("setresgid", (GID,) * 3), ("setresuid", (UID,) * 3)]


@pytest.mark.parametrize("path", [CONFIG, CONFIG.parent, CONFIG.parent.parent])
def test_root_becomes_who_may_write(became: list[object], owned: Owned, path: Path) -> None:
    owned[path] = (UID, GID, 0o100640)
    owner.give_up_root(CONFIG)
    assert became == DROPPED  # groups first, as the user may change none
    with pytest.raises(NotReady, match=r"mcp-agent\.toml: is of user 54321, and this is root; run it as user 54321"):
        owner.refuse_root(CONFIG)


def test_what_is_roots_alone_is_opened_by_root(became: list[object], owned: Owned) -> None:
    owned[CONFIG.parent.parent] = (0, GID, 0o41775)  # sticky, as /srv
    owner.give_up_root(CONFIG)
    owner.refuse_root(CONFIG)
    assert became == []


@pytest.mark.parametrize(("gid", "mode"), [(GID, 0o40775), (0, 0o40757), (GID, 0o100660)])
def test_what_others_may_write_too_is_refused(became: list[object], owned: Owned, gid: int, mode: int) -> None:
    owned[CONFIG.parent] = (0, gid, mode)
    with pytest.raises(NotReady, match="/no-srv/mcp: others than root may write to it"):
        owner.give_up_root(CONFIG)
    assert became == []


def test_two_owners_are_refused(became: list[object], owned: Owned) -> None:
    owned[CONFIG], owned[CONFIG.parent] = (UID, GID, 0o100640), (UID + 1, GID, 0o40755)
    with pytest.raises(NotReady, match="may be written by user 54321 and user 54322; run it as one of them"):
        owner.give_up_root(CONFIG)
    assert became == []


def test_who_is_not_root_stays_who_it_is(became: list[object], owned: Owned, monkeypatch: pytest.MonkeyPatch) -> None:
    owned[CONFIG] = (UID, GID, 0o100640)
    monkeypatch.setattr(os, "geteuid", lambda: UID)
    owner.give_up_root(CONFIG)
    owner.refuse_root(CONFIG)
    assert became == []
