"""
Connections that leave from another machine: through a server that speaks HAProxy's protocol, or SOCKS5.

All of it happens before the first octet of SMTP: the wire takes over a connection on which the proxy has nothing to say
any more.
"""

import errno
from enum import Enum
from ipaddress import ip_address
from typing import Any, cast

from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from kumotwist.config.egress import EgressSource, IpLookupStrategy
from kumotwist.config.fields import join_port
from kumotwist.config.keys import KeySource
from kumotwist.delivery.keys import KeyUnavailable, read_key
from kumotwist.delivery.means import Means
from kumotwist.delivery.plan import Address, literal_ip
from kumotwist.delivery.socks import SocksDialogue, SocksFailed
from kumotwist.delivery.wire import ClientWire, ConnectFailed, connect
from kumotwist.mail.disposition import SourceAddress

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_PROXY, _TCP_OVER_IPV4, _TCP_OVER_IPV6 = b"\x21", b"\x11", b"\x21"


class ProxyKind(Enum):
    """What is spoken to it; as records name it."""

    HAPROXY = "haproxy"
    SOCKS5 = "socks5"


class Proxy(Struct, frozen=True, kw_only=True):
    """server: `host:port`.  source_address: what mail is to leave from."""

    kind: ProxyKind
    server: str
    source_address: str
    username: str | None = None
    password: KeySource | None = None


class Unplumbed(Exception):
    """The address that we would speak to the proxy from is not on this machine."""


class ProxyFailed(Exception):
    """
    No connection came about through it; the argument says why.

    unhealthy: that is its own fault, not the destination's.  cannot_bind: it cannot send from the address.
    """

    def __init__(self, text: str, *, unhealthy: bool = False, cannot_bind: bool = False) -> None:
        super().__init__(text)
        self.unhealthy = unhealthy
        self.cannot_bind = cannot_bind


def proxy_of(source: EgressSource) -> Proxy | None:
    """The proxy that a source names completely, server and address; HAProxy goes before SOCKS5, as in the model."""
    if source.ha_proxy_server is not None and source.ha_proxy_source_address is not None:
        return Proxy(kind=ProxyKind.HAPROXY, server=source.ha_proxy_server, source_address=source.ha_proxy_source_address)
    if source.socks5_proxy_server is not None and source.socks5_proxy_source_address is not None:
        return Proxy(
            kind=ProxyKind.SOCKS5,
            server=source.socks5_proxy_server,
            source_address=source.socks5_proxy_source_address,
            username=source.socks5_proxy_username,
            password=source.socks5_proxy_password,
        )
    return None


def sends_from(source: EgressSource) -> str | None:
    """The address that receiving hosts see, where it is ours to say."""
    proxy = proxy_of(source)
    address = source.source_address if proxy is None else proxy.source_address
    return None if address is None or ip_address(address).is_unspecified else address


def haproxy_header(source_address: str, address: Address) -> bytes:
    """The header of version 2 that says from where to connect, and where to (haproxy.org: proxy-protocol.txt section 2.2)."""
    source, target = ip_address(source_address), ip_address(address.ip)
    ports = b"\x00\x00" + address.port.to_bytes(2, "big")
    addresses = source.packed + target.packed + ports
    family = _TCP_OVER_IPV4 if target.version == 4 else _TCP_OVER_IPV6
    return _SIGNATURE + _PROXY + family + len(addresses).to_bytes(2, "big") + addresses


class _Tunnel(Protocol):
    """
    The connection while the proxy still speaks on it.

    connected_wire: fires when it is connected to the proxy.  through: fires when the wire has taken over.
    """

    transport: Any  # Twisted has no one name for what a TCP transport can do

    def __init__(self, wire: ClientWire) -> None:
        self.connected_wire: Deferred[_Tunnel] | None = None
        self._wire = wire
        self._dialogue: SocksDialogue | None = None
        self._through: Deferred[None] | None = None

    def connectionMade(self) -> None:
        connected, self.connected_wire = self.connected_wire, None
        if connected is None:
            self.transport.abortConnection()
        else:
            connected.callback(self)

    def announce(self, header: bytes) -> None:
        """One word, to which there is no answer."""
        self.transport.write(header)
        self._hand_over()

    def converse(self, dialogue: SocksDialogue) -> "Deferred[None]":
        """Fires when the proxy has done what it should.  Fails with SocksFailed."""
        self._dialogue = dialogue
        through: Deferred[None] = Deferred(lambda _: self.transport.abortConnection())
        self._through = through
        self.transport.write(dialogue.begin())
        return through

    def dataReceived(self, data: bytes) -> None:
        dialogue = self._dialogue
        if dialogue is None or self._through is None:
            return
        try:
            if said := dialogue.receive(data):
                self.transport.write(said)
        except SocksFailed as fault:
            self._fail(fault)
            return
        if dialogue.done:
            self._hand_over()
            through, self._through = self._through, None
            through.callback(None)
            if dialogue.rest:
                self._wire.dataReceived(dialogue.rest)

    def _hand_over(self) -> None:
        transport = self.transport
        transport.protocol = self._wire
        self._wire.makeConnection(transport)  # type: ignore[no-untyped-call]  # Twisted's

    def _fail(self, fault: Exception) -> None:
        through, self._through = self._through, None
        self.transport.abortConnection()
        if through is not None and not through.called:
            through.errback(fault)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fail(SocksFailed("it closed the connection"))


async def connect_through(
    proxy: Proxy, wire: ClientWire, address: Address, source_address: str | None, timeout: float, means: Means
) -> SourceAddress:
    """
    Connect the wire to an address of the family of the proxy's own, all within `timeout` seconds.

    source_address: ours, towards the proxy.
    Returns where the connection leaves from.  Raises ProxyFailed, or Unplumbed.
    """
    ends = means.reactor.seconds() + timeout
    try:
        dialogue = await _dialogue(proxy, address, means)
        tunnel = await _reach(proxy, wire, source_address, ends, means)
        if dialogue is None:
            tunnel.announce(haproxy_header(proxy.source_address, address))
            return SourceAddress(join_port(proxy.source_address, 0), proxy.kind.value, proxy.server)
        left = max(0.0, ends - means.reactor.seconds())
        await tunnel.converse(dialogue).addTimeout(left, cast(IReactorTime, means.reactor))
    except SocksFailed as fault:
        raise ProxyFailed(f"proxy {proxy.server}: {fault}", unhealthy=fault.cannot_bind, cannot_bind=fault.cannot_bind) from None
    except TimeoutError:
        raise ProxyFailed(f"proxy {proxy.server}: Timed Out waiting {timeout:g}s for its connection") from None
    return SourceAddress(dialogue.bound, proxy.kind.value, proxy.server)


async def _dialogue(proxy: Proxy, address: Address, means: Means) -> SocksDialogue | None:
    """What is to be said to it; None: no more than a header."""
    if proxy.kind is ProxyKind.HAPROXY:
        return None
    login = None
    if proxy.username is not None and proxy.password is not None:
        try:
            login = (proxy.username, (await read_key(proxy.password, means.ask_policy)).decode("utf-8", "replace"))
        except KeyUnavailable as fault:
            raise ProxyFailed(f"proxy {proxy.server}: there is no password for it: {fault}") from None
    return SocksDialogue((address.ip, address.port), proxy.source_address, login)


async def _reach(proxy: Proxy, wire: ClientWire, source_address: str | None, ends: float, means: Means) -> _Tunnel:
    """A connection to the proxy: its addresses one after the other, as long as there is time."""
    host, _, port = proxy.server.rpartition(":")
    failures = []
    for ip in await _addresses(host, source_address, ends, means):
        left = ends - means.reactor.seconds()
        if left <= 0:
            break
        try:
            return await connect(means.reactor, _Tunnel(wire), ip, int(port), source_address, left)
        except ConnectFailed as fault:
            if fault.bind_errno == errno.EADDRNOTAVAIL:
                raise Unplumbed from None
            failures.append(f"{join_port(ip, int(port))}: {fault}")
    why = ", ".join(failures) or "it has no address that can be used"
    raise ProxyFailed(f"proxy {proxy.server} cannot be reached: {why}", unhealthy=True)


async def _addresses(host: str, source_address: str | None, ends: float, means: Means) -> tuple[str, ...]:
    """Those of the proxy that can be reached from our address."""
    literal = literal_ip(host)
    found = (literal,) if literal else await _looked_up(host, ends - means.reactor.seconds(), means)
    if source_address is None:
        return found
    return tuple(ip for ip in found if (":" in ip) == (":" in source_address))


async def _looked_up(host: str, timeout: float, means: Means) -> tuple[str, ...]:
    try:
        return await means.resolver.addresses(host, IpLookupStrategy.IPV4_AND_IPV6).addTimeout(
            timeout, cast(IReactorTime, means.reactor)
        )
    except CancelledError:
        raise
    except Exception as fault:  # noqa: BLE001  whatever a resolver fails with, the proxy's address is not known now
        raise ProxyFailed(f"the address of proxy {host} is not known: {fault}", unhealthy=True) from None
