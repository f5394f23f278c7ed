"""Which listener parameters hold for one connection, and what a policy may say about it."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config import dynamic
from kumotwist.config.dynamic import parse_listener_overrides
from kumotwist.config.fields import Networks
from kumotwist.config.given import BadParameters
from kumotwist.config.listeners import LineEndings, ListenerOverrides, ListenerSettings, TraceHeaders
from kumotwist.config.networks import ByNetwork
from kumotwist.config.virtual_hosts import effective
from tests.config.files import use_all_values


def by(entries: dict[str, ListenerOverrides]) -> ByNetwork[ListenerOverrides]:
    return ByNetwork({ip_network(name): overrides for name, overrides in entries.items()})


def said(
    who: str,
    *,
    peer: dict[str, ListenerOverrides] | None = None,
    via: dict[str, ListenerOverrides] | None = None,
    **options: object,
) -> ListenerOverrides:
    """Overrides that leave their mark: in `banner` who was last, in `meta` who was there at all."""
    return ListenerOverrides(
        options={"banner": who, **options}, meta={who: True, "last": who}, peer=by(peer or {}), via=by(via or {})
    )


class EffectiveTests(SynchronousTestCase):
    def settings(
        self, *, peer: dict[str, ListenerOverrides] | None = None, via: dict[str, ListenerOverrides] | None = None, **more: Any
    ) -> ListenerSettings:
        return ListenerSettings(banner="own", meta={"own": True, "last": "own"}, peer=by(peer or {}), via=by(via or {}), **more)

    def layers(self, settings: ListenerSettings, peer: str, local: str, dynamic: ListenerOverrides | None = None) -> list[str]:
        """Who was laid over whom, the last one last: as the order of the keys of `meta` and the banner say it."""
        found = effective(settings, peer_ip=peer, local_ip=local, dynamic=dynamic)
        order = [key for key in found.meta if key != "last"]
        self.assertEqual((found.banner, found.meta["last"]), (order[-1], order[-1]))
        return order

    def test_own_then_peer_then_via_then_what_the_policy_said_in_the_same_order(self) -> None:
        static = {"peer": {"10.0.0.0/8": said("peer")}, "via": {"192.0.2.1": said("via")}}
        settings = self.settings(**static)
        policy = said("dynamic", peer={"10.0.0.0/8": said("dynamic peer")}, via={"192.0.2.1": said("dynamic via")})
        for peer, local, dynamic_, expected in (
            ("10.0.0.1", "192.0.2.1", policy, ["own", "peer", "via", "dynamic", "dynamic peer", "dynamic via"]),
            ("10.0.0.1", "192.0.2.1", None, ["own", "peer", "via"]),
            ("10.0.0.1", "192.0.2.2", policy, ["own", "peer", "dynamic", "dynamic peer"]),
            ("11.0.0.1", "192.0.2.1", policy, ["own", "via", "dynamic", "dynamic via"]),
            ("11.0.0.1", "192.0.2.2", policy, ["own", "dynamic"]),
            ("11.0.0.1", "192.0.2.2", None, ["own"]),
            ("192.0.2.1", "10.0.0.1", policy, ["own", "dynamic"]),
        ):
            with self.subTest(peer=peer, local=local, dynamic=dynamic_ is not None):
                self.assertEqual(self.layers(settings, peer, local, dynamic_), expected)

    def test_blocks_may_hold_blocks_to_any_depth(self) -> None:
        inner = said("inner", peer={"10.0.0.0/8": said("inner peer")}, via={"192.0.2.1": said("inner via")})
        settings = self.settings(
            peer={"10.0.0.0/8": said("peer", via={"192.0.2.1": inner, "192.0.2.2": said("elsewhere")})},
            via={"192.0.2.0/24": said("via", peer={"10.0.0.0/9": said("via peer")})},
        )
        self.assertEqual(
            self.layers(settings, "10.0.0.1", "192.0.2.1"),
            ["own", "peer", "inner", "inner peer", "inner via", "via", "via peer"],
        )
        self.assertEqual(self.layers(settings, "10.128.0.1", "192.0.2.3"), ["own", "peer", "via"])

    def test_of_overlapping_networks_only_the_smallest_counts(self) -> None:
        settings = self.settings(
            peer={"0.0.0.0/0": said("all"), "10.0.0.0/8": said("eight"), "10.1.0.0/16": said("sixteen"), "10.1.2.3": said("one")}
        )
        for peer, expected in (("10.1.2.3", "one"), ("10.1.2.4", "sixteen"), ("10.2.0.1", "eight"), ("192.0.2.1", "all")):
            with self.subTest(peer):
                self.assertEqual(self.layers(settings, peer, "192.0.2.9"), ["own", expected])
        self.assertEqual(self.layers(settings, "2001:db8::1", "192.0.2.9"), ["own"])

    def test_a_dual_stack_socket_is_no_way_around(self) -> None:
        settings = self.settings(peer={"10.0.0.0/8": said("peer")}, via={"192.0.2.1": said("via")})
        self.assertEqual(self.layers(settings, "::ffff:10.0.0.1", "::ffff:192.0.2.1"), ["own", "peer", "via"])

    def test_what_is_not_named_stays_and_what_is_named_is_replaced_whole(self) -> None:
        trace = TraceHeaders(received_header=False, header_name="X-Own", include_meta_names=("tenant",))
        over = ListenerOverrides(
            options={"trace_headers": TraceHeaders(supplemental_header=False), "relay_hosts": Networks((ip_network("192.0.2.9"),))}
        )
        settings = ListenerSettings(
            listen="0.0.0.0:25",
            max_connections=5,
            hostname="a.example",
            trace_headers=trace,
            relay_hosts=Networks((ip_network("10.0.0.0/8"),)),
            invalid_line_endings=LineEndings.FIX,
            via=by({"192.0.2.1": over}),
        )
        found = effective(settings, peer_ip="10.0.0.1", local_ip="192.0.2.1")
        self.assertEqual(found.trace_headers, TraceHeaders(supplemental_header=False))
        self.assertEqual(found.relay_hosts, Networks((ip_network("192.0.2.9"),)))
        self.assertEqual((found.listen, found.max_connections, found.hostname), ("0.0.0.0:25", 5, "a.example"))
        self.assertEqual(found.invalid_line_endings, LineEndings.FIX)

    def test_meta_is_merged_key_by_key(self) -> None:
        settings = ListenerSettings(
            meta={"a": 1, "b": {"x": 1}}, via=by({"192.0.2.1": ListenerOverrides(meta={"b": {"y": 2}, "c": None})})
        )
        found = effective(settings, peer_ip="10.0.0.1", local_ip="192.0.2.1", dynamic=ListenerOverrides(meta={"a": "z"}))
        self.assertEqual(found.meta, {"a": "z", "b": {"y": 2}, "c": None})
        self.assertEqual(settings.meta, {"a": 1, "b": {"x": 1}})

    def test_the_result_is_decided(self) -> None:
        """Who applies it again, for other addresses, begins with the listener, not with what held for the old ones."""
        settings = self.settings(peer={"10.0.0.0/8": said("peer")}, via={"192.0.2.1": said("via")})
        found = effective(settings, peer_ip="10.0.0.1", local_ip="192.0.2.1")
        self.assertEqual((len(found.peer), len(found.via)), (0, 0))
        self.assertEqual(self.layers(settings, "11.0.0.1", "192.0.2.2"), ["own"])

    def test_without_overrides_nothing_is_made_anew(self) -> None:
        settings = ListenerSettings(hostname="a.example")
        self.assertIs(effective(settings, peer_ip="10.0.0.1", local_ip="192.0.2.1"), settings)


class DynamicTests(SynchronousTestCase):
    """What a policy answers for a connection."""

    def setUp(self) -> None:
        use_all_values(self)
        dynamic._known.cache_clear()

    def wrong(self, given: object) -> list[str]:
        fault = self.assertRaises(BadParameters, parse_listener_overrides, given)
        assert isinstance(fault, BadParameters)
        self.assertNotIn("\n", str(fault))
        self.assertTrue(str(fault).startswith("smtp_server_get_dynamic_parameters: "))
        return list(fault.wrong)

    def test_the_example_of_the_model(self) -> None:
        found = parse_listener_overrides(
            {
                "via": {
                    "10.0.0.1": {
                        "hostname": "mx.example-customer.com",
                        "tls_certificate": "/path/to/customer1.cert",
                        "tls_private_key": "/path/to/customer1.key",
                    },
                    "10.0.0.2": {"hostname": "mx.other-customer.com"},
                }
            }
        )
        base = ListenerSettings(listen="0.0.0.0:25", hostname="a.example", via=by({"10.0.0.0/8": said("static")}))
        first = effective(base, peer_ip="192.0.2.1", local_ip="10.0.0.1", dynamic=found)
        self.assertEqual(
            (first.hostname, first.tls_certificate, first.tls_private_key, first.banner),
            ("mx.example-customer.com", "/path/to/customer1.cert", "/path/to/customer1.key", "static"),
        )
        self.assertEqual(effective(base, peer_ip="192.0.2.1", local_ip="10.0.0.2", dynamic=found).hostname, "mx.other-customer.com")
        self.assertEqual(effective(base, peer_ip="192.0.2.1", local_ip="10.0.0.3", dynamic=found).hostname, "a.example")

    def test_values_are_read_as_those_of_a_file(self) -> None:
        found = parse_listener_overrides(
            {
                "max_message_size": "10MiB",
                "client_timeout": 5,
                "relay_hosts": ["10.0.0.0/8", ip_network("192.0.2.0/24")],
                "invalid_line_endings": LineEndings.ALLOW,
                "meta": {"n": 1, "t": True, "s": "1", "none": None},
                "peer": {ip_network("10.0.0.0/8"): {"allow_xclient": True}, "any": {"banner": "b"}},
                "hostname": None,
            },
            "/etc/kumotwist/policy.py",
        )
        self.assertEqual(
            found.options,
            {
                "max_message_size": 10 << 20,
                "client_timeout": 5.0,
                "relay_hosts": Networks((ip_network("10.0.0.0/8"), ip_network("192.0.2.0/24"))),
                "invalid_line_endings": LineEndings.ALLOW,
                "hostname": "",
            },
        )
        self.assertEqual(found.meta, {"n": 1, "t": True, "s": "1", "none": None})
        self.assertEqual([str(network) for network in found.peer], ["10.0.0.0/8", "0.0.0.0/0", "::/0"])
        self.assertEqual(parse_listener_overrides({}), ListenerOverrides())

    def test_relative_names_start_at_the_policy(self) -> None:
        given = {"tls_certificate": "a.pem", "tls_private_key": Path("keys/a.pem")}
        found = parse_listener_overrides(given, "/etc/kumotwist/policy.py")
        self.assertEqual(found.options, {"tls_certificate": "/etc/kumotwist/a.pem", "tls_private_key": "/etc/kumotwist/keys/a.pem"})
        other = parse_listener_overrides(given, "/srv/policy.py")
        self.assertEqual(other.options["tls_certificate"], "/srv/a.pem")

    def test_faults_say_in_which_block_they_are(self) -> None:
        self.assertEqual(
            self.wrong({"hostnam": "a", "via": {"10.0.0.1": {"banner": [], "peer": {"10.0.0.1/8": {"client_timeout": "x"}}}}}),
            [
                'unknown key "hostnam" in the listener\'s parameters, did you mean "hostname"?',
                'via "10.0.0.1": banner: a list, expected a text',
                'via "10.0.0.1": peer: "10.0.0.1/8" has bits set beyond its prefix, expected an address, '
                'a network such as 10.0.0.0/8, or any, did you mean "10.0.0.0/8"?',
                'via "10.0.0.1": peer "10.0.0.1/8": client_timeout: "x" is not a duration, expected a number of seconds, '
                'or a text such as "5 minutes" or "1d 2h"',
            ],
        )

    def test_what_is_no_overrides_is_a_fault_and_nothing_else(self) -> None:
        endless: dict[str, Any] = {}
        endless["via"] = {"10.0.0.1": endless}
        deep: dict[str, Any] = {}
        for _ in range(60):
            deep = {"meta": {"a": deep}}
        for given, expected in (
            (None, "a NoneType, expected a mapping of listener parameters"),
            ("hostname", "a str, expected a mapping of listener parameters"),
            ([], "a list, expected a mapping of listener parameters"),
            ({"listen": "0.0.0.0:25"}, "listen holds for the whole listener, expected it beside listen"),
            (
                {"via": {"10.0.0.1": {"max_connections": 5}}},
                'via "10.0.0.1": max_connections holds for the whole listener, expected',
            ),
            ({"via": {"10.0.0.1": "a.example"}}, '10.0.0.1: "a.example", expected a mapping'),
            ({"via": ["10.0.0.1"]}, "via: a list, expected a mapping"),
            ({"via": {1: {}}}, "1 as a key, expected a text"),
            ({1: 2}, "1 as a key, expected a text"),
            ({"banner": object()}, "object, expected a text, a number, a list or a mapping"),
            ({"banner": b"octets"}, "bytes, expected"),
            ({"meta": {"a": float("nan")}, "allow_xclient": float("inf")}, "allow_xclient: "),
            ({"tls_certificate": "a.pem"}, "tls_certificate without tls_private_key, expected both or neither"),
            ({"require_proxy_protocol": True}, "require_proxy_protocol: the PROXY header comes before the policy is asked"),
            ({"peer": {"any": {"require_proxy_protocol": True}}}, "require_proxy_protocol: the PROXY header comes before"),
            ({"via": {"10.0.0.1": {}, "10.0.0.1/32": {}}}, 'via: "10.0.0.1/32" is a network that stands here already'),
            (endless, "nested more than 50 levels deep"),
            (deep, "nested more than 50 levels deep"),
        ):
            with self.subTest(str(given)[:60]):
                self.assertIn(expected, "; ".join(self.wrong(given)))

    def test_a_switch_that_says_what_holds_anyway_is_no_fault(self) -> None:
        self.assertEqual(parse_listener_overrides({"require_proxy_protocol": False}).options, {"require_proxy_protocol": False})

    def test_an_answer_that_says_the_same_is_not_read_again(self) -> None:
        first = parse_listener_overrides({"via": {"10.0.0.1": {"banner": "b"}}})
        self.assertIs(parse_listener_overrides({"via": {"10.0.0.1": {"banner": "b"}}}), first)

    def test_an_answer_that_was_changed_is_another(self) -> None:
        given: dict[str, Any] = {"meta": {"a": 1}}
        first = parse_listener_overrides(given)
        given["meta"]["a"] = True
        second = parse_listener_overrides(given)
        self.assertIs(first.meta["a"], 1)
        self.assertIs(second.meta["a"], True)

    def test_a_bad_answer_is_bad_each_time(self) -> None:
        for _ in range(2):
            self.assertEqual(self.wrong({"banner": 5, "x": 1})[0][:11], "unknown key")
