"""Which of several rules holds for a queue, a path, a domain."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.compose import listener_domain, path_settings, queue_routing_domain, queue_settings
from kumotwist.config.egress import PathSettings
from kumotwist.config.listeners import ListenerDomain, ListenerDomains
from kumotwist.config.queues import QueueRule, QueueSettings, QueuesSettings, TenantSettings
from kumotwist.config.shaping import ShapingRule, ShapingSettings


def age(seconds: float, **more: object) -> dict[str, object]:
    return {"max_age": seconds, **more}


QUEUES = QueuesSettings(
    tenant={
        "t": TenantSettings(options=age(3.0, egress_pool="tenant's", provider_name="tenant's")),
        "u": TenantSettings(options={"egress_pool": "u's"}),
    },
    queue={
        "default": QueueRule(options=age(1.0, reap_interval=1.0), routing_domain="default.route"),
        "a.example": QueueRule(
            options=age(2.0, egress_pool="a's"),
            routing_domain="a.route",
            tenants={
                "t": QueueRule(
                    options=age(4.0),
                    tenants={"c": QueueRule(options=age(5.0), routing_domain="c.route"), "d": QueueRule()},
                ),
                "v": QueueRule(routing_domain="v.route"),
            },
        ),
        "*.example": QueueRule(options=age(10.0)),
        "*.b.example": QueueRule(options=age(11.0)),
        "x.y.b.example": QueueRule(options=age(12.0)),
    },
)


class QueueSettingsTests(SynchronousTestCase):
    def test_later_wins_key_by_key(self) -> None:
        for tenant, campaign, expected in (
            (None, None, QueueSettings(max_age=2.0, reap_interval=1.0, egress_pool="a's")),
            (None, "c", QueueSettings(max_age=2.0, reap_interval=1.0, egress_pool="a's")),
            ("t", None, QueueSettings(max_age=4.0, reap_interval=1.0, egress_pool="tenant's", provider_name="tenant's")),
            ("t", "c", QueueSettings(max_age=5.0, reap_interval=1.0, egress_pool="tenant's", provider_name="tenant's")),
            ("t", "d", QueueSettings(max_age=4.0, reap_interval=1.0, egress_pool="tenant's", provider_name="tenant's")),
            ("t", "other", QueueSettings(max_age=4.0, reap_interval=1.0, egress_pool="tenant's", provider_name="tenant's")),
            ("u", "c", QueueSettings(max_age=2.0, reap_interval=1.0, egress_pool="u's")),
            ("v", None, QueueSettings(max_age=2.0, reap_interval=1.0, egress_pool="a's")),
            ("T", None, QueueSettings(max_age=2.0, reap_interval=1.0, egress_pool="a's")),
        ):
            with self.subTest(tenant=tenant, campaign=campaign):
                self.assertEqual(queue_settings(QUEUES, "a.example", tenant, campaign), expected)

    def test_the_domains_best_rule_is_the_one_with_most_labels(self) -> None:
        for domain, seconds in (
            ("a.example", 2.0),
            ("A.Example", 2.0),
            ("c.example", 10.0),
            ("sub.a.example", 10.0),
            ("b.example", 10.0),
            ("c.b.example", 11.0),
            ("x.y.b.example", 12.0),
            ("z.y.b.example", 11.0),  # a rule further down the same labels does not hide the wildcard
            ("y.b.example", 11.0),
            ("example", 1.0),
            ("a.example.com", 1.0),
            ("default", 1.0),
            ("[10.0.0.1]", 1.0),
            ("", 1.0),
        ):
            with self.subTest(domain):
                self.assertEqual(queue_settings(QUEUES, domain, None, None).max_age, seconds)

    def test_nothing_configured_is_the_default(self) -> None:
        self.assertEqual(queue_settings(QueuesSettings(), "a.example", "t", "c"), QueueSettings())

    def test_routing_domains(self) -> None:
        for domain, tenant, campaign, expected in (
            ("a.example", None, None, "a.route"),
            ("a.example", "t", None, "a.route"),
            ("a.example", "t", "c", "c.route"),
            ("a.example", "t", "d", "a.route"),
            ("a.example", "v", "c", "v.route"),
            ("b.example", "v", None, "default.route"),
            ("elsewhere", None, None, "default.route"),
        ):
            with self.subTest(domain=domain, tenant=tenant, campaign=campaign):
                self.assertEqual(queue_routing_domain(QUEUES, domain, tenant, campaign), expected)
        self.assertIsNone(queue_routing_domain(QueuesSettings(), "a.example", "t", "c"))


SHAPING = ShapingSettings(
    rules={
        "default": ShapingRule(options={"max_ready": 1, "smtp_port": 1}),
        "gmail.com": ShapingRule(options={"max_ready": 2}, sources={"s": {"max_ready": 20, "max_recipients_per_batch": 20}}),
        "own.example": ShapingRule(options={"max_ready": 3}, sources={"s": {"max_ready": 30}}, mx_rollup=False),
        "bare.example": ShapingRule(options={"max_ready": 4}, replace_base=True),
        "bare-own.example": ShapingRule(options={"max_ready": 5}, replace_base=True, mx_rollup=False),
        "googlemail.com": ShapingRule(options={"max_recipients_per_batch": 6}),
    }
)
ROLLUP = {"gmail.com": "google", "googlemail.com": "google", "bare.example": "bare"}


class PathSettingsTests(SynchronousTestCase):
    def settings(self, domain: str, site: str, source: str = "other") -> tuple[int, int, int]:
        found = path_settings(SHAPING, ROLLUP, domain=domain, source=source, site=site)
        return found.max_ready, found.smtp_port, found.max_recipients_per_batch

    def test_precedence(self) -> None:
        batch, port = PathSettings().max_recipients_per_batch, PathSettings().smtp_port
        for what, domain, site, source, expected in (
            ("only the default", "a.example", "a", "other", (1, 1, batch)),
            ("the site's rules, for any domain of it", "a.example", "google", "other", (2, 1, 6)),
            ("the site's rules, for the domain itself", "gmail.com", "google", "other", (2, 1, 6)),
            ("the site's source table over all", "a.example", "google", "s", (20, 1, 20)),
            ("not for the domain when its site is another", "gmail.com", "elsewhere", "other", (1, 1, batch)),
            ("the domain's own rule over the site's", "own.example", "google", "other", (3, 1, 6)),
            ("the domain's source table over the site's", "own.example", "google", "s", (30, 1, 20)),
            ("in any case of letters", "OWN.example", "x", "s", (30, 1, batch)),
            ("its own rule for no other domain of its site", "sub.own.example", "x", "s", (1, 1, batch)),
            ("replace_base forgets the default", "bare.example", "bare", "other", (4, port, batch)),
            ("and what the site's rules said", "bare-own.example", "google", "other", (5, port, batch)),
            ("but no source table", "bare-own.example", "google", "s", (20, port, 20)),
            ("a domain called default", "default", "x", "other", (1, 1, batch)),
        ):
            with self.subTest(what):
                self.assertEqual(self.settings(domain, site, source), expected)

    def test_a_rule_whose_site_is_not_known_is_for_its_domain(self) -> None:
        for rollup, domain, expected in (
            ({}, "gmail.com", 2),
            ({}, "a.example", 1),
            ({"gmail.com": "google"}, "a.example", 2),
        ):
            with self.subTest(rollup=rollup, domain=domain):
                self.assertEqual(path_settings(SHAPING, rollup, domain=domain, source="x", site="google").max_ready, expected)

    def test_of_two_rules_for_one_site_the_later_wins_and_may_replace_the_earlier(self) -> None:
        rules = {
            "default": ShapingRule(options={"smtp_port": 1}),
            "a": ShapingRule(options={"max_ready": 2, "max_recipients_per_batch": 2}, sources={"s": {"max_ready": 3}}),
        }
        rollup = {"a": "site", "b": "site"}
        for replace, expected in ((False, (3, 1, 4)), (True, (1024, 1, 4))):
            later = ShapingRule(options={"max_recipients_per_batch": 4}, replace_base=replace)
            found = path_settings(ShapingSettings(rules={**rules, "b": later}), rollup, domain="a", source="s", site="site")
            with self.subTest(replace=replace):
                self.assertEqual((found.max_ready, found.smtp_port, found.max_recipients_per_batch), expected)

    def test_nothing_configured_is_the_default(self) -> None:
        self.assertEqual(path_settings(ShapingSettings(), {}, domain="a", source="s", site="x"), PathSettings())


class ListenerDomainTests(SynchronousTestCase):
    def test_the_nearest_entry_is_used_whole(self) -> None:
        named = {key: ListenerDomain() for key in ("example.com", "*.example.com", "a.b.example.com", "*.c.example.com")}
        domains = ListenerDomains(named)
        for domain, key in (
            ("example.com", "example.com"),
            ("EXAMPLE.com", "example.com"),
            ("b.example.com", "*.example.com"),
            ("x.b.example.com", "*.example.com"),
            ("a.b.example.com", "a.b.example.com"),
            ("c.example.com", "*.example.com"),
            ("x.c.example.com", "*.c.example.com"),
            ("example.org", None),
            ("com", None),
            ("", None),
        ):
            with self.subTest(domain):
                self.assertIs(listener_domain(domains, domain), None if key is None else named[key])

    def test_a_star_is_for_all_others_the_null_sender_too(self) -> None:
        star, exact = ListenerDomain(relay_to=True), ListenerDomain()
        domains = ListenerDomains({"*": star, "example.com": exact})
        for domain, found in (("example.com", exact), ("a.example.com", star), ("", star), ("[10.0.0.1]", star)):
            with self.subTest(domain):
                self.assertIs(listener_domain(domains, domain), found)
