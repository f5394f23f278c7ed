"""TLS towards receiving hosts: whom we trust, whether a certificate is the host's, and what was agreed."""

import service_identity
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from kumotwist.delivery.plan import literal_ip
from kumotwist.mail.disposition import TlsFacts


class WrongCertificate(Exception):
    """The peer's certificate is valid, but not this host's; the argument says so."""


class Trust:
    """
    Whose signatures on certificates we believe, as contexts that are made once: reading a bundle of roots costs milliseconds.

    A file that cannot be read fails the connections that need it, each time anew until it can, and nothing else.
    """

    def __init__(self, ca_file: str | None = None) -> None:
        """ca_file: PEM.  None: $SSL_CERT_FILE, else where OpenSSL looks by default."""
        self._ca_file = ca_file
        self._contexts: dict[bool, SSL.Context] = {}

    def context(self, *, verify: bool) -> SSL.Context:
        """For connections that verify, or that take any certificate.  Raises SSL.Error or OSError."""
        context = self._contexts.get(verify)
        if context is None:
            context = self._contexts[verify] = self._make(verify)
        return context

    def _make(self, verify: bool) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # thousands of idle connections do not each keep theirs
        context.set_options(SSL.OP_NO_COMPRESSION)
        if not verify:
            context.set_verify(SSL.VERIFY_NONE)
            return context
        if self._ca_file is not None:
            context.load_verify_locations(self._ca_file)
        else:
            context.set_default_verify_paths()  # looks at $SSL_CERT_FILE itself
        context.set_verify(SSL.VERIFY_PEER, _chain_verdict)
        return context


def _chain_verdict(connection: SSL.Connection, certificate: X509, fault: int, depth: int, valid: int) -> bool:
    return bool(valid)  # OpenSSL's own verdict on the chain; the name is looked at once the handshake is through


@implementer(IOpenSSLClientConnectionCreator)
class Handshake:
    """
    One handshake with one host; verifies the chain where the context does, and names the host to the peer (SNI, RFC 6066).

    Twisted's own `optionsForClientTLS` wants a context for each connection, which would read the roots for each.
    """

    def __init__(self, context: SSL.Context, host: str) -> None:
        self._context = context
        self._host = host

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N803 Twisted's name
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(tlsProtocol)
        if literal_ip(self._host) is None and self._host.isascii():
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        return connection


def verify_host(connection: SSL.Connection, host: str) -> None:
    """Raises WrongCertificate where the certificate does not name the host (RFC 9525); host: without a trailing dot."""
    literal = literal_ip(host)
    try:
        if literal is None:
            verify_hostname(connection, host)
        else:
            verify_ip_address(connection, literal)
    except service_identity.VerificationError:
        raise WrongCertificate(f"the certificate is not for {host}") from None
    except service_identity.CertificateError as fault:
        raise WrongCertificate(f"the certificate names no host: {fault}") from None


def tls_facts(connection: SSL.Connection) -> TlsFacts:
    """What was agreed in a handshake that is through."""
    certificate = connection.get_peer_certificate(as_cryptography=True)
    subject = () if certificate is None else tuple(f"{part.rfc4514_attribute_name}={part.value!s}" for part in certificate.subject)
    return TlsFacts(connection.get_cipher_name() or "", connection.get_protocol_version_name(), subject)


def in_words(fault: BaseException | None) -> str:
    """A failed handshake in words: OpenSSL hands over a list of (library, function, reason)."""
    if isinstance(fault, SSL.Error) and fault.args and isinstance(fault.args[0], list):
        return ", ".join(str(part[-1]) for part in fault.args[0]) or "closed by the peer"
    return str(fault) or type(fault).__name__
