"""Small proxies for tests, on real sockets: SOCKS5 as the model's proxy speaks it, and HAProxy's protocol."""

from ipaddress import ip_address
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


class Relay(Protocol):
    """The far end of a connection that was made for a client: what comes goes to the client."""

    def __init__(self, client: "ProxyServer") -> None:
        self.client = client

    def dataReceived(self, data: bytes) -> None:
        self.client.transport.write(data)

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self.client.transport.loseConnection()


class ProxyServer(Protocol):
    """What both have in common: something is said first, then a connection is made, then everything is passed on."""

    def connectionMade(self) -> None:
        self.factory.clients.add(self)
        self.rest = b""
        self.far: Any = None
        self.source = ""

    def dataReceived(self, data: bytes) -> None:
        if self.far is not None:
            self.far.transport.write(data)
            return
        self.rest += data
        self.listen()

    def listen(self) -> None:
        raise AssertionError("each proxy has its own words")

    def connect(self, ip: str, port: int) -> Any:
        self.factory.asked.append((self.source, ip, port))
        endpoint = TCP4ClientEndpoint(self.factory.reactor, ip, port, bindAddress=(self.source, 0))
        return endpoint.connect(Factory.forProtocol(lambda: Relay(self))).addCallback(self.pass_on)

    def pass_on(self, far: Any) -> None:
        self.far = far
        rest, self.rest = self.rest, b""
        if rest:
            far.transport.write(rest)

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self.factory.clients.discard(self)
        if self.far is not None:
            self.far.transport.loseConnection()


class SocksServer(ProxyServer):
    """BIND names the address to connect from, CONNECT connects."""

    said_hello = logged_in = False

    def listen(self) -> None:
        if not self.said_hello:
            if len(self.rest) < 2 or len(self.rest) < 2 + self.rest[1]:
                return
            self.rest = self.rest[2 + self.rest[1] :]
            self.said_hello = True
            self.logged_in = self.factory.login is None
            self.transport.write(b"\x05\x00" if self.logged_in else b"\x05\x02")
        elif not self.logged_in:
            name, rest = self.rest[2 : 2 + self.rest[1]], self.rest[2 + self.rest[1] :]
            secret, self.rest = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
            self.logged_in = (name, secret) == self.factory.login
            self.transport.write(b"\x01\x00" if self.logged_in else b"\x01\x01")
        elif len(self.rest) >= 10:
            request, self.rest = self.rest[:10], self.rest[10:]
            ip, port = str(ip_address(request[4:8])), int.from_bytes(request[8:], "big")
            if request[1] == 2:
                self.source = ip
                self.reply(0, ip, 0)
            else:
                self.connect(ip, port).addCallbacks(self.reached, lambda failure: self.reply(5, "0.0.0.0", 0))

    def reached(self, _: None) -> None:
        host = self.far.transport.getHost()
        self.reply(0, host.host, host.port)

    def reply(self, code: int, ip: str, port: int) -> None:
        self.transport.write(b"\x05%c\x00\x01" % code + ip_address(ip).packed + port.to_bytes(2, "big"))


class HaproxyServer(ProxyServer):
    """Takes a header of version 2 and does what it says."""

    asked_to = False

    def listen(self) -> None:
        if self.asked_to or len(self.rest) < 28:
            return
        header, self.rest = self.rest[:28], self.rest[28:]
        self.asked_to = True
        assert header[:16] == SIGNATURE + b"\x21\x11\x00\x0c", header
        self.source = str(ip_address(header[16:20]))
        target = str(ip_address(header[20:24]))
        self.connect(target, int.from_bytes(header[26:], "big")).addErrback(lambda failure: self.transport.loseConnection())


class Proxies(Factory):
    """login: (name, password) as octets that a client must give.  asked: (source, ip, port) of each connection."""

    def __init__(self, reactor: Any, protocol: type[ProxyServer], login: tuple[bytes, bytes] | None = None) -> None:
        self.reactor = reactor
        self.protocol = protocol
        self.login = login
        self.asked: list[tuple[str, str, int]] = []
        self.clients: set[ProxyServer] = set()
