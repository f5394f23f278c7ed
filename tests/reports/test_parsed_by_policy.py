"""`message.parse_rfc3464` and `parse_rfc5965`: reports as a policy reads them."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.hooks.message import PolicyMessage
from kumotwist.mail.address import parse_mailbox
from kumotwist.mail.message import Message
from kumotwist.reports.feedback import NamedMta
from kumotwist.reports.status_report import Diagnostic, NamedRecipient
from tests.reports.arriving import message

NAMES = sorted(path.stem for path in (Path(__file__).parent / "corpus").glob("*.eml"))


def asked(content: bytes) -> PolicyMessage:
    return PolicyMessage(Message("ab" * 16, parse_mailbox("a@b.example"), (parse_mailbox("bounce@bounces.example.com"),), content))


class ParsedTests(SynchronousTestCase):
    def test_a_report_of_deliveries_in_full(self) -> None:
        report = asked(message("postfix-unknown-user")).parse_rfc3464()
        assert report is not None
        self.assertEqual(report.per_message.reporting_mta.mta_type, "dns")
        [one] = report.per_recipient
        self.assertEqual((one.action, one.status[:2]), ("failed", "5."))
        self.assertEqual(one.final_recipient, NamedRecipient("rfc822", "ann@example.net"))
        assert one.diagnostic_code is not None
        self.assertEqual(one.diagnostic_code.diagnostic_type, "smtp")
        self.assertIsInstance(report.original_message, str)

    def test_delays_are_told_as_well_and_unknown_fields_are_kept(self) -> None:
        text = (
            "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nwords\r\n"
            "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\nX-Queue: 7\r\n\r\n"
            "Final-Recipient: rfc822; ann@example.net\r\nAction: Delayed\r\nStatus: 4.4.7\r\n"
            "Will-Retry-Until: Tue, 4 Aug 2026 14:00:00 +0200\r\nDiagnostic-Code: X-Notes; busy\r\n\r\n--b--\r\n"
        )
        report = asked(text.encode()).parse_rfc3464()
        assert report is not None
        self.assertEqual(report.per_message.reporting_mta, NamedMta("dns", "mx.example"))
        self.assertEqual(report.per_message.extensions, {"x-queue": ["7"]})
        [one] = report.per_recipient
        self.assertEqual((one.action, one.status, one.will_retry_until), ("delayed", "4.4.7", "2026-08-04T12:00:00Z"))
        self.assertEqual(one.diagnostic_code, Diagnostic("x-notes", "busy"))
        self.assertIsNone(report.original_message)

    def test_malformed_ones_are_errors_and_other_mail_is_none(self) -> None:
        for name in ("none-status-without-reporting-mta", "none-repeated-field"):
            self.assertRaises(ValueError, asked(message(name)).parse_rfc3464)
        self.assertRaises(ValueError, asked(message("none-arf-without-version")).parse_rfc5965)
        for name in ("none-vacation", "none-a-person-quotes-a-bounce"):
            self.assertIsNone(asked(message(name)).parse_rfc3464())
            self.assertIsNone(asked(message(name)).parse_rfc5965())

    def test_a_complaint(self) -> None:
        report = asked(message("arf-full")).parse_rfc5965()
        assert report is not None
        self.assertEqual(report.feedback_type, "abuse")
        self.assertIsNone(asked(message("arf-full")).parse_rfc3464())

    def test_whatever_comes_it_is_a_report_or_none_or_a_value_error(self) -> None:
        for name in NAMES:
            content = message(name)
            for cut in (content, content[: len(content) // 2], content.replace(b":", b";"), content[::-1]):
                for parse in (asked(cut).parse_rfc3464, asked(cut).parse_rfc5965):
                    try:
                        parse()
                    except ValueError as fault:
                        self.assertNotEqual(str(fault), "")
        self.assertGreater(len(NAMES), 20)
