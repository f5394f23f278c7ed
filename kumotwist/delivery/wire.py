"""
The socket under an outbound SMTP dialogue: a thin Twisted Protocol.

What is written and what it means is the session's; here are only bytes, deadlines, and the end of a connection.  One
exchange at a time: somebody writes and waits, and the Deferred fires once every reply that is due has come.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast
from typing import Protocol as Seam

from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectBindError, ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IPushProducer,
)
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from kumotwist.delivery.tls import in_words
from kumotwist.mail.reply import Reply
from kumotwist.smtp.client_session import ClientSession, PeerBrokeProtocol, Stage
from kumotwist.smtp.watching import UNWATCHED, Account, Dialogues
from kumotwist.transport import write_now

PIECE = 65536  # octets of a long body that are written at a time
LONGEST_WRITE = 60.0  # seconds in which a peer must take one of them
SHORTEST_TICK = 0.05


class Reactor(Seam):
    """What sessions need of the reactor.  seconds: the epoch."""

    def seconds(self) -> float: ...

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> IDelayedCall: ...

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,  # noqa: N803 Twisted's name
    ) -> IConnector: ...


class Transport(Seam):
    """What the wire needs of a TCP transport, encrypted or not."""

    def write(self, data: bytes) -> None: ...

    def loseConnection(self) -> None: ...

    def abortConnection(self) -> None: ...

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def startTLS(self, contextFactory: IOpenSSLClientConnectionCreator) -> None: ...  # noqa: N803 Twisted's name

    def getHandle(self) -> SSL.Connection: ...

    def getHost(self) -> IPv4Address | IPv6Address: ...


class WireBroken(Exception):
    """The connection is of no more use; the argument says why."""


class TimedOut(WireBroken):
    """The peer did not do in time what was due."""


class ConnectionEnded(WireBroken):
    """The connection was closed or lost.  cause: what Twisted said of it, None where we ended it."""

    def __init__(self, text: str, cause: BaseException | None = None) -> None:
        super().__init__(text)
        self.cause = cause


class ShutDown(WireBroken):
    """We stop, and have waited for this connection long enough."""


class ConnectFailed(Exception):
    """No connection came about.  bind_errno: why the source address could not be bound, where that is what failed."""

    def __init__(self, cause: BaseException | None) -> None:
        super().__init__(str(cause))
        self.bind_errno: int | None = cause.osError if isinstance(cause, ConnectBindError) else None


Fault = WireBroken | PeerBrokeProtocol


@implementer(IHandshakeListener, IPushProducer)
class ClientWire(Protocol):
    """
    One outbound connection.

    The deadline is a number; one delayed call for the connection looks at it, at the latest every `tick` seconds, and
    `tick` is the shortest patience there is: so no new deadline lies before the next look, and no reply costs a timer.

    broken: why the wire cannot be used any more; None while it can.  when_broken: told of it while nobody waits.
    pouring: a long body was begun and its end not written.  deadline: until when what is waited for must come, epoch seconds.
    """

    transport: Transport  # type: ignore[assignment]  # Twisted has no one name for what a TCP transport can do

    def __init__(
        self, reactor: Reactor, session: ClientSession, patience: Sequence[float], dialogues: Dialogues = UNWATCHED
    ) -> None:
        """patience: seconds to wait for a reply, by `Stage`.  dialogues: for who watches this one."""
        self._about: Callable[[], Mapping[str, Any]] = dict  # what those are shown of it
        self._message: str | None = None  # the last that they were told of
        self._dialogues = dialogues
        self._account: Account | None = None
        self.session = session
        self.broken: Fault | None = None
        self.when_broken: Callable[[], None] | None = None
        self.pouring = False
        self.connected_wire: Deferred[ClientWire] | None = None
        self._reactor = reactor
        self._patience = patience
        self._tick = max(SHORTEST_TICK, min(*patience, LONGEST_WRITE))
        self._waiting: Deferred[list[Reply]] | None = None
        self._task = ""  # what is waited for where it is no reply
        self._patient = 0.0  # seconds that the deadline in force was set for
        self.deadline: float | None = None
        self._timer: IDelayedCall | None = None
        self._choked = False  # more was written than the peer takes at once
        self._open = False
        self._closed: Deferred[None] | None = None

    # Asking.

    def check(self) -> bool:
        """Whether the next command may be sent: nothing broke, and the peer said nothing that would pass for its answer."""
        if self.broken is None and (said := self.session.out_of_step):
            self.give_up(PeerBrokeProtocol(f"said without being asked: {said[:200]}"))
        return self.broken is None

    def exchange(self, commands: bytes) -> "Deferred[list[Reply]]":
        """Write commands; fires with their replies once all have come.  Fails with WireBroken or PeerBrokeProtocol."""
        if not self.check():
            return fail(cast(Exception, self.broken))
        waiting = self._wait(self._patience[cast(Stage, self.session.due)])
        if self._dialogues.on:
            self._watched().asked(commands, secret=self.session.due is Stage.AUTH)
        write_now(self.transport, commands)
        return waiting

    def replies(self) -> "Deferred[list[Reply]]":
        """The same for what needs no write, or is written already: the greeting, the reply to a long body."""
        if self.broken is not None:
            return fail(self.broken)
        stage = self.session.due
        waiting = self._wait(0.0 if stage is None else self._patience[stage])
        if stage is None:
            self._fire()
        return waiting

    async def pour(self, body: bytes) -> list[Reply]:
        """
        Write a body, a long one piece by piece as the peer takes it; returns the reply to its end.

        The peer may take LONGEST_WRITE seconds for each piece (the model: for the whole, whatever its size).  One that
        refuses before all was written is believed; the wire is then broken, since the peer waits for the rest.
        """
        if len(body) <= 2 * PIECE:
            return await self.exchange(body)
        if not self.check():
            raise cast(Exception, self.broken)
        self.pouring = True
        self.transport.registerProducer(self, True)
        try:
            for start in range(0, len(body), PIECE):
                if self._dialogues.on:
                    self._watched().asked(body[start : start + PIECE])
                self.transport.write(body[start : start + PIECE])
                if self._choked and (early := await self._wait(LONGEST_WRITE, "to write the message")):
                    return self._refused_early(early)
        finally:
            self.transport.unregisterProducer()
        self.pouring = False
        return await self.replies()

    def _refused_early(self, early: list[Reply]) -> list[Reply]:
        if early[0].code < 400:
            fault = PeerBrokeProtocol(f"answered the message before its end: {early[0].single_line}")
            self.give_up(fault)
            raise fault
        self.give_up(ConnectionEnded("refused the message before its end"))
        return early

    def start_tls(self, handshake: IOpenSSLClientConnectionCreator) -> "Deferred[list[Reply]]":
        """Begin TLS; fires (with no replies) when the handshake is through, fails as `exchange` does."""
        if not self.check():
            return fail(cast(Exception, self.broken))
        waiting = self._wait(self._patience[Stage.STARTTLS], "for the TLS handshake")
        self.transport.startTLS(handshake)
        return waiting

    # Waiting.

    def _wait(self, patience: float, task: str = "") -> "Deferred[list[Reply]]":
        self._task = task
        self._patient = patience
        self.deadline = self._reactor.seconds() + patience
        if self._timer is None:
            self._timer = self._reactor.callLater(min(patience, self._tick), self._look)
        waiting: Deferred[list[Reply]] = Deferred(self._abandon)
        self._waiting = waiting
        return waiting

    def _abandon(self, waiting: "Deferred[list[Reply]]") -> None:
        """Whoever waited was cancelled.  Replies that come now could not be told from those to later commands."""
        self._waiting = None
        self.abort()

    def _fire(self) -> None:
        waiting, self._waiting, self.deadline = self._waiting, None, None
        if waiting is not None:
            waiting.callback(self.session.take())

    def _look(self) -> None:
        """Whether the deadline has passed; looks again later while there is one."""
        self._timer = None
        if self.deadline is None:
            return
        left = self.deadline - self._reactor.seconds()
        if left > 0:
            self._timer = self._reactor.callLater(min(left, self._tick), self._look)
            return
        task = self._task or f"for response to {self.session.due_command}"
        self.give_up(TimedOut(f"Timed Out waiting {self._patient:g}s {task}"))

    def give_up(self, fault: Fault) -> None:
        """Close at once for this reason: whoever waits is told, else whoever wants to know."""
        if self.broken is not None:
            return
        self.broken = fault
        if self._dialogues.on and self._closed is None:
            self._watched().tell({"Diagnostic": {"level": "ERROR", "message": str(fault)}})
        if self._open:
            self.transport.abortConnection()
        waiting, self._waiting, self.deadline = self._waiting, None, None
        if waiting is not None:
            waiting.errback(fault)
        elif self.when_broken is not None:
            self.when_broken()

    # Leaving.

    def abort(self) -> None:
        self.give_up(ConnectionEnded("given up"))

    async def part(self) -> None:
        """QUIT, then close; returns once the connection is closed, which neither step may delay for long."""
        patience = self._patience[Stage.QUIT]
        if self.check():
            with suppress(WireBroken, PeerBrokeProtocol):  # it is to end anyway
                await self.exchange(self.session.quit())
        if not self._open:
            return
        closed = self._closed = Deferred(lambda _: self.transport.abortConnection())
        latest = self._reactor.callLater(patience, self.transport.abortConnection)
        self.transport.loseConnection()
        try:
            await closed
        finally:
            if latest.active():
                latest.cancel()

    # What Twisted calls.

    def connectionMade(self) -> None:
        self._open = True
        if self.broken is not None:
            self.transport.abortConnection()  # given up while it was being made
            return
        self.transport.setTcpNoDelay(True)  # an envelope is a short write that waits for its replies
        if self._dialogues.on:
            self._watched().tell("Connected")
        connected, self.connected_wire = self.connected_wire, None
        if connected is not None:
            connected.callback(self)

    def dataReceived(self, data: bytes) -> None:
        if self.broken is not None:
            return
        if self._dialogues.on:
            self._watched().server_said(data)
        session = self.session
        heard = session.heard
        try:
            session.receive(data)
        except PeerBrokeProtocol as fault:
            self.give_up(fault)
            return
        due = session.due
        if self._waiting is None:
            self.check()
        elif due is None:
            self._fire()
        elif session.heard > heard and not self._task:
            self._patient = self._patience[due]
            self.deadline = self._reactor.seconds() + self._patient

    def handshakeCompleted(self) -> None:
        self._fire()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._open = False
        if self._dialogues.on:
            self._watched().closed(server=False)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        how = "connection closed by the peer" if reason.check(ConnectionDone) else f"connection lost: {in_words(reason.value)}"
        self.give_up(ConnectionEnded(how, reason.value))
        closed, self._closed = self._closed, None
        if closed is not None:
            closed.callback(None)

    def _watched(self) -> Account:
        """What is told of this connection to those that watch."""
        account = self._account
        if account is None:
            account = self._account = Account(self._dialogues, self._about, from_start=True)
            account.tell("BeginSession")
        message = self._about().get("message_id")
        if message is not None and message != self._message:
            self._message = message
            account.tell("MessageObtained")
        return account

    def introduce(self, about: Callable[[], Mapping[str, Any]]) -> None:
        """about: what is known of this connection at any moment, for those that watch."""
        self._about = about
        if self._dialogues.on:
            self._watched()

    def pauseProducing(self) -> None:
        self._choked = True

    def resumeProducing(self) -> None:
        self._choked = False
        self._fire()

    def stopProducing(self) -> None:
        """The connection is gone: `connectionLost` says so too."""


class Connectable(Seam):
    """A protocol of Twisted's that tells once that it is connected."""

    connected_wire: "Deferred[Any] | None"

    def makeConnection(self, transport: Any) -> None: ...


P = TypeVar("P", bound=Connectable)


class _Connecting(ClientFactory):
    """Twisted's way to one connection."""

    noisy = False

    def __init__(self, protocol: Connectable) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return cast(Protocol, self._protocol)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        connected, self._protocol.connected_wire = self._protocol.connected_wire, None
        if connected is not None:
            connected.errback(ConnectFailed(reason.value))


def connect(reactor: Reactor, protocol: P, ip: str, port: int, source_address: str | None, timeout: float) -> "Deferred[P]":
    """Connect from the source address (None: the kernel's choice); fires with the protocol, fails with ConnectFailed."""

    def cancel(_: object) -> None:
        protocol.connected_wire = None
        connector.disconnect()

    connected: Deferred[P] = Deferred(cancel)
    protocol.connected_wire = connected
    bind = None if source_address is None else (source_address, 0)
    connector = reactor.connectTCP(ip, port, _Connecting(protocol), timeout, bind)
    return connected
