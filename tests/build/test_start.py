"""Starting a zipapp: nothing outside can shadow what is inside, and what is wrong is said in one line."""

import ast
import json
import os
import platform
import pwd
import runpy
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mcp.shared.resources import ROOT
from tests.build.conftest import PROBE, UMASK, Stage, one_line
from tests.zipapps import OTHER_ARCH, OWN_ARCH, PYTHON, built, forged

EVIL = "raise SystemExit('shadowed')\n"


@pytest.fixture
def probe(stage: Stage, cli: Path) -> Path:
    return forged(cli, stage.folder / "probe.pyz", ident="0" * 16, entry="probe", probe=PROBE)


def hostile(stage: Stage) -> dict[str, str]:
    """A working directory, a PYTHONPATH, a user site and an environment that try to get in first."""
    version = subprocess.run(
        [PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, check=True
    )
    user_site = stage.folder / f".local/lib/python{version.stdout.strip()}/site-packages"
    for folder in (stage.folder, user_site):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (
            "grpc",
            "mcp",
            "proto",
            "typing_extensions",
            "probe",
            "_start",
            "_bootstrap",
            "fcntl",
            "shutil",
            "json",
        ):
            (folder / f"{name}.py").write_text(EVIL)
        (folder / "google").mkdir()
        (folder / "google/__init__.py").write_text(EVIL)
    (user_site / "evil.pth").write_text("import sys; sys.modules['grpc'] = sys\n")
    return {
        "PYTHONPATH": str(stage.folder),
        "SHIV_ENTRY_POINT": "os:getcwd",
        "SHIV_MODULE": "this",
        "SHIV_CONSOLE_SCRIPT": "evil",
        "SHIV_INTERPRETER": "1",
        "SHIV_PREPEND_PYTHONPATH": str(stage.folder),
        "SHIV_FORCE_EXTRACT": "1",
        "SHIV_EXTEND_PYTHONPATH": "1",
        "SHIV_COMPILE_WORKERS": "many",
    }


@pytest.mark.parametrize("command", [[], [PYTHON], [PYTHON, "-I"]], ids=["shebang", "python", "isolated"])
def test_nothing_outside_shadows_what_is_inside(stage: Stage, probe: Path, command: list[str]) -> None:
    environment = hostile(stage)
    for _ in ("first", "warm"):
        done = stage.run([*command, str(probe), "a b", ""], **environment)
        assert done.returncode == 7, done
        seen = json.loads(done.stdout)
        tree = str(stage.cache / "mcp")
        assert all(file.startswith(tree) for file in seen["files"][:-1])
        assert seen["files"][-1].startswith("/usr/lib/python3")
        assert seen["isolated"] == 1
        assert seen["shiv"] == []
        assert seen["arguments"] == ["a b", ""]
        assert seen["protobuf"] == "upb"
        assert [path for path in seen["path"] if not path.startswith(("/usr/lib/python3", tree))] == []
        assert seen["umask"] == UMASK


@pytest.mark.parametrize("name", ["mcp-agent.new", "mcp_agent", "with a space.pyz", "x" * 250, "ünïcode"])
def test_any_file_name_works_and_shares_the_tree(stage: Stage, agent: Path, name: str) -> None:
    copy, link = stage.folder / name, stage.folder / "link"
    copy.write_bytes(agent.read_bytes())
    copy.chmod(0o755)
    link.symlink_to(copy.name)
    for command in ([f"./{name}"], ["./link"], [PYTHON, "link"], stage.command(agent)):
        done = stage.run([*command, "version"])
        assert done.returncode == 0, done
        assert "mcp-agent" in done.stdout
    assert len([path for path in (stage.cache / "mcp-agent").iterdir() if path.is_dir()]) == 1


def test_version_tells_all(stage: Stage, agent: Path) -> None:
    found = json.loads(stage.run(stage.command(agent, "version", "--json")).stdout)
    assert sorted(found["packages"]) == ["cffi", "cryptography", "grpcio", "protobuf", "typing_extensions"]
    assert found["version"] in agent.name
    assert len(found["commit"]) == 40
    assert found["architecture"] == OWN_ARCH


def test_shiv_root_is_used_and_left_to_children(stage: Stage, probe: Path) -> None:
    done = stage.run(stage.command(probe), SHIV_ROOT=str(stage.folder / "elsewhere"))
    assert json.loads(done.stdout)["shiv"] == ["SHIV_ROOT"]
    assert (stage.folder / "elsewhere/mcp").stat().st_mode & 0o777 == 0o700
    assert not stage.cache.exists()


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({}, "/usr/.cache/mcp/mcp"),
        ({"HOME": "not/absolute", "XDG_CACHE_HOME": "neither"}, "/usr/.cache/mcp/mcp"),
        ({"HOME": "/usr/lib/"}, "/usr/lib/.cache/mcp/mcp"),
        ({"HOME": "/"}, "/.cache/mcp/mcp"),
        ({"HOME": "/nonexistent"}, "/tmp/mcp-54321/mcp"),
        ({"HOME": "/etc/passwd"}, "/tmp/mcp-54321/mcp"),
        ({"HOME": "/home/x", "XDG_CACHE_HOME": "/var/cache/x"}, "/var/cache/x/mcp/mcp"),
        ({"HOME": "/home/x", "XDG_CACHE_HOME": "/var/cache/x", "SHIV_ROOT": "~/y"}, "/home/x/y/mcp"),
    ],
)
def test_cache_folder(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], folder: str) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "SHIV_ROOT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: SimpleNamespace(pw_dir="/usr"))  # a folder that exists
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    launcher = runpy.run_path(str(ROOT / "deploy/zipapp/_start.py"))
    assert launcher["cache_folder"]("mcp") == folder


def main_of(zipapp: Path) -> str:
    with zipfile.ZipFile(zipapp) as archive:
        return archive.read("__main__.py").decode()


def within(forge: str, zipapp: Path, *arguments: str) -> list[str]:
    """A command that runs the zipapp in a Python that `forge` has told something untrue."""
    code = f"{forge}; import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    return [PYTHON, "-I", "-c", code, str(zipapp), *arguments]


def test_old_python_gets_one_line(agent: Path) -> None:
    source = main_of(agent)
    ast.parse(source, feature_version=(3, 4))
    forge = "import sys; sys.version_info = (3, 9, 2, 'final', 0); exec(compile(sys.argv[1], 'main', 'exec'))"
    done = subprocess.run([PYTHON, "-c", forge, source], capture_output=True, text=True, check=False)
    assert one_line(done) == f"mcp-agent: needs Python 3.11 or newer, this is 3.9.2 ({PYTHON})"


def test_other_architecture_gets_one_line(stage: Stage) -> None:
    line = one_line(stage.run(stage.command(built("mcp", OTHER_ARCH), "version")))
    assert line == (
        f"mcp: this file is for {OTHER_ARCH}, this machine is {OWN_ARCH}: use the file for linux-{OWN_ARCH}"
    )
    assert not stage.cache.exists()


def test_other_python_gets_one_line(stage: Stage, cli: Path) -> None:
    """A Python that no native module is for, as far as its suffixes tell."""
    suffix = f".cpython-315-{platform.machine()}-linux-gnu.so"
    forge = f"import importlib.machinery as m; m.EXTENSION_SUFFIXES[:] = [{suffix!r}]"
    line = one_line(stage.run(within(forge, cli, "version")))
    assert line.startswith("mcp: needs CPython 3.11, 3.12, 3.13, 3.14 with glibc, this is cpython 3.")
    assert suffix.removesuffix(".so") in line


@pytest.mark.parametrize(
    ("forge", "expected"),
    [
        (
            "import importlib.util as u; find = u.find_spec; u.find_spec = lambda n: None if n == '_lzma' else find(n)",
            f"{PYTHON} was built without lzma: use the system's python3",
        ),
        (
            "import ctypes; lost = OSError('cannot open'); ctypes.CDLL = lambda name: (_ for _ in ()).throw(lost)",
            "libstdc++.so.6 is missing: install it, or on NixOS name its folder in LD_LIBRARY_PATH",
        ),
    ],
    ids=["lzma", "libstdc++"],
)
def test_what_a_python_may_lack_is_one_line(stage: Stage, cli: Path, forge: str, expected: str) -> None:
    assert one_line(stage.run(within(forge, cli, "version"))) == f"mcp: {expected}"


def in_own_tmp(stage: Stage, *command: str) -> list[str]:
    """The command with a /tmp of its own, the folder tmp of the stage, where everyone may write."""
    (stage.folder / "tmp").mkdir(exist_ok=True)
    (stage.folder / "tmp").chmod(0o1777)
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    script = 'mount --bind "$1" /tmp && shift && exec "$@"'
    return [*unshare, "sh", "-c", script, "sh", str(stage.folder / "tmp"), *command]


@pytest.fixture
def visible(cli: Path, agent: Path) -> Iterator[list[Path]]:
    """Copies of both programs outside of /tmp."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield [Path(shutil.copy(program, folder)) for program in (cli, agent)]


def test_user_without_a_home_is_no_obstacle(stage: Stage, visible: list[Path]) -> None:
    forge = "import os; os.getuid = lambda: 54321"
    for environment in ({}, {"HOME": "/nonexistent"}):
        stage.environment.pop("HOME", None)
        for program in visible:
            done = stage.run(in_own_tmp(stage, *within(forge, program, "version")), **environment)
            assert (done.returncode, done.stderr) == (0, "")
    (folder,) = (stage.folder / "tmp").iterdir()
    assert folder.name == f"mcp-{os.geteuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["mcp", "mcp-agent"]
    assert not Path("/nonexistent").exists()
    line = stage.run(in_own_tmp(stage, *within(forge, visible[0], "ps")))
    assert (line.returncode, line.stderr) == (2, "mcp: user 54321 has no home folder; set HOME or XDG_CONFIG_HOME\n")


def test_folder_in_tmp_that_somebody_else_could_replace_is_refused(stage: Stage, visible: list[Path]) -> None:
    trap, own = stage.folder / f"tmp/mcp-{os.geteuid()}", stage.folder / "tmp/own"
    command = in_own_tmp(stage, *stage.command(visible[0], "version"))
    own.mkdir(mode=0o700)
    trap.symlink_to("/tmp/own")
    line = one_line(stage.run(command, HOME="/nonexistent"))
    assert line.startswith(f"mcp: /tmp/{trap.name} is writable by others: ")
    trap.unlink()
    trap.mkdir()
    trap.chmod(0o777)
    assert "is writable by others" in one_line(stage.run(command, HOME="/nonexistent"))
    assert list(own.glob("mcp/*")) == []


def test_start_without_blocked_signals(stage: Stage, cli: Path) -> None:
    """As on a system whose env does not know the option."""
    refuses = 'case "$1" in --block*) exit 125;; *) exec env "$@";; esac'
    (stage.folder / "env").write_text(f"#!/bin/sh\n{refuses}\n")
    (stage.folder / "env").chmod(0o755)
    file = stage.folder / "mcp.pyz"
    start, mark, archive = cli.read_bytes().partition(b"PK\x03\x04")
    file.write_bytes(start.replace(b"/usr/bin/env", f"{stage.folder}/env".encode()) + mark + archive)
    file.chmod(0o755)
    done = stage.run([str(file), "version"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mcp ")


def mounted(stage: Stage, options: str, *command: str) -> list[str]:
    """The command with the cache on a file system of its own, in a mount namespace of its own."""
    stage.cache.mkdir(parents=True)
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    script = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'
    return [*unshare, "sh", "-c", script, "sh", options, str(stage.cache), *command]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            "size=6m,mode=700",
            "No space left on device: it needs 80 MB: make room, or set SHIV_ROOT to a folder on another disk",
        ),
        (
            "size=16m,mode=700",
            "No space left on device: it needs 80 MB: make room, or set SHIV_ROOT to a folder on another disk",
        ),
        ("ro,mode=700", "Read-only file system: make it yours and writable, or set SHIV_ROOT to a folder that is"),
    ],
    ids=["full", "full later", "read-only"],
)
def test_unusable_file_system_is_one_line(stage: Stage, cli: Path, options: str, reason: str) -> None:
    line = one_line(stage.run(mounted(stage, options, *stage.command(cli, "version"))))
    assert line == f"mcp: cannot unpack into {stage.cache / 'mcp'}: {reason}"


def test_noexec_is_one_line(stage: Stage, cli: Path) -> None:
    line = one_line(stage.run(mounted(stage, "noexec,mode=700", *stage.command(cli, "version"))))
    assert line.endswith("is on a file system mounted noexec: set SHIV_ROOT to a folder on another")


def test_full_disk_leaves_nothing_behind(stage: Stage, cli: Path) -> None:
    """Files cannot grow beyond 1 MB, which the first large native module finds."""
    forge = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
    assert "File too large" in one_line(stage.run(within(forge, cli, "version")))
    assert not [path for path in (stage.cache / "mcp").iterdir() if path.is_dir()]
    assert stage.run(stage.command(cli, "version")).returncode == 0


def test_file_in_the_way_is_one_line(stage: Stage, cli: Path) -> None:
    (stage.folder / ".cache").write_text("")
    line = one_line(stage.run(stage.command(cli, "version")))
    assert line.startswith(f"mcp: cannot unpack into {stage.cache / 'mcp'}: Not a directory: ")


def test_cache_writable_by_others_is_refused(stage: Stage, cli: Path) -> None:
    for folder in (stage.cache / "mcp", stage.cache):
        stage.cache.joinpath("mcp").mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        line = one_line(stage.run(stage.command(cli, "version")))
        assert line.startswith(f"mcp: {folder} is writable by others: ")
        folder.chmod(0o700)
    assert stage.run(stage.command(cli, "version")).returncode == 0
    stage.cache.chmod(0o777)
    assert "is writable by others" in one_line(stage.run(stage.command(cli, "version")))


def test_cache_of_somebody_else_is_refused(stage: Stage, cli: Path) -> None:
    root = stage.folder / "theirs"
    root.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(root, 65534, 65534)  # root's own folders would do for anyone
    forge = "import os; os.geteuid = lambda: 54321"
    line = one_line(stage.run(within(forge, cli, "version"), SHIV_ROOT=str(root)))
    assert line.startswith(f"mcp: {root} belongs to user {root.stat().st_uid}, not to user 54321: set SHIV_ROOT")


@pytest.mark.parametrize("where", ["native.tar.xz", "site-packages/grpc/_channel.py"])
def test_damaged_file_is_one_line(stage: Stage, cli: Path, where: str) -> None:
    with zipfile.ZipFile(cli) as archive:
        offset = archive.getinfo(where).header_offset + 2000
    content = bytearray(cli.read_bytes())
    content[offset : offset + 100] = bytes(100)
    damaged = stage.folder / "damaged.pyz"
    damaged.write_bytes(content)
    line = one_line(stage.run(stage.command(damaged, "version")))
    assert line.startswith(f"mcp: {damaged} is damaged (")
    assert line.endswith("): copy it again")
    assert stage.run(stage.command(cli, "version")).returncode == 0


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_file_replaced_while_it_starts_is_one_line(stage: Stage, cli: Path) -> None:
    other = forged(cli, stage.folder / "other.pyz")
    with zipfile.ZipFile(other, "a") as archive:
        environment = json.loads(archive.read("environment.json"))
        archive.writestr("environment.json", json.dumps(environment | {"build_id": "f" * 16}))
    assert one_line(stage.run(stage.command(other, "version"))).endswith(
        "was replaced while it started: start it again"
    )
