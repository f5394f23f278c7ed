"""What a message is told on its way in, and who may send what."""

from ipaddress import ip_network
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.fields import Networks
from kumotwist.config.listeners import ListenerDomain, ListenerDomains
from kumotwist.config.queues import QueueRule, QueuesSettings, TenantSettings
from kumotwist.config.routing import RoutingMatch, RoutingRule
from kumotwist.mail.address import NULL_SENDER, Mailbox
from kumotwist.mail.reply import Refusal
from kumotwist.mail.schedule import Schedule
from kumotwist.reception.intake import Intake, Origin, Reading, Rules
from kumotwist.reception.relay import Relay

SENDER = Mailbox("a", "example.net")
RECIPIENT = Mailbox("b", "example.org")
ORIGIN = Origin(listener="0.0.0.0:25", peer="192.0.2.7")


def networks(*texts: str) -> Networks:
    return Networks(tuple(ip_network(text) for text in texts))


def reading(content: bytes, *, log_headers: tuple[str, ...] = (), **queues: Any) -> Reading:
    return Intake(Rules(queues=QueuesSettings(**queues), log_headers=log_headers)).read(content)


def told(rules: Rules, content: bytes = b"\r\n", recipient: Mailbox = RECIPIENT, sender: Mailbox = SENDER) -> dict[str, Any]:
    """The metadata that a message gets."""
    intake = Intake(rules)
    meta: dict[str, Any] = {}
    intake.tell(meta, intake.read(content), sender, recipient, ORIGIN)
    return meta


class HeaderTests(SynchronousTestCase):
    """Intake.read: tenant, campaign, schedule, headers for the log."""

    def refusal(self, content: bytes, **queues: Any) -> str:
        return self.assertRaises(Refusal, reading, content, **queues).reply.single_line

    def test_nothing_configured_changes_nothing(self) -> None:
        content = b"X-Tenant: t\r\nReceived: x\r\n\r\ntext"
        self.assertEqual(reading(content), Reading(content=content))
        self.assertIs(reading(content).content, content)

    def test_tenant_and_campaign_from_their_fields(self) -> None:
        content = b"X-Campaign: \r\n spring\r\nX-Tenant: one\r\nX-Tenant: two\r\n\r\n"
        found = reading(content, tenant_header="x-tenant", campaign_header="X-CAMPAIGN")
        self.assertEqual((found.tenant, found.campaign, found.content), ("one", "spring", content))

    def test_the_fields_are_removed_where_asked_for(self) -> None:
        content = b"A: b\r\nX-Campaign: c\r\nX-Tenant: t\r\nx-tenant: u\r\n\r\nX-Tenant: text"
        for remove_tenant, remove_campaign, left in (
            (True, True, b"A: b\r\n\r\nX-Tenant: text"),
            (True, False, b"A: b\r\nX-Campaign: c\r\n\r\nX-Tenant: text"),
            (False, True, b"A: b\r\nX-Tenant: t\r\nx-tenant: u\r\n\r\nX-Tenant: text"),
        ):
            found = reading(
                content,
                tenant_header="X-Tenant",
                remove_tenant_header=remove_tenant,
                campaign_header="X-Campaign",
                remove_campaign_header=remove_campaign,
            )
            self.assertEqual((found.content, found.tenant, found.campaign), (left, "t", "c"))

    def test_the_default_tenant_is_for_messages_without_one(self) -> None:
        for content, tenant in ((b"X-Tenant: t\r\n", "t"), (b"X-Tenant:\r\n", "house"), (b"\r\n", "house")):
            self.assertEqual(reading(content, tenant_header="X-Tenant", default_tenant="house").tenant, tenant)

    def test_a_tenant_must_be_there_where_required(self) -> None:
        self.assertEqual(self.refusal(b"\r\n", tenant_header="X-Tenant", require_tenant=True), "500 5.7.1 missing X-Tenant header")
        self.assertEqual(self.refusal(b"X-T: \r\n", tenant_header="X-T", require_tenant=True), "500 5.7.1 missing X-T header")
        self.assertEqual(self.refusal(b"\r\n", require_tenant=True), "500 5.7.1 missing tenant")
        self.assertEqual(reading(b"\r\n", require_tenant=True, default_tenant="house").tenant, "house")

    def test_a_tenant_must_be_listed_where_any_is(self) -> None:
        listed = {"house": TenantSettings()}
        content = b"X-Tenant: villa\r\n"
        self.assertEqual(self.refusal(content, tenant_header="X-Tenant", tenant=listed), "500 5.7.1 invalid/unknown tenant villa")
        self.assertEqual(reading(content, tenant_header="X-Tenant", tenant=listed, unknown_tenant_accepted=True).tenant, "villa")
        self.assertEqual(reading(content, tenant_header="X-Tenant").tenant, "villa")
        self.assertIsNone(reading(b"\r\n", tenant_header="X-Tenant", tenant=listed).tenant)

    def test_a_name_that_could_forge_lines_is_refused(self) -> None:
        for value in (b"a\x07b", b"=?utf-8?q?a=0D=0Ab?=", b"a\tb", "a\u2028b".encode()):
            for header in ("tenant_header", "campaign_header"):
                self.assertEqual(
                    self.refusal(b"X-Name: " + value + b"\r\n", **{header: "X-Name"}), "500 5.7.1 invalid X-Name header"
                )

    def test_a_refusal_is_one_short_line(self) -> None:
        refusal = self.refusal(b"X-T: " + b"x" * 900, tenant_header="X-T", tenant={"house": TenantSettings()})
        self.assertLess(len(refusal), 200)

    def test_the_schedule_is_read_and_removed(self) -> None:
        content = b'X-Schedule: {"first_attempt":\r\n "2030-01-01T00:00:00Z"}\r\nA: b\r\n\r\n'
        found = reading(content, scheduling_header="X-Schedule")
        self.assertEqual(found.schedule, Schedule(first_attempt=1893456000.0))
        self.assertEqual(found.content, b"A: b\r\n\r\n")

    def test_a_schedule_that_makes_no_sense_is_refused_by_name(self) -> None:
        for value, reason in (
            (b"{", "it is not JSON"),
            (b"\xff", "it is not JSON"),
            (b"[" * 200_000, "it is not JSON"),
            (b"[]", "scheduling constraints must be an object"),
            (b'{"dow": "mon"}', "dow, tz, start and end go together"),
            (b'{"first_attempt": 1e999}', "first_attempt must be an RFC 3339 date and time with its offset from UTC, not inf"),
            (b'{"a\\r\\nb": 1}', "unknown scheduling field: a??b"),
        ):
            refusal = self.refusal(b"X-Schedule: " + value + b"\r\n", scheduling_header="X-Schedule")
            self.assertEqual(refusal, f"554 5.6.0 invalid X-Schedule header: {reason}")

    def test_headers_for_the_log_keep_their_spelling(self) -> None:
        content = b"Subject: one\r\nX-CUSTOMER-id: 7\r\nSUBJECT: two\r\nsubject: a\r\nsubject: b\r\nsubject: c\r\nTo: x\r\n\r\n"
        self.assertEqual(
            reading(content, log_headers=("subject", "x-cust*")).log_headers,
            {"Subject": "one", "X-CUSTOMER-id": "7", "SUBJECT": "two", "subject": ["a", "b", "c"]},
        )
        self.assertIsNone(reading(b"To: x\r\n", log_headers=("Subject",)).log_headers)
        self.assertIsNone(reading(b"X-Tenant: t\r\n", tenant_header="X-Tenant", log_headers=("Subject",)).log_headers)

    def test_a_loop_is_refused(self) -> None:
        self.assertEqual(self.refusal(b"Received: x\r\n" * 100), "554 5.4.6 too many hops: mail loop")


class QueueRuleTests(SynchronousTestCase):
    """Intake.tell: what `queues` says."""

    def test_tenant_and_campaign_become_metadata(self) -> None:
        queues = QueuesSettings(tenant_header="X-T", campaign_header="X-C")
        self.assertEqual(told(Rules(queues=queues), b"X-T: t\r\nX-C: c\r\n"), {"tenant": "t", "campaign": "c"})
        self.assertEqual(told(Rules(queues=queues)), {})

    def test_the_routing_domain_of_the_queue(self) -> None:
        rule = QueueRule(routing_domain="smart.host", tenants={"t": QueueRule(routing_domain="other.host")})
        rules = Rules(queues=QueuesSettings(tenant_header="X-T", queue={"example.org": rule}))
        self.assertEqual(told(rules)["routing_domain"], "smart.host")
        self.assertEqual(told(rules, b"X-T: t\r\n")["routing_domain"], "other.host")
        self.assertEqual(told(rules, recipient=Mailbox("b", "example.com")), {})


class RoutingTests(SynchronousTestCase):
    """Intake.tell: what `routing` says."""

    def fits(self, content: bytes = b"X-T: t\r\nX-C: c\r\nX-Route: bulk\r\nx-route: slow\r\n", **match: Any) -> bool:
        rules = Rules(
            queues=QueuesSettings(tenant_header="X-T", campaign_header="X-C"),
            routing=(RoutingRule(match=RoutingMatch(**match), set={"hit": True}),),
        )
        return "hit" in told(rules, content)

    def test_what_fits(self) -> None:
        for match in (
            {},
            {"recipient_domain": "example.org"},
            {"recipient_domain": "*.ORG"},
            {"recipient_domain": "ex?mple.[no]rg"},
            {"sender_domain": "Example.net"},
            {"tenant": "t"},
            {"campaign": "[a-c]"},
            {"listener": "0.0.0.0:25"},
            {"listener": "*:25"},
            {"peer": networks("192.0.2.0/24")},
            {"header": {"X-ROUTE": "bulk"}},
            {"header": {"X-Route": "s*"}},
            {"header": {"X-Route": "*", "X-T": "t"}},
            {"recipient_domain": "example.org", "tenant": "*", "peer": networks("192.0.2.7")},
        ):
            self.assertTrue(self.fits(**match), match)

    def test_what_does_not(self) -> None:
        for match in (
            {"recipient_domain": "example"},
            {"recipient_domain": "xample.org"},
            {"sender_domain": "example.org"},
            {"tenant": "T"},
            {"listener": "127.0.0.1:25"},
            {"peer": networks("198.51.100.0/24")},
            {"header": {"X-Route": "Bulk"}},
            {"header": {"X-Other": "*"}},
            {"header": {"X-Route": "bulk", "X-Other": "x"}},
            {"recipient_domain": "example.org", "tenant": "u"},
        ):
            self.assertFalse(self.fits(**match), match)

    def test_what_is_absent_fits_nothing(self) -> None:
        for match in ({"tenant": "*"}, {"campaign": "*"}, {"header": {"X-Route": "*"}}):
            self.assertFalse(self.fits(b"\r\n", **match), match)

    def test_the_first_that_fits_sets_what_it_names_and_overrides_queues(self) -> None:
        rules = Rules(
            queues=QueuesSettings(default_tenant="t", queue={"example.org": QueueRule(routing_domain="smart.host")}),
            routing=(
                RoutingRule(match=RoutingMatch(recipient_domain="example.com"), set={"queue": "never"}),
                RoutingRule(match=RoutingMatch(tenant="t"), set={"routing_domain": "other.host", "colour": 5}),
                RoutingRule(set={"queue": "null"}),
            ),
        )
        self.assertEqual(told(rules), {"tenant": "t", "routing_domain": "other.host", "colour": 5})

    def test_the_null_sender_has_no_domain(self) -> None:
        rules = Rules(routing=(RoutingRule(match=RoutingMatch(sender_domain="?*"), set={"hit": True}),))
        self.assertEqual(told(rules, sender=NULL_SENDER), {})
        self.assertEqual(told(rules), {"hit": True})


class RelayTests(SynchronousTestCase):
    """Relay.permits: client, relay_hosts, domains, and what is permitted."""

    def test_one_of_three_is_enough(self) -> None:
        ours = ListenerDomain(relay_to=True)
        theirs = ListenerDomain(relay_from=networks("192.0.2.0/24"))
        no = ListenerDomain(relay_to=False)
        for peer, hosts, domains, permitted in (
            ("192.0.2.7", ("192.0.2.7",), {}, True),
            ("192.0.2.7", ("192.0.2.0/24", "::1"), {"example.org": no, "example.net": no}, True),
            ("192.0.2.7", ("192.0.2.8",), {}, False),
            ("192.0.2.7", (), {"example.org": ours}, True),
            ("192.0.2.7", (), {"example.net": ours}, False),
            ("192.0.2.7", (), {"example.net": theirs}, True),
            ("192.0.2.7", (), {"example.org": theirs}, False),
            ("198.51.100.1", (), {"example.net": theirs}, False),
            ("192.0.2.7", (), {"example.net": theirs, "example.org": no}, True),
            ("192.0.2.7", (), {"*": ours}, True),
            ("192.0.2.7", (), {"*.org": ours}, True),
            ("2001:db8::1", ("2001:db8::/32",), {}, True),
            ("2001:db8::1", ("0.0.0.0/0",), {}, False),
        ):
            relay = Relay(peer, networks(*hosts), ListenerDomains(domains))
            self.assertEqual(relay.permits(SENDER, RECIPIENT), permitted, (peer, hosts, domains))

    def test_nobody_and_postmaster_have_no_domain_of_ours(self) -> None:
        relay = Relay("192.0.2.7", Networks(), ListenerDomains({"example.org": ListenerDomain(relay_to=True)}))
        self.assertFalse(relay.permits(SENDER, Mailbox("postmaster", "")))
        self.assertTrue(relay.permits(NULL_SENDER, RECIPIENT))
