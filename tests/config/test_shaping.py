"""The layout of the model's shaping helper: providers, limits that paths share, automation; and what holds where."""

from pathlib import Path

from msgspec.structs import replace
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from kumotwist.config.compose import is_of_provider, path_settings
from kumotwist.config.egress import (
    EgressSource,
    EnableTls,
    PathSettings,
    ReconnectStrategy,
    SuspendRule,
    WakeupStrategy,
)
from kumotwist.config.fields import Limit, Rate
from kumotwist.config.keys import KeyData
from kumotwist.config.openssl import CipherSuite
from kumotwist.config.queues import RefreshStrategy, Shrinking
from kumotwist.config.shaping import (
    Action,
    AutomationAction,
    AutomationRule,
    Matcher,
    Provider,
    ProviderMatch,
    ShapingRule,
    ShapingSettings,
)
from tests.config.files import ConfigTestCase, use_all_values
from tests.config.test_read import layout

SHARED = Path(__file__).resolve().parent.parent.parent.parent / "shared" / "data"


class ShapingCase(ConfigTestCase):
    def setUp(self) -> None:
        super().setUp()
        use_all_values(self)

    def shaping(self, text: str, **files: str) -> ShapingSettings:
        return self.read(f"shaping:\n  {text}\n", **files).shaping


class LayoutTests(ShapingCase):
    def test_providers_and_automation(self) -> None:
        shaping = self.shaping("files: [p.toml]", p_toml=layout("shaping_providers.toml"))
        self.assertEqual(list(shaping.provider), ["big", "by-domain"])
        self.assertEqual(
            shaping.provider["big"],
            Provider(
                name="big",
                match=(
                    ProviderMatch(Matcher.MX_SUFFIX, ".big.example"),
                    ProviderMatch(Matcher.MX_SUFFIX, ".big.test"),
                    ProviderMatch(Matcher.HOST_NAME, "mx.elsewhere.example"),
                ),
                options={"enable_tls": EnableTls.REQUIRED},
                sources={"ip-1": {"max_deliveries_per_connection": 5}},
                connection_limit=Limit(5),
                max_message_rate=Rate(50, 1.0, local=True),
                source_selection_rates={"ip-1": Rate(1000, 86400.0)},
                automation=(
                    AutomationRule(
                        regex=(r"\[TS?S04\]",),
                        action=(Action(kind=AutomationAction.SUSPEND),),
                        trigger=Rate(2, 3600.0),
                        duration=7200.0,
                    ),
                ),
            ),
        )
        self.assertEqual(
            shaping.rules["default"].automation,
            (
                AutomationRule(
                    regex=("temporarily deferred", r"rate limited from \d+\.\d+"),
                    action=(
                        Action(kind=AutomationAction.SET_CONFIG, name="max_message_rate", value=Rate(1, 60.0)),
                        Action(kind=AutomationAction.SET_CONFIG, name="connection_limit", value=Limit(1)),
                    ),
                    duration=5400.0,
                ),
            ),
        )
        self.assertEqual(
            shaping.rules["http://127.0.0.1:8008.tsa.kumomta"],
            ShapingRule(options={"connection_limit": Limit(5, local=True)}, mx_rollup=False),
        )

    def test_every_parameter_of_a_path(self) -> None:
        self.write("password", "secret")
        options = (
            self.shaping(
                "rules: {default: {auth_timeout: 1, dispatcher_progress_watchdog_timeout: 2,"
                " additional_connection_limits: {a: 1, b: 'local:2'},"
                " additional_message_rate_throttles: {a: 1/s}, source_selection_rate: 2/s,"
                " additional_source_selection_rates: {a: 3/s},"
                " remember_broken_tls: 3 days, opportunistic_tls_reconnect_on_failed_handshake: on, tls_prefer_openssl: on,"
                " openssl_cipher_list: 'ECDHE+AESGCM:!aNULL', openssl_cipher_suites: TLS_AES_256_GCM_SHA384,"
                " openssl_options: NO_TICKET,"
                " rustls_cipher_suites: [TLS13_AES_256_GCM_SHA384], enable_dane: on, enable_mta_sts: off,"
                " smtp_auth_plain_username: me,"
                " smtp_auth_plain_password: password, allow_smtp_auth_plain_without_tls: on,"
                " allow_smtp_auth_plain_without_valid_certificate: on, use_lmtp: on, reconnect_strategy: TerminateSession,"
                " try_next_host_on_transport_error: on, aggressive_connection_opening: on,"
                " refresh_interval: 4, refresh_strategy: Epoch,"
                " low_memory_reduction_policy: NoShrink, no_memory_reduction_policy: ShrinkData,"
                " dispatcher_wakeup_strategy: Relaxed,"
                " maintainer_wakeup_strategy: Relaxed, readyq_pool_name: pool}}"
            )
            .rules["default"]
            .options
        )
        settings = PathSettings(**options)
        self.assertEqual(
            settings,
            PathSettings(
                auth_timeout=1.0,
                dispatcher_progress_watchdog_timeout=2.0,
                additional_connection_limits={"a": Limit(1), "b": Limit(2, local=True)},
                additional_message_rate_throttles={"a": Rate(1, 1.0)},
                source_selection_rate=Rate(2, 1.0),
                additional_source_selection_rates={"a": Rate(3, 1.0)},
                remember_broken_tls=3 * 86400.0,
                opportunistic_tls_reconnect_on_failed_handshake=True,
                tls_prefer_openssl=True,
                openssl_cipher_list="ECDHE+AESGCM:!aNULL",
                openssl_cipher_suites="TLS_AES_256_GCM_SHA384",
                openssl_options="NO_TICKET",
                rustls_cipher_suites=(CipherSuite.AES_256_GCM,),
                enable_dane=True,
                enable_mta_sts=False,
                smtp_auth_plain_username="me",
                smtp_auth_plain_password=str(self.directory.absolute() / "password"),
                allow_smtp_auth_plain_without_tls=True,
                allow_smtp_auth_plain_without_valid_certificate=True,
                use_lmtp=True,
                reconnect_strategy=ReconnectStrategy.TERMINATE_SESSION,
                try_next_host_on_transport_error=True,
                aggressive_connection_opening=True,
                refresh_interval=4.0,
                refresh_strategy=RefreshStrategy.EPOCH,
                low_memory_reduction_policy=Shrinking.NO_SHRINK,
                no_memory_reduction_policy=Shrinking.SHRINK_DATA,
                dispatcher_wakeup_strategy=WakeupStrategy.RELAXED,
                maintainer_wakeup_strategy=WakeupStrategy.RELAXED,
                readyq_pool_name="pool",
            ),
        )

    def test_every_parameter_of_a_source(self) -> None:
        config = self.read(
            "egress: {source: {s: {ha_proxy_server: '[::1]:5000', ha_proxy_source_address: 10.0.0.1, socks5_proxy_server:"
            " Proxy.example.com:1080, socks5_proxy_source_address: '2001:DB8::1', socks5_proxy_username: me,"
            " socks5_proxy_password: {key_data: secret}, suspend_when_unplumbed: {trigger: Immediate, duration: 5 min},"
            " suspend_when_proxy_unhealthy: {trigger: {Threshold: 5/min}, duration: 1 h}, ttl: 30}}}\n"
        )
        self.assertEqual(
            config.egress.source["s"],
            EgressSource(
                name="s",
                ha_proxy_server="[::1]:5000",
                ha_proxy_source_address="10.0.0.1",
                socks5_proxy_server="proxy.example.com:1080",
                socks5_proxy_source_address="2001:db8::1",
                socks5_proxy_username="me",
                socks5_proxy_password=KeyData(b"secret"),
                suspend_when_unplumbed=SuspendRule(duration=300.0),
                suspend_when_proxy_unhealthy=SuspendRule(trigger=Rate(5, 60.0), duration=3600.0),
                ttl=30.0,
            ),
        )

    def test_a_proxy_may_be_named_by_several_files(self) -> None:
        config = self.read(
            "egress: {files: [a.yaml], source: {s: {ha_proxy_source_address: 10.0.0.1}}}\n",
            a_yaml="source: {s: {ha_proxy_server: 'a.example:5000'}}\n",
        )
        self.assertEqual(config.egress.source["s"].ha_proxy_server, "a.example:5000")


class MergingTests(ShapingCase):
    """Several files about the same provider or domain."""

    def test_providers(self) -> None:
        shaping = self.shaping(
            "files: [a.yaml, b.yaml]",
            a_yaml="provider:\n  p: {match: [{MXSuffix: .p.example}], connection_limit: 1,\n"
            "    max_ready: 1, provider_connection_limit: 1,\n"
            "    sources: {s: {max_ready: 1, provider_source_selection_rate: 1/s}},\n"
            "    automation: [{regex: a, action: Suspend, duration: 1}]}\n  q: {match: [{HostName: q.example}]}\n",
            b_yaml="provider:\n  q: {replace_base: true, max_ready: 2}\n"
            "  p: {match: [{MXSuffix: .p.test}, {MXSuffix: .p.example}],\n"
            "    max_ready: 2, provider_max_message_rate: 2/s, provider_connection_limit: null,\n"
            "    sources: {s: {smtp_port: 26}, t: {}}, automation: [{regex: b, action: Bounce, duration: 2}]}\n",
        )
        self.assertEqual(list(shaping.provider), ["p", "q"])
        found = shaping.provider["p"]
        self.assertEqual([match.text for match in found.match], [".p.example", ".p.test"])
        self.assertEqual(found.options, {"connection_limit": Limit(1), "max_ready": 2})
        self.assertEqual((found.connection_limit, found.max_message_rate), (None, Rate(2, 1.0)))
        self.assertEqual(found.sources, {"s": {"max_ready": 1, "smtp_port": 26}, "t": {}})
        self.assertEqual(found.source_selection_rates, {"s": Rate(1, 1.0)})
        self.assertEqual([rule.regex for rule in found.automation], [("a",), ("b",)])
        self.assertEqual(shaping.provider["q"], Provider(name="q", options={"max_ready": 2}))

    def test_limits_that_are_shared_merge_by_name_and_all_else_is_replaced(self) -> None:
        shaping = self.shaping(
            "files: [a.yaml]\n  rules: {a.example: {additional_connection_limits: {y: 3, z: 4}, prohibited_hosts: [any], "
            "sources: {s: {additional_message_rate_throttles: {y: 3/s}}}}}",
            a_yaml="a.example: {additional_connection_limits: {x: 1, y: 2}, prohibited_hosts: [10.0.0.1], automation: "
            "[{regex: a, action: Suspend, duration: 1}],\n  sources: {s: {additional_message_rate_throttles: {x: 1/s}}}}\n",
        )
        rule = shaping.rules["a.example"]
        self.assertEqual(rule.options["additional_connection_limits"], {"x": Limit(1), "y": Limit(3), "z": Limit(4)})
        self.assertEqual(rule.sources["s"]["additional_message_rate_throttles"], {"x": Rate(1, 1.0), "y": Rate(3, 1.0)})
        self.assertEqual(len(rule.automation), 1)

    def test_a_rule_that_replaces_forgets_automation_too(self) -> None:
        shaping = self.shaping(
            "files: [a.yaml]\n  rules: {a.example: {replace_base: true, automation: [{regex: b, action: Bounce, duration: 2}]}}",
            a_yaml="a.example: {max_ready: 1, automation: [{regex: a, action: Suspend, duration: 1}]}\n",
        )
        self.assertEqual([rule.regex for rule in shaping.rules["a.example"].automation], [("b",)])
        self.assertEqual(shaping.rules["a.example"].options, {})

    def test_the_rule_of_a_url_may_be_continued(self) -> None:
        url = "'http://127.0.0.1:8008.tsa.kumomta'"
        shaping = self.shaping(
            f"files: [a.yaml]\n  rules: {{{url}: {{max_ready: 2}}}}", a_yaml=f"{url}: {{mx_rollup: false, smtp_port: 26}}\n"
        )
        self.assertEqual(shaping.rules[url.strip("'")].options, {"smtp_port": 26, "max_ready": 2})


class ProviderMatchTests(SynchronousTestCase):
    def provider(self, *matches: tuple[Matcher, str]) -> Provider:
        return Provider(name="p", match=tuple(ProviderMatch(by, text) for by, text in matches))

    def test_which_sites_are_a_providers(self) -> None:
        suffix, name, domain = Matcher.MX_SUFFIX, Matcher.HOST_NAME, Matcher.DOMAIN_SUFFIX
        hosts = ("mx1.p.example", "mx2.p.example")
        for what, matches, recipient, mx, expected in (
            ("every host ends so", [(suffix, ".p.example")], "a.example", hosts, True),
            ("in any case, with a dot at the end", [(suffix, ".p.example")], "a.example", ("MX.P.Example.",), True),
            ("one host does not", [(suffix, ".p.example")], "a.example", (*hosts, "mx.q.example"), False),
            (
                "each by another matcher",
                [(suffix, ".p.example"), (name, "mx.q.example")],
                "a.example",
                (*hosts, "mx.q.example"),
                True,
            ),
            ("a host's name is no end", [(name, "p.example")], "a.example", hosts, False),
            ("a plain end of a text", [(suffix, "p.example")], "a.example", ("mx.notp.example",), True),
            ("no hosts", [(suffix, ".p.example")], "a.example", (), False),
            ("no matchers", [], "a.example", hosts, False),
            ("the domain ends so", [(domain, ".p.example")], "a.p.example", ("mx.q.example",), True),
            ("the domain ends so, its hosts unknown", [(domain, "p.example")], "P.example", (), True),
            ("the domain with a port", [(domain, ".p.example")], "a.p.example:2525", (), True),
            (
                "the domain does not end so, but hosts do",
                [(domain, ".p.example"), (suffix, ".p.example")],
                "b.example",
                hosts,
                True,
            ),
            ("neither", [(domain, ".p.example"), (suffix, ".p.example")], "b.example", ("mx.q.example",), False),
            ("the domain's end is no end of hosts", [(domain, ".p.example")], "b.example", hosts, False),
            ("an address", [(name, "10.0.0.1"), (domain, "1]")], "[10.0.0.1]", ("10.0.0.1",), False),
        ):
            with self.subTest(what):
                self.assertEqual(is_of_provider(self.provider(*matches), recipient, mx), expected)


class CompositionTests(ShapingCase):
    """What holds for a source on the way to a site; later wins."""

    def test_the_order_of_all_that_can_be_said(self) -> None:
        """Each layer sets its own number in the parameters of all layers above it, and what is left shows the order."""
        names = ["smtp_port", "max_ready", "max_recipients_per_batch", "max_deliveries_per_connection", "connection_limit"]
        names += ["consecutive_connection_failures_before_delay", "mail_from_timeout", "rcpt_to_timeout"]

        def layer(number: int) -> dict[str, object]:
            return {name: Limit(number) if name == "connection_limit" else number for name in names[number:]}

        match = (ProviderMatch(Matcher.MX_SUFFIX, ".p.example"),)
        shaping = ShapingSettings(
            rules={
                "default": ShapingRule(options=layer(0)),
                "site.example": ShapingRule(options=layer(4), sources={"s": layer(6)}),
                "own.example": ShapingRule(options=layer(5), sources={"s": layer(7)}, mx_rollup=False),
            },
            provider={
                "second": Provider(name="second", match=match, options=layer(1), sources={"s": layer(3)}),
                "last": Provider(name="last", match=match, options=layer(2)),
                "other": Provider(name="other", options=dict.fromkeys(names, 99)),
            },
        )
        found = path_settings(
            shaping, {"site.example": "site"}, domain="own.example", source="s", site="site", mx_hosts=("mx.p.example",)
        )
        self.assertEqual([getattr(found, name) for name in names], [0, 1, 2, 3, Limit(4), 5, 6, 7])
        self.assertEqual(found.provider_name, "last")

    def test_what_a_provider_limits_is_shared_by_its_sites_for_one_source(self) -> None:
        shaping = self.shaping("files: [p.toml]", p_toml=layout("shaping_providers.toml"))
        hosts = ("mx1.big.example", "mx2.big.test")
        found = path_settings(shaping, {}, domain="a.example", source="ip-1", site="x", mx_hosts=hosts)
        self.assertEqual(found.additional_connection_limits, {"shaping-provider-big-ip-1-limit": Limit(5)})
        self.assertEqual(found.additional_message_rate_throttles, {"shaping-provider-big-ip-1-rate": Rate(50, 1.0, local=True)})
        self.assertEqual(found.additional_source_selection_rates, {"shaping-provider-big-ip-1-selection-rate": Rate(1000, 86400.0)})
        self.assertEqual((found.provider_name, found.connection_limit, found.max_deliveries_per_connection), ("big", Limit(10), 5))
        other = path_settings(shaping, {}, domain="b.example", source="ip-2", site="y", mx_hosts=hosts)
        self.assertEqual(other.additional_connection_limits, {"shaping-provider-big-ip-2-limit": Limit(5)})
        self.assertEqual(other.additional_source_selection_rates, {})
        self.assertEqual(other.max_deliveries_per_connection, PathSettings().max_deliveries_per_connection)
        nobody = path_settings(shaping, {}, domain="b.example", source="ip-1", site="y")
        self.assertEqual((nobody.provider_name, nobody.additional_connection_limits), (None, {}))

    def test_shared_limits_of_all_layers_hold_together(self) -> None:
        shaping = self.shaping(
            "rules: {default: {additional_connection_limits: {all: 100}}, a.example: {additional_connection_limits: {mine: 5, all: "
            "50}, sources: {s: {additional_connection_limits: {warm: 1}}}}, provider: {p: {match: [{DomainSuffix: .example}], "
            "provider_connection_limit: 20}}}"
        )
        found = path_settings(shaping, {}, domain="a.example", source="s", site="x")
        self.assertEqual(
            found.additional_connection_limits,
            {"all": Limit(50), "mine": Limit(5), "warm": Limit(1), "shaping-provider-p-s-limit": Limit(20)},
        )

    def test_a_rule_that_replaces_forgets_the_providers(self) -> None:
        for rule in ("{replace_base: true}", "{replace_base: true, mx_rollup: false}"):
            shaping = self.shaping(
                f"rules: {{default: {{max_ready: 1}}, a.example: {rule}, provider: {{p: {{match: [{{DomainSuffix: a.example}}], "
                "max_ready: 2, provider_connection_limit: 20, sources: {s: {max_ready: 3}}}}}"
            )
            with self.subTest(rule):
                found = path_settings(shaping, {}, domain="a.example", source="s", site="x")
                self.assertEqual(found, PathSettings())

    def test_replace_base_of_a_provider_forgets_nothing_but_its_earlier_self(self) -> None:
        shaping = self.shaping(
            "rules: {default: {max_ready: 1}, provider: {p: {match: [{DomainSuffix: a.example}], "
            "replace_base: true, smtp_port: 26}}}"
        )
        found = path_settings(shaping, {}, domain="a.example", source="s", site="x")
        self.assertEqual((found.max_ready, found.smtp_port), (1, 26))


GMAIL = ("gmail-smtp-in.l.google.com", *(f"alt{n}.gmail-smtp-in.l.google.com" for n in range(1, 5)))
YAHOO = ("mta5.am0.yahoodns.net", "mta6.am0.yahoodns.net", "mta7.am0.yahoodns.net")
OUTLOOK = ("outlook-com.olc.protection.outlook.com",)
COMCAST = ("mx1a1.comcast.net", "mx2a1.comcast.net")


class ShippedDataTests(ShapingCase):
    """The rules that KumoMTA ships, where they lie beside this checkout."""

    def setUp(self) -> None:
        super().setUp()
        if not SHARED.is_dir():
            raise SkipTest("KumoMTA's shaping files are not beside this checkout")
        files = [str(SHARED / name) for name in ("policy-extras-shaping.toml", "community-shaping.toml")]
        self.found = self.read(f"shaping: {{files: {files}}}\n").shaping

    def path(self, domain: str, hosts: tuple[str, ...], site: str = "x") -> PathSettings:
        rollup = {"comcast.net": "comcast"}
        return path_settings(self.found, rollup, domain=domain, source="ip-1", site=site, mx_hosts=hosts)

    def test_all_of_it_is_there(self) -> None:
        automation = [rule for block in (*self.found.rules.values(), *self.found.provider.values()) for rule in block.automation]
        actions = [action.kind for rule in automation for action in rule.action]
        self.assertEqual((len(automation), len(self.found.provider), len(self.found.rules)), (51, 15, 9))
        self.assertEqual(actions.count(AutomationAction.SUSPEND), 35)
        self.assertEqual(actions.count(AutomationAction.SET_CONFIG), 16)
        self.assertEqual(actions.count(AutomationAction.SUSPEND_TENANT), 1)
        self.assertFalse(self.found.rules["http://127.0.0.1:8008.tsa.kumomta"].mx_rollup)

    def test_big_providers_get_what_the_merge_rules_demand(self) -> None:
        base = PathSettings(
            connection_limit=Limit(10),
            max_connection_rate=Rate(100, 60.0),
            max_deliveries_per_connection=100,
            max_message_rate=Rate(100, 1.0),
            idle_timeout=60.0,
            data_timeout=30.0,
            data_dot_timeout=60.0,
            remember_broken_tls=3 * 86400.0,
        )
        for domain, hosts, changes in (
            ("a.example", ("mx.a.example",), {}),
            (
                "gmail.com",
                GMAIL,
                {
                    "provider_name": "google",
                    "enable_tls": EnableTls.REQUIRED,
                    "max_deliveries_per_connection": 50,
                    "consecutive_connection_failures_before_delay": 5,
                    "additional_connection_limits": {"shaping-provider-google-ip-1-limit": Limit(5)},
                },
            ),
            ("yahoo.com", YAHOO, {"provider_name": "yahoo", "max_deliveries_per_connection": 20}),
            (
                "outlook.com",
                OUTLOOK,
                {
                    "provider_name": "outlook",
                    "max_deliveries_per_connection": 50,
                    "additional_connection_limits": {"shaping-provider-outlook-ip-1-limit": Limit(5)},
                },
            ),
            (
                "customer.example",
                ("d1.ess.barracudanetworks.com", "d2.ess.barracudanetworks.com."),
                {
                    "provider_name": "barracuda",
                    "enable_tls": EnableTls.REQUIRED,
                    "max_deliveries_per_connection": 15,
                    "additional_connection_limits": {"shaping-provider-barracuda-ip-1-limit": Limit(10)},
                },
            ),
            (
                "mixed.example",  # whoever has one foot at Google is not Google
                (*GMAIL, "mx.mixed.example"),
                {},
            ),
        ):
            with self.subTest(domain):
                self.assertEqual(self.path(domain, hosts), replace(base, **changes))

    def test_a_domain_of_a_site_gets_the_sites_rule(self) -> None:
        found = self.path("customer.example", COMCAST, site="comcast")
        self.assertEqual(
            (found.connection_limit, found.max_deliveries_per_connection, found.idle_timeout, found.enable_tls),
            (Limit(25), 1000, 30.0, EnableTls.REQUIRED),
        )
        self.assertEqual((found.data_timeout, found.provider_name), (30.0, None))
