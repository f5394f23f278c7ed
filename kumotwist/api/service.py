"""Listening for HTTP: one Twisted service for each entry of `http_listeners`."""

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

from OpenSSL.SSL import NO_OVERLAPPING_PROTOCOLS, Connection
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from kumotwist.api.web import ApiSite, Web
from kumotwist.config.http import HttpListenerSettings
from kumotwist.config.keys import KeyData, KeyEvent
from kumotwist.reception.client import with_port
from kumotwist.reception.service import CannotListen, explained, listen_address
from kumotwist.reception.tls import BadCertificate, Certificates, Known, Shown
from kumotwist.transport import Bound

DRAIN = 30.0  # seconds that requests which have begun get at shutdown
_BACKLOG = 1024


class HttpListener(Service):
    """
    Serves the API at one address.

    address: the bound (host, port) while it listens.  settings: may be replaced, all but the address and `use_tls`.
    """

    log = Logger()

    def __init__(
        self,
        settings: HttpListenerSettings,
        web: Web,
        certificates: Certificates,
        reactor: Any,
        ask_policy: Callable[[KeyEvent], Any],
        *,
        drain: float = DRAIN,
        bound: Bound | None = None,
    ) -> None:
        """
        ask_policy: for a certificate or key that the policy keeps.  drain: seconds that stopping gives to requests.

        bound: sockets that are bound already.
        """
        self._bound = bound or Bound()
        self._site = ApiSite(web, settings, reactor)
        self._web = web
        self._certificates = certificates
        self._reactor = reactor
        self._ask_policy = ask_policy
        self._drain = drain
        self._port: IListeningPort | None = None

    @property
    def settings(self) -> HttpListenerSettings:
        return self._site.settings

    @settings.setter
    def settings(self, settings: HttpListenerSettings) -> None:
        self._site.settings = settings

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens.  Raises CannotListen before it does."""
        if self._port is None:
            raise CannotListen(f"not listening on {self.settings.listen}")
        bound = self._port.getHost()
        return bound.host, bound.port  # type: ignore[attr-defined]  # a TCP port's address has both

    def startService(self) -> None:
        """Raises CannotListen."""
        host, port = listen_address(self.settings.listen)
        if self.settings.use_tls:
            self._check_certificate()
        try:
            self._port = self._bound.listen(self._reactor, (host, port), self._factory(), _BACKLOG)
        except CannotListenError as fault:
            raise CannotListen(explained(self.settings.listen, fault)) from fault
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's Service is not annotated
        scheme = "HTTPS" if self.settings.use_tls else "HTTP"
        self.log.info("{scheme} listens on {address}", scheme=scheme, address=with_port(*self.address))

    def _check_certificate(self) -> None:
        try:
            self.context()
        except BadCertificate as fault:
            raise CannotListen(f"cannot listen on {self.settings.listen} with TLS: {fault}") from None

    def _factory(self) -> Any:
        if not self.settings.use_tls:
            return self._site
        return TLSMemoryBIOFactory(_Presented(self), False, self._site)

    def context(self) -> Any:
        """What the next client is shown under TLS.  Raises BadCertificate."""
        settings = self.settings
        hostname = settings.hostname or self._web.hostname()
        sni = {name: (self._known(one.tls_certificate), self._known(one.tls_private_key)) for name, one in settings.sni.items()}
        certificate = None if settings.tls_certificate is None else self._known(settings.tls_certificate)
        key = None if settings.tls_private_key is None else self._known(settings.tls_private_key)
        return self._certificates.factory(Shown(hostname=hostname, certificate=certificate, private_key=key, sni=sni)).getContext()

    def _known(self, source: Any) -> Known:
        """A file, or what is in it.  What the policy keeps must be there at once: a handshake does not wait."""
        if not isinstance(source, KeyEvent):
            return source  # type: ignore[no-any-return]  # a file's name, or KeyData
        answer = self._ask_policy(source)
        if isinstance(answer, str):
            answer = answer.encode()
        if not isinstance(answer, bytes):
            raise BadCertificate(f"{source.event_name}: expected a certificate or key as bytes, at once")
        return KeyData(answer)

    def stopService(self) -> "Deferred[None]":
        """Accept no more; fires when all that was asked is answered, or `drain` seconds are over."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's Service is not annotated
        port, self._port = self._port, None
        closed = port.stopListening() if port is not None else None
        idle = self._site.idle()
        idle.addTimeout(self._drain, self._reactor, onTimeoutCancel=lambda *_: None)
        if isinstance(closed, Deferred):
            closed.addErrback(lambda failure: self.log.failure("a port could not be closed", failure))
        return idle


def _speak_http(connection: Connection, offered: Sequence[bytes]) -> Any:
    """RFC 7301 section 3.2: of what a client offers, we speak one thing."""
    return b"http/1.1" if b"http/1.1" in offered else NO_OVERLAPPING_PROTOCOLS


@implementer(IOpenSSLServerConnectionCreator)
class _Presented:
    """Makes the TLS of each connection anew, so that a renewed certificate is in use at once."""

    def __init__(self, listener: HttpListener) -> None:
        self._listener = listener
        self._told: WeakSet[Any] = WeakSet()  # contexts that know what we speak

    def serverConnectionForTLS(self, tlsProtocol: Any) -> Connection:  # noqa: N803  Twisted's name
        context = self._listener.context()
        if context not in self._told:
            self._told.add(context)
            context.set_alpn_select_callback(_speak_http)
        return Connection(context, None)
