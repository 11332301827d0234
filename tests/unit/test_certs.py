"""`mcp-agent cert`: a key that never leaves its node, names that the signer decides on, and what is not good."""

import io
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from agent import main as program
from agent.admin import pki

PKCS8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)


class Stdin:
    """stdin as a program has it."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def cert(*arguments: str | Path) -> int:
    return program.main(["cert", *map(str, arguments)])


@pytest.fixture
def ca(tmp_path: Path) -> list[str]:
    """A CA, as options of `sign`."""
    options = ["--cert", str(tmp_path / "ca.pem"), "--key", str(tmp_path / "ca.key")]
    assert cert("ca", *options) == 0
    return ["--ca", str(tmp_path / "ca.pem"), "--ca-key", str(tmp_path / "ca.key")]


def request(folder: Path, capsys: pytest.CaptureFixture[str], *names: str) -> bytes:
    assert cert("request", "--key", folder / "key.pem", *names) == 0
    return capsys.readouterr().out.encode()


def sign(
    ca: list[str], asked: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *names: str
) -> str:
    monkeypatch.setattr(sys, "stdin", Stdin(asked))
    assert cert("sign", *ca, *names) == 0
    return capsys.readouterr().out


def test_request_sign_and_check(
    tmp_path: Path, ca: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(tmp_path, capsys, "rift")
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    key = (tmp_path / "key.pem").read_bytes()
    request(tmp_path, capsys, "rift")
    assert (tmp_path / "key.pem").read_bytes() == key
    made = tmp_path / "cert.pem"
    made.write_text(sign(ca, asked, capsys, monkeypatch, "10.0.0.5", "rift"))
    check = ["check", "--cert", str(made), "--key", str(tmp_path / "key.pem"), *ca[:2]]
    assert cert(*check, "10.0.0.5", "rift", "RIFT") == 0
    assert capsys.readouterr().out.startswith("valid until 20")
    openssl = ["openssl", "verify", "-CAfile", ca[1], "-purpose", "sslserver", "-verify_ip", "10.0.0.5", str(made)]
    assert subprocess.run(openssl, capture_output=True, check=False).returncode == 0
    for wrong, said in (
        ([*check, "10.0.0.6"], "does not cover 10.0.0.6"),
        ([*check, "--days", "900"], "expires on 20"),
    ):
        assert cert(*wrong) == 1
        assert f"mcp-agent: {made}: {said}" in capsys.readouterr().err


def test_names_of_the_request_do_not_count(
    tmp_path: Path, ca: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sign(ca, request(tmp_path, capsys, "evil.example.net"), capsys, monkeypatch, "rift").encode()
    assert pki.examine(made, key=None, ca=None, names=["rift"]).problem == ""
    assert pki.examine(made, key=None, ca=None, names=["evil.example.net"]).problem == "does not cover evil.example.net"


def test_another_key_another_ca_and_the_past_are_not_good(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = pki.make_ca("ours"), pki.make_ca("other")
    pair = pki.make_server_certificate(ours, ["*.example.net", "::1"])
    assert (
        pki.examine(pair.certificate, key=pair.key, ca=ours.certificate, names=["a.example.net", "::1"]).problem == ""
    )
    assert pki.examine(pair.certificate, key=None, ca=None, names=["a.b.example.net"]).problem != ""
    assert pki.examine(pair.certificate, key=other.key, ca=None, names=[]).problem == "does not match the key"
    assert pki.examine(pair.certificate, key=None, ca=other.certificate, names=[]).problem == "is not signed by the CA"
    chain = pair.certificate + other.certificate
    assert pki.examine(chain, key=None, ca=ours.certificate, names=[]).problem == "is not signed by the CA"
    past = pki.make_server_certificate(ours, ["rift"], days=0)
    assert pki.examine(past.certificate, key=None, ca=None, names=[]).problem.startswith("expired on ")


def test_a_ca_is_never_replaced(tmp_path: Path, ca: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = (tmp_path / "ca.pem").read_bytes()
    options = ("--cert", tmp_path / "ca.pem", "--key", tmp_path / "ca.key")
    assert cert("ca", *options) == 1
    assert "a CA is never overwritten" in capsys.readouterr().err
    assert (tmp_path / "ca.pem").read_bytes() == before
    key = (tmp_path / "ca.key").read_bytes()
    (tmp_path / "ca.pem").unlink()  # as after a run that was interrupted between the two
    assert cert("ca", *options) == 0
    assert (tmp_path / "ca.key").read_bytes() == key


@pytest.mark.parametrize("asked", [b"", b"no request", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"])
def test_what_is_no_request_is_one_line(
    ca: list[str], asked: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(asked))
    assert cert("sign", *ca, "rift") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("mcp-agent: a certificate, key or request cannot be used: ")
    assert said.err.count("\n") == 1


def private(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_ca_of_one_s_own_may_have_an_rsa_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, ca = tmp_path / "own.key", tmp_path / "own.pem"
    made_by = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=own"]
    subprocess.run([*made_by, "-keyout", str(key), "-out", str(ca)], check=True, capture_output=True)
    key.chmod(0o600)
    asked = request(tmp_path, capsys, "rift")
    made = tmp_path / "cert.pem"
    made.write_text(sign(["--ca", str(ca), "--ca-key", str(key)], asked, capsys, monkeypatch, "rift"))
    assert cert("check", "--cert", made, "--key", tmp_path / "key.pem", "--ca", ca, "rift") == 0


@pytest.mark.parametrize("what", ["encrypted", "ed25519"])
def test_a_key_that_cannot_be_used_is_one_line(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if what == "encrypted":
        protection: serialization.KeySerializationEncryption = serialization.BestAvailableEncryption(b"secret")
        content = ec.generate_private_key(ec.SECP256R1()).private_bytes(*PKCS8, protection)
    else:
        content = ed25519.Ed25519PrivateKey.generate().private_bytes(*PKCS8, serialization.NoEncryption())
    assert cert("request", "--key", private(tmp_path / "key.pem", content), "rift") == 2
    said = capsys.readouterr().err
    assert said.startswith("mcp-agent: a certificate, key or request cannot be used: the key is ")
    assert said.count("\n") == 1


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key.pem").write_bytes(pki.make_key())
    (tmp_path / "key.pem").chmod(0o644)
    assert cert("request", "--key", tmp_path / "key.pem", "rift") == 1
    assert "others can read it" in capsys.readouterr().err
