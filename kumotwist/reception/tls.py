"""
What a listener shows of itself under TLS: the configured certificate, or one made for its hostname.

Read when a client asks for it, and again whenever the files change, so a renewed certificate is in use at once.
"""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID
from msgspec import Struct
from OpenSSL import SSL
from twisted.internet.interfaces import IReactorTime
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.logger import Logger

_DAY = timedelta(days=1)
_SELF_SIGNED_FOR = 3650 * _DAY
_MOST_COMMON_NAME = 64  # characters: RFC 5280 appendix A.1, ub-common-name

Stamp = tuple[int, int, int]  # when a file was changed, its octets, its inode


class BadCertificate(Exception):
    """A certificate or key that cannot be used; the argument says which and why.  For the operator."""


class Certificates:
    """
    The TLS settings of listeners, each made once and kept until its files change.

    Reads small local files and, once for a hostname, makes an elliptic curve key: well under a millisecond, so not in a thread.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._from_files: dict[tuple[str, str], tuple[tuple[Stamp, Stamp], CertificateOptions]] = {}
        self._self_signed: dict[str, CertificateOptions] = {}
        self._said: dict[str, str] = {}  # what was wrong with a file when it was last read

    def options(self, hostname: str, certificate: str | None, private_key: str | None) -> CertificateOptions:
        """
        For a listener's STARTTLS; the paths as configured, both or none.  Raises BadCertificate.

        Files that turned bad, as in the middle of a renewal, are said once and leave the certificate in use that was good.
        """
        if certificate is None and private_key is None:
            made = self._self_signed.get(hostname)
            if made is None:
                made = self._self_signed[hostname] = _options(_self_signed(hostname, self._clock.seconds()))
            return made
        if certificate is None or private_key is None:
            raise BadCertificate("tls_certificate and tls_private_key go together")
        return self._of_files(certificate, private_key)

    def _of_files(self, certificate: str, private_key: str) -> CertificateOptions:
        known = self._from_files.get((certificate, private_key))
        try:
            stamp = (_stamp(certificate), _stamp(private_key))
            if known is not None and known[0] == stamp:
                return known[1]
            options = _options(_read(certificate, private_key))
        except (OSError, ValueError, TypeError, BadCertificate) as fault:
            if known is None:
                raise BadCertificate(f"{certificate}, {private_key}: {fault}") from fault
            if self._said.get(certificate) != str(fault):
                self._said[certificate] = str(fault)
                self.log.error("{file} cannot be used, the one before stays in use: {fault}", file=certificate, fault=fault)
            return known[1]
        self._said.pop(certificate, None)
        self._from_files[certificate, private_key] = (stamp, options)
        return options


class _Identity(Struct):
    """A certificate with those that complete its chain, and its key."""

    chain: list[x509.Certificate]
    key: PrivateKeyTypes


def _stamp(path: str) -> Stamp:
    facts = os.stat(path)
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _read(certificate: str, private_key: str) -> _Identity:
    """From PEM files.  Raises OSError, ValueError, TypeError."""
    with open(certificate, "rb") as file:
        chain = x509.load_pem_x509_certificates(file.read())
    with open(private_key, "rb") as file:
        return _Identity(chain, serialization.load_pem_private_key(file.read(), password=None))


def _options(identity: _Identity) -> CertificateOptions:
    """TLS 1.2 at least, as RFC 8996 asks.  Raises BadCertificate where the key is not the certificate's."""
    chain: list[Any] = list(identity.chain)  # pyOpenSSL wants cryptography's objects, Twisted's annotations still its old ones
    key: Any = identity.key
    options = CertificateOptions(privateKey=key, certificate=chain[0], extraCertChain=chain[1:], raiseMinimumTo=TLSVersion.TLSv1_2)
    try:
        options.getContext()
    except (SSL.Error, TypeError) as fault:  # TypeError: a key of a kind that is not for TLS
        raise BadCertificate(f"key and certificate cannot be used together: {fault}") from fault
    return options


def _self_signed(hostname: str, now: float) -> _Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:_MOST_COMMON_NAME])])
    begin = datetime.fromtimestamp(now, UTC).replace(tzinfo=None) - _DAY
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + _SELF_SIGNED_FOR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _Identity([certificate], key)
