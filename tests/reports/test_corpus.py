"""Reports as servers write them: each message of the corpus, and the records beside it.  `.envelope` is who it is from and for."""

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.address import NULL_SENDER, parse_mailbox
from kumotwist.reports.arrived import read_report
from kumotwist.reports.delivery_status import BounceReport
from kumotwist.reports.parts import LARGEST_TEXT, MOST_PARTS, part_of, walk
from tests.reports.arriving import CORPUS, NAMES, Arriving, as_lines, envelope, message

EXAMPLES = int(os.environ.get("KUMOTWIST_EXAMPLES", "150"))
REPORTS = [name for name in NAMES if not name.startswith("none-")]
BOUNCE = parse_mailbox("bounce@bounces.example.com")


class CorpusTests(SynchronousTestCase):
    maxDiff = None

    def test_each_message_gives_the_records_beside_it(self) -> None:
        for name in NAMES:
            with self.subTest(name):
                arriving = Arriving()
                arriving.send(message(name), *envelope(name))
                found = as_lines([record for record in arriving.records() if record["type"] != "Reception"])
                self.assertEqual(found, (CORPUS / f"{name}.expected").read_text("utf-8"))

    def test_what_is_a_report_is_taken_and_dropped_and_what_is_none_is_refused(self) -> None:
        for name in NAMES:
            with self.subTest(name):
                arriving = Arriving()
                answer = arriving.send(message(name), *envelope(name))
                self.assertEqual(answer[:3], b"550" if name.startswith("none-") else b"250")
                self.assertEqual((arriving.kept, arriving.admitted), (0, []))

    def test_a_bounce_has_a_reception_record_too_and_a_complaint_has_not(self) -> None:
        for name in REPORTS:
            with self.subTest(name):
                arriving = Arriving()
                arriving.send(message(name), *envelope(name))
                kinds = [record["type"] for record in arriving.records()]
                self.assertEqual(kinds[0], "Feedback" if name.startswith("arf-") else "Reception")
                self.assertNotIn("Feedback" if not name.startswith("arf-") else "Reception", kinds)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A message of the corpus that something happened to."""
    content = message(draw(st.sampled_from(REPORTS)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 200)))
        way = draw(st.sampled_from(("cut", "drop", "repeat", "noise", "swap")))
        if way == "cut":
            content = content[:start]
        elif way == "drop":
            content = content[:start] + content[end:]
        elif way == "repeat":
            content = content[:end] + content[start:end] * draw(st.integers(1, 5)) + content[end:]
        elif way == "noise":
            content = content[:start] + draw(st.binary(max_size=20)) + content[end:]
        else:
            other = message(draw(st.sampled_from(REPORTS)))
            content = content[:start] + other[start:]
    return content


class MalformedTests(SynchronousTestCase):
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutated())
    def test_nothing_that_happens_to_a_report_breaks_us(self, content: bytes) -> None:
        found = read_report(content, NULL_SENDER, [BOUNCE])
        if isinstance(found, BounceReport):
            self.assertTrue(all(failed.recipient for failed in found.failed))

    @settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutated())
    def test_nor_does_it_make_mail_or_records_that_cannot_be_read(self, content: bytes) -> None:
        arriving = Arriving()
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"").replace(b"\n", b"\r\n")
        answer = arriving.send(content if content.endswith(b"\r\n") else content + b"\r\n")
        self.assertEqual((arriving.kept, arriving.admitted), (0, []))
        kinds = {record["type"] for record in arriving.records()}
        self.assertLessEqual(kinds, {"Reception", "OOB", "Feedback"} if answer[:3] == b"250" else {"Rejection"})

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(st.binary(max_size=2000))
    def test_any_octets_at_all(self, content: bytes) -> None:
        read_report(content, NULL_SENDER, [BOUNCE])

    def test_parts_in_parts_in_parts_end_somewhere(self) -> None:
        nested = b"text\r\n"
        for level in range(200):
            mark = b"b%d" % level
            nested = b'Content-Type: multipart/report; boundary="%b"\r\n\r\n--%b\r\n%b\r\n--%b--\r\n' % (mark, mark, nested, mark)
        self.assertLessEqual(len(list(walk(part_of(nested)))), MOST_PARTS)
        self.assertIsNone(read_report(nested, NULL_SENDER, [BOUNCE]))

    def test_thousands_of_parts_are_not_looked_at(self) -> None:
        many = b'Content-Type: multipart/report; boundary="b"\r\n\r\n' + b"--b\r\n\r\nx\r\n" * 5000
        self.assertLessEqual(len(list(walk(part_of(many)))), MOST_PARTS)

    def test_a_report_of_thousands_of_recipients_makes_a_hundred_records(self) -> None:
        one = b"\r\nFinal-Recipient: rfc822; ann@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        status = b"Reporting-MTA: dns; a.example\r\n" + one * 3000
        content = (
            b'Content-Type: multipart/report; boundary="b"\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n'
            + status
            + b"--b--\r\n"
        )
        arriving = Arriving()
        self.assertEqual(arriving.send(content)[:3], b"250")
        self.assertEqual(len([record for record in arriving.records() if record["type"] == "OOB"]), 100)

    def test_a_returned_message_is_shown_to_its_first_64_kib(self) -> None:
        content = message("arf-minimal").replace(b"Spam Spam", b"Spam Spam\r\n" * LARGEST_TEXT)
        arriving = Arriving()
        arriving.send(content, *envelope("arf-minimal"))
        (record,) = arriving.records()
        self.assertLessEqual(len(record["feedback_report"]["original_message"]), LARGEST_TEXT)
