"""Files in the making."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mcp.shared.replace import Replacement, open_folder

Open = Callable[..., int]


@pytest.fixture(params=[True, False], ids=["without a name", "with a hidden name"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """An open folder, on a file system that has O_TMPFILE, and on one that has not."""
    real: Open = os.open

    def refusing(path: object, flags: int, *args: object, **kwargs: object) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return real(path, flags, *args, **kwargs)

    descriptor = open_folder(tmp_path)
    if not request.param:
        monkeypatch.setattr(os, "open", refusing)
    yield descriptor
    os.close(descriptor)


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(entry.name for entry in folder.iterdir())


def test_the_whole_file_appears_at_once(folder: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with Replacement(folder) as new:
        new.write(b"n" * 3_000_000)
        new.write(b"")
        new.write(b"ew")
        assert (tmp_path / "file").read_bytes() == b"old"
        new.commit(folder, "file", 0o106640)
    assert (tmp_path / "file").read_bytes() == b"n" * 3_000_000 + b"ew"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert names(tmp_path) == ["file"]


def test_without_a_commit_nothing_is_left(folder: int, tmp_path: Path) -> None:
    with Replacement(folder) as new:
        new.write(b"half")
    assert names(tmp_path) == []


def test_a_folder_is_never_replaced(folder: int, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError), Replacement(folder) as new:
        new.commit(folder, "folder", 0o600)
    assert names(tmp_path) == ["folder"]


def test_into_another_folder(folder: int, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    below = open_folder(tmp_path / "below")
    with Replacement(folder) as new:
        new.write(b"x")
        new.commit(below, b"file", 0o600)
    os.close(below)
    assert names(tmp_path) == ["below"]
    assert (tmp_path / "below" / "file").read_bytes() == b"x"
