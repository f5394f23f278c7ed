"""A message in custody: its queue, its age, what stays when it is shrunk."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.address import Mailbox
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds

SENDER = Mailbox("a", "example.net")
RECIPIENT = Mailbox("b", "example.org")


class MessageTests(SynchronousTestCase):
    """Message."""

    def test_the_queue_is_named_by_metadata(self) -> None:
        for meta, name in (
            ({}, "example.org"),
            ({"tenant": "t"}, "t@example.org"),
            ({"tenant": "t", "campaign": "c", "routing_domain": "r.example"}, "c:t@example.org!r.example"),
            ({"queue": "null", "tenant": "t"}, "null"),
            ({"queue": None, "tenant": None}, "example.org"),
        ):
            message = Message("0" * 32, SENDER, (RECIPIENT, Mailbox("c", "other.example")), b"", dict(meta))
            self.assertEqual(message.queue_name(), name)

    def test_metadata_that_are_no_text_name_no_queue(self) -> None:
        for key in ("queue", "tenant", "campaign", "routing_domain"):
            message = Message("0" * 32, SENDER, (RECIPIENT,), b"", {key: 5})
            with self.assertRaisesRegex(ValueError, f"meta {key} must be a string, not 5"):
                message.queue_name()

    def test_size_and_age_stay_when_it_is_shrunk(self) -> None:
        ids = MessageIds(lambda: 1_700_000_000.0, lambda bits: 1)
        message = Message(
            ids.next(), SENDER, (RECIPIENT,), b"12345", {"tenant": "t"}, log_headers={"Subject": "x"}, last_reply="451 no"
        )
        message.shrink()
        self.assertEqual((message.size, message.created), (5, 1_700_000_000.0))
        self.assertEqual((message.content, message.meta, message.recipients, message.log_headers), (None, {}, (), None))
        self.assertFalse(message.envelope_loaded)

    def test_two_messages_share_no_metadata(self) -> None:
        one, other = (Message("0" * 32, SENDER, (RECIPIENT,), b"") for _ in range(2))
        one.meta["tenant"] = "t"
        self.assertEqual(other.meta, {})
