"""Certificates for tests: an authority, and what it signs."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"), x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: str, issuer: str, key: EllipticCurvePrivateKey, *, authority: bool, days: int = 0) -> x509.CertificateBuilder:
    now = datetime.now(UTC) + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )


class Authority:
    """Signs certificates.  pem: its own."""

    def __init__(self, name: str = "authority") -> None:
        self._name = name
        self._key = generate_private_key(SECP256R1())
        own = _builder(name, name, self._key, authority=True).sign(self._key, SHA256())
        self.pem = own.public_bytes(Encoding.PEM)

    def sign(self, *names: str, days: int = 0) -> bytes:
        """Key and certificate for these names and addresses, as one PEM.  days: from now to the middle of its two days."""
        key = generate_private_key(SECP256R1())
        built = _builder(names[0], self._name, key, authority=False, days=days)
        built = built.add_extension(x509.SubjectAlternativeName(_general(names)), critical=False)
        certificate = built.sign(self._key, SHA256())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return private + certificate.public_bytes(Encoding.PEM)


def self_signed(*names: str) -> bytes:
    """Key and certificate as one PEM, vouched for by nobody else."""
    key = generate_private_key(SECP256R1())
    built = _builder(names[0], names[0], key, authority=False)
    built = built.add_extension(x509.SubjectAlternativeName(_general(names)), critical=False)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + built.sign(key, SHA256()).public_bytes(Encoding.PEM)


def _general(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found
