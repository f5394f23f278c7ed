"""TLS towards receiving hosts: whom we trust, whether a certificate is the host's, and what was agreed."""

import service_identity
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates
from msgspec import Struct
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from kumotwist.config.egress import PathSettings
from kumotwist.config.keys import KeySource
from kumotwist.config.openssl import CipherSuite, in_openssl, openssl_options
from kumotwist.delivery.keys import AskPolicy, KeyUnavailable, read_key
from kumotwist.delivery.plan import literal_ip
from kumotwist.dns.cache import Cache
from kumotwist.mail.disposition import TlsFacts

_MOST_CONTEXTS = 256
_MOST_SESSIONS = 1024  # for each context, some KiB each: the certificates of the peer are in them
_SESSION_KEPT = 3600.0  # seconds; servers rarely accept an older one, and certificates change
_CONTEXT_KEPT = float("inf")
_CONTEXT_WITH_KEY_KEPT = 300.0  # as in the model: certificates are renewed in their files


class WrongCertificate(Exception):
    """The peer's certificate is valid, but not this host's; the argument says so."""


class TlsUnusable(Exception):
    """What was configured for TLS cannot be used; the argument says why."""


class TlsParameters(Struct, frozen=True, kw_only=True):
    """What a handshake depends on, beside the host.  verify: its certificate must be signed by whom we trust."""

    verify: bool
    certificate: KeySource | None = None  # ours, which some servers ask for
    private_key: KeySource | None = None
    cipher_list: str | None = None
    cipher_suites: str | None = None
    options: str | None = None
    suites: tuple[CipherSuite, ...] = ()  # instead of the two above, for all versions


def tls_parameters(settings: PathSettings, *, verify: bool) -> TlsParameters:
    """`rustls_cipher_suites` count unless `tls_prefer_openssl` says otherwise, as in the model; then OpenSSL's own lists do."""
    return TlsParameters(
        verify=verify,
        certificate=settings.tls_certificate,
        private_key=settings.tls_private_key,
        cipher_list=settings.openssl_cipher_list,
        cipher_suites=settings.openssl_cipher_suites,
        options=settings.openssl_options,
        suites=() if settings.tls_prefer_openssl else settings.rustls_cipher_suites,
    )


class TlsContext:
    """OpenSSL's context for some parameters, and the sessions with hosts that can be resumed under it."""

    __slots__ = ("sessions", "ssl")

    def __init__(self, context: SSL.Context) -> None:
        self.ssl = context
        self.sessions: Cache[SSL.Session] = Cache(_MOST_SESSIONS)

    def keep_session(self, where: str, connection: SSL.Connection, now: float) -> None:
        """
        Remember what a later handshake with this place can be shortened with; for a connection that was found good.

        Called when the peer has said something: TLS 1.3 sends tickets after the handshake, together with that.
        """
        session = connection.get_session()
        if session is not None:
            self.sessions.keep(where, session, now + _SESSION_KEPT)


class Trust:
    """
    Whose signatures on certificates we believe, as contexts that are made once: reading a bundle of roots costs milliseconds.

    A file that cannot be read fails the connections that need it, each time anew until it can, and nothing else.
    """

    def __init__(self, ca_file: str | None = None) -> None:
        """ca_file: PEM.  None: $SSL_CERT_FILE, else where OpenSSL looks by default."""
        self._ca_file = ca_file
        self._contexts: dict[TlsParameters, tuple[float, TlsContext]] = {}

    async def context(self, parameters: TlsParameters, ask_policy: AskPolicy | None, now: float) -> TlsContext:
        """Raises TlsUnusable."""
        known = self._contexts.get(parameters)
        if known is not None and known[0] > now:
            return known[1]
        context = self._make(parameters)
        if parameters.certificate is not None and parameters.private_key is not None:
            until = now + _CONTEXT_WITH_KEY_KEPT
            await _show_ours(context, parameters.certificate, parameters.private_key, ask_policy)
        else:
            until = _CONTEXT_KEPT
        if len(self._contexts) >= _MOST_CONTEXTS:
            del self._contexts[next(iter(self._contexts))]
        made = TlsContext(context)
        self._contexts[parameters] = (until, made)
        return made

    def _make(self, parameters: TlsParameters) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # thousands of idle connections do not each keep theirs
        context.set_options(SSL.OP_NO_COMPRESSION)
        _choose(context, parameters)
        if not parameters.verify:
            context.set_verify(SSL.VERIFY_NONE)
            return context
        try:
            if self._ca_file is not None:
                context.load_verify_locations(self._ca_file)
            else:
                context.set_default_verify_paths()  # looks at $SSL_CERT_FILE itself
        except (SSL.Error, OSError) as fault:
            raise TlsUnusable(f"the trusted certificates cannot be read: {in_words(fault)}") from None
        context.set_verify(SSL.VERIFY_PEER, _chain_verdict)
        return context


def _choose(context: SSL.Context, parameters: TlsParameters) -> None:
    """Ciphers and options of the path."""
    name = ""
    older, newer = parameters.cipher_list, parameters.cipher_suites
    if parameters.suites:
        older, newer = in_openssl(parameters.suites)
    try:
        if older == "":
            context.set_min_proto_version(SSL.TLS1_3_VERSION)
        elif older is not None:
            name = "openssl_cipher_list"
            context.set_cipher_list(older.encode())
        if newer == "":
            context.set_max_proto_version(SSL.TLS1_2_VERSION)
        elif newer is not None:
            name = "openssl_cipher_suites"
            context.set_tls13_ciphersuites(newer.encode())
        if parameters.options is not None:
            name = "openssl_options"
            context.set_options(openssl_options(parameters.options))
    except (SSL.Error, ValueError) as fault:
        raise TlsUnusable(f"{name} cannot be used: {in_words(fault)}") from None


async def _show_ours(context: SSL.Context, certificate: KeySource, key: KeySource, ask_policy: AskPolicy | None) -> None:
    """Our certificate, with those that lead to its authority, for servers that ask."""
    name = "tls_certificate"
    try:
        chain = load_pem_x509_certificates(await read_key(certificate, ask_policy))
        context.use_certificate(chain[0])
        for issuer in chain[1:]:
            context.add_extra_chain_cert(issuer)
        name = "tls_private_key"
        private = load_pem_private_key(await read_key(key, ask_policy), None)
        context.use_privatekey(private)  # type: ignore[arg-type]  # one of another kind is a TypeError
        context.check_privatekey()
    except (KeyUnavailable, SSL.Error) as fault:
        raise TlsUnusable(f"{name} cannot be used: {in_words(fault)}") from None
    except (ValueError, TypeError):
        raise TlsUnusable(f"{name} cannot be used: it is not what it should be, in PEM form") from None  # and not its text


def _chain_verdict(connection: SSL.Connection, certificate: X509, fault: int, depth: int, valid: int) -> bool:
    return bool(valid)  # OpenSSL's own verdict on the chain; the name is looked at once the handshake is through


@implementer(IOpenSSLClientConnectionCreator)
class Handshake:
    """
    One handshake with one host; verifies the chain where the context does, and names the host to the peer (SNI, RFC 6066).

    Twisted's own `optionsForClientTLS` wants a context for each connection, which would read the roots for each.
    """

    def __init__(self, context: SSL.Context, host: str, session: SSL.Session | None = None) -> None:
        """session: of an earlier connection to the same place, under the same context."""
        self._context = context
        self._host = host
        self._session = session

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N803 Twisted's name
        connection = SSL.Connection(self._context, None)
        if self._session is not None:
            connection.set_session(self._session)
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


def peer_chain(connection: SSL.Connection) -> list[Certificate]:
    """The certificates that the peer showed, its own first."""
    chain = connection.get_peer_cert_chain(as_cryptography=True)
    if chain:
        return chain
    own = connection.get_peer_certificate(as_cryptography=True)  # all that a resumed session may have kept
    return [] if own is None else [own]


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
