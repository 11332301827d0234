"""build.py: the same bytes everywhere, nothing but what belongs in, and only the locked wheels."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from build import START
from mcp.shared.resources import ROOT
from tests.zipapps import build, built

OWN = {"__main__.py", "_bootstrap", "_clean.py", "_first.py", "_start.py", "_verify.py", "environment.json"}
OWN |= {"native.tar.xz"}
SITE = {"bin", "google", "grpc", "mcp", "native.json", "proto", "typing_extensions.py"}
INFO = {"grpcio-*.dist-info", "protobuf-*.dist-info", "typing_extensions-*.dist-info"}
PROGRAMS = {
    "mcp": SITE | INFO | {"deploy"},
    "mcp-agent": SITE | INFO | {"agent", "cryptography", "cryptography-*.dist-info", "cffi-*.dist-info"},
}
LIMITS = {"mcp": 11_000_000, "mcp-agent": 14_000_000}


def wheelhouse() -> Path:
    """The builder's default wheelhouse, filled."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcp-build/wheelhouse"
    done = build("wheelhouse")
    assert done.returncode == 0, done.stderr
    return folder


def names(program: str, arch: str) -> list[str]:
    with zipfile.ZipFile(built(program, arch)) as archive:
        return archive.namelist()


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
@pytest.mark.parametrize("program", PROGRAMS)
class TestFile:
    def test_is_small(self, program: str, arch: str) -> None:
        assert built(program, arch).stat().st_size < LIMITS[program]

    def test_holds_what_it_should_at_the_top(self, program: str, arch: str) -> None:
        found = names(program, arch)
        assert {name.split("/")[0] for name in found} == OWN | {"site-packages"}
        top = {name.split("/")[1] for name in found if name.startswith("site-packages/")}
        plain = {f"{name.split('-')[0]}-*.dist-info" if name.endswith(".dist-info") else name for name in top}
        assert plain == PROGRAMS[program]

    def test_holds_no_leftovers(self, program: str, arch: str) -> None:
        kinds = {Path(name).suffix for name in names(program, arch) if ".dist-info/" not in name}
        data = {".service", ".sh"} if program == "mcp" else set()
        assert kinds == {".py", ".json", ".xz"} | data
        left = [name for name in names(program, arch) if name.endswith(("RECORD", "WHEEL", "INSTALLER"))]
        assert not left

    def test_holds_licences_and_metadata(self, program: str, arch: str) -> None:
        found = names(program, arch)
        for folder in {name.split("/")[1] for name in found if ".dist-info/" in name}:
            ours = [name for name in found if f"/{folder}/" in name]
            assert any(name.endswith("/METADATA") for name in ours)
            assert any("licen" in name.rsplit(".dist-info", 1)[1].lower() for name in ours), folder

    def test_starts_python_isolated(self, program: str, arch: str) -> None:
        assert built(program, arch).read_bytes().startswith(START.encode() + b"PK")


def test_programs_keep_apart() -> None:
    of_cli = [name for name in names("mcp-agent", "amd64") if name.startswith("site-packages/mcp/")]
    assert [name for name in of_cli if "/shared/" not in name] == ["site-packages/mcp/__init__.py"]
    assert not [name for name in names("mcp", "amd64") if name.startswith("site-packages/agent/")]


def clone(target: Path) -> Path:
    """A clone with the working tree's content."""
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(target)], check=True)
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


def test_two_clones_build_the_same_bytes(tmp_path: Path) -> None:
    one, two = clone(tmp_path / "one"), clone(tmp_path / "a longer path" / "two")
    house = str(wheelhouse())
    for path in two.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (two / "mcp/untracked.py").write_text("")
    plain = ["--wheelhouse", house, "--offline", "--arch", "own", "--out"]
    fresh = str(tmp_path / "cache")  # so that this one compresses for itself
    for root, mask, more in (
        (one, 0o022, {"XDG_CACHE_HOME": fresh}),
        (two, 0o077, {"SOURCE_DATE_EPOCH": "1700000000"}),
    ):
        command = [sys.executable, str(root / "build.py"), *plain, str(root / "dist")]
        done = subprocess.run(
            command, env=os.environ | more, umask=mask, cwd=root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    files = sorted(path.name for path in (one / "dist").iterdir())
    assert len(files) == 4
    assert files == sorted(path.name for path in (two / "dist").iterdir())
    for name in files:
        assert (one / "dist" / name).read_bytes() == (two / "dist" / name).read_bytes()
        assert (two / "dist" / name).stat().st_mode & 0o777 == 0o755


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A wheelhouse of its own, to spoil."""
    folder = tmp_path / "house"
    shutil.copytree(wheelhouse(), folder, copy_function=os.link)
    return folder


def refusal(house: Path, out: Path) -> str:
    done = build("--offline", "--wheelhouse", str(house), "--out", str(out))
    assert done.returncode == 1
    assert not out.exists()
    (line,) = done.stderr.splitlines()
    return line


def test_tampered_wheel_is_refused(house: Path, tmp_path: Path) -> None:
    wheel = next(house.glob("grpcio-*-cp313-*.whl"))
    content = wheel.read_bytes()
    wheel.unlink()  # it is a link to the good one
    wheel.write_bytes(content[:-1] + b"x")
    line = refusal(house, tmp_path / "out")
    assert line.startswith(f"build.py: {wheel} does not match its hash in runtime.lock: ")


def test_missing_wheel_is_refused(house: Path, tmp_path: Path) -> None:
    wheel = next(house.glob("cffi-*-cp314-*.whl"))
    wheel.unlink()
    assert refusal(house, tmp_path / "out").startswith(f"build.py: {wheel.name} is not in {house}: download it with ")


def test_python_without_shiv_is_one_line(house: Path, tmp_path: Path) -> None:
    command = ["/usr/bin/python3", "-I", str(ROOT / "build.py"), "--offline", "--wheelhouse", str(house)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "build.py: shiv 1.0.8 is not installed for /usr/bin/python3: run `make setup`"
    )
    assert "Traceback" not in done.stderr
