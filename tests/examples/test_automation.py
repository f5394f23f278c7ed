"""Shaping that reacts: a source is suspended at a site once that has said so twice; what the policy answers stays."""

from tests.examples.support import IP_1, IP_2, ExampleTestCase, send

SAID = {"temporarily deferred": "no such user"}  # what the receivers here say


class AutomationTests(ExampleTestCase):
    def test_a_site_that_refuses_twice_gets_nothing_more_from_that_source(self) -> None:
        servers = self.start_both("automation", SAID)
        for server in servers:
            self.assertEqual(self.arrived(send(server, "alias.example", X_Tenant="tenant-1"))["client"], IP_1, server.shown)
            for domain in ("mailboxes.example", "alias.example"):
                self.record(send(server, domain, local="nosuchuser", X_Tenant="tenant-1"), "Bounce")
            waiting = send(server, "alias.example", X_Tenant="tenant-1")
            self.assertIn("ReadyQueueWasSuspended", self.record(waiting, "Delayed")["response"]["content"], server.shown)
            self.assertEqual(self.arrived(send(server, "alias.example", X_Tenant="tenant-2"))["client"], IP_2, server.shown)
            self.assertEqual(self.arrived(send(server, "small.example", X_Tenant="tenant-1"))["client"], IP_1, server.shown)
        self.end(servers)
        for server in servers:
            self.assertIn("Suspend: ip-1->mx.receivers.example@smtp_client, for 2h until", server.said())
