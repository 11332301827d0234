"""A signed release: real signatures of ssh-keygen, and what is not signed is not installed."""

import asyncio
import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from mcp.config import configuration
from mcp.nodes import agent_file, release_key
from mcp.nodes.release_key import NAMESPACE, SIGNATURE, SUMS
from mcp.shared.errors import InvalidFile, NotReady
from tools import release


@dataclass(frozen=True)
class Signer:
    """A key pair; `public` is the line of its public key."""

    key: Path

    @classmethod
    def make(cls, key: Path) -> "Signer":
        """Make an Ed25519 key without a passphrase."""
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "releases", "-f", key], check=True)
        return cls(key)

    @property
    def public(self) -> str:
        """The line of its public key."""
        return self.key.with_suffix(".pub").read_text().strip()

    def sign(self, file: Path, namespace: str = NAMESPACE) -> None:
        """Write FILE.sig."""
        subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", self.key, "-n", namespace, file], check=True)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """The key of the releases."""
    return Signer.make(tmp_path / "key")


@pytest.fixture
def file(tmp_path: Path, signer: Signer) -> Path:
    """A file of a signed release."""
    file = tmp_path / "mcp-agent.pyz"
    file.write_bytes(b"agent")
    (tmp_path / SUMS).write_text(f"{'0' * 64}  mcp.pyz\n{sha256(file)}  mcp-agent-1-linux-amd64.pyz\n")
    signer.sign(tmp_path / SUMS)
    return file


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def check(file: Path, *keys: str) -> str:
    """The line of the refusal; empty if the file is good."""
    try:
        asyncio.run(release_key.check(file, sha256(file), keys))
    except NotReady as error:
        return str(error)
    return ""


def test_a_signed_file_is_good(file: Path, signer: Signer, tmp_path: Path) -> None:
    other = Signer.make(tmp_path / "other")
    assert check(file, signer.public) == ""
    assert check(file, other.public, signer.public) == "", "any of the keys will do, as while one is replaced"


def test_a_changed_file_is_refused(file: Path, signer: Signer) -> None:
    file.write_bytes(b"agenT")
    assert check(file, signer.public) == (
        f"{file} is not in the signed SHA256SUMS beside it: changed, or of another release; "
        "get the files of the release again, and do not use this one"
    )


def test_changed_sums_are_refused(file: Path, signer: Signer) -> None:
    file.write_bytes(b"agenT")
    (file.parent / SUMS).write_text(f"{sha256(file)}  mcp-agent.pyz\n")
    assert check(file, signer.public) == (
        f"{file.parent / SIGNATURE} is no signature of SHA256SUMS by a key in [release] of mcp.toml; "
        "get the files of the release again, and do not use these"
    )


@pytest.mark.parametrize("name", [SUMS, SIGNATURE])
def test_what_is_missing_is_said(file: Path, signer: Signer, name: str) -> None:
    (file.parent / name).unlink()
    assert check(file, signer.public) == (
        f"{file.parent / name}: No such file or directory, and [release] of mcp.toml asks for a signed release; "
        "put SHA256SUMS and SHA256SUMS.sig of the release beside mcp-agent.pyz"
    )


def test_another_key_or_another_use_of_the_key_is_refused(file: Path, signer: Signer, tmp_path: Path) -> None:
    assert "is no signature" in check(file, Signer.make(tmp_path / "other").public)
    (file.parent / SIGNATURE).unlink()
    signer.sign(file.parent / SUMS, "git")
    assert "is no signature" in check(file, signer.public)


@pytest.mark.parametrize("content", [b"", b"\0\xff", b"-----BEGIN SSH SIGNATURE-----\n"])
def test_garbage_is_no_signature(file: Path, signer: Signer, content: bytes) -> None:
    (file.parent / SIGNATURE).write_bytes(content)
    assert "is no signature" in check(file, signer.public)


def test_a_source_tree_builds_nothing_that_is_signed(signer: Signer) -> None:
    with pytest.raises(
        NotReady, match="a source tree builds another agent; name the folder of the release with --from"
    ):
        asyncio.run(agent_file.find("amd64", None, [signer.public]))


def test_the_builder_and_the_client_name_the_same_signature() -> None:
    assert (release.SUMS, release.NAMESPACE) == (SUMS, NAMESPACE)


def test_the_keys_of_the_configuration(tmp_path: Path, signer: Signer) -> None:
    path = tmp_path / "mcp.toml"
    assert configuration.parse(f'[release]\nkeys = ["{signer.public}"]\n', path).release_keys == (signer.public,)
    assert configuration.parse("", path).release_keys == ()
    for wrong in ("", "AAAA", "ssh-ed25519", "ssh-ed25519 a\\nb", "* ssh-ed25519 AAAA"):
        with pytest.raises(
            InvalidFile, match=r"release\.keys\[0\]: .* is not an SSH public key, as in ssh-ed25519 AAAA"
        ):
            configuration.parse(f'[release]\nkeys = ["{wrong}"]\n', path)
