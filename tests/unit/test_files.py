"""Files that are whole or not there, and secrets that stay private."""

import grp
import os
import pwd
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from mcp.shared import files
from mcp.shared.errors import InvalidInput, McpError


def mode(path: Path) -> int:
    """The permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o077, 0o022], autouse=True)
def umask(request: pytest.FixtureRequest) -> object:
    """Every test runs under several umasks."""
    previous = os.umask(request.param)
    yield
    os.umask(previous)


def test_writing_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old, and longer")
    held = path.open("rb")
    files.write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert held.read() == b"old, and longer"  # a reader keeps what it opened
    held.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / "secret", b"x")
    files.write_atomic(tmp_path / "public", b"x", 0o644)
    (tmp_path / "was-public").touch(0o644)
    files.write_atomic(tmp_path / "was-public", b"x")
    assert [oct(mode(tmp_path / name)) for name in ("secret", "public", "was-public")] == ["0o600", "0o644", "0o600"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"target")
    (tmp_path / "link").symlink_to("target")
    files.write_atomic(tmp_path / "link", b"x")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"target"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(McpError, match="file: cannot be written: No space left on device"):
        files.write_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_folders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(McpError, match=r"none/file: cannot be written: No such file or directory"):
        files.write_atomic(tmp_path / "none" / "file", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(McpError, match=r"cannot be written: Is a directory"):
        files.write_atomic(tmp_path / "folder", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_private_folders(tmp_path: Path) -> None:
    files.private_folder(tmp_path / "a/b")
    assert mode(tmp_path / "a/b") == 0o700
    (tmp_path / "a/b").chmod(0o755)
    files.private_folder(tmp_path / "a/b")
    assert mode(tmp_path / "a/b") == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(McpError, match="cannot be created: File exists"):
        files.private_folder(tmp_path / "file")


def test_a_secret_is_read_and_stripped(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / "token", b"  mcp_abc \n")
    assert files.read_secret(tmp_path / "token") == "mcp_abc"


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "token"
    path.write_text("mcp_abc")
    path.chmod(bits)
    with pytest.raises(McpError) as caught:
        files.read_secret(path)
    assert str(caught.value) == f"{path}: others can read it (mode {bits:04o}); run: chmod 600 {path}"


def owned(path: Path, mode: int, monkeypatch: pytest.MonkeyPatch, *, owner: int, us: int) -> Path:
    """A file as another owner and we would see it."""
    path.write_text("mcp_abc")
    path.chmod(mode)
    real: Callable[[int], os.stat_result] = os.fstat

    def seen(descriptor: int) -> os.stat_result:
        values = list(real(descriptor))
        values[stat.ST_UID] = owner
        return os.stat_result(values)

    monkeypatch.setattr(os, "fstat", seen)
    monkeypatch.setattr(os, "geteuid", lambda: us)
    return path


@pytest.mark.parametrize(
    ("owner", "mode", "problem"),
    [
        (1000, 0o600, ""),
        (1000, 0o400, ""),
        (1000, 0o640, "others can read it"),
        (0, 0o600, ""),
        (0, 0o640, ""),  # to one group: keys of /etc/ssl/private, credentials of systemd
        (0, 0o444, "others can read it"),
        (0, 0o660, "others can read it"),
        (1001, 0o600, "belongs to another user (UID 1001)"),
    ],
)
def test_whose_secret_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, mode: int, problem: str
) -> None:
    path = owned(tmp_path / "key", mode, monkeypatch, owner=owner, us=1000)
    if not problem:
        assert files.read_secret(path) == "mcp_abc"
        return
    with pytest.raises(files.Unusable, match=re.escape(problem)):
        files.read_secret(path)


@pytest.mark.parametrize(
    ("owner", "mode", "problem"),
    [
        (1000, 0o644, ""),
        (0, 0o444, ""),  # as in the store of NixOS
        (1000, 0o646, "others can change it (mode 0646)"),
        (1000, 0o664, "others can change it (mode 0664)"),
        (1001, 0o644, "belongs to another user (UID 1001)"),
    ],
)
def test_whose_configuration_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, mode: int, problem: str
) -> None:
    path = owned(tmp_path / "mcp.toml", mode, monkeypatch, owner=owner, us=1000)
    monkeypatch.setattr(files, "_is_private_group", lambda _status: False)
    assert files.read_file(path) == b"mcp_abc"  # anyone's, where nothing depends on it
    if not problem:
        assert files.read_file(path, files.Trust.OWN) == b"mcp_abc"
        return
    with pytest.raises(files.Unusable, match=re.escape(problem)):
        files.read_file(path, files.Trust.OWN)


def test_a_link_into_the_store_is_read(tmp_path: Path) -> None:
    """The owner and mode are those of the file that it leads to."""
    (tmp_path / "store").write_text("x")
    (tmp_path / "store").chmod(0o444)
    (tmp_path / "mcp-agent.toml").symlink_to(tmp_path / "store")
    assert files.read_file(tmp_path / "mcp-agent.toml", files.Trust.OWN) == b"x"


def test_the_group_of_one_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a group per user, files are made writable for it: a umask of 002."""
    user = SimpleNamespace(pw_name="kyle", pw_gid=os.getegid())
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: user)
    (tmp_path / "mcp.toml").write_text("x")
    (tmp_path / "mcp.toml").chmod(0o664)
    os.chown(tmp_path / "mcp.toml", -1, os.getegid())
    alone: list[tuple[str, list[str]]] = [("kyle", []), ("kyle", ["kyle"])]
    for name, members in [*alone, ("kyle", ["eve"]), ("staff", [])]:
        group = SimpleNamespace(gr_name=name, gr_gid=os.getegid(), gr_mem=members)
        monkeypatch.setattr(grp, "getgrgid", lambda _gid, group=group: group)
        if (name, members) in alone:
            assert files.read_file(tmp_path / "mcp.toml", files.Trust.OWN) == b"x"
        else:
            with pytest.raises(files.Unusable, match="others can change it"):
                files.read_file(tmp_path / "mcp.toml", files.Trust.OWN)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero"), Path("/dev/tty")):
            with pytest.raises(files.Unusable, match="is a device, named pipe or socket, and not a file"):
                files.read_file(path)


def test_a_pipe_without_a_name_is_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"mcp_abc\n")
    os.close(writer)
    assert files.read_secret(Path(f"/dev/fd/{reader}")) == "mcp_abc"
    os.close(reader)


def test_more_than_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(2048))
    assert len(files.read_file(tmp_path / "file", limit=2048)) == 2048
    with pytest.raises(files.Unusable, match="has more than 1 KiB"):
        files.read_file(tmp_path / "file", limit=2047)


def test_secrets_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(McpError, match="none: cannot be read: No such file or directory"):
        files.read_secret(tmp_path / "none")
    with pytest.raises(McpError, match="cannot be read: Is a directory"):
        files.read_secret(tmp_path)
    files.write_atomic(tmp_path / "binary", b"\xff\xfe")
    with pytest.raises(McpError, match="binary: not a token file"):
        files.read_secret(tmp_path / "binary")


def test_xdg_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value, folder in (("/x/y", Path("/x/y")), ("", tmp_path / ".d"), ("relative", tmp_path / ".d")):
        monkeypatch.setenv("XDG_TEST", value)
        assert files.xdg_folder("XDG_TEST", ".d") == folder
    monkeypatch.delenv("XDG_TEST")
    assert files.xdg_folder("XDG_TEST", ".d") == tmp_path / ".d"


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in the user database."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)


@pytest.mark.usefixtures("no_home")
def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        files.xdg_folder("XDG_CONFIG_HOME", ".config")
    assert str(caught.value) == "user 54321 has no home folder; set HOME or XDG_CONFIG_HOME"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert files.xdg_folder("XDG_CONFIG_HOME", ".config") == tmp_path
    with pytest.raises(ValueError, match="unknown user or home folder in ~"):
        files.expand("~/x")
    files.private_folder(tmp_path / "new")
    assert (tmp_path / "new").is_dir()


def test_a_home_folder_that_does_not_exist_is_not_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "nonexistent"
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(McpError) as caught:
        files.private_folder(home / ".config/mcp")
    assert str(caught.value) == (
        f"{home}/.config/mcp: cannot be created: the home folder {home} does not exist; "
        "create it, or set HOME to a folder of your own"
    )
    assert not home.exists()
    home.mkdir()
    files.private_folder(home / ".config/mcp")
    assert (home / ".config/mcp").is_dir()
