"""
The connection under a conversation: a thin Twisted Protocol, and the Factory that makes one for each client.

It runs the conversation's coroutine by hand.  Five waits for bytes belong to one message; through a Deferred each would cost
3 µs, resumed directly it is a tenth of that.  What it keeps is bounded both ways: it stops reading from a client that sends
ahead of our answers, and the conversation stops answering one that does not read them.
"""

from collections.abc import Generator
from enum import Enum
from types import coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLContextFactory,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kumotwist.config.listeners import ListenerSettings
from kumotwist.mail.disposition import TlsFacts
from kumotwist.reception.client import Ends
from kumotwist.reception.converse import Conversation
from kumotwist.reception.shared import Reception
from kumotwist.reception.waits import Hangup, Overdue
from kumotwist.smtp.watching import Account
from kumotwist.transport import write_now

_MOST_AHEAD = 64 * 1024  # octets that a client may send ahead of our answers before we stop reading
_LINGER = 10.0  # seconds that a client has to read our last words
_EARLY = 0.001  # seconds by which a timer may come early and still count: sums of floats are not exact


class Waits(Enum):
    """What a conversation waits for."""

    NOTHING = "nothing"  # it runs, or has not begun
    BYTES = "bytes"
    DRAIN = "the client to read"
    RESULT = "a result"
    POLICY = "the policy's answer"
    END = "the connection's end"


_BYTES, _NOTHING = Waits.BYTES, Waits.NOTHING  # looked up with every chunk


@implementer(IPushProducer, IHandshakeListener)
class ServerWire(Protocol):
    """One client's connection."""

    log = Logger()
    transport: Any  # ITCPTransport in production, its stand-ins in tests; Twisted's annotation is too narrow for both
    factory: "WireFactory"

    def __init__(self, factory: "WireFactory", settings: ListenerSettings) -> None:
        self.factory = factory
        self.choked = False
        self.timeout = settings.client_timeout
        self._settings = settings
        self._clock = factory.reception.clock
        self._waits_for = Waits.NOTHING
        self._connected = False
        self._leaving = False  # the server shuts down
        self._reading_paused = False
        self._timer: IDelayedCall | None = None
        self._timer_due = 0.0
        self._deadline: float | None = None
        self._asked: list[Any] | None = None  # where the answer belongs that the conversation waits for
        self._dialogues = factory.reception.dialogues
        self._account: Account | None = None  # of this dialogue, since somebody watches

    # Called by Twisted

    def connectionMade(self) -> None:
        self._connected = True
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self.factory.met(self)
        self._conversation = Conversation(self.factory.reception, self._settings, self, ends_of(self.transport))
        self._session = self._conversation.session
        self._coroutine = self._conversation.run()
        if self._dialogues.on:
            self._account = Account(self._dialogues, self._known, from_start=True)
            self._account.tell("Connected")
        self._go_on()

    def dataReceived(self, data: bytes) -> None:
        if self._dialogues.on:
            self._watched().client_said(data)
        if self._waits_for is _BYTES:
            self._session.receive(data)
            self._go_on()
        elif self._waits_for is not Waits.END:
            self._session.receive(data)
            if self._session.buffered > _MOST_AHEAD and not self._reading_paused:
                self._reading_paused = True
                self.transport.pauseProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._connected = False
        if self._dialogues.on:
            self._watched().closed(server=True)
        self.choked = True  # nothing that is still buffered is worth doing: nobody would hear of it, and do it again
        self.factory.lost(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waits_for in (Waits.BYTES, Waits.DRAIN, Waits.POLICY):
            self._go_on(Hangup(""))

    def pauseProducing(self) -> None:
        """The transport holds as much of our output as it should."""
        self.choked = True

    def resumeProducing(self) -> None:
        self.choked = False
        if self._waits_for is Waits.DRAIN:
            self._go_on()

    def stopProducing(self) -> None:
        """The connection is gone: connectionLost says so too."""

    def handshakeCompleted(self) -> None:
        handle = self.transport.getHandle()
        self._conversation.tls_began(
            TlsFacts(
                cipher=handle.get_cipher_name() or "",
                protocol_version=handle.get_protocol_version_name(),
                peer_subject_name=self.factory.reception.certificates.proved(handle),
            )
        )

    # Called by the conversation

    def write(self, octets: bytes) -> None:
        if self._connected:
            if self._dialogues.on:
                self._watched().answered(octets)
            write_now(self.transport, octets)

    def _known(self) -> dict[str, Any]:
        return self._conversation._client.meta  # nobody else is to see it

    def _watched(self) -> Account:
        """What is told of this dialogue to those that watch."""
        if self._account is None:
            self._account = Account(self._dialogues, self._known, from_start=False)
        return self._account

    def read_by(self, octets: int) -> None:
        self.transport.bufferSize = octets  # as Twisted's own connections have it

    @coroutine
    def more(self) -> Generator[None, None, None]:
        if not self._connected:
            raise Hangup("")
        if self._leaving and self._session.between_messages:
            raise Hangup("shutting down")
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resumeProducing()
        self._expect_within(self.timeout)
        self._waits_for = _BYTES
        yield

    @coroutine
    def drained(self) -> Generator[None, None, None]:
        if not self._connected:
            raise Hangup("")
        self._expect_within(self.timeout)
        self._waits_for = Waits.DRAIN
        yield

    @coroutine
    def result(self, deferred: "Deferred[None]") -> Generator[None, None, None]:
        fired: list[Any] = []
        deferred.addBoth(self._fired, fired)
        if not fired:
            self._deadline = None
            self._waits_for = Waits.RESULT
            yield
        if isinstance(fired[0], Failure):
            fired[0].raiseException()

    def _fired(self, outcome: Any, fired: list[Any]) -> None:
        fired.append(outcome)
        if self._waits_for is Waits.RESULT:
            self._go_on()

    @coroutine
    def answer(self, deferred: "Deferred[Any]", within: float) -> Generator[None, None, Any]:
        answered: list[Any] = []
        deferred.addBoth(self._answered, answered)
        if not answered:
            if not self._connected:
                deferred.cancel()
                raise Hangup("")
            self._expect_within(within)
            self._waits_for = Waits.POLICY
            self._asked = answered
            try:
                yield
            except (Hangup, Overdue):
                deferred.cancel()  # what it may yet say is for nobody
                raise
            finally:
                self._asked = None
        if isinstance(answered[0], Failure):
            answered[0].raiseException()
        return answered[0]

    def _answered(self, outcome: Any, answered: list[Any]) -> None:
        answered.append(outcome)
        if self._waits_for is Waits.POLICY and self._asked is answered:
            self._go_on()

    def start_tls(self, context: IOpenSSLContextFactory) -> None:
        if self._connected:
            self.transport.startTLS(context)

    def close(self) -> None:
        self._waits_for = Waits.END
        self._session.forget_input()
        if self._connected:
            self.transport.unregisterProducer()
            if self._reading_paused:
                self.transport.resumeProducing()  # TLS ends with a word from the other side
            self._expect_within(_LINGER)
            self.transport.loseConnection()

    # Called by the factory

    def leave(self) -> None:
        """The server shuts down: the dialogue ends as soon as no message is arriving or being stored."""
        self._leaving = True
        if self._waits_for is Waits.BYTES and self._session.between_messages:
            self._go_on(Hangup("shutting down"))

    def leave_now(self) -> None:
        """The time for that is over."""
        if self._waits_for in (Waits.BYTES, Waits.POLICY):
            self._go_on(Hangup("shutting down"))
        elif self._waits_for is not Waits.RESULT:
            self.transport.abortConnection()

    # The coroutine and the timer

    def _go_on(self, cause: Exception | None = None) -> None:
        """Let the conversation run until it waits again."""
        self._waits_for = _NOTHING
        try:
            if cause is None:
                self._coroutine.send(None)
            else:
                self._coroutine.throw(cause)
        except StopIteration:
            pass  # it has closed the connection
        except Exception:  # noqa: BLE001  (nobody above could do more than close the connection)
            self.log.failure("conversation could not be ended")
            self.transport.abortConnection()

    def _expect_within(self, seconds: float) -> None:
        """
        Something must happen within so many seconds.

        One timer serves all waits: it is moved only where it would come too late, and when it comes too early it is set anew.
        """
        self._deadline = deadline = self._clock.seconds() + seconds
        if self._timer is None:
            self._timer = self._clock.callLater(seconds, self._timer_came)
            self._timer_due = deadline
        elif self._timer_due > deadline:
            self._timer.reset(seconds)
            self._timer_due = deadline

    def _timer_came(self) -> None:
        self._timer = None
        if self._deadline is None:
            return  # the wait is somebody else's to end; the next one sets the timer again
        left = self._deadline - self._clock.seconds()
        if left > _EARLY:
            self._timer = self._clock.callLater(left, self._timer_came)
            self._timer_due = self._deadline
        elif self._waits_for is Waits.BYTES:
            self._go_on(Hangup("idle too long"))
        elif self._waits_for is Waits.POLICY:
            self._go_on(Overdue("the policy did not answer in time"))
        else:
            # It does not read our replies, or our last words: nothing more can be said.
            self.transport.abortConnection()


def ends_of(transport: Any) -> Ends:
    """
    Who is connected to whom.

    An IPv4 client of an IPv6 socket has its IPv4 address, so that networks fit it; a link-local one is named without its zone.
    """
    peer, local = transport.getPeer(), transport.getHost()
    return Ends(peer_ip=_plain(peer.host), peer_port=peer.port, local_ip=_plain(local.host), local_port=local.port)


def _plain(ip: str) -> str:
    ip = ip.partition("%")[0]
    return ip[7:] if ip.startswith("::ffff:") and "." in ip else ip


class TurnedAway(Protocol):
    """A client that is one too many."""

    def __init__(self, text: str) -> None:
        self._text = text

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._text.encode())
        self.transport.loseConnection()


class WireFactory(Factory):
    """
    One listener's connections.

    settings: for clients that connect from now on; those that are connected keep theirs.
    """

    noisy = False

    def __init__(self, reception: Reception, settings: ListenerSettings) -> None:
        self.reception = reception
        self.settings = settings
        self._counts = reception.counts.of(settings.listen)
        self._wires: dict[ServerWire, None] = {}  # in the order in which they came
        self._leaving = False
        self._empty: list[Deferred[None]] = []

    @property
    def connections(self) -> int:
        return len(self._wires)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        hostname = self.settings.hostname or self.reception.hostname
        if self._leaving:
            self._counts.denied += 1
            return TurnedAway(f"421 4.3.2 {hostname} shutting down\r\n")
        if len(self._wires) >= self.settings.max_connections:
            self._counts.denied += 1
            return TurnedAway(f"421 4.3.2 {hostname} too many concurrent sessions. Try later\r\n")
        return ServerWire(self, self.settings)

    def met(self, wire: ServerWire) -> None:
        self._wires[wire] = None
        self._counts.met += 1
        self._counts.connections = len(self._wires)

    def lost(self, wire: ServerWire) -> None:
        self._wires.pop(wire, None)
        self._counts.connections = len(self._wires)
        if not self._wires:
            waiting, self._empty = self._empty, []
            for deferred in waiting:
                deferred.callback(None)

    def open(self) -> None:
        """Clients may come, for the first time or again."""
        self._leaving = False

    def leave(self) -> "Deferred[None]":
        """Ask all to end; fires when the last connection is gone."""
        self._leaving = True
        gone: Deferred[None] = Deferred()
        for wire in list(self._wires):
            wire.leave()
        if self._wires:
            self._empty.append(gone)
        else:
            gone.callback(None)
        return gone

    def leave_now(self) -> None:
        """The time for that is over."""
        for wire in list(self._wires):
            wire.leave_now()
