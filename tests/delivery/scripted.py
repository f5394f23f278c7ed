"""
Receiving hosts in memory: what they answer is a script, what they were told is a list.

Bytes travel when the test lets them (`Network.run`), never within a call: as with sockets.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectError, ConnectionAborted, ConnectionDone, ConnectionLost, UserError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

SILENCE = "silence"
HANG_UP = "hang up"  # in place of an answer: the connection is closed
THEN_HANG_UP = " then hang up"  # at the end of an answer: it is said, and the connection closed
UNHEARD = "250 2.0.0 said, but never heard"
RESET = "reset"  # the connection is lost in an unclean way

PLAIN = {
    "banner": "220 mx.example.com ESMTP",
    "EHLO": "250 mx.example.com",
    "LHLO": "250 mx.example.com",
    "AUTH": "235 2.7.0 welcome",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 go ahead",
    ".": "250 2.0.0 Ok: queued",
    "BDAT": "250 2.0.0 Ok: chunk queued",
    "RSET": "250 2.0.0 Ok",
    "QUIT": "221 2.0.0 Bye",
    "STARTTLS": "220 2.0.0 Ready",
}
EXTENSIONS = "250-mx.example.com\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 1000000"
MODERN = {**PLAIN, "EHLO": EXTENSIONS}
CHUNKING = {**PLAIN, "EHLO": EXTENSIONS.replace("250-PIPELINING", "250-PIPELINING\r\n250-CHUNKING")}
LOCAL = {**PLAIN, "LHLO": EXTENSIONS}  # says one `.` for each recipient that it took

Answers = Mapping[str, str | Sequence[str]]


class Mx:
    """
    One receiving host.  answers: by verb (`banner` and `.` too) what it says; of several the last is said ever after.

    In LMTP, which is spoken after LHLO, the end of a message is answered for each recipient that was taken.

    heard: the command lines, `.` for the end of a body.  writes: the chunks, as they came from the wire.
    taken: (recipients, body) of each message that it said yes to.
    """

    def __init__(self, answers: Answers = PLAIN, **changes: str | Sequence[str]) -> None:
        self._answers = {verb: deque([said] if isinstance(said, str) else said) for verb, said in {**answers, **changes}.items()}
        self.heard: list[str] = []
        self.writes: list[bytes] = []
        self.bodies: list[bytes] = []
        self.taken: list[tuple[list[str], bytes]] = []
        self.connections: list[Link] = []
        self.reading = True  # False: the host takes nothing more, and what is written piles up

    def connected(self, link: "Link") -> None:
        self.connections.append(link)
        self.say(link, "banner")

    def receive(self, link: "Link", data: bytes) -> None:
        self.writes.append(data)
        link.unread += data
        while link.open and not link.stuck:
            end = b"\r\n.\r\n" if link.in_body else b"\r\n"
            start = link.unread.startswith(b".\r\n") if link.in_body else False
            if link.chunk is not None:
                if len(link.unread) < link.chunk:
                    return
                body, link.unread = link.unread[: link.chunk], link.unread[link.chunk :]
                link.chunk = None
                self._take(link, body, "BDAT")
                continue
            if start:
                body, link.unread = b"", link.unread[3:]
            else:
                body, found, rest = link.unread.partition(end)
                if not found:
                    return
                link.unread = rest
            if link.in_body:
                link.in_body = False
                self.heard.append(".")
                self._take(link, body + b"\r\n" if body else b"", ".")
            else:
                self._command(link, body.decode())

    def _take(self, link: "Link", body: bytes, verb: str) -> None:
        self.bodies.append(body)
        recipients, link.recipients = link.recipients, []
        for group in [[one] for one in recipients] if link.local else [recipients]:
            if link.open and not link.stuck and self.say(link, verb).startswith("2"):
                self.taken.append((group, body))

    def _command(self, link: "Link", line: str) -> None:
        self.heard.append(line)
        verb = line.partition(" ")[0].upper()
        link.local = link.local or verb == "LHLO"
        if verb == "BDAT":
            link.chunk = int(line.split()[1])
            return
        said = self.say(link, verb)
        link.in_body = verb == "DATA" and said.startswith("354")
        if verb in ("EHLO", "LHLO", "RSET", "MAIL"):
            link.recipients = []
        elif verb == "RCPT" and said.startswith("2"):
            link.recipients.append(line.removeprefix("RCPT TO:<").removesuffix(">"))

    def say(self, link: "Link", verb: str) -> str:
        script = self._answers[verb]
        said = script.popleft() if len(script) > 1 else script[0]
        if said == RESET:
            link.lose(ConnectionLost())
        elif said == HANG_UP:
            link.lose(ConnectionDone())
        elif said in (SILENCE, UNHEARD):
            link.stuck = True
        else:
            link.send(f"{said.removesuffix(THEN_HANG_UP)}\r\n".encode("latin-1"))
            if said.endswith(THEN_HANG_UP):
                link.lose(ConnectionDone())
        return said


class Link:
    """One connection: the transport of the client under test, and the host's view of it."""

    disconnecting = False

    def __init__(self, network: "Network", mx: Mx, address: tuple[str, int], source: tuple[str, int]) -> None:
        self._network = network
        self._mx = mx
        self._source = source
        self.protocol: Any = None
        self.address = address
        self.open = True
        self.unread = b""
        self.in_body = False
        self.chunk: int | None = None  # octets that belong to a chunk and not to a command
        self.local = False  # LMTP is spoken
        self.recipients: list[str] = []
        self.stuck = False  # the host says and does nothing more of its own
        self.no_delay = False
        self.handshake: Any = None  # what startTLS was given
        self.producer: Any = None
        self.buffered: list[bytes] = []
        self.aborted = False

    # As the client's transport.

    def write(self, data: bytes) -> None:
        if not self.open:
            return
        if not self._mx.reading:
            self.buffered.append(data)
            if self.producer is not None:
                self.producer.pauseProducing()
            return
        self._network.later(self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        if self.open:
            self._mx.receive(self, data)

    def take_all(self) -> None:
        """The host reads what had piled up."""
        buffered, self.buffered = self.buffered, []
        for data in buffered:
            self._network.later(self._arrive, data)
        if self.producer is not None:
            self._network.later(self.producer.resumeProducing)

    def loseConnection(self) -> None:
        self.lose(ConnectionDone())

    def abortConnection(self) -> None:
        self.aborted = True
        self.lose(ConnectionAborted())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def startTLS(self, handshake: Any) -> None:
        self.handshake = handshake
        self.stuck = True

    def getHost(self) -> IPv4Address | IPv6Address:
        kind = IPv6Address if ":" in self._source[0] else IPv4Address
        return kind("TCP", *self._source)

    # As the host sees it.

    def send(self, data: bytes) -> None:
        self._network.later(self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        if self.protocol is not None and not self.aborted:
            self.protocol.dataReceived(data)

    def lose(self, reason: Exception) -> None:
        if self.open:
            self.open = False
            self._network.later(self._lost, reason)

    def _lost(self, reason: Exception) -> None:
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(reason))


class Connecting:
    """A connection that is being made."""

    def __init__(self, fail: Callable[[Exception], None]) -> None:
        self._fail = fail
        self.given_up = False

    def disconnect(self) -> None:
        self.given_up = True
        self._fail(UserError())


class Network(Clock):
    """
    The reactor of these tests.  hosts: by IP address an `Mx`, an exception to fail with, or SILENCE.

    attempts: (ip, port, timeout, bind address) of each connectTCP.
    """

    def __init__(self, hosts: Mapping[str, Mx | Exception | str] | None = None) -> None:
        super().__init__()
        self.hosts = dict(hosts or {})
        self.attempts: list[tuple[str, int, float, tuple[str, int] | None]] = []
        self.connectors: list[Connecting] = []
        self._pending: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def later(self, call: Callable[..., object], *args: Any) -> None:
        self._pending.append((call, args))

    def run(self) -> None:
        """Let everything travel that is under way."""
        self.advance(0)
        while self._pending:
            call, args = self._pending.popleft()
            call(*args)
            self.advance(0)

    def wait(self, seconds: float) -> None:
        self.run()
        self.advance(seconds)
        self.run()

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,  # noqa: N803 Twisted's name
    ) -> Connecting:
        self.attempts.append((host, port, timeout, bindAddress))
        there = self.hosts.get(host, ConnectError(string="Connection refused"))

        def fail(cause: Exception) -> None:
            factory.clientConnectionFailed(connector, Failure(cause))

        connector = Connecting(fail)
        self.connectors.append(connector)
        if isinstance(there, Mx):
            self.later(self._connect, connector, there, factory, (host, port), bindAddress)
        elif isinstance(there, Exception):
            self.later(fail, there)
        return connector

    def _connect(self, connector: Connecting, mx: Mx, factory: Any, address: tuple[str, int], bind: tuple[str, int] | None) -> None:
        if connector.given_up:
            return
        link = Link(self, mx, address, (bind[0] if bind else "192.0.2.200", 40000 + len(self.attempts)))
        link.protocol = factory.buildProtocol(None)
        link.protocol.makeConnection(link)
        mx.connected(link)
