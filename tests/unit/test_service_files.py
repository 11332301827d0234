"""Files of services: whatever a path says and whoever changes folders meanwhile, nothing outside is reached."""

import ctypes
import errno
import os
import re
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.files.files import ServiceFiles
from agent.files.sources import provide_sources
from mcp.shared.errors import InvalidInput, McpError, NotFound, NotReady, Unavailable

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # renameat2(2)
CANARY = b"canary"
ANY = settings(max_examples=400, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def files(tmp_path: Path) -> ServiceFiles:
    """A root with the service web, links out of it at every position, and canaries outside."""
    for made in ("srv/web/a/b", "srv/other", "srv/mcp", "out/a/b", "own"):
        (tmp_path / made).mkdir(parents=True)
    for name in ("out/x", "out/a/x", "out/a/b/x", "own/x", "srv/x", "srv/mcp/x", "srv/other/x", "x"):
        (tmp_path / name).write_bytes(CANARY)
    web = tmp_path / "srv" / "web"
    for folder in (web, web / "a", web / "a" / "b"):
        (folder / "x").write_bytes(b"inside")
        (folder / "out").symlink_to(tmp_path / "out")
        (folder / "up").symlink_to("..")
        (folder / "link").symlink_to(tmp_path / "out" / "x")
        (folder / "dangling").symlink_to(tmp_path / "out" / "new")
        (folder / "other").symlink_to("../other")
    (tmp_path / "srv" / "linked").symlink_to(tmp_path / "out")
    return ServiceFiles(tmp_path / "srv", (tmp_path / "own",))


def push(
    files: ServiceFiles, service: str, path: str, content: bytes = b"pushed", mode: int = 0, size: int = 0
) -> None:
    """Write a whole file."""
    writer = files.writer(service, path, mode, size)
    try:
        writer.open()
        writer.write(content)
        writer.commit()
    finally:
        writer.discard()


def pull(files: ServiceFiles, service: str, path: str, count: int = 4) -> bytes:
    """Read a whole file."""
    reader = files.reader(service, path)
    try:
        reader.open()
        return b"".join(iter(lambda: reader.read(count), b""))
    finally:
        reader.close()


def outside(files: ServiceFiles) -> dict[str, object]:
    """Everything there is but the service web: content or link of every entry."""
    root = files.root.parent
    found: dict[str, object] = {}
    for folder, folders, names in os.walk(root):
        if Path(folder) == files.root / "web":
            folders.clear()
            continue
        for name in folders + names:
            path = Path(folder) / name
            link = path.is_symlink()
            found[str(path.relative_to(root))] = path.readlink() if link else path.is_dir() or path.read_bytes()
    return found


def open_files() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


PARTS = st.sampled_from(["..", ".", "", "a", "b", "x", "out", "up", "link", "dangling", "other", "new", "srv", "own"])
PATHS = st.lists(PARTS, max_size=6).map("/".join) | st.text(max_size=20) | st.text("./ax\0", max_size=8)
SERVICES = st.sampled_from(["web", "web", "web", "..", ".", "", "linked", "x", "mcp", "web/a", "WEB", "web\0", "/"])


@ANY
@given(service=SERVICES, path=PATHS)
def test_no_path_leads_outside(files: ServiceFiles, service: str, path: str) -> None:
    before, descriptors = outside(files), open_files()
    with suppress(McpError):
        assert pull(files, service, path) in (b"inside", b"pushed")
        assert service == "web"
    with suppress(McpError):
        push(files, service, path)
        assert pull(files, service, path) == b"pushed"
        assert service == "web"
    assert outside(files) == before
    assert open_files() == descriptors


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("", InvalidInput, "path: is missing"),
        ("/etc/passwd", InvalidInput, "is absolute"),
        ("../x", InvalidInput, 'contains ".."'),
        ("a/../x", InvalidInput, 'contains ".."'),
        ("./x", InvalidInput, 'contains "."'),
        ("a//x", InvalidInput, "contains an empty part"),
        ("a/", InvalidInput, "contains an empty part"),
        ("a\0b", InvalidInput, "contains NUL"),
        ("x" * 256, InvalidInput, "too long"),
        ("é" * 128, InvalidInput, "too long"),
        ("/".join("x" * 65), InvalidInput, "too long"),
        ("out/x", NotReady, "web/out: is a symbolic link"),
        ("a/up/x", NotReady, "web/a/up: is a symbolic link"),
        ("a/link", NotReady, "web/a/link: is a symbolic link"),
        ("dangling", NotReady, "web/dangling: is a symbolic link"),
        ("a/b", NotReady, "web/a/b: is a folder"),
        ("x/y", NotReady, "web/x: is not a folder"),
    ],
)
def test_what_is_refused_is_named_both_ways(files: ServiceFiles, path: str, kind: type[McpError], words: str) -> None:
    for attempt in (pull, push):
        with pytest.raises(kind) as caught:
            attempt(files, "web", path)
        assert type(caught.value) is kind
        assert words in str(caught.value)


@pytest.mark.parametrize("service", ["", "..", "Web", "web/a", "a\nb"])
def test_services_have_valid_names(files: ServiceFiles, service: str) -> None:
    with pytest.raises(InvalidInput, match=r"^service: "):
        pull(files, service, "x")


def test_the_agents_own_files_are_refused_wherever_they_are(files: ServiceFiles, tmp_path: Path) -> None:
    """By what they are, not by their name: a registry beside a service's files, or a second name of a key."""
    own = files.root / "web" / "registry.db"
    own.write_bytes(CANARY)
    (files.root / "web" / "a" / "copy").hardlink_to(tmp_path / "own" / "x")
    private = ServiceFiles(files.root, (*files.private, own, tmp_path / "own" / "x"))
    for path in ("registry.db", "a/copy"):
        with pytest.raises(NotReady, match="is one of the agent's own files"):
            pull(private, "web", path)
        with pytest.raises(NotReady, match="is one of the agent's own files"):
            push(private, "web", path)
    assert own.read_bytes() == (tmp_path / "own" / "x").read_bytes() == CANARY


def test_the_agents_own_files_are_out_of_reach(files: ServiceFiles) -> None:
    for attempt in (pull, push):
        with pytest.raises(InvalidInput, match="mcp is the agent itself"):
            attempt(files, "mcp", "x")
    private = ServiceFiles(files.root, (files.root / "web" / "a", files.root / "none"))
    for path in ("a/x", "a/b/x", "a/new"):
        with pytest.raises(NotReady, match="web/a: holds the agent's own files"):
            push(private, "web", path)
        with pytest.raises(NotReady, match="web/a: holds the agent's own files"):
            pull(private, "web", path)
    assert pull(private, "web", "x") == b"inside"
    with pytest.raises(NotReady, match="web: holds the agent's own files"):
        pull(ServiceFiles(files.root, (files.root / "web",)), "web", "x")


@contextmanager
def swapping(web: Path, outside: Path) -> Iterator[None]:
    """While inside, `web/d` is by turns a folder and a link to `outside`."""
    (web / "d").mkdir()
    (web / "link-d").symlink_to(outside)
    (web / "d" / "x").write_bytes(b"inside")
    done = threading.Event()

    names = [os.fsencode(web / name) for name in ("d", "link-d")]
    exchange = ctypes.CDLL(None, use_errno=True).renameat2

    def swap() -> None:
        while not done.is_set():
            assert exchange(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_folder_that_becomes_a_link_meanwhile(files: ServiceFiles, tmp_path: Path) -> None:
    before, seen = outside(files), {"read": 0, "written": 0, "refused": 0}
    with swapping(files.root / "web", tmp_path / "out"):
        for turn in range(1500):
            try:
                assert pull(files, "web", "d/x") in (b"inside", b"pushed")
                seen["read"] += 1
                push(files, "web", "d/x" if turn % 2 else "d/new/x")
                seen["written"] += 1
            except (NotReady, NotFound):
                seen["refused"] += 1
    assert outside(files) == before
    assert min(seen.values()) > 0, seen


def test_special_files_are_neither_opened_nor_replaced(files: ServiceFiles) -> None:
    web = files.root / "web"
    os.mkfifo(web / "fifo")
    server = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(web)  # paths of sockets are short
    try:
        server.bind("socket")
    finally:
        os.chdir(here)
    for name in ("fifo", "socket"):
        with pytest.raises(NotReady, match="is a device, pipe or socket"):
            pull(files, "web", name)
        with pytest.raises(NotReady, match="is a device, pipe or socket"):
            push(files, "web", name)
    server.close()
    assert stat.S_ISFIFO((web / "fifo").stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_and_folders_that_are_made(files: ServiceFiles, umask: int) -> None:
    previous = os.umask(umask)
    try:
        push(files, "web", "new/deep/x", mode=0o104755)
        push(files, "fresh", "x")
        push(files, "fresh", "shared", mode=0o644)
        push(files, "fresh", "shared", b"again")
    finally:
        os.umask(previous)
    modes = {
        name: oct(stat.S_IMODE((files.root / name).stat().st_mode))
        for name in ("web/new", "web/new/deep", "web/new/deep/x", "fresh", "fresh/x", "fresh/shared")
    }
    assert list(modes.values()) == ["0o755", "0o755", "0o755", "0o700", "0o600", "0o644"], modes
    assert pull(files, "fresh", "shared") == b"again"


def test_nothing_is_seen_before_the_end_and_nothing_left_without(files: ServiceFiles) -> None:
    web = files.root / "web"
    before = sorted(web.rglob("*"))
    for path in ("new", "x", "p/q/new"):
        writer = files.writer("web", path, 0, 0)
        writer.open()
        writer.write(b"half")
        assert sorted(web.rglob("*")) == before
        writer.discard()
        writer.discard()
    assert (web / "x").read_bytes() == b"inside"
    assert sorted(web.rglob("*")) == before


def failing(number: int) -> Callable[..., int]:
    """A system call that fails."""

    def call(*args: object, **kwargs: object) -> int:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("call", ["write", "fsync", "rename", "link", "fchmod"])
def test_a_disk_that_is_full_changes_nothing(files: ServiceFiles, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, descriptors = sorted((files.root / "web").rglob("*")), open_files()
    for path in ("x", "p/q/new"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing(errno.ENOSPC))
            with pytest.raises(NotReady, match="disk is full; nothing was changed"):
                push(files, "web", path)
    assert sorted((files.root / "web").rglob("*")) == before
    assert pull(files, "web", "x") == b"inside"
    assert open_files() == descriptors


def test_too_large_for_the_disk_is_said_before_anything_is_sent(files: ServiceFiles) -> None:
    with pytest.raises(NotReady, match=r"web/new: has 1000000000000000000 bytes, and the node's disk has [0-9]+ bytes"):
        files.writer("web", "new", 0, 10**18).open()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "web/x: the agent's user may not write it; check owner and mode on the node"),
        (errno.EROFS, "web/x: Read-only file system"),
        (errno.EISDIR, "web/x: was replaced by a folder in the meantime"),
        (errno.EDQUOT, "web/x: the node's disk is full"),
        (errno.ENAMETOOLONG, "web/x: the name is too long"),
        (errno.ENOENT, "web/x: a folder of its path was removed in the meantime; try again"),
    ],
)
def test_what_the_system_says(files: ServiceFiles, number: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "rename", failing(number))
    with pytest.raises(McpError) as caught:
        push(files, "web", "x")
    assert str(caught.value).startswith(words)


def test_a_service_folder_that_cannot_be_made(files: ServiceFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.files.files.Replacement", failing(errno.EACCES))
    with pytest.raises(NotReady) as caught:
        push(files, "fresh", "x")
    assert f"{files.root}/fresh does not exist, and the agent's user may not create it" in str(caught.value)
    with pytest.raises(NotReady, match="may not write it"):
        push(files, "web", "x")


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="none: cannot be opened: No such file or directory; see services_root"):
        pull(ServiceFiles(tmp_path / "none", ()), "web", "x")
    with pytest.raises(NotFound, match="web/x: there is no such file on this node"):
        pull(ServiceFiles(tmp_path, ()), "web", "x")


def test_a_file_that_changes_while_it_is_read(files: ServiceFiles) -> None:
    path = files.root / "web" / "x"
    reader = files.reader("web", "x")
    reader.open()
    with path.open("ab") as file:
        file.write(b" and more")
    assert (reader.size, reader.read(100), reader.read(100)) == (6, b"inside", b"")
    reader.close()
    reader = files.reader("web", "x")
    reader.open()
    path.write_bytes(b"")
    with pytest.raises(Unavailable, match="web/x: was truncated while it was read; try again"):
        reader.read(100)
    reader.close()


# --- folders of services, and sources of bind mounts ---


def test_a_service_s_folder_and_missing_sources_in_it_are_made(files: ServiceFiles) -> None:
    root = files.root
    provide_sources(files, "fresh", [f"{root}/fresh/a//b/", f"{root}/fresh/conf.d", f"{root}/web/x", "/proc"])
    modes = {
        path: stat.S_IMODE((root / path).stat().st_mode) for path in ("fresh", "fresh/a", "fresh/a/b", "fresh/conf.d")
    }
    assert modes == {"fresh": 0o700, "fresh/a": 0o755, "fresh/a/b": 0o755, "fresh/conf.d": 0o755}
    provide_sources(files, "fresh", [f"{root}/fresh/a/b"])
    provide_sources(files, "mcp", [])


def test_what_exists_may_be_a_link_but_nothing_is_made_through_one(files: ServiceFiles, tmp_path: Path) -> None:
    provide_sources(files, "web", [f"{files.root}/web/out", f"{files.root}/web/link"])
    for path in ("web/out/new", "web/dangling", "web/dangling/x", "web/x/y"):
        with pytest.raises(NotReady, match=f"{path} does not exist: .*; create it on the node as root: install -d -o "):
            provide_sources(files, "web", [f"{files.root}/{path}"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "x"]


@pytest.mark.parametrize("source", ["/nowhere/x", "SRV/other/new", "SRV/new", "SRV/webs/x", "SRV/mcp/new"])
def test_missing_sources_elsewhere_are_refused(files: ServiceFiles, source: str) -> None:
    path = source.replace("SRV", str(files.root))
    with pytest.raises(NotReady) as caught:
        provide_sources(files, "web", ["/proc", path, "/nowhere/y"])
    assert caught.value.what == f"{path} and /nowhere/y do not exist on this node"
    assert re.fullmatch(f"create them there as root: install -d -o [^ ]+ -g [^ ]+ {path} /nowhere/y", caught.value.hint)
    assert not Path(path).exists()


def test_a_missing_file_is_no_folder(files: ServiceFiles) -> None:
    for name in ("app.toml", "a/key.pem"):
        with pytest.raises(NotReady, match=f"{name} does not exist on this node; copy a file there with `mcp push`"):
            provide_sources(files, "web", [f"{files.root}/web/{name}"])
    with pytest.raises(
        NotReady, match=r"; copy a file there as root, or create a folder as root: install -d .*/ca\.pem$"
    ):
        provide_sources(files, "web", ["/nowhere/ca.pem"])
    with pytest.raises(
        NotReady, match=r"^/nowhere/x does not exist .*; create it there as root: install -d .*/nowhere/x$"
    ):
        provide_sources(files, "web", ["/nowhere/ca.pem", "/nowhere/x"])
    provide_sources(files, "web", [f"{files.root}/web/{name}" for name in (".cache", "v1.2", "sites.d")])
    assert {"v1.2", ".cache", "sites.d"} <= {path.name for path in (files.root / "web").iterdir()}


def test_a_root_that_cannot_be_written_matters_only_to_what_is_to_be_made(tmp_path: Path) -> None:
    files = ServiceFiles(tmp_path / "none", ())
    provide_sources(files, "web", ["/proc"])
    with pytest.raises(NotReady, match=r"web/data does not exist: .*cannot be opened"):
        provide_sources(files, "web", [f"{files.root}/web/data"])
