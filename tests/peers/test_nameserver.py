"""Routing by a real name server: what the zones say is where mail goes, and no answer of theirs loses a message."""

import smtplib

from msgspec import Struct

from tests.peers.evidence import Record, of_type, said_to
from tests.peers.nsd import Nsd, zone
from tests.peers.support import PATIENCE, SINK_HOST, PeerTestCase, Server, Sink, free_port

OTHER_HOST = "127.0.0.6"  # the sink listens there too
DEAD_HOST = "127.0.0.61"  # nobody listens there

ZONE = f"""
live.hosts      IN A     {SINK_HOST}
other.hosts     IN A     {OTHER_HOST}
dead.hosts      IN A     {DEAD_HOST}
nothing.hosts   IN TXT   "no address"
next            IN MX    10 dead.hosts
next            IN MX    20 live.hosts
preferred       IN MX    20 other.hosts
preferred       IN MX    10 live.hosts
equal           IN MX    10 live.hosts
equal           IN MX    10 other.hosts
null            IN MX    0  .
implicit        IN A     {SINK_HOST}
alias           IN CNAME preferred
nowhere         IN MX    10 nothing.hosts
gone            IN MX    10 not-in-the-zone.hosts
dead            IN MX    10 dead.hosts
xn--mnchen-3ya  IN MX    10 live.hosts
*.wild          IN MX    10 live.hosts
"""

CONFIG = """
dns:
  nameservers: ["%(nameserver)s"]
  timeout: %(timeout)s
queues:
  queue:
    default: {retry_interval: %(retry_interval)s}
shaping:
  rules:
    default:
      smtp_port: %(port)s
      enable_tls: Disabled
      max_deliveries_per_connection: 1
      %(prohibited)s
"""


class Case(Struct, frozen=True):
    """A recipient's domain, the record of its outcome, the start of the reply, and the host that the record names."""

    domain: str
    record: str
    said: str
    host: str | None = None


RESOLVED = "failed to resolve queue"
CASES = [
    Case("next.example", "Delivery", "250 ", "live.hosts.example."),
    Case("preferred.example", "Delivery", "250 ", "live.hosts.example."),
    Case("implicit.example", "Delivery", "250 ", "implicit.example."),
    Case("alias.example", "Delivery", "250 ", "live.hosts.example."),
    Case("any.wild.example", "Delivery", "250 ", "live.hosts.example."),
    Case("xn--mnchen-3ya.example", "Delivery", "250 ", "live.hosts.example."),
    Case(f"[{SINK_HOST}]", "Delivery", "250 ", SINK_HOST),
    Case("null.example", "Bounce", "556 5.1.10 Recipient address has a null MX"),
    Case("nobody.example", "TransientFailure", f"451 4.4.4 {RESOLVED} nobody.example: MX lookup for nobody.example failed"),
    Case("elsewhere.test", "TransientFailure", f"451 4.4.4 {RESOLVED} elsewhere.test: MX lookup for elsewhere.test failed"),
    Case("nowhere.example", "TransientFailure", "451 4.4.4 MX didn't resolve to any hosts"),
    Case("gone.example", "TransientFailure", "451 4.4.4 MX didn't resolve to any hosts"),
    Case("dead.example", "TransientFailure", "400 KumoMTA internal: failed to connect to any candidate hosts: connect to dead."),
]


class NameServerTests(PeerTestCase):
    """NSD, our server, and our sink on two addresses with one port."""

    def setUp(self) -> None:
        super().setUp()
        self.nsd = Nsd(self.place / "nsd", {"example": zone("example", ZONE)})
        port = free_port(SINK_HOST)
        self.receiver = Sink(self.place / "sink", port=port, options=["--listen", f"{OTHER_HOST}:{port}"])
        self.started(self.receiver)

    def configured(self, *, prohibited: str = "prohibited_hosts: []", timeout: str = "5 seconds", retry: str = "1 hour") -> str:
        facts = {"nameserver": self.nsd.address, "port": self.receiver.port}
        return CONFIG % {**facts, "prohibited": prohibited, "timeout": timeout, "retry_interval": retry}

    def sent(self, server: Server, recipients: list[str]) -> None:
        with smtplib.SMTP(server.host, server.port, timeout=PATIENCE) as client:
            client.ehlo()
            for recipient in recipients:
                client.sendmail("sender@peers.example", [recipient], "Subject: hello\r\n\r\nhello\r\n")

    def outcomes(self, server: Server, recipients: list[str]) -> dict[str, Record]:
        """The first record after the reception, for each."""

        def all_told(records: list[Record]) -> bool:
            return {one["recipient"] for one in records if one["type"] != "Reception"} >= set(recipients)

        told: dict[str, Record] = {}
        for one in server.wait_for_records(all_told, "an outcome for each"):
            if one["type"] != "Reception":
                told.setdefault(one["recipient"], one)
        return told

    def test_what_the_zones_say_is_where_mail_goes(self) -> None:
        self.started(self.nsd)
        server = self.server(self.configured())
        recipients = [f"someone@{case.domain}" for case in CASES]
        self.sent(server, recipients)
        told = self.outcomes(server, recipients)
        wrong = []
        for case, recipient in zip(CASES, recipients, strict=True):
            one = told[recipient]
            host = one["peer_address"] and one["peer_address"]["name"]
            if (one["type"], host) != (case.record, case.host) or not said_to(one).startswith(case.said):
                wrong.append(f"{case}: {one['type']} {host} {said_to(one)}")
        self.assertEqual(wrong, [])
        self.assertIn("NXDOMAIN", said_to(told["someone@nobody.example"]))
        self.assertIn("REFUSED", said_to(told["someone@elsewhere.test"]))
        server.stop()
        self.receiver.end()
        records, spooled = server.records(), server.spooled()
        self.assert_books_balance(records, spooled)
        self.assertEqual({one["id"] for one in of_type(records, "TransientFailure")}, set(spooled))
        delivered = {one["recipient"] for one in of_type(records, "Delivery")}
        self.assertEqual({one["recipients"][0] for one in self.receiver.accepted()}, delivered)
        # The host of the lower preference is used as long as it takes mail.
        self.assertEqual({one["local"] for one in self.receiver.accepted()}, {SINK_HOST})
        sites = {one["recipient"]: one["site"] for one in records}
        self.assertEqual(sites["someone@next.example"], "unspecified->(dead|live).hosts.example@smtp_client")
        self.assertEqual(sites["someone@null.example"], "unspecified->@smtp_client")

    def test_hosts_of_equal_preference_share_the_mail(self) -> None:
        self.started(self.nsd)
        server = self.server(self.configured())
        recipients = [f"user{number}@equal.example" for number in range(60)]
        self.sent(server, recipients)
        told = self.outcomes(server, recipients)
        self.assertEqual({one["type"] for one in told.values()}, {"Delivery"})
        arrived = self.receiver.wait_for(60)
        self.assertEqual({one["local"] for one in arrived}, {SINK_HOST, OTHER_HOST})
        server.stop()
        self.assert_books_balance(server.records(), server.spooled())

    def test_loopback_is_prohibited_unless_the_configuration_says_otherwise(self) -> None:
        self.started(self.nsd)
        server = self.server(self.configured(prohibited=""))
        recipients = ["someone@preferred.example", "someone@implicit.example", f"someone@[{SINK_HOST}]"]
        self.sent(server, recipients)
        told = self.outcomes(server, recipients)
        self.assertEqual({one["type"] for one in told.values()}, {"Bounce"})
        for one, host in zip(recipients, ("live.hosts.example.", "implicit.example.", SINK_HOST), strict=True):
            self.assertTrue(
                said_to(told[one]).startswith(f"550 5.4.4 {host}/{SINK_HOST} is on the list of prohibited_hosts "), told[one]
            )
        server.stop()
        self.assert_books_balance(server.records(), {})
        self.assertEqual(server.spooled(), {})
        self.assertEqual(self.receiver.stats()["connections"], 0)

    def test_mail_waits_for_a_name_server_that_does_not_answer(self) -> None:
        server = self.server(self.configured(timeout="1 second", retry="1 second"))
        recipients = [f"user{number}@preferred.example" for number in range(10)]
        self.sent(server, recipients)
        told = self.outcomes(server, recipients)
        self.assertEqual({one["type"] for one in told.values()}, {"TransientFailure"})
        server.stop()
        self.assertEqual(len(server.spooled()), 10)
        self.started(self.nsd)
        server.start()
        server.wait_for_records(lambda records: len(of_type(records, "Delivery")) >= 10, "all are delivered")
        server.stop()
        self.assert_books_balance(server.records(), server.spooled())
        self.assertEqual(sorted(one["recipients"][0] for one in self.receiver.wait_for(10)), sorted(recipients))
