"""Listeners with their virtual hosts, and listener domains, as files say them."""

import json
import tomllib
from pathlib import Path

from kumotwist.config.dynamic import parse_listener_overrides
from kumotwist.config.given import BadParameters
from kumotwist.config.keys import KeyData, KeyEvent
from kumotwist.config.listeners import (
    ListenerDomain,
    ListenerDomains,
    ListenerOverrides,
    ListenerSettings,
    ReportHandling,
    TlsIdentity,
    TraceHeaders,
)
from kumotwist.config.networks import ByNetwork
from kumotwist.config.virtual_hosts import effective
from tests.config.certificate import certificate_and_key
from tests.config.files import ConfigTestCase, use_all_values
from tests.config.test_read import layout, networks


def by(entries: dict[str, ListenerOverrides]) -> ByNetwork[ListenerOverrides]:
    return ByNetwork({network: overrides for name, overrides in entries.items() for network in networks(name).networks})


class VirtualHostTests(ConfigTestCase):
    def setUp(self) -> None:
        super().setUp()
        use_all_values(self)
        for name in ("a", "b", "c"):
            certificate, key = certificate_and_key(f"{name}.example")
            self.write(f"{name}.pem", certificate)
            self.write(f"{name}-key.pem", key)

    def path(self, name: str) -> str:
        return str(self.directory.absolute() / name)

    def listener(self, text: str) -> ListenerSettings:
        (listener,) = self.read(f"esmtp_listeners:\n  - {text}\n").esmtp_listeners
        return listener

    def test_via_and_peer_hold_only_what_they_name(self) -> None:
        found = self.listener(
            "{listen: 0.0.0.0:25, banner: b, via: {10.0.0.1: {hostname: A.example, client_timeout: 5, relay_hosts: [any]}, "
            "'2001:db8::/32': }, peer: {10.0.0.0/8: {trace_headers: {received_header: false}, allow_xclient: true, "
            "require_proxy_protocol: true, max_message_size: 1MiB}, any: {meta: {who: anybody, n: 1}}}}"
        )
        anybody = ListenerOverrides(meta={"who": "anybody", "n": 1})
        self.assertEqual(
            found,
            ListenerSettings(
                listen="0.0.0.0:25",
                banner="b",
                via=by(
                    {
                        "10.0.0.1": ListenerOverrides(
                            options={"hostname": "a.example", "client_timeout": 5.0, "relay_hosts": networks("0.0.0.0/0", "::/0")}
                        ),
                        "2001:db8::/32": ListenerOverrides(),
                    }
                ),
                peer=by(
                    {
                        "10.0.0.0/8": ListenerOverrides(
                            options={
                                "trace_headers": TraceHeaders(received_header=False),
                                "allow_xclient": True,
                                "require_proxy_protocol": True,
                                "max_message_size": 1 << 20,
                            }
                        ),
                        "0.0.0.0/0": anybody,
                        "::/0": anybody,
                    }
                ),
            ),
        )

    def test_blocks_in_blocks(self) -> None:
        found = self.listener("{via: {10.0.0.1: {peer: {10.0.0.0/8: {via: {10.0.0.1: {banner: deep}}}}}}}")
        self.assertEqual(effective(found, peer_ip="10.9.9.9", local_ip="10.0.0.1").banner, "deep")
        self.assertEqual(effective(found, peer_ip="11.9.9.9", local_ip="10.0.0.1").banner, "KumoTwist")

    def test_null_in_a_block_is_the_parameters_default(self) -> None:
        found = self.listener(
            "{hostname: a.example, tls_certificate: a.pem, tls_private_key: a-key.pem, relay_hosts: [any], via: {10.0.0.1: "
            "{hostname: null, tls_certificate: , tls_private_key: ~, relay_hosts: null, sni: null}}}"
        )
        there = effective(found, peer_ip="10.0.0.9", local_ip="10.0.0.1")
        self.assertEqual(
            (there.hostname, there.tls_certificate, there.tls_private_key, there.relay_hosts, there.sni),
            ("", None, None, ListenerSettings().relay_hosts, {}),
        )

    def test_a_certificate_for_each_address_and_each_name(self) -> None:
        found = self.listener(
            "{tls_certificate: a.pem, tls_private_key: a-key.pem, sni: {B.Example: {tls_certificate: b.pem, tls_private_key: "
            "b-key.pem}}, via: {10.0.0.1: {tls_certificate: c.pem, tls_private_key: c-key.pem}}}"
        )
        a, b, c = ((self.path(f"{name}.pem"), self.path(f"{name}-key.pem")) for name in "abc")
        identity = TlsIdentity(tls_certificate=b[0], tls_private_key=b[1])
        for local, pair in (("10.0.0.1", c), ("10.0.0.2", a)):
            there = effective(found, peer_ip="10.0.0.9", local_ip=local)
            with self.subTest(local):
                self.assertEqual((there.tls_certificate, there.tls_private_key), pair)
                self.assertEqual(there.sni, {"b.example": identity})

    def test_keys_of_every_form(self) -> None:
        pem, key = ((self.directory / name).read_text() for name in ("a.pem", "a-key.pem"))
        (self.directory / "policy.py").write_text("")
        config = self.read(
            json.dumps(
                {
                    "policy": "policy.py",
                    "esmtp_listeners": [
                        {
                            "tls_certificate": {"key_data": pem},
                            "tls_private_key": {"key_data": key},
                            "tls_required_client_ca": {"key_data": pem},
                            "sni": {
                                "b.example": {
                                    "tls_certificate": {"event_name": "certificate", "event_args": ["b", 1, True, None]},
                                    "tls_private_key": {"event_name": "key"},
                                }
                            },
                            "peer": {"any": {"tls_required_client_ca": "a.pem"}},
                        }
                    ],
                }
            )
        )
        (found,) = config.esmtp_listeners
        self.assertEqual(found.tls_certificate, KeyData(pem.encode()))
        self.assertEqual(found.tls_private_key, KeyData(key.encode()))
        self.assertEqual(found.tls_required_client_ca, KeyData(pem.encode()))
        self.assertEqual(
            found.sni["b.example"],
            TlsIdentity(tls_certificate=KeyEvent("certificate", ("b", 1, True, None)), tls_private_key=KeyEvent("key")),
        )
        there = effective(found, peer_ip="10.0.0.9", local_ip="10.0.0.1")
        self.assertEqual(there.tls_required_client_ca, self.path("a.pem"))
        self.assertEqual(config.own_events, ("certificate", "key"))
        self.assertEqual({fault.unless for fault in config.doubts}, {"certificate", "key"})

    def test_a_key_is_never_shown(self) -> None:
        self.assertNotIn("secret", repr(ListenerSettings(tls_private_key=KeyData(b"secret"))))

    def test_files_of_the_listeners_shape_in_every_format(self) -> None:
        value = tomllib.loads(layout("listener_params.toml"))
        inline = self.listener(f"{{listen: '0.0.0.0:25', {json.dumps(value)[1:-1]}}}")
        self.assertEqual(
            {str(network): overrides.options["hostname"] for network, overrides in inline.via.items()},
            {"10.0.0.1/32": "mx.example-customer.com", "10.0.0.2/32": "mx.other-customer.com"},
        )
        for name, content in (
            ("p.toml", layout("listener_params.toml")),
            ("p.json", json.dumps(value)),
            ("p.yaml", json.dumps(value, indent=1)),
        ):
            with self.subTest(name):
                self.write(name, content)
                self.assertEqual(self.listener(f"{{listen: '0.0.0.0:25', files: [{name}]}}"), inline)

    def test_files_merge_and_what_stands_in_line_comes_last(self) -> None:
        self.write(
            "a.yaml",
            "banner: a\nhostname: a.example\nmeta: {x: a, y: a}\n"
            "sni: {s.example: {tls_certificate: a.pem, tls_private_key: a-key.pem}}\n"
            "via: {10.0.0.1: {banner: a, hostname: a.example, peer: {any: {banner: a}}}, 10.0.0.2: {banner: a}}\n",
        )
        self.write(
            "d/b.yaml",
            "banner: b\nmeta: {y: b}\nsni: {t.example: {tls_certificate: ../b.pem, tls_private_key: ../b-key.pem}}\n"
            "via: {10.0.0.1/32: {banner: b, peer: {any: {hostname: b.example}}}}\n",
        )
        found = self.listener("{files: [a.yaml, d/b.yaml], banner: c, via: {10.0.0.1: {client_timeout: 5}}}")
        self.assertEqual((found.banner, found.hostname, found.meta), ("c", "a.example", {"x": "a", "y": "b"}))
        self.assertEqual(
            [(name, Path(str(identity.tls_certificate)).name) for name, identity in found.sni.items()],
            [("s.example", "a.pem"), ("t.example", "b.pem")],
        )
        anybody = ListenerOverrides(options={"banner": "a", "hostname": "b.example"})
        one = ListenerOverrides(
            options={"banner": "b", "hostname": "a.example", "client_timeout": 5.0},
            peer=by({"0.0.0.0/0": anybody, "::/0": anybody}),
        )
        self.assertEqual(found.via, by({"10.0.0.1": one, "10.0.0.2": ListenerOverrides(options={"banner": "a"})}))

    def test_any_in_any_in_any_costs_no_more_than_it_says(self) -> None:
        text = "{banner: deep}"
        for _ in range(20):
            text = f"{{peer: {{any: {text}}}}}"
        found = self.listener(text)
        self.assertEqual(effective(found, peer_ip="10.0.0.9", local_ip="10.0.0.1").banner, "deep")


class VirtualHostCertificateTests(ConfigTestCase):
    """A certificate that does not fit is found by the check, not by the first client of that address."""

    def setUp(self) -> None:
        super().setUp()
        use_all_values(self)
        for name in ("a", "b"):
            certificate, key = certificate_and_key(f"{name}.example")
            self.write(f"{name}.pem", certificate)
            self.write(f"{name}-key.pem", key)

    def test_wherever_it_stands(self) -> None:
        pair = "{tls_certificate: a.pem, tls_private_key: b-key.pem}"
        for where in (
            pair,
            f"{{via: {{10.0.0.1: {pair}}}}}",
            f"{{peer: {{any: {pair}}}}}",
            f"{{sni: {{a.example: {pair}}}}}",
            f"{{via: {{10.0.0.1: {{peer: {{any: {{sni: {{a.example: {pair}}}}}}}}}}}}}",
        ):
            with self.subTest(where):
                text = f"esmtp_listeners: [{where}]"
                column = text.index("b-key.pem") + 1
                self.assertEqual(
                    self.faults(text),
                    [f"main.yaml:1:{column}: tls_private_key: not the key of the certificate in tls_certificate"],
                )

    def test_in_data_as_in_files(self) -> None:
        pem, key = ((self.directory / name).read_text() for name in ("a.pem", "b-key.pem"))
        listener = {"tls_certificate": {"key_data": pem}, "tls_private_key": {"key_data": key}}
        (fault,) = self.faults(json.dumps({"esmtp_listeners": [listener]}))
        self.assertTrue(fault.endswith(": tls_private_key: not the key of the certificate in tls_certificate"), fault)

    def test_a_pair_of_two_files_of_parameters(self) -> None:
        self.write("one.yaml", "via: {10.0.0.1: {tls_certificate: a.pem, tls_private_key: a-key.pem}}\n")
        self.write("two.yaml", "via: {10.0.0.1: {tls_private_key: b-key.pem}}\n")
        self.assertEqual(
            self.faults("esmtp_listeners: [{files: [one.yaml, two.yaml]}]"),
            ["two.yaml:1:35: tls_private_key: not the key of the certificate in tls_certificate"],
        )


class ListenerDomainFileTests(ConfigTestCase):
    def setUp(self) -> None:
        super().setUp()
        use_all_values(self)

    def test_the_whole_layout_of_the_model(self) -> None:
        config = self.read("listener_domains: {files: [d.toml]}\n", d_toml=layout("listener_domains_in_full.toml"))
        reports = ListenerDomain(log_oob=ReportHandling.LOG_THEN_RELAY, log_arf=ReportHandling.LOG_THEN_DROP)
        self.assertEqual(
            config.listener_domains,
            ListenerDomains(
                {
                    "example.com": ListenerDomain(relay_to=True),
                    "send.example.com": ListenerDomain(relay_from=networks("10.0.0.0/24")),
                    "auth-send.example.com": ListenerDomain(relay_from_authz=("username1", "username2")),
                    "bounce.example.com": reports,
                    "*": ListenerDomain(ttl=30.0),
                },
                {
                    "127.0.0.1:25": {"*.example.com": ListenerDomain(relay_to=False)},
                    "[::1]:25": {"*": ListenerDomain(log_oob=ReportHandling.IGNORE, log_arf=ReportHandling.LOG_THEN_RELAY)},
                },
            ),
        )

    def test_domains_of_a_listener_merge_too(self) -> None:
        config = self.read(
            "listener_domains: {files: [a.yaml], domains: {listener: {'[0::1]:25': {a.example: {relay_to: false}}}}}\n",
            a_yaml="listener: {'[::1]:25': {A.example: {relay_to: true, log_arf: false}, b.example: {}}}\n",
        )
        self.assertEqual(
            config.listener_domains.by_listener, {"[::1]:25": {"a.example": ListenerDomain(), "b.example": ListenerDomain()}}
        )


class NeverTests(ConfigTestCase):
    """What the model can do and we never shall."""

    def test_250_is_never_said_before_the_message_is_on_disk_and_the_policy_agrees(self) -> None:
        for key, because in (
            ("deferred_spool", "250 for messages that a crash loses"),
            ("deferred_queue", "before the policy has seen"),
        ):
            for place in ("{KEY: true}", "{via: {10.0.0.1: {KEY: true}}}", "{peer: {any: {via: {any: {KEY: true}}}}}"):
                with self.subTest(place, key=key):
                    text = place.replace("KEY", key)
                    (fault,) = self.faults(f"esmtp_listeners: [{text}]")
                    self.assertRegex(fault, rf"^main\.yaml:1:[0-9]+: {key}: .*{because}.*; leave it out: ")
                    self.read(f"esmtp_listeners: [{text.replace('true', 'false')}]")

    def test_a_policy_cannot_ask_for_it_either(self) -> None:
        with self.assertRaisesRegex(BadParameters, "deferred_spool: would say 250 for messages that a crash loses"):
            parse_listener_overrides({"via": {"10.0.0.1": {"deferred_spool": True}}})
