"""
The header with which a proxy in front of us begins a connection: who is connected to whom in truth.

HAProxy's PROXY protocol, versions 1 and 2.  What else version 2 may carry (TLV fields) is skipped.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from msgspec import Struct

from kumotwist.reception.client import Ends
from kumotwist.reception.waits import Wire
from kumotwist.smtp.server_session import ServerSession

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = 16  # octets of a version 2 header before the addresses
_MOST_OF_V1 = 107  # octets, CRLF included
_PORT = re.compile(r"(?:0|[1-9][0-9]{0,4})\Z")
_LOCAL, _PROXY = 0x20, 0x21  # version and command
_ADDRESS_OCTETS = {0x11: 4, 0x21: 16}  # TCP over IPv4, over IPv6


class BadProxyHeader(Exception):
    """What came is no such header; the argument says what is wrong."""


class ProxyHeader(Struct, frozen=True):
    """size: octets that it took.  ends: None where the proxy speaks for itself, or of what is no TCP connection."""

    size: int
    ends: Ends | None


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header that the data begin with; None: more of it must come.  Raises BadProxyHeader."""
    if data[: len(_SIGNATURE)] == _SIGNATURE[: len(data)]:
        return _version_2(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _version_1(data)
    raise BadProxyHeader("no PROXY header")


async def hear_proxy(session: ServerSession, wire: Wire) -> Ends | None:
    """The ends that the header names, once it has come.  Raises BadProxyHeader and Hangup."""
    while (header := parse_proxy_header(session.unread)) is None:
        await wire.more()
    session.skip(header.size)
    return header.ends


def _version_1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _MOST_OF_V1)
    if end < 0:
        if len(data) >= _MOST_OF_V1:
            raise BadProxyHeader("a line without end")
        return None
    words = data[:end].decode("ascii", "replace").split(" ")
    if words[1] == "UNKNOWN":
        return ProxyHeader(end + 2, None)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise BadProxyHeader("expected PROXY TCP4 or TCP6, two addresses and two ports")
    kind = IPv4Address if words[1] == "TCP4" else IPv6Address
    try:
        peer, local = kind(words[2]), kind(words[3])
    except ValueError as fault:
        raise BadProxyHeader(str(fault)) from None
    if not all(_PORT.match(port) and int(port) < 65536 for port in words[4:]):
        raise BadProxyHeader("expected ports from 0 to 65535")
    return ProxyHeader(end + 2, _ends(peer, int(words[4]), local, int(words[5])))


def _version_2(data: bytes) -> ProxyHeader | None:
    if len(data) < _FIXED:
        return None
    command, family, length = data[12], data[13], int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY):
        raise BadProxyHeader(f"version and command {command:#04x}")
    size = _FIXED + length
    octets = _ADDRESS_OCTETS.get(family)
    if command == _PROXY and octets is not None and length < 2 * octets + 4:
        raise BadProxyHeader("too short for two addresses and two ports")
    if len(data) < size:
        return None
    if command == _LOCAL or octets is None:
        return ProxyHeader(size, None)
    told = data[_FIXED:size]
    peer, local = ip_address(told[:octets]), ip_address(told[octets : 2 * octets])
    ports = told[2 * octets : 2 * octets + 4]
    return ProxyHeader(size, _ends(peer, int.from_bytes(ports[:2], "big"), local, int.from_bytes(ports[2:], "big")))


def _ends(peer: IPv4Address | IPv6Address, peer_port: int, local: IPv4Address | IPv6Address, local_port: int) -> Ends:
    return Ends(peer_ip=plain(peer), peer_port=peer_port, local_ip=plain(local), local_port=local_port)


def plain(address: IPv4Address | IPv6Address) -> str:
    """As text; an IPv4 address in IPv6 clothes is IPv4, as everywhere."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address).partition("%")[0]
