"""The model's examples as Python policies: they load, and answer what the originals would."""

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from kumotwist.config.fields import Limit, Rate
from kumotwist.config.queues import QueueSettings
from kumotwist.hooks.connection import ConnMeta
from kumotwist.hooks.initial import run_init
from kumotwist.hooks.loading import load_policy
from kumotwist.hooks.policy import Policy
from kumotwist.mail.reply import Refusal
from tests.hooks.around import Answers, PolicyCase

SEEDS = Path(__file__).resolve().parent / "seeds"
EXAMPLES = Path(__file__).resolve().parents[2] / "conf" / "examples"
GMAIL = (("gmail-smtp-in.l.google.com",), ("alt1.gmail-smtp-in.l.google.com",), ("alt2.gmail-smtp-in.l.google.com",))
GMAIL_SITE = "(alt1|alt2)?.gmail-smtp-in.l.google.com"


class SeedCase(PolicyCase):
    """Policies from the directory of seeds."""

    def seed(self, name: str) -> Policy:
        return load_policy([SEEDS / f"{name}.py"], self.clock, self.services)

    def example(self, name: str) -> Policy:
        return load_policy([EXAMPLES / f"{name}.py"], self.clock, self.services)

    def received(self, policy: Policy, content: bytes = b"\r\nbody\r\n", **more: Any) -> Any:
        """The message after it was received, or the reply that refused it."""
        message = self.message(content, **more)
        try:
            self.assertIsNone(policy.each("smtp_server_message_received", message, ConnMeta({})))
        except Refusal as refusal:
            return refusal.reply.single_line
        return message

    def queue(self, policy: Policy, *of: Any) -> QueueSettings:
        found = policy.first("get_queue_config", *of, *[None] * (4 - len(of)))
        assert isinstance(found, QueueSettings)
        return found


class TenantTests(SeedCase):
    """Tenants to pools."""

    def test_a_known_tenant_is_noted_and_others_are_refused(self) -> None:
        policy = self.example("tenant-from-header")
        self.assertEqual(self.received(policy, b"X-Tenant: tenant-id-2\r\n\r\n").get_meta("tenant"), "tenant-id-2")
        self.assertEqual(self.received(policy), "500 missing X-Tenant header")
        self.assertEqual(self.received(policy, b"X-Tenant: evil\r\n\r\n"), "500 invalid/unknown tenant evil")

    def test_the_pool_and_the_times_of_a_tenant(self) -> None:
        policy = self.example("tenant-from-header")
        found = [self.queue(policy, "example.org", tenant) for tenant in ("tenant-id-0", "tenant-id-1", "tenant-id-2", None)]
        self.assertEqual([one.egress_pool for one in found], ["pool-0", "pool-0", "pool-1", None])
        self.assertEqual([one.max_age for one in found], [300.0, 600.0, 300.0, 300.0])
        self.assertEqual((found[0].retry_interval, found[0].max_retry_interval), (600.0, 6000.0))

    def test_the_senders_domain_is_verified_too(self) -> None:
        policy = self.seed("tenant_and_domain")
        header = b"X-Tenant: tenant-id-0\r\n\r\n"
        self.assertEqual(self.received(policy, header, sender="a@tenant-0.com").get_meta("tenant"), "tenant-id-0")
        self.assertEqual(self.received(policy, header), "500 tenant tenant-id-0 does not send for example.com")
        self.assertEqual(self.received(policy), "500 invalid/unknown tenant None")
        self.assertEqual(self.queue(policy, "x.example", "tenant-id-0", "tenant-0.com").egress_pool, "pool-0")
        self.assertEqual(self.queue(policy, "x.example").egress_pool, "my-fallback-pool-name")


class RoutingTests(SeedCase):
    """Where mail is sent instead."""

    def test_the_queues_that_messages_go_to(self) -> None:
        policy = self.seed("routing")
        table = {
            "user@example.com": "example.com!my.smarthost.com",
            "user@queued.example": "my.smarthost.com",
            "user@literal.example": "[20.83.209.56]",
            "user@test.invalid": "null",
            "user@other.example": "other.example",
        }
        for recipient, queue in table.items():
            message = self.message()
            message.set_recipient(recipient)
            policy.each("smtp_server_message_received", message, None)
            self.assertEqual(message.queue_name, queue)

    def test_the_hosts_instead_of_the_mx(self) -> None:
        policy = self.seed("routing")
        hosts = self.queue(policy, "domain.to.be.smart.hosted").mx_list
        self.assertEqual([(host.name, host.addr) for host in hosts], [("smart.host.local", None), ("mx.example.com", "10.0.0.1")])
        self.assertEqual(self.queue(policy, "example.org"), QueueSettings())


class SourceTests(SeedCase):
    """Sources and pools."""

    def test_they_are_made_from_the_tables(self) -> None:
        policy = self.seed("sources")
        source = policy.first("get_egress_source", "ip-3")
        self.assertEqual(source.source_address, "2001:db8:3333:4444:5555:6666:7777:8888")
        pool = policy.first("get_egress_pool", "MediumReputation")
        self.assertEqual([(entry.name, entry.weight) for entry in pool.entries], [("ip-2", 2), ("ip-3", 1)])
        self.assertIsNone(policy.first("get_egress_pool", "none"))

    def test_the_pools_are_made_once(self) -> None:
        policy = self.seed("sources")
        self.assertIs(policy.first("get_egress_pool", "BestReputation"), policy.first("get_egress_pool", "BestReputation"))


class DynamicTests(SeedCase):
    """Parameters by the address that a client connects to."""

    def test_the_answer_is_of_the_shape_of_listener_parameters(self) -> None:
        policy = self.seed("dynamic_parameters")
        answer = policy.first("smtp_server_get_dynamic_parameters", "0.0.0.0:25", ConnMeta({}))
        hosts = {address: host["hostname"] for address, host in answer["via"].items()}
        self.assertEqual(hosts, {"10.0.0.1": "mx.example-customer.com", "10.0.0.2": "mx.other-customer.com"})
        self.assertIn(str(SEEDS / "listener_params.toml"), self.services.files)

    def test_the_listener_is_started_by_init(self) -> None:
        found = self.successResultOf(run_init(self.seed("dynamic_parameters")))
        self.assertEqual([one.listen for one in found.esmtp_listeners], ["0.0.0.0:25"])


class QueueTests(SeedCase):
    """Tenants, pools, sources and sites together."""

    def setUp(self) -> None:
        super().setUp()
        self.resolver = Answers({"gmail.com": GMAIL, "yahoo.com": (("mta5.yahoodns.net", "mta6.yahoodns.net"),)})
        self.services = self.new_services(1)

    def path(self, policy: Policy, *of: str) -> Any:
        found = policy.first("get_egress_path_config", *of)
        return self.successResultOf(found) if isinstance(found, Deferred) else found

    def test_a_message_finds_its_pool_and_its_source(self) -> None:
        policy = self.seed("queues")
        self.assertEqual(self.queue(policy, "gmail.com", "tenant-2").egress_pool, "pool2")
        self.assertEqual(len(policy.first("get_egress_pool", "pool2").entries), 2)
        self.assertEqual(policy.first("get_egress_source", "ip-2").source_address, "10.0.0.2")

    def test_the_site_counts_before_the_domain_and_the_source_over_both(self) -> None:
        policy = self.seed("queues")
        any_domain = self.path(policy, "some-company.example", "ip-2", GMAIL_SITE)
        self.assertEqual((any_domain.max_connection_rate, any_domain.connection_limit), (Rate(1000, 3600.0), Limit(20)))
        by_source = self.path(policy, "gmail.com", "ip-1", GMAIL_SITE)
        self.assertEqual(
            (by_source.max_connection_rate, by_source.max_message_rate, by_source.connection_limit),
            (Rate(1000, 3600.0), Rate(1000, 3600.0), Limit(5)),
        )
        self.assertEqual(self.path(policy, "example.com", "ip-1", "mx.example.com").max_connection_rate, Rate(10, 3600.0))
        self.assertIsNone(self.path(policy, "other.example", "ip-1", "mx.other.example").max_connection_rate)

    def test_composing_leaves_the_tables_as_they_are(self) -> None:
        policy = self.seed("queues")
        for _ in range(2):
            self.assertIsNotNone(self.path(policy, "gmail.com", "ip-1", GMAIL_SITE).max_message_rate)
            self.assertIsNone(self.path(policy, "gmail.com", "ip-2", GMAIL_SITE).max_message_rate)

    def test_sites_are_looked_up_once(self) -> None:
        policy = self.seed("queues")
        for _ in range(3):
            self.path(policy, "gmail.com", "ip-1", GMAIL_SITE)
        self.assertEqual(self.resolver.asked, ["gmail.com", "yahoo.com"])

    def test_where_the_dns_does_not_answer_the_domain_itself_counts(self) -> None:
        del self.resolver.table["gmail.com"]
        policy = self.seed("queues")
        self.assertEqual(self.path(policy, "gmail.com", "ip-2", "mx.gmail.com").connection_limit, Limit(20))
