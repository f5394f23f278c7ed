"""What a configuration says becomes frozen values: types, defaults, layouts of data files, and which of several wins."""

import json
import socket
import tomllib
from ipaddress import ip_network
from pathlib import Path

from kumotwist.config.egress import (
    UNSPECIFIED,
    EgressPool,
    EgressSource,
    EnableTls,
    IpLookupStrategy,
    PathSettings,
    PoolEntry,
)
from kumotwist.config.fields import Limit, Networks, Rate
from kumotwist.config.listeners import BatchHandling, LineEndings, ListenerDomain, ListenerSettings, TraceHeaders
from kumotwist.config.queues import MxHost, QueueRule, QueueSettings, TenantSettings
from kumotwist.config.read import read_config
from kumotwist.config.routing import RoutingMatch, RoutingRule
from kumotwist.config.server import Config, DnsSettings, LogSettings, RecordSettings, SpoolSettings
from kumotwist.config.shaping import ShapingRule
from tests.config.files import ConfigTestCase

LAYOUTS = Path(__file__).parent / "layouts"


def layout(name: str) -> str:
    return (LAYOUTS / name).read_text()


def networks(*texts: str) -> Networks:
    return Networks(tuple(ip_network(text) for text in texts))


class DefaultTests(ConfigTestCase):
    """What holds where nothing is said."""

    def test_a_configuration_that_says_nothing_has_every_default(self) -> None:
        config = self.read("node_id: null\n")
        built_in = EgressSource(name=UNSPECIFIED)
        pool = EgressPool(name=UNSPECIFIED, entries=(PoolEntry(name=UNSPECIFIED),))
        self.assertEqual(dict(config.egress.source), {UNSPECIFIED: built_in})
        self.assertEqual(dict(config.egress.pool), {UNSPECIFIED: pool})
        expected = Config(hostname=config.hostname, egress=config.egress, files=config.files)
        self.assertEqual(config, expected)

    def test_the_machines_name_is_the_hostname(self) -> None:
        self.patch(socket, "gethostname", lambda: "MTA1.example.com")
        self.assertEqual(self.read("node_id: null\n").hostname, "mta1.example.com")
        self.assertEqual(self.read("hostname: null\n").hostname, "mta1.example.com")

    def test_a_machine_whose_name_is_no_domain_is_localhost(self) -> None:
        for name in ("", "my machine", "10.0.0.1"):
            self.patch(socket, "gethostname", lambda name=name: name)
            self.assertEqual(self.read("node_id: null\n").hostname, "localhost")

    def test_null_is_the_default_said_explicitly(self) -> None:
        config = self.read(
            "spool: {path: null, flush: ~}\nlogs: null\nesmtp_listeners:\n  - {banner: null, relay_hosts: null}\n"
            "egress:\n  source: {ip-1: }\n  pool: {p: {ip-1: }, none: null}\nrouting:\nqueues: {tenant: , queue: }\n"
        )
        self.assertEqual(config.spool, SpoolSettings())
        self.assertEqual(config.logs, LogSettings())
        self.assertEqual(config.esmtp_listeners, (ListenerSettings(),))
        self.assertEqual(config.egress.source["ip-1"], EgressSource(name="ip-1"))
        self.assertEqual(config.egress.pool["p"].entries, (PoolEntry(name="ip-1"),))
        self.assertEqual(config.egress.pool["none"].entries, ())
        self.assertEqual(config.queues.tenant, {})

    def test_null_takes_back_what_holds_for_all(self) -> None:
        config = self.read(
            "queues: {queue: {default: {max_message_rate: 10/s, retry_interval: 60}, a.example: {max_message_rate: null, "
            "retry_interval: null}}}\n"
        )
        self.assertEqual(config.queues.queue["a.example"].options, {"max_message_rate": None, "retry_interval": 1200.0})


class SectionTests(ConfigTestCase):
    """Each section that the file itself holds."""

    def test_spool_logs_and_dns(self) -> None:
        config = self.read(
            "hostname: MTA1.Example.com\nnode_id: 3c2b\n"
            "spool: {path: spool, kind: local_disk, flush: no, min_free_space: 2GiB, min_free_inodes: 5 %}\n"
            "logs: {log_dir: /logs, compression: none, compression_level: 3, max_segment_duration: 1 minute, max_file_size: 10kb,\n"
            "  headers: [Subject, X-*], meta: [tenant, 123], min_free_space: 1000,\n"
            "  per_record: {Any: {suffix: .all}, Rejection: {enable: off, log_dir: rejected}}}\n"
            'dns: {nameservers: [127.0.0.1, "127.0.0.1:5353", "::1", "[::1]:53", "[2001:DB8::1]"], timeout: 250 ms}\n'
        )
        here = self.directory.absolute()
        self.assertEqual((config.hostname, config.node_id), ("mta1.example.com", "3c2b"))
        self.assertEqual(
            config.spool,
            SpoolSettings(path=str(here / "spool"), kind="local_disk", flush=False, min_free_space=2 << 30, min_free_inodes="5%"),
        )
        self.assertEqual(
            config.logs,
            LogSettings(
                log_dir="/logs",
                compression="none",
                compression_level=3,
                max_segment_duration=60.0,
                max_file_size=10_000,
                headers=("Subject", "X-*"),
                meta=("tenant", "123"),
                min_free_space=1000,
                per_record={
                    "Any": RecordSettings(suffix=".all"),
                    "Rejection": RecordSettings(enable=False, log_dir=str(here / "rejected")),
                },
            ),
        )
        nameservers = ("127.0.0.1", "127.0.0.1:5353", "::1", "[::1]:53", "2001:db8::1")
        self.assertEqual(config.dns, DnsSettings(nameservers=nameservers, timeout=0.25))

    def test_listeners(self) -> None:
        config = self.read(
            "esmtp_listeners:\n"
            "  - listen: 0.0.0.0:25\n    hostname: on\n    banner: yes\n    relay_hosts: [10.0.0.1, 192.168.1.0/24, any]\n"
            "    max_message_size: 10MiB\n    max_recipients_per_message: 1_000\n    client_timeout: 1 minute\n"
            "    invalid_line_endings: Fix\n    batch_handling: BatchByDomain\n"
            "    trace_headers: {received_header: false, header_name: X-Ref, include_meta_names: [tenant]}\n"
            "  - listen: 10.0.0.1:2525\n"
            '  - listen: "[0:0::1]:0"\n'
            '  - listen: "[::1]:0"\n'
        )
        first = ListenerSettings(
            listen="0.0.0.0:25",
            hostname="on",
            banner="yes",
            relay_hosts=networks("10.0.0.1", "192.168.1.0/24", "0.0.0.0/0", "::/0"),
            max_message_size=10 << 20,
            max_recipients_per_message=1000,
            client_timeout=60.0,
            invalid_line_endings=LineEndings.FIX,
            batch_handling=BatchHandling.BATCH_BY_DOMAIN,
            trace_headers=TraceHeaders(received_header=False, header_name="X-Ref", include_meta_names=("tenant",)),
        )
        self.assertEqual(config.esmtp_listeners[0], first)
        self.assertEqual([listener.listen for listener in config.esmtp_listeners[1:]], ["10.0.0.1:2525", "[::1]:0", "[::1]:0"])

    def test_routing(self) -> None:
        config = self.read(
            "routing:\n"
            "  - match: {recipient_domain: '*.Example.COM', sender_domain: bücher.example, tenant: 123, campaign: 'w*',\n"
            "      listener: 0.0.0.0:25, peer: [10.0.0.0/8], header: {X-Route: bulk}}\n"
            "    set: {routing_domain: 'My.Smarthost.com:25', tenant: 7, queue: 'null', priority: 1, on: on, t: true, l: [.5, ~]}\n"
            "  - set: {}\n"
        )
        match = RoutingMatch(
            recipient_domain="*.example.com",
            sender_domain="xn--bcher-kva.example",
            tenant="123",
            campaign="w*",
            listener="0.0.0.0:25",
            peer=networks("10.0.0.0/8"),
            header={"X-Route": "bulk"},
        )
        sets = {
            "routing_domain": "my.smarthost.com:25",
            "tenant": "7",
            "queue": "null",
            "priority": 1,
            "on": "on",
            "t": True,
            "l": [0.5, None],
        }
        self.assertEqual(config.routing, (RoutingRule(match=match, set=sets), RoutingRule()))

    def test_routing_domains(self) -> None:
        for given, read in (
            ("Mx.Example.com", "mx.example.com"),
            ("mx.example.com.:25", "mx.example.com:25"),
            ("[10.0.0.1]", "[10.0.0.1]"),
            ("[10.0.0.1]:25", "[10.0.0.1]:25"),
            ("[10.0.0.1:25]", "[10.0.0.1]:25"),
            ("[IPv6:2001:DB8::1]:25", "[IPv6:2001:db8::1]:25"),
            ("[::1]", "[IPv6:::1]"),
        ):
            with self.subTest(given):
                config = self.read(f'queues: {{queue: {{a.example: {{routing_domain: "{given}"}}}}}}\n')
                self.assertEqual(config.queues.queue["a.example"].routing_domain, read)

    def test_mx_lists_of_every_form(self) -> None:
        config = self.read(
            "queues:\n  queue:\n    a.example:\n      protocol:\n        smtp:\n          mx_list:\n"
            "            - Smart.host.local\n            - smart.host.local:2025\n            - '[10.0.0.1]'\n"
            "            - '[IPv6:2001:db8::1]'\n            - '[::1]'\n            - '[10.0.0.1]:25'\n            - 10.0.0.2\n"
            "            - '[::1]:26'\n"
            "            - {name: mx.example.com, addr: 10.0.0.3}\n            - {name: mx.example.com, addr: '10.0.0.3:26'}\n"
            "            - {name: mx.example.com, addr: '[::1]:27'}\n            - {addr: '::1', name: Mx.example.com.}\n"
        )
        found = config.queues.queue["a.example"].options["mx_list"]
        assert isinstance(found, tuple)
        self.assertEqual(
            found,
            (
                MxHost(name="smart.host.local", label="Smart.host.local"),
                MxHost(name="smart.host.local", label="smart.host.local:2025", port=2025),
                MxHost(name="10.0.0.1", label="[10.0.0.1]", addr="10.0.0.1"),
                MxHost(name="2001:db8::1", label="[IPv6:2001:db8::1]", addr="2001:db8::1"),
                MxHost(name="::1", label="[::1]", addr="::1"),
                MxHost(name="10.0.0.1", label="[10.0.0.1]:25", addr="10.0.0.1", port=25),
                MxHost(name="10.0.0.2", label="10.0.0.2", addr="10.0.0.2"),
                MxHost(name="::1", label="[::1]:26", addr="::1", port=26),
                MxHost(name="mx.example.com", label="10.0.0.3", addr="10.0.0.3"),
                MxHost(name="mx.example.com", label="10.0.0.3:26", addr="10.0.0.3", port=26),
                MxHost(name="mx.example.com", label="[::1]:27", addr="::1", port=27),
                MxHost(name="mx.example.com", label="::1", addr="::1"),
            ),
        )

    def test_an_mx_list_that_is_to_be_taken_for_secure(self) -> None:
        for switch, secure in (("true", True), ("false", False), ("null", False)):
            word, hosts = f"treat_mx_list_as_secure: {switch}", "mx_list: [a.example]"
            for one in (f"{word}, {hosts}", f"{hosts}, {word}"):
                config = self.read(f"queues: {{queue: {{a.example: {{protocol: {{smtp: {{{one}}}}}}}}}}}\n")
                host = MxHost(name="a.example", label="a.example", secure=secure)
                self.assertEqual(config.queues.queue["a.example"].options["mx_list"], (host,), one)

    def test_a_protocol_without_hosts_leaves_it_to_the_mx(self) -> None:
        for protocol in ("null", "{}", "{smtp: }", "{smtp: {}}", "{smtp: {mx_list: []}}"):
            with self.subTest(protocol):
                config = self.read(f"queues: {{queue: {{a.example: {{protocol: {protocol}}}}}}}\n")
                self.assertEqual(config.queues.queue["a.example"].options, {"mx_list": (), "instead_of_smtp": None})

    def test_queues(self) -> None:
        config = self.read(
            "egress: {pool: {bulk: {}}}\n"
            "queues:\n  tenant_header: X-Tenant\n  remove_tenant_header: true\n  campaign_header: X-Campaign\n"
            "  scheduling_header: X-Schedule\n  default_tenant: other\n  unknown_tenant: accept\n  require_tenant: on\n"
            "  tenant: {house: {egress_pool: bulk, max_age: 10 hours}, 42: {}}\n"
            "  queue:\n    default: {max_age: 24 hours}\n"
            "    Gmail.com: {retry_interval: 17 mins, mytenant: {welcome: {max_age: 1 hour, routing_domain: a.example}}}\n"
            "    '*.Example.com': {provider_name: 5}\n"
        )
        queues = config.queues
        self.assertEqual(
            (queues.tenant_header, queues.campaign_header, queues.scheduling_header), ("X-Tenant", "X-Campaign", "X-Schedule")
        )
        self.assertEqual((queues.remove_tenant_header, queues.remove_campaign_header), (True, False))
        self.assertEqual((queues.default_tenant, queues.unknown_tenant_accepted, queues.require_tenant), ("other", True, True))
        self.assertEqual(
            queues.tenant, {"house": TenantSettings(options={"egress_pool": "bulk", "max_age": 36000.0}), "42": TenantSettings()}
        )
        self.assertEqual(
            queues.queue,
            {
                "default": QueueRule(options={"max_age": 86400.0}),
                "gmail.com": QueueRule(
                    options={"retry_interval": 1020.0},
                    tenants={
                        "mytenant": QueueRule(
                            tenants={"welcome": QueueRule(options={"max_age": 3600.0}, routing_domain="a.example")}
                        )
                    },
                ),
                "*.example.com": QueueRule(options={"provider_name": "5"}),
            },
        )

    def test_shaping(self) -> None:
        config = self.read(
            "shaping:\n  rules:\n    default: {connection_limit: 10, enable_tls: Required, prohibited_hosts: []}\n"
            "    Gmail.com:\n      max_connection_rate: local:100/min,max_burst=5\n      mx_rollup: no\n      replace_base: yes\n"
            "      ip_lookup_strategy: Ipv6ThenIpv4\n      system_shutdown_timeout: 10\n      connection_limit: local:2\n"
            "      sources: {ip-9: {max_message_rate: 1_000/day}}\n"
        )
        self.assertEqual(
            config.shaping.rules,
            {
                "default": ShapingRule(
                    options={"connection_limit": Limit(10), "enable_tls": EnableTls.REQUIRED, "prohibited_hosts": Networks()}
                ),
                "gmail.com": ShapingRule(
                    options={
                        "max_connection_rate": Rate(100, 60.0, 5, local=True),
                        "ip_lookup_strategy": IpLookupStrategy.IPV6_THEN_IPV4,
                        "system_shutdown_timeout": 10.0,
                        "connection_limit": Limit(2, local=True),
                    },
                    sources={"ip-9": {"max_message_rate": Rate(1000, 86400.0)}},
                    mx_rollup=False,
                    replace_base=True,
                ),
            },
        )

    def test_every_option_of_a_path_and_of_a_queue_is_a_parameter_of_its_settings(self) -> None:
        self.assertEqual(PathSettings(**self.read_rule("shaping", "rules", "enable_rset: false")).enable_rset, False)
        self.assertEqual(QueueSettings(**self.read_rule("queues", "queue", "reap_interval: 1 hour")).reap_interval, 3600.0)

    def read_rule(self, section: str, rules: str, option: str) -> dict[str, object]:
        config = self.read(f"{section}: {{{rules}: {{a.example: {{{option}}}}}}}\n")
        rule = config.shaping.rules.get("a.example") or config.queues.queue["a.example"]
        return dict(rule.options)


class LayoutTests(ConfigTestCase):
    """The model's data files load unchanged, as TOML and as the JSON of the same."""

    def test_sources(self) -> None:
        config = self.read("egress: {files: [sources.toml]}\n", sources_toml=layout("sources.toml"))
        self.assertEqual(
            [(source.name, source.source_address, source.ehlo_domain) for source in config.egress.source.values()],
            [
                ("ip-1", "10.0.0.1", "mta1.examplecorp.com"),
                ("ip-2", "10.0.0.2", "mta2.examplecorp.com"),
                ("ip-3", "10.0.0.3", "mta3.examplecorp.com"),
                (UNSPECIFIED, None, None),
            ],
        )
        self.assertEqual(config.egress.pool["pool-1"].entries, (PoolEntry(name="ip-1"),))
        self.assertEqual(config.egress.pool["pool-2"].entries, (PoolEntry(name="ip-2", weight=2), PoolEntry(name="ip-3", weight=1)))

    def test_queues(self) -> None:
        config = self.read(
            "egress: {files: [sources.toml]}\nqueues: {files: [queues.toml]}\n",
            sources_toml=layout("sources.toml"),
            queues_toml=layout("queues.toml"),
        )
        self.assertEqual(config.queues.default_tenant, "default-tenant")
        self.assertEqual(config.queues.tenant["mytenant"].options, {"egress_pool": "pool-2", "max_message_rate": Rate(100, 60.0)})
        gmail = config.queues.queue["gmail.com"]
        self.assertEqual(gmail.options, {"max_age": 79200.0, "retry_interval": 1020.0})
        self.assertEqual(gmail.tenants["mytenant"].tenants["welcome-campaign"].routing_domain, "fast.example.com")
        hosts = (
            MxHost(name="smart.host.local", label="smart.host.local"),
            MxHost(name="mx.example.com", label="10.0.0.1", addr="10.0.0.1"),
        )
        self.assertEqual(config.queues.queue["*.example.com"].options, {"mx_list": hosts, "instead_of_smtp": None})

    def test_shaping(self) -> None:
        config = self.read("shaping: {files: [shaping.toml]}\n", shaping_toml=layout("shaping.toml"))
        rules = config.shaping.rules
        self.assertEqual(list(rules), ["default", "example.com", "gmail.com"])
        self.assertEqual(rules["default"].options["max_connection_rate"], Rate(100, 60.0))
        self.assertEqual(rules["example.com"].sources, {"my source name": {"connection_limit": Limit(5)}})
        self.assertFalse(rules["example.com"].mx_rollup)
        self.assertTrue(rules["gmail.com"].replace_base)

    def test_listener_domains(self) -> None:
        config = self.read("listener_domains: {files: [d.toml]}\n", d_toml=layout("listener_domains.toml"))
        self.assertEqual(
            config.listener_domains.domains,
            {
                "example.com": ListenerDomain(relay_to=True),
                "*.example.com": ListenerDomain(relay_from=networks("10.0.0.0/24", "192.168.1.1")),
                "*": ListenerDomain(),
            },
        )

    def test_json_and_yaml_say_the_same_as_toml(self) -> None:
        value = tomllib.loads(layout("sources.toml"))
        toml = self.read("egress: {files: [s.toml]}\n", s_toml=layout("sources.toml"))
        for name in ("s.json", "s.yaml", "s.yml"):
            with self.subTest(name):
                self.write(name, json.dumps(value, indent="\t" if name == "s.json" else 2))
                self.assertEqual(self.read(f"egress: {{files: [{name}]}}\n").egress, toml.egress)

    def test_a_file_of_comments_says_nothing(self) -> None:
        config = self.read("egress: {files: [a.toml, b.yaml]}\n", a_toml="# none\n", b_yaml="# none\n")
        self.assertEqual(list(config.egress.source), [UNSPECIFIED])


class MergingTests(ConfigTestCase):
    """Files in their order, then what stands inline; later wins."""

    def test_sources_merge_key_by_key_and_pools_source_by_source(self) -> None:
        config = self.read(
            "egress:\n  files: [a.toml, b.yaml]\n  source: {ip-1: {remote_port: 27}}\n  pool: {p: {ip-1: {weight: 3}, ip-2: {}}}\n",
            a_toml='[source.ip-1]\nsource_address = "10.0.0.1"\nremote_port = 25\n[source.ip-2]\n[pool.p.ip-1]\n[pool.q.ip-1]\n',
            b_yaml="source: {ip-1: {remote_port: 26, ehlo_domain: a.example}, ip-3: {}}\npool: {p: {ip-3: {weight: 2}}}\n",
        )
        self.assertEqual(
            config.egress.source["ip-1"],
            EgressSource(name="ip-1", source_address="10.0.0.1", ehlo_domain="a.example", remote_port=27),
        )
        self.assertEqual(
            config.egress.pool["p"].entries,
            (PoolEntry(name="ip-1", weight=3), PoolEntry(name="ip-3", weight=2), PoolEntry(name="ip-2")),
        )
        self.assertEqual(config.egress.pool["q"].entries, (PoolEntry(name="ip-1"),))

    def test_queues_merge_down_to_the_campaigns(self) -> None:
        config = self.read(
            "queues:\n  files: [a.yaml, b.yaml]\n  tenant_header: X-C\n  queue: {a.example: {t: {c: {max_age: 3}}}}\n",
            a_yaml="tenant_header: X-A\ncampaign_header: X-Camp\ntenant: {t: {max_age: 1, provider_name: p}}\n"
            "queue: {a.example: {max_age: 1, reap_interval: 1, t: {max_age: 1, c: {max_age: 1, reap_interval: 1}}}}\n",
            b_yaml="tenant_header: X-B\ntenant: {t: {max_age: 2}}\nqueue: {a.example: {max_age: 2, t: {c: {max_age: 2}, d: {}}}}\n",
        )
        queues = config.queues
        self.assertEqual((queues.tenant_header, queues.campaign_header), ("X-C", "X-Camp"))
        self.assertEqual(queues.tenant["t"].options, {"max_age": 2.0, "provider_name": "p"})
        rule = queues.queue["a.example"]
        self.assertEqual(rule.options, {"max_age": 2.0, "reap_interval": 1.0})
        self.assertEqual(rule.tenants["t"].options, {"max_age": 1.0})
        self.assertEqual(
            rule.tenants["t"].tenants, {"c": QueueRule(options={"max_age": 3.0, "reap_interval": 1.0}), "d": QueueRule()}
        )

    def test_shaping_rules_merge_unless_the_later_replaces(self) -> None:
        config = self.read(
            "shaping:\n  files: [a.yaml]\n  rules:\n"
            "    a.example: {max_ready: 2, sources: {s: {max_ready: 2}}}\n    b.example: {replace_base: true, max_ready: 2}\n",
            a_yaml="a.example: {max_ready: 1, smtp_port: 26, mx_rollup: false, sources: {s: {smtp_port: 26}, t: {}}}\n"
            "b.example: {smtp_port: 26, sources: {s: {smtp_port: 26}}}\n",
        )
        self.assertEqual(
            config.shaping.rules["a.example"],
            ShapingRule(
                options={"max_ready": 2, "smtp_port": 26},
                sources={"s": {"smtp_port": 26, "max_ready": 2}, "t": {}},
                mx_rollup=False,
            ),
        )
        # replace_base of a later block forgets what earlier ones said of the domain, not what `default` says.
        self.assertEqual(config.shaping.rules["b.example"], ShapingRule(options={"max_ready": 2}))

    def test_listener_domains_merge_key_by_key(self) -> None:
        config = self.read(
            "listener_domains: {files: [a.yaml], domains: {Example.COM: {relay_to: false}}}\n",
            a_yaml="example.com: {relay_to: true, relay_from: [10.0.0.1]}\n",
        )
        self.assertEqual(config.listener_domains.domains, {"example.com": ListenerDomain(relay_from=networks("10.0.0.1"))})


class PlaceTests(ConfigTestCase):
    """Names of files are relative to the file that names them."""

    def test_files_and_what_they_name(self) -> None:
        self.write("data/a.yaml", "source: {ip-1: {}}\n")
        config = self.read("egress: {files: [data/a.yaml, ./data/../data/a.yaml]}\nspool: {path: ../spool}\n")
        self.assertIn("ip-1", config.egress.source)
        self.assertEqual(config.spool.path, str(self.directory.absolute().parent / "spool"))

    def test_the_files_that_were_read_are_known(self) -> None:
        self.write("data/a.yaml", "source: {ip-1: {}}\n")
        config = self.read("egress: {files: [data/a.yaml]}\nqueues: {files: [q.toml]}\n", q_toml="")
        here = self.directory.absolute()
        self.assertEqual(config.files, (str(here / "main.yaml"), str(here / "data/a.yaml"), str(here / "q.toml")))

    def test_an_absolute_name_is_taken_as_it_is(self) -> None:
        path = self.write("elsewhere/a.yaml", "source: {ip-1: {}}\n").absolute()
        self.assertIn("ip-1", self.read(f"egress: {{files: [{path}]}}\n").egress.source)

    def test_a_text_or_a_path_names_the_configuration(self) -> None:
        path = self.write("main.yaml", "hostname: a.example\n")
        self.assertEqual(read_config(str(path)), read_config(path))

    def test_the_whole_configuration_may_be_toml_or_json(self) -> None:
        toml = read_config(self.write("main.toml", 'hostname = "a.example"\n[[esmtp_listeners]]\nlisten = "0.0.0.0:25"\n'))
        json_ = read_config(self.write("main.json", '{"hostname": "a.example", "esmtp_listeners": [{"listen": "0.0.0.0:25"}]}'))
        self.assertEqual(toml.esmtp_listeners, json_.esmtp_listeners)
        self.assertEqual(toml.hostname, json_.hostname)


class FrozenTests(ConfigTestCase):
    def test_equal_files_give_equal_configurations(self) -> None:
        text = "egress: {source: {ip-1: {}}}\nshaping: {rules: {default: {max_message_rate: 1/s}}}\n"
        self.assertEqual(self.read(text), self.read(text))

    def test_nothing_in_it_can_be_assigned(self) -> None:
        config = self.read("hostname: a.example\n")
        for value, name in ((config, "hostname"), (config.spool, "path"), (config.egress, "pool")):
            self.assertRaises(AttributeError, setattr, value, name, None)
