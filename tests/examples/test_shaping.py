"""Shaping by site, by domain and by source: what limits what is seen by what gets through once the limits are small."""

from tests.examples.support import IP_1, Example, ExampleTestCase, Sent, send, surroundings
from tests.peers.evidence import spooled_in
from tests.peers.support import wait_until

# Small enough for a test to reach; both forms say the same words.
FEWER = {
    "max_message_rate: 1000/hr": "max_message_rate: 2/hr",
    '"max_message_rate": "1000/hr"': '"max_message_rate": "2/hr"',
    "max_connection_rate: 10/hr": "max_connection_rate: 1/hr",
    '"max_connection_rate": "10/hr"': '"max_connection_rate": "1/hr"',
}


class ShapingTests(ExampleTestCase):
    def assert_held_back(self, sent: Sent) -> None:
        """It waits, and the mail log says for what."""
        self.assertIn("throttle", self.record(sent, "Delayed")["response"]["content"].lower())

    def assert_left(self, servers: list[Example], waiting: list[Sent]) -> None:
        """After the end the spools hold these messages, and no others."""
        self.end(servers)
        for server, sent in zip(servers, waiting, strict=True):
            left = [message.recipients[0].email for message in spooled_in(server.place / "spool").values()]
            self.assertEqual(left, [sent.recipient], server.shown)

    def test_a_source_is_limited_at_a_site_with_all_its_aliases(self) -> None:
        servers = self.start_both("shaping-by-site-and-source", FEWER)
        waiting: list[Sent] = []
        for server in servers:
            for domain in ("mailboxes.example", "alias.example"):
                self.assertEqual(self.arrived(send(server, domain, X_Tenant="tenant-1"))["client"], IP_1, server.shown)
            waiting.append(send(server, "alias.example", X_Tenant="tenant-1"))
            self.assert_held_back(waiting[-1])
            for _ in range(3):  # another source has no such limit
                self.arrived(send(server, "alias.example", X_Tenant="tenant-2"))
        self.assert_left(servers, waiting)

    def test_a_domain_is_limited_by_itself(self) -> None:
        servers = self.start_both("shaping-by-site-and-source", FEWER)
        waiting: list[Sent] = []
        for server in servers:
            self.arrived(send(server, "small.example", X_Tenant="tenant-2"))
            wait_until(lambda: surroundings().sink.stats()["open"] == 0, "the only connection of this hour is over", every=0.2)
            waiting.append(send(server, "small.example", X_Tenant="tenant-2"))
            self.arrived(send(server, "mailboxes.example", X_Tenant="tenant-2"))
        self.assert_left(servers, waiting)
