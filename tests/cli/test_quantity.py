"""Sizes, durations and addresses on a command line."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.quantity import parse_duration, parse_host_port, parse_ip, parse_size


class QuantityTests(SynchronousTestCase):
    """Text → value."""

    def test_durations_are_seconds(self) -> None:
        for text, seconds in (("10 s", 10.0), ("200 ms", 0.2), ("1m 30s", 90.0), ("2", 2.0), ("1.5", 1.5)):
            self.assertEqual(parse_duration(text), seconds, text)

    def test_sizes_are_octets(self) -> None:
        for text, octets in (("4096", 4096), ("10kb", 10_000), ("1MiB", 1 << 20), ("0", 0)):
            self.assertEqual(parse_size(text), octets, text)

    def test_a_bad_one_says_what_was_expected(self) -> None:
        for parse, text, expected in (
            (parse_duration, "soon", "expected a duration like 10 s"),
            (parse_duration, "", "expected a duration like 10 s"),
            (parse_size, "10 stones", "expected a size like 4096"),
            (parse_ip, "localhost", "not an IP address"),
        ):
            self.assertIn(expected, str(self.assertRaises(ValueError, parse, text)))

    def test_hosts_with_ports(self) -> None:
        for text, port, found in (
            ("127.0.0.1:25", None, ("127.0.0.1", 25)),
            ("mx.example.com:2525", None, ("mx.example.com", 2525)),
            ("[::1]:25", None, ("::1", 25)),
            ("127.0.0.1", 2525, ("127.0.0.1", 2525)),
            ("[::1]", 2525, ("::1", 2525)),
            ("::1", 2525, ("::1", 2525)),
            ("127.0.0.1:0", 2525, ("127.0.0.1", 0)),
        ):
            self.assertEqual(parse_host_port(text, port), found, text)

    def test_a_host_without_a_port_where_one_is_needed(self) -> None:
        for text in ("127.0.0.1", "[::1]", "::1", ":25", "host:", "host:99999", "host:2x"):
            self.assertRaises(ValueError, parse_host_port, text)

    def test_addresses_lose_their_brackets(self) -> None:
        self.assertEqual([parse_ip("127.0.0.1"), parse_ip("[::1]"), parse_ip("::0001")], ["127.0.0.1", "::1", "::1"])
