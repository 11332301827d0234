"""The lock: every wheel of both architectures and four Pythons, with its hash."""

import re
from pathlib import Path

import pytest

import build

WHEELS = build.read_lock()


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
@pytest.mark.parametrize("minor", ["311", "312", "313", "314"])
@pytest.mark.parametrize("package", ["grpcio", "cffi"])
def test_each_python_has_its_native_wheel(package: str, minor: str, arch: str) -> None:
    tag = f"-cp{minor}-cp{minor}-"
    assert [wheel for wheel in WHEELS if wheel.package == package and tag in wheel.file and wheel.fits(arch)]


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
@pytest.mark.parametrize("package", ["protobuf", "cryptography", "typing_extensions"])
def test_other_packages_have_one_wheel_for_all_pythons(package: str, arch: str) -> None:
    (wheel,) = [wheel for wheel in WHEELS if wheel.package == package and wheel.fits(arch)]
    assert "-abi3-" in wheel.file or wheel.file.endswith("-none-any.whl")


def test_pip_and_build_read_the_same_hashes() -> None:
    assert re.findall(r"--hash=sha256:(\w{64})", build.LOCK.read_text()) == [wheel.sha256 for wheel in WHEELS]


def test_lock_is_written_as_it_was_read() -> None:
    assert build.lock_text(WHEELS) == build.LOCK.read_text()


def test_lock_out_of_step_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = tmp_path / "runtime.in"
    pins.write_text(build.PINS.read_text().replace("grpcio==", "grpcio==9"))
    monkeypatch.setattr(build, "PINS", pins)
    with pytest.raises(build.BuildError, match=r"out of date with runtime\.in: update it"):
        build.read_lock()
