"""Who gets no more mail: a bounce puts a recipient on the list, for the tenant whose message it was."""

import smtplib
from functools import partial

from tests.examples.support import Example, ExampleTestCase, Sent, send
from tests.peers.support import wait_until
from tests.reports.arriving import message


class SuppressionTests(ExampleTestCase):
    def told(self, sent: Sent, tenant: str) -> list[str]:
        """What the bounces of this tenant's mail to that recipient said."""
        return [
            one["response"]["content"]
            for one in sent.server.records()
            if one["type"] == "Bounce" and one["recipient"] == sent.recipient and one["meta"].get("tenant") == tenant
        ]

    def ends_here(self, server: Example) -> bool:
        again = send(server, local="nosuchuser", X_Tenant="shop")
        wait_until(lambda: len(self.told(again, "shop")) > 1, "the next bounce")
        return any("recipient is suppressed" in text for text in self.told(again, "shop"))

    def test_who_does_not_exist_is_not_tried_again_for_the_same_tenant(self) -> None:
        servers = self.start_both("suppression")
        for server in servers:
            first = send(server, local="nosuchuser", X_Tenant="shop")
            self.assertEqual(first.code, 250)
            wait_until(partial(self.told, first, "shop"), f"{server.shown}: the bounce")
            self.assertIn("no such user", self.told(first, "shop")[0])
            wait_until(partial(self.ends_here, server), f"{server.shown}: the list ends a message", every=0.5)
            other = send(server, local="nosuchuser", X_Tenant="bank")
            wait_until(partial(self.told, other, "bank"), "the other tenant's own bounce")
            self.assertIn("no such user", self.told(other, "bank")[0])
            self.arrived(send(server, X_Tenant="shop"))
        self.end(servers)

    def test_a_complaint_that_quotes_our_header_counts(self) -> None:
        [server, policy] = self.start_both("suppression")
        with smtplib.SMTP(server.host, server.port, local_hostname="mx.reporter.example", timeout=30) as client:
            client.ehlo()
            client.mail("")
            client.rcpt("complaints@fbl.example.com")
            self.assertEqual(client.data(message("arf-full"))[0], 250)
        [complaint] = wait_until(lambda: [one for one in server.records() if one["type"] == "Feedback"], "the complaint")
        address = complaint["meta"]["original_recipient"]
        local, _, domain = address.partition("@")
        ended = send(server, domain, local=local, X_Tenant=complaint["feedback_report"]["supplemental_trace"]["tenant"])
        self.assertIn("recipient is suppressed", self.record(ended, "Bounce")["response"]["content"])
        self.end([server, policy])
