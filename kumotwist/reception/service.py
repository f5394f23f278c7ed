"""Listening for mail: one Twisted service for each entry of `esmtp_listeners`, and what they all share."""

import errno
from collections.abc import Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from kumotwist.config.listeners import ListenerSettings
from kumotwist.config.server import Config
from kumotwist.reception.client import with_port
from kumotwist.reception.shared import Reception
from kumotwist.reception.wire import WireFactory
from kumotwist.transport import Bound

__all__ = ["CannotListen", "EsmtpListener", "Reception"]

DRAIN = 30.0  # seconds that messages which are arriving at shutdown have to arrive
_PRIVILEGED = 1024  # ports below need privileges
_BACKLOG = 1024  # connections that the kernel keeps for us while we are busy

_REMEDIES = {
    errno.EADDRINUSE: "something listens there already: stop it, or configure another port",
    errno.EACCES: "ports below 1024 need privileges: start as root with twistd --uid, or grant CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address: add it, or configure 0.0.0.0 or [::]",
}


class CannotListen(Exception):
    """An address that cannot be bound; the argument names it and what to do.  For the operator."""


class EsmtpListener(Service):
    """
    Accepts SMTP connections on one address.

    address: the bound (host, port) while it listens, so that port 0 can be found.
    settings: may be replaced, all but the address; clients that are connected keep what they began with.
    """

    log = Logger()

    def __init__(
        self, settings: ListenerSettings, reception: Reception, reactor: Any, *, drain: float = DRAIN, bound: Bound | None = None
    ) -> None:
        """
        reactor: listens on TCP and has the time.  drain: seconds that stopping gives to messages which are arriving.

        bound: sockets that are bound already.
        """
        self._bound = bound or Bound()
        self._factory = WireFactory(reception, settings)
        self._listen = settings.listen
        self._reactor = reactor
        self._drain = drain
        self._port: IListeningPort | None = None

    @property
    def settings(self) -> ListenerSettings:
        return self._factory.settings

    @settings.setter
    def settings(self, settings: ListenerSettings) -> None:
        self._factory.settings = settings

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return self._factory.connections

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens.  Raises CannotListen before it does."""
        if self._port is None:
            raise CannotListen(f"not listening on {self._listen}")
        bound = self._port.getHost()
        return bound.host, bound.port  # type: ignore[attr-defined]  # a TCP port's address has both

    def privilegedStartService(self) -> None:
        """Before privileges are dropped: ports below 1024.  Raises CannotListen."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted's Service is not annotated
        self._open()

    def startService(self) -> None:
        """Raises CannotListen."""
        self._open()
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's Service is not annotated

    def _open(self) -> None:
        if self._port is not None:
            return
        host, port = listen_address(self._listen)
        try:
            self._port = self._bound.listen(self._reactor, (host, port), self._factory, _BACKLOG)
        except CannotListenError as fault:
            raise CannotListen(explained(self._listen, fault)) from fault
        self._factory.open()
        self.log.info("ESMTP listens on {address}", address=with_port(*self.address))

    def stopService(self) -> "Deferred[None]":
        """
        Accept no more, and fire when all connections are gone.

        Idle clients are told at once, those in the middle of a message when it has been answered; after `drain` seconds
        whoever is left is told as well.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's Service is not annotated
        port, self._port = self._port, None
        closed = port.stopListening() if port is not None else None
        left = self._factory.leave()
        timer = self._reactor.callLater(self._drain, self._factory.leave_now)

        def gone(_: object) -> None:
            if timer.active():
                timer.cancel()

        left.addCallback(gone)
        both = DeferredList([left, *([closed] if isinstance(closed, Deferred) else [])], consumeErrors=True)
        return both.addCallback(lambda _: None)


def listen_where(
    wanted: Iterable[ListenerSettings],
    listeners: dict[str, EsmtpListener],
    reception: Reception,
    reactor: Any,
    bound: Bound,
) -> None:
    """Have listeners, by `ip:port`, where they are wanted, and nowhere else.  Raises CannotListen."""
    by_address = {settings.listen: settings for settings in wanted}
    for listen in listeners.keys() - by_address.keys():
        listeners.pop(listen).stopService()
    for listen, settings in by_address.items():
        if listen in listeners:
            listeners[listen].settings = settings
            continue
        listener = EsmtpListener(settings, reception, reactor, bound=bound)
        listener.startService()
        listeners[listen] = listener


def bind_early(bound: Bound, config: Config) -> None:
    """Bind those of the configured ports that only root may, of SMTP and of HTTP.  Raises CannotListen."""
    wanted = [one.listen for one in config.esmtp_listeners] + [one.listen for one in config.http_listeners]
    for listen in wanted:
        host, port = listen_address(listen)
        if 0 < port < _PRIVILEGED:
            try:
                bound.bind((host, port))
            except OSError as fault:
                raise CannotListen(explained(listen, CannotListenError(host, port, fault))) from fault


def listen_address(listen: str) -> tuple[str, int]:
    """`ip:port` or `[ip]:port` as host and port."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def explained(listen: str, fault: CannotListenError) -> str:
    number = getattr(fault.socketError, "errno", None)
    reason = getattr(fault.socketError, "strerror", None) or str(fault.socketError)
    remedy = _REMEDIES.get(number) if number is not None else None
    return f"cannot listen on {listen}: {reason}" + (f" ({remedy})" if remedy else "")
