"""What holds for an address: of the networks around it, the smallest."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.networks import ByNetwork

NAMES = ("0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3", "2001:db8::/32", "2001:db8::1", "::/0")


class ByNetworkTests(SynchronousTestCase):
    def test_the_longest_prefix_wins_whatever_the_order(self) -> None:
        for names in (NAMES, NAMES[::-1]):
            held = ByNetwork({ip_network(name): name for name in names})
            for address, expected in (
                ("10.1.2.3", "10.1.2.3"),
                ("10.1.2.4", "10.1.2.0/24"),
                ("10.1.3.3", "10.1.0.0/16"),
                ("10.2.0.0", "10.0.0.0/8"),
                ("10.255.255.255", "10.0.0.0/8"),
                ("11.0.0.0", "0.0.0.0/0"),
                ("2001:db8::1", "2001:db8::1"),
                ("2001:db8::2", "2001:db8::/32"),
                ("2001:db9::", "::/0"),
                ("::1", "::/0"),
            ):
                with self.subTest(address):
                    self.assertEqual(held.nearest(address), expected)

    def test_outside_of_all_networks_nothing_holds(self) -> None:
        held = ByNetwork({ip_network("10.0.0.0/8"): 1})
        self.assertIsNone(held.nearest("11.0.0.1"))
        self.assertIsNone(held.nearest("::a00:1"))
        self.assertIsNone(ByNetwork[int]().nearest("10.0.0.1"))

    def test_an_ipv4_client_of_a_dual_stack_socket_is_an_ipv4_client(self) -> None:
        held = ByNetwork({ip_network("10.0.0.0/8"): "v4", ip_network("::/0"): "v6"})
        self.assertEqual(held.nearest("::ffff:10.0.0.1"), "v4")
        self.assertEqual(held.nearest("::fffe:10.0.0.1"), "v6")
        self.assertEqual(held.nearest("fe80::1%eth0"), "v6")

    def test_it_is_a_mapping_and_equal_to_one_that_says_the_same(self) -> None:
        entries = {ip_network("10.0.0.0/8"): 1, ip_network("::1"): 2}
        held = ByNetwork(entries)
        self.assertEqual(held, ByNetwork(dict(reversed(entries.items()))))
        self.assertNotEqual(held, ByNetwork({ip_network("10.0.0.0/8"): 1}))
        self.assertEqual((len(held), held[ip_network("::1")], dict(held)), (2, 2, entries))
        self.assertRaises(KeyError, held.__getitem__, ip_network("10.0.0.0/9"))
        self.assertFalse(ByNetwork())

    @given(
        st.dictionaries(
            st.builds(
                lambda address, prefix: IPv4Network((address, prefix), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
            )
            | st.builds(
                lambda address, prefix: IPv6Network((address, prefix), strict=False),
                st.integers(0, 2**128 - 1),
                st.integers(0, 128),
            ),
            st.integers(),
            max_size=20,
        ),
        st.data(),
    )
    @settings(max_examples=100, deadline=None)
    def test_it_answers_as_looking_through_all_of_them_would(
        self, entries: dict[IPv4Network | IPv6Network, int], data: st.DataObject
    ) -> None:
        inside = [str(network[data.draw(st.integers(0, min(network.num_addresses, 1 << 60) - 1))]) for network in entries]
        held = ByNetwork(entries)
        for address in (*inside, "192.0.2.1", "2001:db8::1"):
            parsed = ip_address(address)
            if parsed.version == 6 and parsed.ipv4_mapped is not None:
                continue
            around = [network for network in entries if network.version == parsed.version and parsed in network]
            best = max(around, key=lambda network: network.prefixlen, default=None)
            self.assertEqual(held.nearest(address), None if best is None else entries[best], address)
