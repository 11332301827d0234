"""TLS settings, and certificates that openssl accepts."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from agent.admin import pki
from agent.admin.pki import KeyPair
from mcp.shared import tls


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run openssl."""
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


@pytest.fixture(scope="module")
def ca() -> KeyPair:
    """A certificate authority."""
    return pki.make_ca("MCP test CA")


@pytest.fixture
def folder(tmp_path: Path, ca: KeyPair) -> Path:
    """A folder with ca.pem, and a server's cert.pem and key.pem below it."""
    server = pki.make_server_certificate(ca, ["localhost", "127.0.0.1", "::1"])
    for name, content in (("ca.pem", ca.certificate), ("cert.pem", server.certificate), ("key.pem", server.key)):
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_grpc_is_told_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_SSL_CIPHER_SUITES", "ALL")
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)
    tls.prepare_grpc()
    assert os.environ["GRPC_SSL_CIPHER_SUITES"] == "ECDHE-PSK-AES128-CBC-SHA"
    assert os.environ["GRPC_VERBOSITY"] == "NONE"
    monkeypatch.setenv("GRPC_VERBOSITY", "DEBUG")
    tls.prepare_grpc()
    assert os.environ["GRPC_VERBOSITY"] == "DEBUG"


def test_the_cipher_is_one_without_certificates() -> None:
    listed = openssl("ciphers", "-v", "ECDHE-PSK-AES128-CBC-SHA:@SECLEVEL=0").stdout
    tls12 = [line for line in listed.splitlines() if "TLSv1.3" not in line]
    assert len(tls12) == 1
    assert "Au=PSK" in tls12[0]


def test_settings_come_before_grpc_in_a_fresh_process() -> None:
    code = "import mcp.client.agent, os; print(os.environ['GRPC_SSL_CIPHER_SUITES'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "ECDHE-PSK-AES128-CBC-SHA\n"


@pytest.mark.parametrize(
    "check", [("-verify_hostname", "localhost"), ("-verify_ip", "127.0.0.1"), ("-verify_ip", "::1")]
)
def test_openssl_accepts_a_server(folder: Path, check: tuple[str, str]) -> None:
    strict = ("verify", "-x509_strict", "-purpose", "sslserver", *check)
    done = openssl(*strict, "-CAfile", folder / "ca.pem", folder / "cert.pem")
    assert (done.returncode, done.stdout) == (0, f"{folder}/cert.pem: OK\n"), done.stderr


@pytest.mark.parametrize("check", [("-verify_hostname", "example.net"), ("-verify_ip", "127.0.0.2")])
def test_openssl_refuses_another_name(folder: Path, check: tuple[str, str]) -> None:
    assert openssl("verify", *check, "-CAfile", folder / "ca.pem", folder / "cert.pem").returncode != 0


def test_openssl_refuses_another_authority(folder: Path) -> None:
    (folder / "other.pem").write_bytes(pki.make_ca("MCP test CA").certificate)
    assert openssl("verify", "-CAfile", folder / "other.pem", folder / "cert.pem").returncode != 0


def test_a_server_cannot_sign(folder: Path, ca: KeyPair) -> None:
    server = KeyPair((folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes())
    (folder / "below.pem").write_bytes(pki.make_server_certificate(server, ["evil.example.net"]).certificate)
    done = openssl("verify", "-CAfile", folder / "ca.pem", "-untrusted", folder / "cert.pem", folder / "below.pem")
    assert done.returncode != 0


def test_the_authority_signs_end_certificates_only(folder: Path) -> None:
    text = openssl("x509", "-in", folder / "ca.pem", "-noout", "-ext", "basicConstraints,keyUsage").stdout
    assert "CA:TRUE, pathlen:0" in text
    assert "Certificate Sign, CRL Sign" in text


def test_certificate_and_key_belong_together(folder: Path) -> None:
    of_certificate = openssl("x509", "-in", folder / "cert.pem", "-noout", "-pubkey").stdout
    assert of_certificate == openssl("pkey", "-in", folder / "key.pem", "-pubout").stdout
    assert "BEGIN PUBLIC KEY" in of_certificate


def test_the_end_of_a_certificate(ca: KeyPair) -> None:
    certificate = pki.make_server_certificate(ca, ["localhost"], days=90).certificate
    end = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    assert abs(end - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["genrsa", "2048"], "does not match its certificate"),
        (["genpkey", "-algorithm", "ed25519"], "neither elliptic curve nor RSA"),
    ],
)
def test_a_key_that_is_not_the_authority_s_does_not_sign(ca: KeyPair, argv: list[str], why: str) -> None:
    key = openssl(*argv).stdout.encode()
    with pytest.raises(ValueError, match=why):
        pki.make_server_certificate(KeyPair(ca.certificate, key), ["localhost"])
