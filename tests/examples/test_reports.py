"""Reports of bounces and complaints: what becomes of them, and of other mail for their domains."""

import signal
import smtplib

from tests.examples.support import Example, ExampleTestCase
from tests.peers.evidence import Record
from tests.peers.support import wait_until
from tests.reports.arriving import message


def submit(server: Example, content: bytes, recipient: str) -> int:
    """The code of the last reply; from nobody, as reports come."""
    with smtplib.SMTP(server.host, server.port, local_hostname="mx.reporter.example", timeout=30) as client:
        client.ehlo()
        client.mail("")
        code, _ = client.rcpt(recipient)
        return client.data(content)[0] if code == 250 else code


class ReportTests(ExampleTestCase):
    def told(self, server: Example, kind: str) -> Record:
        (found,) = wait_until(lambda: [one for one in server.records() if one["type"] == kind], f"{kind} in {server.shown}")
        return found

    def assert_rules_are_read_again(self, server: Example, bounce: bytes) -> None:
        rules = server.place / "bounce_rules.toml"
        rules.write_text(rules.read_text("utf-8").replace("InactiveMailbox", "HasLeft"), "utf-8")
        server.signal(signal.SIGHUP)

        def look() -> bool:
            submit(server, bounce, "bounce@bounces.example.com")
            return any(one["bounce_classification"] == "HasLeft" for one in server.records() if one["type"] == "OOB")

        wait_until(look, f"{server.shown} has the new rules")

    def test_they_become_records_and_other_mail_is_refused(self) -> None:
        servers = self.start_both("oob-and-feedback")
        left = message("postfix-unknown-user").replace(b"Recipient address rejected:", b"Ann has left the company")
        for server in servers:
            self.assertEqual(submit(server, left, "bounce+7@bounces.example.com"), 250, server.shown)
            self.assertEqual(submit(server, message("arf-full"), "complaints@fbl.example.com"), 250, server.shown)
            codes = [
                submit(server, b"Subject: hello\r\n\r\nworld\r\n", "bounce@bounces.example.com"),
                submit(server, message("arf-full"), "bounce@bounces.example.com"),
                submit(server, left, "ann@example.org"),
            ]
            self.assertEqual(codes, [550, 550, 550], server.shown)
            bounce = self.told(server, "OOB")
            self.assertEqual(
                (bounce["sender"], bounce["recipient"], bounce["bounce_classification"], bounce["response"]["code"]),
                ("bounce+7@bounces.example.com", "ann@example.net", "InactiveMailbox", 550),
            )
            self.assertEqual(bounce["meta"]["original_id"], "5d1fa2b09a3b11f18001020304050607")
            self.assert_rules_are_read_again(server, left)
            complaint = self.told(server, "Feedback")
            self.assertEqual(complaint["feedback_report"]["supplemental_trace"]["tenant"], "shop")
        self.end(servers)
        for server in servers:
            self.assertEqual([one["type"] for one in server.records() if one["type"] == "Delivery"], [])
