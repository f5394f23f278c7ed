"""Stand-ins for the neighbours of reception: a desk that notes what it is given, a transport that TLS can be started on."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from kumotwist.config.listeners import ListenerSettings
from kumotwist.hooks.policy import Handler, Policy
from kumotwist.mail.disposition import Arrival, Peer
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds
from kumotwist.mail.reply import Reply
from kumotwist.reception.intake import Rules
from kumotwist.reception.service import Reception
from kumotwist.reception.wire import ServerWire, WireFactory


class FakeDesk:
    """
    Keeps every message at once; with `holds`, when it is told to.

    taken: messages that are kept.  refusals: (reply, facts) of each refusal.  fault: raised by take.  closed: closed_for's answer.
    """

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.arrivals: list[Arrival] = []
        self.refusals: list[tuple[Reply, dict[str, Any]]] = []
        self.holds = False
        self.held: list[tuple[Sequence[Message], Deferred[None]]] = []
        self.fault: Exception | None = None
        self.record_fault: Exception | None = None
        self.closed: str | None = None

    def take(self, messages: Sequence[Message], arrival: Arrival) -> "Deferred[None]":
        if self.fault is not None:
            raise self.fault
        self.arrivals.append(arrival)
        if not self.holds:
            self.taken.extend(messages)
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self.held.append((messages, waiting))
        return waiting

    def keep(self) -> None:
        """What is held longest is on disk now."""
        messages, waiting = self.held.pop(0)
        self.taken.extend(messages)
        waiting.callback(None)

    def fail(self, fault: Exception) -> None:
        """What is held longest could not be kept."""
        self.held.pop(0)[1].errback(fault)

    def refused(self, reply: Reply, *, sender: str, recipient: str, peer: Peer, session_id: str, meta: Mapping[str, Any]) -> None:
        if self.record_fault is not None:
            raise self.record_fault
        self.refusals.append(
            (reply, {"sender": sender, "recipient": recipient, "peer": peer, "session_id": session_id, "meta": dict(meta)})
        )

    def closed_for(self) -> str | None:
        return self.closed


class FakeHandle:
    """What OpenSSL says of a connection."""

    def get_cipher_name(self) -> str:
        return "TLS_AES_256_GCM_SHA384"

    def get_protocol_version_name(self) -> str:
        return "TLSv1.3"

    def get_peer_certificate(self) -> None:
        """It showed none."""


class FakeTransport(StringTransport):
    """Notes startTLS and abortConnection; bytes go on in the clear."""

    def __init__(self, peer: str = "192.0.2.7", local: str = "127.0.0.1") -> None:
        super().__init__(hostAddress=IPv4Address("TCP", local, 25), peerAddress=IPv4Address("TCP", peer, 54321))
        self.tls_contexts: list[object] = []
        self.aborted = False

    def startTLS(self, context: object) -> None:
        self.tls_contexts.append(context)

    def getHandle(self) -> FakeHandle:
        return FakeHandle()

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()


def policy_of(handlers: Mapping[str, Sequence[Callable[..., Any]]], clock: Clock) -> Policy:
    """A policy as if a file had registered these handlers."""
    return Policy(
        {
            event: tuple(Handler(call, len(inspect.signature(call).parameters), "/nowhere/policy.py:1") for call in calls)
            for event, calls in handlers.items()
        },
        clock,
    )


class Line:
    """One client's connection to a listener in memory."""

    def __init__(
        self,
        settings: ListenerSettings | None = None,
        *,
        rules: Rules = Rules(),  # noqa: B008  (a frozen value)
        peer: str = "127.0.0.1",
        desk: FakeDesk | None = None,
        connect: bool = True,
        policy: Mapping[str, Sequence[Callable[..., Any]]] | None = None,
    ) -> None:
        """policy: event → its handlers."""
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.desk = desk or FakeDesk()
        random = Random(1)
        self.reception = Reception(
            hostname="mx.example.com",
            clock=self.clock,
            ids=MessageIds(self.clock.seconds, random.getrandbits),
            randbits=random.getrandbits,
            desk=self.desk,
            rules=rules,
            policy=policy_of(policy or {}, self.clock),
        )
        self.factory = WireFactory(self.reception, settings or ListenerSettings())
        self.transport = FakeTransport(peer)
        self.wire: ServerWire
        if connect:
            self.connect()

    def connect(self) -> None:
        self.protocol = self.factory.buildProtocol(None)
        if isinstance(self.protocol, ServerWire):
            self.wire = self.protocol
        self.protocol.makeConnection(self.transport)

    def say(self, *lines: bytes) -> bytes:
        """Each line with CRLF, all in one chunk; what the server answers."""
        return self.send(b"".join(line + b"\r\n" for line in lines))

    def send(self, octets: bytes) -> bytes:
        """What the server answers; nothing after it closed the connection."""
        if not self.transport.disconnecting:
            self.protocol.dataReceived(octets)
        return self.heard()

    def heard(self) -> bytes:
        """What the server has said since last asked."""
        said = self.transport.value()
        self.transport.clear()
        return said

    def lose(self) -> None:
        """The client goes away."""
        self.protocol.connectionLost(Failure(ConnectionDone()))

    @property
    def closed(self) -> bool:
        """Whether the server has closed the connection."""
        return bool(self.transport.disconnecting)
