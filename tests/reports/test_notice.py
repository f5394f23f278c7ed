"""Reports that we write ourselves: when one is due, and that whoever gets it can read it, we among them."""

from email import message_from_bytes, policy
from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.address import NULL_SENDER, parse_mailbox
from kumotwist.reports.arrived import read_report
from kumotwist.reports.delivery_status import BounceReport
from kumotwist.reports.notice import Included, Notice, NoticeSettings, notice_of

NOW = 1_786_104_000.0
ON = NoticeSettings(mta_type="dns", mta_name="mta1.example.com", enable_bounce=True, enable_expiration=True)
ORIGINAL = b"From: News <news@shop.example>\r\nMessage-ID: <1@shop.example>\r\n\r\nHello\r\n"


def record(**facts: Any) -> dict[str, Any]:
    return {
        "type": "Bounce",
        "id": "5d1fa2b09a3b11f18001020304050607",
        "sender": "news@shop.example",
        "recipient": "ann@example.net",
        "response": {"code": 550, "enhanced_code": {"class": 5, "subject": 1, "detail": 1}, "content": "no such user"},
        "peer_address": {"name": "mx.example.net", "addr": "192.0.2.4"},
        "timestamp": 1_786_103_000,
        "created": 1_786_102_000,
        "delivery_protocol": "ESMTP",
        **facts,
    }


def notice(settings: NoticeSettings = ON, original: bytes | None = None, **facts: Any) -> Notice | None:
    return notice_of(record(**facts), settings, original, unique="abc123", now=NOW)


class DueTests(SynchronousTestCase):
    def test_when_one_is_due(self) -> None:
        off = NoticeSettings(mta_type="dns", mta_name="mta1.example.com")
        table: list[tuple[bool, NoticeSettings, dict[str, Any]]] = [
            (True, ON, {}),
            (True, ON, {"type": "Expiration", "delivery_protocol": None}),
            (False, ON, {"sender": ""}),
            (False, ON, {"type": "Expiration", "sender": ""}),
            (False, ON, {"delivery_protocol": "HTTP"}),
            (False, ON, {"delivery_protocol": None}),
            (False, off, {}),
            (False, off, {"type": "Expiration"}),
            *(
                (False, ON, {"type": kind})
                for kind in ("Delivery", "TransientFailure", "OOB", "Feedback", "AdminBounce", "Rejection")
            ),
        ]
        for due, settings, facts in table:
            with self.subTest(**facts):
                self.assertEqual(notice(settings, **facts) is not None, due)


class ContentTests(SynchronousTestCase):
    def made(self, settings: NoticeSettings = ON, original: bytes | None = None, **facts: Any) -> Notice:
        found = notice(settings, original, **facts)
        assert found is not None
        return found

    def read(self, made: Notice) -> BounceReport:
        found = read_report(made.content, NULL_SENDER, [parse_mailbox(made.recipient)])
        assert isinstance(found, BounceReport)
        return found

    def test_we_read_what_we_wrote(self) -> None:
        found = self.read(self.made())
        self.assertEqual(found.reporting_mta, "mta1.example.com")
        (failed,) = found.failed
        self.assertEqual(
            (failed.recipient, failed.reply.single_line, failed.at), ("ann@example.net", "550 5.1.1 no such user", 1_786_103_000.0)
        )

    def test_each_recipient_has_a_block(self) -> None:
        found = self.read(self.made(recipient=["ann@example.net", "bob@example.net"]))
        self.assertEqual([one.recipient for one in found.failed], ["ann@example.net", "bob@example.net"])

    def test_it_is_a_message_that_others_can_read_and_no_machine_answers(self) -> None:
        parsed = message_from_bytes(self.made(original=ORIGINAL).content, policy=policy.SMTP)
        self.assertEqual((parsed["To"], parsed["Auto-Submitted"]), ("news@shop.example", "auto-generated (failure)"))
        self.assertEqual([part.get_content_type() for part in parsed.iter_parts()], ["text/plain", "message/delivery-status"])
        self.assertEqual(parsed.defects, [])

    def test_how_much_of_the_message_goes_back(self) -> None:
        table = {
            Included.NO: (b"", b""),
            Included.HEADERS_ONLY: (b"Message-ID", b""),
            Included.FULL_CONTENT: (b"Message-ID", b"Hello"),
        }
        for included, (header, body) in table.items():
            content = self.made(replace(ON, include_original_message=included), ORIGINAL).content
            self.assertEqual((b"1@shop.example" in content, b"Hello" in content), (bool(header), bool(body)), included)
        self.assertNotIn(b"message/rfc822", self.made(replace(ON, include_original_message=Included.FULL_CONTENT), None).content)

    def test_an_expired_message_failed_for_good_whatever_the_last_answer_was(self) -> None:
        response = {"code": 451, "enhanced_code": {"class": 4, "subject": 7, "detail": 1}, "content": "later"}
        found = self.read(self.made(type="Expiration", response=response))
        self.assertEqual(str(found.failed[0].reply.enhanced), "5.4.7")

    def test_nothing_that_a_peer_said_becomes_a_field_or_a_long_line(self) -> None:
        response = {
            "code": 550,
            "enhanced_code": None,
            "content": "no\r\nBcc: x@y.example\r\n\r\n--report-abc123\r\n" + "\u4e2d" * 3000,
        }
        made = self.made(response=response, sender="a\r\nBcc: z@y.example", peer_address={"name": "mx\r\nX: y", "addr": "1"})
        lines = made.content.split(b"\r\n")
        self.assertEqual([line for line in lines if line.lower().startswith((b"bcc", b"x:"))], [])
        self.assertEqual(lines.count(b"--report-abc123"), 2)
        self.assertLess(max(map(len, lines)), 998)
        self.assertNotIn(b"\n", b"".join(lines))

    def test_stable_content_is_the_same_at_any_time(self) -> None:
        settings = replace(ON, stable_content=True)
        contents = {notice_of(record(), settings, None, unique=str(n), now=NOW + n).content for n in range(3)}  # type: ignore[union-attr]
        self.assertEqual(len(contents), 1)
        self.assertNotEqual(self.made().content, contents.pop())

    def test_internationalized_addresses(self) -> None:
        found = self.read(self.made(recipient="jos\u00e9@example.net"))
        self.assertEqual(found.failed[0].recipient, "jos\u00e9@example.net")
