"""Rules: which record puts whom on the list, for whose mail, and for how long."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.suppression import Scope, SuppressionRule, What
from kumotwist.mail.address import parse_mailbox
from kumotwist.mail.reply import reply
from kumotwist.reports.delivery_status import BounceReport, Failed
from kumotwist.reports.feedback import Complaint, FeedbackReport
from kumotwist.reports.original import Original
from kumotwist.suppression.entry import Entry
from kumotwist.suppression.rules import Rules

NOW = 1_700_000_000.0
BOB = parse_mailbox("Bob@example.org")
OURS = Original(id="ab" * 16, recipient="ann@example.net", trace={"tenant": "acme"})


def classify(line: str) -> str:
    return "InvalidRecipient" if " 5.1.1 " in line else "Uncategorized"


def rules(**given: Any) -> Rules:
    return Rules([SuppressionRule(**{"record_types": ("Bounce",), "classes": ("InvalidRecipient",), **given})], classify)


def bounced(which: Rules, text: str = "550 5.1.1 no such user", kind: str = "Bounce") -> list[tuple[str, str | None]]:
    return [(one.subject, one.tenant) for one in which.of_failure(kind, reply(text), [BOB], "acme", "cd" * 16, NOW)]


def complaint(kind: str = "abuse", original: Original = OURS) -> Complaint:
    return Complaint(report=FeedbackReport(feedback_type=kind, user_agent="x", version="1"), original=original)


def bounce(original: Original, *recipients: str, text: str = "550 5.1.1 no such user") -> BounceReport:
    failed = tuple(Failed(recipient=one, reply=reply(text)) for one in recipients)
    return BounceReport(reporting_mta="mx", failed=failed, original=original)


class FailureTests(SynchronousTestCase):
    def test_what_fits_makes_an_entry(self) -> None:
        table: list[tuple[dict[str, Any], list[tuple[str, str | None]]]] = [
            ({}, [("bob@example.org", "acme")]),
            ({"scope": Scope.GLOBAL}, [("bob@example.org", None)]),
            ({"what": What.DOMAIN}, [("example.org", "acme")]),
            ({"classes": ("QuotaIssues",)}, []),
            ({"classes": ("Any",)}, [("bob@example.org", "acme")]),
            ({"record_types": ("OOB", "Feedback")}, []),
        ]
        for given, expected in table:
            with self.subTest(**given):
                self.assertEqual(bounced(rules(**given)), expected)
        self.assertEqual(bounced(rules(), "550 5.7.1 go away"), [])
        self.assertEqual(bounced(rules(), kind="Delivery"), [])

    def test_an_entry_says_why_and_until_when(self) -> None:
        made = rules(expires=60.0).of_failure("Bounce", reply("550 5.1.1 x"), [BOB], "", "cd" * 16, NOW)
        self.assertEqual(made, [Entry("bob@example.org", "", "Bounce InvalidRecipient", NOW, NOW + 60, "cd" * 16)])


class ReportTests(SynchronousTestCase):
    def found(self, which: Rules, report: BounceReport | Complaint) -> list[tuple[str, str | None]]:
        return [(one.subject, one.tenant) for one in which.of_report(report, NOW)]

    def test_a_bounce_is_about_whom_we_sent_to(self) -> None:
        oob = rules(record_types=("OOB",))
        self.assertEqual(self.found(oob, bounce(OURS, "forwarded@elsewhere.example")), [("ann@example.net", "acme")])
        unnamed = Original(id="ab" * 16)
        both = self.found(oob, bounce(unnamed, "ann@example.net", "bob@example.net", "no address"))
        self.assertEqual(both, [("ann@example.net", ""), ("bob@example.net", "")])
        self.assertEqual(self.found(oob, bounce(OURS, "ann@example.net", text="452 4.2.2 full")), [])

    def test_a_report_that_quotes_nothing_of_ours_counts_only_where_a_rule_says_so(self) -> None:
        stranger = Original(recipient="ann@example.net")
        for unquoted, expected in ((False, []), (True, [("ann@example.net", "")])):
            strict = rules(record_types=("OOB", "Feedback"), unquoted=unquoted)
            self.assertEqual(self.found(strict, bounce(stranger, "ann@example.net")), expected)
            self.assertEqual(self.found(strict, complaint(original=stranger)), expected)

    def test_complaints_need_no_class_but_must_be_complaints(self) -> None:
        feedback = rules(record_types=("Feedback",), classes=())
        table = {"abuse": 1, "Opt-Out": 1, "fraud": 1, "not-spam": 0, "auth-failure": 0, "virus": 0, "dmarc": 0}
        for kind, count in table.items():
            with self.subTest(kind):
                self.assertEqual(self.found(feedback, complaint(kind)), [("ann@example.net", "acme")] * count)
        self.assertEqual(self.found(feedback, complaint(original=Original(id="ab" * 16))), [], "nobody knows about whom")
        self.assertEqual(self.found(rules(), complaint()), [])
