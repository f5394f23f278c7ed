"""A log line can always be parsed: no reply, header or metadata value can break one."""

import json
import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.bounces.classifier import Classifier
from kumotwist.config.bounces import BounceClassifierSettings, BounceRule
from kumotwist.logs.read import read_entry
from kumotwist.logs.record import RecordType, RecordWriter
from kumotwist.mail.address import Mailbox
from kumotwist.mail.disposition import Attempt, Peer, TlsFacts
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds
from kumotwist.mail.reply import EnhancedCode, Reply
from kumotwist.reports.delivery_status import BounceReport, Failed
from kumotwist.reports.feedback import Complaint, FeedbackReport
from kumotwist.reports.original import Original

EXAMPLES = int(os.environ.get("KUMOTWIST_EXAMPLES", "200"))
NOW = 1_786_104_000.0

# Every character there is: controls, line separators of all kinds, halves of surrogate pairs.
TEXT = st.text(st.characters(), max_size=40) | st.sampled_from(
    ["\n", "\r\n", "\x00", "\ud800", "\u2028", "\x85", '"}', "\\", "\x1b[2J"]
)
VALUE = st.recursive(
    TEXT | st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=5) | st.just(object()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3) | st.tuples(inner),
    max_leaves=8,
)
META = st.dictionaries(TEXT, VALUE, max_size=4)
REPLY = st.builds(
    Reply,
    st.integers(200, 599),
    st.none() | st.builds(EnhancedCode, st.integers(2, 5), st.integers(0, 999), st.integers(0, 999)),
    TEXT,
    st.none() | TEXT,
)
MAILBOX = st.builds(Mailbox, TEXT, TEXT)
PEER = st.builds(Peer, TEXT, TEXT)


def message(sender: Mailbox, recipients: list[Mailbox], meta: dict[str, Any], headers: dict[str, Any]) -> Message:
    ids = MessageIds(lambda: NOW, lambda bits: 1)
    return Message(ids.next(), sender, tuple(recipients), b"x", meta, log_headers=headers)


MESSAGE = st.builds(message, MAILBOX, st.lists(MAILBOX, min_size=1, max_size=3), META, META)


class LineTests(SynchronousTestCase):
    def setUp(self) -> None:
        classifier = Classifier(BounceClassifierSettings(rules=(BounceRule("A", "a"),)))
        self.writer = RecordWriter("node", ("*",), classifier.classify)

    def parsed(self, line: bytes, kind: RecordType) -> dict[str, Any]:
        self.assertNotIn(b"\n", line)
        self.assertNotIn(b"\r", line)
        found: dict[str, Any] = json.loads(line.decode("utf-8"), parse_constant=lambda name: self.fail(f"{name} is no JSON"))
        self.assertEqual(found["type"], kind.value)
        return found

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(MESSAGE, REPLY, st.sampled_from(list(RecordType)), PEER, TEXT)
    def test_records_of_messages(self, of: Message, reply: Reply, kind: RecordType, peer: Peer, name: str) -> None:
        attempt = Attempt(site=name, peer=peer, provider_name=name, tls=TlsFacts(name, name, (name,)))
        line = self.writer.message(kind, of, reply, NOW, attempt=attempt)
        self.parsed(line, kind)
        self.assertIsNotNone(read_entry(line))

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(TEXT, TEXT, REPLY, PEER, META)
    def test_rejections(self, sender: str, recipient: str, reply: Reply, peer: Peer, meta: dict[str, Any]) -> None:
        self.parsed(self.writer.rejection(sender, recipient, reply, peer, "session", meta, NOW), RecordType.REJECTION)

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(MESSAGE, REPLY, PEER, TEXT, st.none() | st.floats())
    def test_reports(self, of: Message, reply: Reply, peer: Peer, text: str, at: float | None) -> None:
        report = BounceReport(reporting_mta=text, failed=(), original=Original(id=text, recipient=text, message_id=text))
        failed = Failed(recipient=text, reply=reply, at=at)
        found = self.parsed(self.writer.out_of_band(of, report, failed, peer, text, NOW), RecordType.OOB)
        self.assertLessEqual(found["timestamp"], NOW)
        feedback = FeedbackReport(
            feedback_type=text, user_agent=text, version=text, extensions={text: [text]}, original_message=text
        )
        complaint = Complaint(report=feedback, original=report.original)
        line = self.writer.message(RecordType.FEEDBACK, of, reply, NOW, complaint=complaint)
        self.assertEqual(set(self.parsed(line, RecordType.FEEDBACK)["feedback_report"]) >= {"feedback_type", "version"}, True)

    def test_what_json_has_stays_as_it_is_beside_what_it_has_not(self) -> None:
        made = message(Mailbox("a", "b.example"), [Mailbox("c", "d.example")], {"good": [1, {"a": None}], "bad": "\ud800"}, {})
        found = self.parsed(self.writer.message(RecordType.RECEPTION, made, Reply(250, None, "ok"), NOW), RecordType.RECEPTION)
        self.assertEqual(found["meta"], {"good": [1, {"a": None}], "bad": "\\ud800"})
        self.assertEqual((found["sender"], found["response"]["content"]), ("a@b.example", "ok"))
