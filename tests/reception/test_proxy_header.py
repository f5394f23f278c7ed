"""The header of a proxy: what it says, and that no octets break anything."""

from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.reception.client import Ends
from kumotwist.reception.proxy_header import BadProxyHeader, ProxyHeader, parse_proxy_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = st.ip_addresses(v=4).map(str)
V6 = st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None).map(str)  # type: ignore[union-attr]
PORT = st.integers(0, 65535)


def ends(peer: str, peer_port: int, local: str, local_port: int) -> Ends:
    return Ends(peer_ip=peer, peer_port=peer_port, local_ip=local, local_port=local_port)


def version_2(told: Ends, tail: bytes = b"", command: int = 0x21) -> bytes:
    peer, local = ip_address(told.peer_ip), ip_address(told.local_ip)
    addresses = peer.packed + local.packed + told.peer_port.to_bytes(2, "big") + told.local_port.to_bytes(2, "big") + tail
    return SIGNATURE + bytes([command, 0x11 if peer.version == 4 else 0x21]) + len(addresses).to_bytes(2, "big") + addresses


def version_1(told: Ends) -> bytes:
    kind = "TCP6" if ":" in told.peer_ip else "TCP4"
    return f"PROXY {kind} {told.peer_ip} {told.local_ip} {told.peer_port} {told.local_port}\r\n".encode()


class ProxyHeaderTests(SynchronousTestCase):
    """parse_proxy_header."""

    @settings(deadline=None, database=None)
    @given(
        st.one_of(st.builds(ends, V4, PORT, V4, PORT), st.builds(ends, V6, PORT, V6, PORT)), st.booleans(), st.binary(max_size=40)
    )
    def test_both_versions_say_who_is_connected_to_whom(self, told: Ends, first: bool, behind: bytes) -> None:
        header = version_1(told) if first else version_2(told, b"\x04\0\x03abc")
        self.assertEqual(parse_proxy_header(header + behind), ProxyHeader(len(header), told))
        for end in range(len(header)):
            self.assertIsNone(parse_proxy_header(header[:end]))

    def test_what_is_said_of_no_client(self) -> None:
        told = ends("192.0.2.1", 1, "192.0.2.2", 2)
        local = version_2(told, command=0x20)
        unix = SIGNATURE + b"\x21\x31\0\x02ab"
        for header in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n", local, unix):
            self.assertEqual(parse_proxy_header(header + b"EHLO"), ProxyHeader(len(header), None))

    def test_an_ipv4_client_in_ipv6_clothes_has_its_ipv4_address(self) -> None:
        header = parse_proxy_header(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n")
        assert header is not None
        assert header.ends is not None
        self.assertEqual(header.ends.peer_ip, "192.0.2.1")

    def test_what_is_no_header(self) -> None:
        for data in (
            b"EHLO c.example\r\n",
            b"PROXY \r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4  192.0.2.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"PROXY " + b"x" * 101,
            SIGNATURE + b"\x11\x11\0\0",
            SIGNATURE + b"\x21\x11\0\x0b" + b"x" * 11,
        ):
            self.assertRaises(BadProxyHeader, parse_proxy_header, data)

    @settings(deadline=None, database=None)
    @given(
        st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ", SIGNATURE, SIGNATURE + b"\x21"]), st.binary(max_size=120)
    )
    def test_no_octets_break_anything(self, lead: bytes, data: bytes) -> None:
        try:
            header = parse_proxy_header(lead + data)
        except BadProxyHeader:
            return
        if header is not None:
            self.assertLessEqual(header.size, len(lead + data))
