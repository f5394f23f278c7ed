"""Address literals and ports as destinations."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.egress.literal import BadDestination, address_text, literal_destination, split_port
from kumotwist.egress.site import NEVER

LITERALS = [
    # text, site, address, port
    ("[10.0.0.1]", "10.0.0.1", "10.0.0.1", None),
    ("[10.0.0.1]:2025", "10.0.0.1:2025", "10.0.0.1", 2025),
    ("[10.0.0.1:2025]", "10.0.0.1:2025", "10.0.0.1", 2025),
    ("[IPv6:::1]", "::1", "::1", None),
    ("[ipv6:2001:DB8:0:0::1]", "2001:db8::1", "2001:db8::1", None),
    ("[::1]", "::1", "::1", None),
    ("[::1]:25", "[::1]:25", "::1", 25),
    ("[IPv6:::1]:25", "[::1]:25", "::1", 25),
    ("[IPv6:::1:25]", "::1:25", "::1:25", None),
    ("[IPv6:::ffff:127.0.0.1]", "127.0.0.1", "127.0.0.1", None),
    ("[::ffff:127.0.0.1]:25", "127.0.0.1:25", "127.0.0.1", 25),
]

MALFORMED = [
    "[",
    "[]",
    "[10.0.0.1",
    "[10.0.0]",
    "[10.0.0.256]",
    "[010.0.0.1]",
    "[10.0.0.1]x",
    "[10.0.0.1]2025",
    "[10.0.0.1]:",
    "[10.0.0.1:]",
    "[10.0.0.1]:0",
    "[10.0.0.1]:65536",
    "[10.0.0.1]:-1",
    "[10.0.0.1]:2²",
    "[10.0.0.1:25]:25",
    "[10.0.0.1]:25:25",
    "[:::1]",
    "[IPv6:10.0.0.1]",
    "[IPv6:]",
    "[fe80::1%eth0]",
    "[IPv6:fe80::1%eth0]",
    "[example.com]",
    "[tag:content]",
    "[[10.0.0.1]]",
]


class LiteralTests(SynchronousTestCase):
    def test_a_literal_is_one_host_at_its_address(self) -> None:
        for text, site, address, port in LITERALS:
            where = literal_destination(text)
            assert where is not None
            self.assertEqual(where.site, site, text)
            ((host,),) = where.groups
            self.assertEqual((host.name, host.addr, host.port, host.label), (address, address, port, site), text)
            self.assertEqual((where.domain, where.is_mx, where.null_mx, where.expires), (text, False, False, NEVER))

    def test_an_address_and_the_same_address_with_its_last_group_as_port_are_two_sites(self) -> None:
        sites = {where.site for text in ("[::1:25]", "[::1]:25") if (where := literal_destination(text))}
        self.assertEqual(len(sites), 2)

    def test_text_without_a_bracket_is_no_literal(self) -> None:
        for text in ("", "example.com", "example.com:25", "10.0.0.1", "::1"):
            self.assertIsNone(literal_destination(text))

    def test_a_malformed_literal_is_refused_and_named(self) -> None:
        for text in MALFORMED:
            with self.assertRaises(BadDestination) as caught:
                literal_destination(text)
            self.assertIn(repr(text), str(caught.exception))

    @settings(deadline=None)
    @given(st.text(alphabet="[]:.0123456789abcdefIPv%", max_size=24))
    def test_any_text_is_a_literal_or_refused_or_neither(self, text: str) -> None:
        try:
            where = literal_destination(text)
        except BadDestination:
            return
        self.assertEqual(where is None, not text.startswith("["))


class PortTests(SynchronousTestCase):
    def test_the_port_stands_behind_the_domain(self) -> None:
        for text, expected in [
            ("example.com", ("example.com", None)),
            ("example.com:2025", ("example.com", 2025)),
            ("foo:65535", ("foo", 65535)),
        ]:
            self.assertEqual(split_port(text), expected)

    def test_what_is_no_port_is_refused(self) -> None:
        for text in ("example.com:", "example.com:x", "example.com:0", "example.com:70000", "a:1:2", "a:+1", "a: 1", "a:000025"):
            self.assertRaises(BadDestination, split_port, text)


class AddressTextTests(SynchronousTestCase):
    def test_an_address_is_written_in_one_way(self) -> None:
        for text, expected in [("10.0.0.1", "10.0.0.1"), ("2001:DB8::0:1", "2001:db8::1"), ("::ffff:10.0.0.1", "10.0.0.1")]:
            self.assertEqual(address_text(text), expected)

    def test_anything_else_is_refused(self) -> None:
        for text in ("", "mx1", "10.0.0", "fe80::1%2", "[::1]"):
            self.assertRaises(ValueError, address_text, text)
