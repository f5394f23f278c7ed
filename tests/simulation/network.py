"""A network in memory: connections with latency, bytes cut anywhere, ends that vanish."""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from twisted.internet.address import IPv4Address
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
    UserError,
)
from twisted.internet.interfaces import ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.simulation.timeline import Call, Timeline

_MOST_UNREAD = 65536  # octets on their way beyond which a writer is told to pause


class Speaker(Protocol):
    """Whoever is at one end: a Twisted protocol, or something that looks like it."""

    def makeConnection(self, transport: Any) -> object: ...

    def dataReceived(self, data: bytes) -> object: ...

    def connectionLost(self, reason: Failure) -> object: ...


@implementer(ITCPTransport)
class End:
    """One end of a connection; stands for Twisted's TCP transport.  unread: octets of ours that have not arrived."""

    def __init__(self, network: "Network", host: IPv4Address, peer: IPv4Address, owner: "Owner") -> None:
        self._network = network
        self._host = host
        self._peer = peer
        self._owner = owner
        self.other: End
        self.speaker: Any = None
        self.connected = False
        self.disconnecting = False
        self._aborted = False
        self._gone = False  # our speaker has heard of the end, or never will
        self._reading = True
        self._arriving: deque[bytes | Failure] = deque()  # came while nobody read
        self._latest = 0.0  # nothing may overtake what was sent before
        self._producer: Any = None
        self._paused_producer = False
        self.unread = 0
        self.heard: Callable[[bytes], None] | None = None  # told of what our speaker was given

    # What a transport can do

    def write(self, data: bytes) -> None:
        if not self.connected or self.disconnecting or not data:
            return
        self._send(bytes(data))

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if self.connected and not self.disconnecting:
            self.disconnecting = True
            if self._producer is None:
                self._finish()

    def _finish(self) -> None:
        when = self.other._expect(self._network.latency())
        self._network.timeline.at(when, self.other._come, Failure(ConnectionDone()))
        self._network.timeline.at(when, self._lose, Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        if self.connected:
            self.disconnecting = True
            self.connected = False
            self._aborted = True
            self._network.timeline.after(0.0, self._lose, Failure(ConnectionAborted()))
            self._network.timeline.after(self._network.latency(), self.other._lose, Failure(ConnectionLost()))

    def getPeer(self) -> IPv4Address:
        return self._peer

    def getHost(self) -> IPv4Address:
        return self._host

    def setTcpNoDelay(self, enabled: bool) -> None: ...

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None: ...

    def getTcpKeepAlive(self) -> bool:
        return False

    def loseWriteConnection(self) -> None:
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self._producer = producer
        if not self.connected:
            producer.stopProducing()

    def unregisterProducer(self) -> None:
        self._producer = None
        if self.disconnecting and self.connected:
            self._finish()

    def pauseProducing(self) -> None:
        self._reading = False

    def resumeProducing(self) -> None:
        if not self._reading:
            self._reading = True
            self._network.timeline.after(0.0, self._deliver)

    def stopProducing(self) -> None:
        self.loseConnection()

    # The way of the bytes

    def _send(self, octets: bytes) -> None:
        for part in self._network.cut(octets):
            self.unread += len(part)
            self._network.timeline.at(self.other._expect(self._network.latency()), self.other._come, part)
        if self.unread > _MOST_UNREAD and self._producer is not None and not self._paused_producer:
            self._paused_producer = True
            self._producer.pauseProducing()

    def _expect(self, latency: float) -> float:
        self._latest = max(self._latest, self._network.timeline.now + latency)
        return self._latest

    def _come(self, what: bytes | Failure) -> None:
        self._arriving.append(what)
        self._deliver()

    def _deliver(self) -> None:
        while self._arriving and self._reading and not (self._gone or self._aborted):
            what = self._arriving.popleft()
            if isinstance(what, Failure):
                self._lose(what)
                return
            self.other._was_read(len(what))
            if self.heard is not None:
                self.heard(what)
            if self._owner.alive:
                self.speaker.dataReceived(what)

    def _was_read(self, count: int) -> None:
        self.unread -= count
        if self._paused_producer and self.unread < _MOST_UNREAD // 2:
            self._paused_producer = False
            if self._producer is not None and self._owner.alive:
                self._producer.resumeProducing()

    def _lose(self, reason: Failure) -> None:
        """The connection is over for our speaker."""
        if self._gone:
            return
        self._gone = True
        self.connected = False
        self.disconnecting = True
        self._network.timeline.after(self._network.latency(), self.other._lose, Failure(ConnectionDone()))
        if self._owner.alive:
            if self._producer is not None:
                self._producer.stopProducing()
            self.speaker.connectionLost(reason)

    def vanish(self, flushed: bool) -> None:
        """The process at this end was killed.  flushed: what it had written still arrives."""
        if not self._gone:
            self._gone = True
            self.connected = False
            latency = self._network.latency()
            when = self.other._expect(latency) if flushed else self._network.timeline.now + latency
            self._network.timeline.at(when, self.other._lose, Failure(ConnectionLost()))


class Owner(Protocol):
    """A process: what happens at its ends once it is dead, nobody sees."""

    alive: bool


class World:
    """What is not our server: never dies."""

    alive = True


class Listening:
    """Stands for a listening port."""

    def __init__(self, network: "Network", address: tuple[str, int]) -> None:
        self._network = network
        self._address = address

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", *self._address)

    def startListening(self) -> None: ...

    def stopListening(self) -> None:
        self._network.listening.pop(self._address, None)


class Connecting:
    """Stands for a connector."""

    def __init__(self, network: "Network", owner: Owner, factory: Any, where: tuple[str, int], source: str, timeout: float) -> None:
        self._network = network
        self._owner = owner
        self._factory = factory
        self._where = where
        self._source = source
        self._timer: Call = network.timeline.after(timeout, self._fail, TimeoutError())
        self._made: End | None = None
        self._over = False
        network.timeline.after(network.latency(), self._arrive)

    def disconnect(self) -> None:
        if self._made is not None:
            self._made.loseConnection()
        else:
            self.stopConnecting()

    def stopConnecting(self) -> None:
        self._fail(UserError())

    def _fail(self, why: Exception) -> None:
        if not self._over and self._owner.alive:
            self._over = True
            if self._timer.active():
                self._timer.cancel()
            self._factory.clientConnectionFailed(self, Failure(why))

    def _arrive(self) -> None:
        if self._over or not self._owner.alive:
            return
        answer = self._network.reachable(self._where)
        if answer is None:
            return  # nobody says anything: the time-out will
        accept = self._network.listening.get(self._where)
        if not answer or accept is None:
            self._fail(ConnectionRefusedError())
            return
        self._over = True
        self._timer.cancel()
        self._made = self._network.join(self._factory.buildProtocol(None), self._owner, self._source, self._where, accept)


class Network:
    """
    listening: by address, what makes the speaker for a connection, and whose it is.
    reachable: whether a host can be reached just now: yes, it refuses, or (None) nothing comes back.
    """

    def __init__(self, timeline: Timeline, chance: Random) -> None:
        self.timeline = timeline
        self.chance = chance
        self.listening: dict[tuple[str, int], tuple[Callable[[], Any], Owner]] = {}
        self.reachable: Callable[[tuple[str, int]], bool | None] = lambda where: True
        self.ends: dict[End, None] = {}
        self._port = 1024

    def latency(self) -> float:
        return 0.001 + self.chance.random() ** 4 * 0.1

    def cut(self, octets: bytes) -> list[bytes]:
        """As the network cuts it."""
        if len(octets) < 2 or self.chance.random() < 0.8:
            return [octets]
        at = self.chance.randrange(1, len(octets))
        return [octets[:at], octets[at:]]

    def listen(self, address: tuple[str, int], make: Callable[[], Any], owner: Owner) -> Listening:
        self.listening[address] = (make, owner)
        return Listening(self, address)

    def connect(self, speaker: Any, owner: Owner, source: str, where: tuple[str, int]) -> End | None:
        """At once, for scripted clients; None: refused."""
        accept = self.listening.get(where)
        return None if accept is None else self.join(speaker, owner, source, where, accept)

    def join(self, speaker: Any, owner: Owner, source: str, where: tuple[str, int], accept: tuple[Callable[[], Any], Owner]) -> End:
        make, accepting = accept
        self._port = self._port % 60000 + 1
        near, far = IPv4Address("TCP", source, 1024 + self._port), IPv4Address("TCP", *where)
        ours, theirs = End(self, near, far, owner), End(self, far, near, accepting)
        ours.other, theirs.other = theirs, ours
        ours.speaker, theirs.speaker = speaker, make()
        ours.connected = theirs.connected = True
        self.ends[ours] = self.ends[theirs] = None
        if len(self.ends) > 200:
            self.ends = {end: None for end in self.ends if not end._gone}
        theirs.speaker.makeConnection(theirs)
        speaker.makeConnection(ours)
        return ours

    def kill(self, owner: Owner, flushed: Callable[[], bool]) -> None:
        """A process died: nobody listens there any more, and its connections break."""
        self.listening = {where: accept for where, accept in self.listening.items() if accept[1] is not owner}
        for end in list(self.ends):
            if end._owner is owner:
                end.vanish(flushed())
