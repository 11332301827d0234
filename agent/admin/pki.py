"""A small certificate authority and its server certificates (the only module that imports cryptography).

Generated keys are ECDSA P-256; an external authority may use RSA. All times are UTC; certificates are valid from an
hour ago, to tolerate clock skew.
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, in PEM."""

    certificate: bytes
    key: bytes


def make_ca(name: str, days: int = 3650, key: bytes | None = None) -> KeyPair:
    """Create a self-signed CA for end certificates only, with a new key unless given one."""
    return _make_ca(name, days, ec.generate_private_key(ec.SECP256R1()) if key is None else _private_key(key))


def _make_ca(name: str, days: int, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    subject = _subject(name)
    certificate = (
        _builder(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(_pem(certificate), _key_pem(key))


def make_server_certificate(ca: KeyPair, names: list[str], days: int = 825) -> KeyPair:
    """Create a key and a server certificate signed by `ca`, for names and IP addresses; the first is its subject."""
    key = ec.generate_private_key(ec.SECP256R1())
    return KeyPair(_signed(ca, key.public_key(), names, days), _key_pem(key))


def make_key() -> bytes:
    """Return a new private key in PEM."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def make_request(key: bytes, names: list[str]) -> bytes:
    """Return a certificate request (PKCS #10, PEM) for a key; raises ValueError for an unusable key."""
    request = x509.CertificateSigningRequestBuilder().subject_name(_subject(names[0]))
    alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
    signed = request.add_extension(alternatives, critical=False).sign(_private_key(key), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def sign_request(ca: KeyPair, request: bytes, names: list[str], days: int = 825) -> bytes:
    """Sign a request, for exactly these names; its signature proves possession of the key.

    Raises ValueError for an invalid request.
    """
    wanted = x509.load_pem_x509_csr(request)
    key = wanted.public_key()
    if not wanted.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("the request is not signed with its own elliptic curve key")
    return _signed(ca, key, names, days)


@dataclass(frozen=True)
class CertificateReport:
    """The expiry of the first certificate of a chain, and its problem; empty if it is valid."""

    expires: datetime
    problem: str


def examine(chain: bytes, *, key: bytes | None, ca: bytes | None, names: list[str]) -> CertificateReport:
    """Check a server certificate (PEM, with its chain): key, names, validity and signatures.

    Skips checks whose argument is None or empty. Raises ValueError for invalid PEM.
    """
    certificates = x509.load_pem_x509_certificates(chain)
    authorities = x509.load_pem_x509_certificates(ca) if ca is not None else []
    leaf = certificates[0]
    missing = [name for name in names if not _is_for(leaf, name)]
    problem = ""
    if key is not None and _public(_loaded(key).public_key()) != _leaf_key(leaf):
        problem = "does not match the key"
    elif missing:
        problem = f"does not cover {', '.join(missing)}"
    elif leaf.not_valid_after_utc <= datetime.now(UTC):
        problem = f"expired on {leaf.not_valid_after_utc:%Y-%m-%d}"
    elif authorities and not _leads_to(certificates, authorities):
        problem = "is not signed by the CA"
    return CertificateReport(leaf.not_valid_after_utc, problem)


def _leads_to(chain: list[x509.Certificate], authorities: list[x509.Certificate]) -> bool:
    """Return True if each certificate is signed by the next, and the last by an authority."""
    links = pairwise(chain)
    return all(_signed_by(below, above) for below, above in links) and any(
        chain[-1] == authority or _signed_by(chain[-1], authority) for authority in authorities
    )


def _signed_by(below: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_for(certificate: x509.Certificate, name: str) -> bool:
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    general = _general_name(name)
    if isinstance(general, x509.IPAddress):
        return general in list(alternatives)
    dns = [other.lower() for other in alternatives.get_values_for_type(x509.DNSName)]
    return name.lower() in dns or f"*.{name.lower().partition('.')[2]}" in dns


def _leaf_key(certificate: x509.Certificate) -> bytes:
    return _public(certificate.public_key())


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = _loaded(pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is not an elliptic curve key")
    return key


def _loaded(pem: bytes) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise ValueError("the key is encrypted; remove its passphrase") from None
    except UnsupportedAlgorithm as error:
        raise ValueError(f"the key is of an unsupported type: {error}") from None


def _signed(ca: KeyPair, key: ec.EllipticCurvePublicKey, names: list[str], days: int) -> bytes:
    issuer = x509.load_pem_x509_certificate(ca.certificate)
    issuer_key = _loaded(ca.key)
    if not isinstance(issuer_key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise ValueError("the CA's key is neither elliptic curve nor RSA")
    if _public(issuer_key.public_key()) != _leaf_key(issuer):
        raise ValueError("the CA's key does not match its certificate")
    certificate = (
        _builder(_subject(names[0]), issuer.subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return _pem(certificate)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
