"""Which servers are asked."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.server import DnsSettings
from kumotwist.dns.nameservers import Nameservers, parse_nameserver

NOT_SERVERS = [
    *("", "ns.example", "ns.example:53", "https://192.0.2.1/dns-query"),
    *("192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:dns", "192.0.2.1:-1"),
    *("[2001:db8::1", "[2001:db8::1]53x", "[2001:db8::1]:", "[]:53"),
]


class ParseTests(SynchronousTestCase):
    def test_an_address_with_or_without_a_port(self) -> None:
        for text, expected in [
            ("192.0.2.1", ("192.0.2.1", 53)),
            ("192.0.2.1:5353", ("192.0.2.1", 5353)),
            ("2001:DB8::1", ("2001:db8::1", 53)),
            ("[2001:db8::1]", ("2001:db8::1", 53)),
            ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
            ("[192.0.2.1]:5353", ("192.0.2.1", 5353)),
        ]:
            self.assertEqual(parse_nameserver(text), expected)

    def test_anything_else_is_refused_by_name(self) -> None:
        for text in NOT_SERVERS:
            with self.assertRaises(ValueError) as caught:
                parse_nameserver(text)
            self.assertIn(repr(text), str(caught.exception))


class ServersTests(SynchronousTestCase):
    def test_without_any_configured_the_systems_are_asked(self) -> None:
        servers = Nameservers(DnsSettings(), lambda: 0.0)
        self.assertTrue(servers._servers)

    def test_each_server_gets_its_turn_before_the_time_is_over(self) -> None:
        for count, timeout in [(1, 5.0), (1, 0.5), (3, 5.0), (3, 1.0), (8, 5.0)]:
            settings = DnsSettings(nameservers=tuple(f"192.0.2.{n}" for n in range(count)), timeout=timeout)
            one_try = Nameservers(settings, lambda: 0.0)._stub.timeout
            self.assertLess(one_try * count, timeout)
            self.assertLessEqual(one_try, 2.0)

    def test_a_bad_address_is_a_fault_of_the_settings(self) -> None:
        self.assertRaises(ValueError, Nameservers, DnsSettings(nameservers=("127.0.0.1", "ns.example")), lambda: 0.0)
