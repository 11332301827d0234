"""The files of a release: listed, described, signed, and the same bytes each time."""

import hashlib
import json
import lzma
import subprocess
import sys
from pathlib import Path

import pytest

import build
from mcp.shared.resources import ROOT


def make(out: Path, key: Path) -> subprocess.CompletedProcess[str]:
    """Run the builder of releases."""
    command = [sys.executable, "-m", "tools.release", "--out", str(out), "--key", str(key)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signing key."""
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Path:
    """A signed release of this tree."""
    folder = tmp_path_factory.mktemp("made") / "release"
    done = make(folder, key)
    assert done.returncode == 0, done.stderr
    return folder


def test_it_has_a_sum_of_each_file_and_a_signature(made: Path, key: Path) -> None:
    names = {path.name for path in made.iterdir()}
    assert len([name for name in names if name.endswith(".pyz")]) == 4
    lines = [line.split("  ") for line in (made / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in lines} == names - {"SHA256SUMS", "SHA256SUMS.sig"}
    assert subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=made, check=False).returncode == 0
    signers = made.parent / "signers"
    signers.write_text(f"mcp-release {key.with_suffix('.pub').read_text()}")
    verify = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", "mcp-release", "-n", "mcp-release"]
    with (made / "SHA256SUMS").open() as sums:
        verify += ["-s", str(made / "SHA256SUMS.sig")]
        assert subprocess.run(verify, stdin=sums, check=False).returncode == 0


def test_it_is_the_same_each_time(made: Path, key: Path, tmp_path: Path) -> None:
    assert make(tmp_path / "again", key).returncode == 0
    for path in made.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_a_folder_with_something_in_it_is_left_alone(key: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = make(tmp_path, key)
    assert done.stderr.splitlines()[-1] == f"release: {tmp_path} is not empty: name a new folder with --out"
    assert done.returncode == 1


def test_the_sbom_has_every_wheel_with_its_hash(made: Path) -> None:
    """The document was validated with the schema of CycloneDX 1.6; here are the fields that it requires, and ours."""
    (listing,) = made.glob("mcp-*.cdx.json")
    document = json.loads(listing.read_text())
    assert (document["bomFormat"], document["specVersion"], document["version"]) == ("CycloneDX", "1.6", 1)
    assert document["serialNumber"].startswith("urn:uuid:")
    assert "timestamp" not in document["metadata"], "it would differ each time"
    components = {each["bom-ref"]: each for each in document["components"]}
    assert len(components) == len(document["components"]), "references are unique"
    for each in components.values():
        assert each["type"] in ("application", "library")
        assert each["name"]
        assert each["version"]
        assert each["purl"].startswith("pkg:")
        assert each["licenses"]
    hashes = {each["hashes"][0]["content"] for each in components.values()}
    zipapps = {hashlib.sha256(path.read_bytes()).hexdigest() for path in made.glob("*.pyz")}
    (shiv,) = [wheel.sha256 for wheel in build.locked_wheels(build.DEV_LOCK) if wheel.package == "shiv"]
    assert hashes == {*(wheel.sha256 for wheel in build.read_lock()), *zipapps, shiv}
    referred = {ref for each in document["dependencies"] for ref in [each["ref"], *each["dependsOn"]]}
    assert referred == {*components, document["metadata"]["component"]["bom-ref"]}


# --- the cache of compressed streams ---


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stream in the cache of an earlier build of b"native"."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.xz(b"native")
    (kept,) = (tmp_path / "mcp-build/native").iterdir()
    return kept


def test_an_earlier_stream_is_taken(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = kept.read_bytes()
    monkeypatch.setattr(lzma, "compress", None)
    assert build.xz(b"native") == packed


EVIL = lzma.compress(b"backdoor")
GOOD = b"GOOD"  # stands for the stream that the build made


@pytest.mark.parametrize(
    "content",
    [EVIL, hashlib.sha256(EVIL).digest() + EVIL, GOOD + EVIL, GOOD + b"garbage", b""],
    ids=["another content", "with a digest of its own", "a second stream", "garbage at the end", "empty"],
)
def test_what_others_put_into_the_cache_is_not_packed(kept: Path, content: bytes) -> None:
    good = kept.read_bytes()
    kept.write_bytes(content.replace(GOOD, good))
    assert build.xz(b"native") == good
    assert kept.read_bytes() == good


def test_a_stream_that_is_cut_is_not_packed(kept: Path) -> None:
    good = kept.read_bytes()
    kept.write_bytes(good[:-1])
    assert build.xz(b"native") == good


def test_a_wheel_that_is_replaced_after_the_check_is_not_packed(tmp_path: Path) -> None:
    wheel = build.Wheel("x-1-py3-none-any.whl", hashlib.sha256(b"good").hexdigest())
    (tmp_path / wheel.file).write_bytes(b"evil")
    with pytest.raises(build.BuildError, match="does not match its hash"):
        build.unpack(tmp_path, [wheel])
