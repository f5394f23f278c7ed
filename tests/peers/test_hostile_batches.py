"""
Receivers that are at odds with batches: whatever they do, each recipient ends exactly once.

One message with many recipients goes to each through the whole server; who was put off is tried again until all have ended.
"""

import smtplib
from collections import Counter

from tests.peers.evidence import Record, of_type, said_to
from tests.peers.hostile import TAKEN, Hostile
from tests.peers.support import PATIENCE, PeerTestCase

CONFIG = """
esmtp_listeners:
  - {listen: {listen}, batch_handling: BatchByDomain, max_recipients_per_message: 1000}
queues:
  queue:
    default: {retry_interval: 1 second, max_retry_interval: 1 second}
%(sites)s
shaping:
  rules:
    default: {prohibited_hosts: [], enable_tls: Disabled, idle_timeout: 500 ms, enable_pipelining: %(pipelining)s}
"""
SITE = "    {domain}: {{protocol: {{smtp: {{mx_list: [{mx}]}}}}}}\n"

OK = b"250 2.1.5 Ok\r\n"
NO, LATER = b"550 5.1.1 No such user\r\n", b"451 4.2.1 Later\r\n"
PERHAPS = "the end of the message had been sent: it may have been delivered, and will be sent again"


def one_in_three(place: int) -> bytes:
    return (OK, NO, LATER)[place % 3]


def fifty(answer: bytes) -> Hostile:
    return Hostile(lambda place: OK if place < 50 else answer)


class HostileBatchTests(PeerTestCase):
    def send(self, hosts: dict[str, tuple[Hostile, int]], *, pipelining: bool) -> dict[str, list[Record]]:
        """hosts: domain → its receiver, and how many recipients it gets; returns the records by domain, once all has ended."""
        for host, _ in hosts.values():
            self.started(host)
        sites = "".join(SITE.format(domain=domain, mx=host.mx) for domain, (host, _) in hosts.items())
        server = self.server(CONFIG % {"sites": sites, "pipelining": str(pipelining).lower()})
        everybody = {domain: [f"user{n}@{domain}" for n in range(many)] for domain, (_, many) in hosts.items()}
        with smtplib.SMTP(server.host, server.port, timeout=PATIENCE) as client:
            for recipients in everybody.values():
                self.assertEqual(client.sendmail("sender@peers.example", recipients, "Subject: hello\r\n\r\nhello\r\n"), {})

        def all_ended(records: list[Record]) -> bool:
            return len(ended(records)) >= sum(map(len, everybody.values()))

        server.wait_for_records(all_ended, "the end of each", every=0.2)
        server.stop()
        records = server.records()
        self.assertEqual(server.spooled(), {}, "nothing is left")
        self.assertEqual(ended(records), Counter(one for group in everybody.values() for one in group), "each ends once")
        return {domain: [one for one in records if names_of(one)[0].endswith(f"@{domain}")] for domain in hosts}

    def assert_taken_once(self, host: Hostile, records: list[Record]) -> None:
        taken = Counter(one for group in host.taken for one in group)
        self.assertEqual(taken, Counter(one for record in of_type(records, "Delivery") for one in names_of(record)))

    def check(self, *, pipelining: bool) -> None:
        third = Hostile(one_in_three)
        swallower = Hostile(lambda place: OK, lambda before: b"" if before < 2 else TAKEN)
        hosts = {
            "third.example": (third, 30),
            "swallower.example": (swallower, 10),
            "fifty.example": (fifty(b"452 4.5.3 Too many recipients\r\n"), 120),
            "bare.example": (fifty(b"452 Too many\r\n"), 120),
        }
        told = self.send(hosts, pipelining=pipelining)
        for domain, (host, _) in hosts.items():
            self.assert_taken_once(host, told[domain])
        # Of those that are left, a third is taken, a third refused and a third put off, until there is nobody any more.
        self.assertEqual([len(group) for group in third.taken], [10, 4, 1, 1])
        self.assertEqual({said_to(one) for one in of_type(told["third.example"], "Bounce")}, {"550 5.1.1 No such user"})
        self.assertEqual({said_to(one) for one in of_type(told["third.example"], "TransientFailure")}, {"451 4.2.1 Later"})
        # What may have been delivered is sent again as a whole, and the log says why.
        self.assertEqual([len(group) for group in (*swallower.swallowed, *swallower.taken)], [10, 10, 10])
        doubtful = of_type(told["swallower.example"], "TransientFailure")
        self.assertTrue(all(PERHAPS in said_to(one) for one in doubtful), doubtful)
        self.assertEqual(sum(len(names_of(one)) for one in doubtful), 20)
        # Too many in one transaction is nobody's failure.
        for domain in ("fifty.example", "bare.example"):
            self.assertEqual([len(group) for group in hosts[domain][0].taken], [50, 50, 20], domain)
            self.assertEqual({one["type"] for one in told[domain]}, {"Reception", "Delivery"}, domain)

    def test_pipelined(self) -> None:
        self.check(pipelining=True)

    def test_one_command_after_the_other(self) -> None:
        self.check(pipelining=False)


def names_of(one: Record) -> list[str]:
    """The recipients that a record is about."""
    found = one["recipient"]
    return found if isinstance(found, list) else [found]


def ended(records: list[Record]) -> Counter[str]:
    """How often each recipient has come to its end."""
    final = [*of_type(records, "Delivery"), *of_type(records, "Bounce"), *of_type(records, "Expiration")]
    return Counter(name for one in final for name in names_of(one))
