"""
What a listener shows of itself under TLS: the configured certificate, the one for the name that a client asks for, or one
made for its hostname.

Read when a client asks for it, and again whenever the files change, so a renewed certificate is in use at once.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakSet

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID
from msgspec import Struct
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLContextFactory, IReactorTime
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.logger import Logger
from zope.interface import implementer

from kumotwist.config.keys import KeyData

_DAY = timedelta(days=1)
_MOST_KEPT = 4096  # certificates of files and policy that are kept ready
_SELF_SIGNED_FOR = 3650 * _DAY
_MOST_COMMON_NAME = 64  # characters: RFC 5280 appendix A.1, ub-common-name

Stamp = tuple[int, int, int]  # when a file was changed, its octets, its inode
Known = str | KeyData  # a file, or what is in it


class BadCertificate(Exception):
    """A certificate or key that cannot be used; the argument says which and why.  For the operator."""


class Shown(Struct, frozen=True, kw_only=True):
    """
    What one client is shown.  certificate, private_key: both or none; then one is made for the hostname.

    client_ca: whose certificates a client can prove itself with.  sni: the name that it asks for → certificate and key.
    """

    hostname: str
    certificate: Known | None = None
    private_key: Known | None = None
    client_ca: Known | None = None
    sni: Mapping[str, tuple[Known | None, Known | None]] = {}


class Certificates:
    """
    The TLS settings of listeners, each made once and kept until its files change.

    Reads small local files and, once for a hostname, makes an elliptic curve key: well under a millisecond, so not in a thread.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._read: dict[tuple[Known, Known], tuple[tuple[Stamp | None, Stamp | None], _Identity, CertificateOptions]] = {}
        self._authorities: dict[Known, tuple[Stamp | None, list[x509.Certificate]]] = {}
        self._self_signed: dict[str, tuple[_Identity, CertificateOptions]] = {}
        self._said: dict[str, str] = {}  # what was wrong with a file when it was last read
        self._unproved: WeakSet[SSL.Connection] = WeakSet()  # clients whose certificate no authority vouches for

    def factory(self, shown: Shown) -> IOpenSSLContextFactory:
        """For one STARTTLS.  Raises BadCertificate."""
        identity, options = self._chosen(shown.hostname, shown.certificate, shown.private_key)
        if not shown.sni and shown.client_ca is None:
            return options
        context = _options(identity).getContext()
        if shown.client_ca is not None:
            self._ask_for_certificate(context, self._trusted(shown.client_ca))
        if shown.sni:
            context.set_tlsext_servername_callback(lambda connection: self._named(connection, shown))
        return _Once(context)

    def options(self, hostname: str, certificate: Known | None, private_key: Known | None) -> CertificateOptions:
        """
        For a certificate and its key, both or none.  Raises BadCertificate.

        Files that turned bad, as in the middle of a renewal, are said once and leave the certificate in use that was good.
        """
        return self._chosen(hostname, certificate, private_key)[1]

    def proved(self, connection: Any) -> tuple[str, ...]:
        """
        Whom a client has proved to be by a certificate, as `CN=name`; empty if it has not.

        As the model's documentation has it: a client without a certificate, or with one that nobody vouches for, is like
        any other, and the policy looks at tls_peer_subject_name.  The model's code breaks the connection off instead, which
        shuts out clients that would need no certificate to relay, and tells them nothing.
        """
        certificate = connection.get_peer_certificate()
        if certificate is None or connection in self._unproved:
            return ()
        return tuple(
            f"{name.decode()}={value.decode('utf-8', 'replace')}" for name, value in certificate.get_subject().get_components()
        )

    def _ask_for_certificate(self, context: SSL.Context, authorities: list[x509.Certificate]) -> None:
        store = context.get_cert_store()
        assert store is not None
        for authority in authorities:
            store.add_cert(X509.from_cryptography(authority))
        # A resumed session would bring its certificate along without anybody looking at it again.
        context.set_options(SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)

        def look(connection: SSL.Connection, certificate: X509, fault: int, depth: int, good: int) -> bool:
            if not good:
                self._unproved.add(connection)
            return True

        context.set_verify(SSL.VERIFY_PEER, look)

    def _named(self, connection: SSL.Connection, shown: Shown) -> None:
        """The client asks for a name; an unknown one gets what those get who ask for none."""
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower().rstrip(".")
        known = shown.sni.get(name)
        if known is None:
            return
        try:
            connection.set_context(self.options(name, *known).getContext())
        except BadCertificate as fault:
            self.log.error("{name} gets the certificate of {hostname}: {fault}", name=name, hostname=shown.hostname, fault=fault)

    def _chosen(
        self, hostname: str, certificate: Known | None, private_key: Known | None
    ) -> "tuple[_Identity, CertificateOptions]":
        if certificate is None and private_key is None:
            made = self._self_signed.get(hostname)
            if made is None:
                identity = _self_signed(hostname, self._clock.seconds())
                made = self._self_signed[hostname] = identity, _options(identity)
            return made
        if certificate is None or private_key is None:
            raise BadCertificate("tls_certificate and tls_private_key go together")
        return self._given(certificate, private_key)

    def _given(self, certificate: Known, private_key: Known) -> "tuple[_Identity, CertificateOptions]":
        known = self._read.get((certificate, private_key))
        try:
            stamp = (_stamp(certificate), _stamp(private_key))
            if known is not None and known[0] == stamp:
                return known[1:]
            identity = _read(certificate, private_key)
            options = _options(identity)
        except (OSError, ValueError, TypeError, BadCertificate) as fault:
            if known is None:
                raise BadCertificate(f"{_called(certificate)}, {_called(private_key)}: {fault}") from fault
            self._say(certificate, fault)
            return known[1:]
        self._said.pop(_called(certificate), None)
        if len(self._read) >= _MOST_KEPT:
            self._read.clear()
        self._read[certificate, private_key] = (stamp, identity, options)
        return identity, options

    def _trusted(self, source: Known) -> list[x509.Certificate]:
        """The authorities that vouch for clients.  Raises BadCertificate."""
        known = self._authorities.get(source)
        try:
            stamp = _stamp(source)
            if known is not None and known[0] == stamp:
                return known[1]
            found = x509.load_pem_x509_certificates(_octets(source))
        except (OSError, ValueError) as fault:
            if known is None:
                raise BadCertificate(f"{_called(source)}: {fault}") from fault
            self._say(source, fault)
            return known[1]
        if len(self._authorities) >= _MOST_KEPT:
            self._authorities.clear()
        self._authorities[source] = (stamp, found)
        return found

    def _say(self, source: Known, fault: Exception) -> None:
        file = _called(source)
        if self._said.get(file) != str(fault):
            self._said[file] = str(fault)
            self.log.error("{file} cannot be used, the one before stays in use: {fault}", file=file, fault=fault)


@implementer(IOpenSSLContextFactory)
class _Once:
    """A context that was made for one client; kept by its connection."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def getContext(self) -> SSL.Context:
        return self._context


class _Identity(Struct):
    """A certificate with those that complete its chain, and its key."""

    chain: list[x509.Certificate]
    key: PrivateKeyTypes


def _stamp(source: Known) -> Stamp | None:
    if isinstance(source, KeyData):
        return None  # it is what it is
    facts = os.stat(source)
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _called(source: Known) -> str:
    return "key_data" if isinstance(source, KeyData) else source


def _octets(source: Known) -> bytes:
    if isinstance(source, KeyData):
        return source.data
    with open(source, "rb") as file:
        return file.read()


def _read(certificate: Known, private_key: Known) -> _Identity:
    """From PEM.  Raises OSError, ValueError, TypeError."""
    chain = x509.load_pem_x509_certificates(_octets(certificate))
    return _Identity(chain, serialization.load_pem_private_key(_octets(private_key), password=None))


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
