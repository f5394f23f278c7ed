"""The records' form: it is an interface that others' tools read."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.logs.record import FINAL, RecordType, RecordWriter, rfc3339
from kumotwist.mail.address import parse_mailbox
from kumotwist.mail.disposition import Attempt, Peer, SourceAddress, TlsFacts
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds
from kumotwist.mail.reply import Reply, reply

NODE = "6ac0a4f2-6b4f-4f3b-9d8c-6fb6d4f2f8a1"
NOON = 1_785_844_800.0
SESSION = "5f0d6a56-2d2b-4b7e-8f1a-111111111111"

# The model's fields in the model's order; those of the second tuple are left out where there is nothing to say.
ALWAYS = (
    *("type", "id", "sender", "recipient", "queue", "site", "size", "response", "peer_address", "timestamp", "event_time"),
    *("created", "created_time", "num_attempts", "bounce_classification", "egress_pool", "egress_source", "source_address"),
    *("feedback_report", "meta", "headers", "delivery_protocol", "reception_protocol", "nodeid"),
)
SOMETIMES = ("tls_cipher", "tls_protocol_version", "tls_peer_subject_name", "provider_name", "session_id")

ATTEMPT = Attempt(
    site="ip-1->mx.example.net@smtp_client",
    egress_source="ip-1",
    peer=Peer("mx.example.net", "192.0.2.7"),
    source_address=SourceAddress("10.0.0.1:40000"),
    delivery_protocol="ESMTP",
    tls=TlsFacts("TLS_AES_256_GCM_SHA384", "TLSv1.3", ("CN=mx.example.net",)),
    provider_name="example",
    session_id=SESSION,
)


def message(*recipients: str, meta: dict[str, Any] | None = None, sender: str = "news@shop.example") -> Message:
    ids = MessageIds(lambda: NOON - 90.25, lambda bits: 1)
    made = Message(
        ids.next(),
        parse_mailbox(sender),
        tuple(parse_mailbox(one) for one in recipients or ("ann@example.net",)),
        b"x" * 1234,
        meta if meta is not None else {"reception_protocol": "ESMTP", "tenant": "shop"},
        attempts=2,
        log_headers={"Subject": "Hello", "X-Tag": ["a", "b"]},
    )
    made.queue = made.queue_name()
    return made


class RecordTests(SynchronousTestCase):
    maxDiff = None

    def fields(self, line: bytes) -> dict[str, Any]:
        self.assertNotIn(b"\n", line)
        found = json.loads(line, object_pairs_hook=list)
        return {key: dict_of(value) for key, value in found}

    def of(self, *arguments: Any, meta: tuple[str, ...] = (), **facts: Any) -> dict[str, Any]:
        return self.fields(RecordWriter(NODE, meta).message(*arguments, **facts))


def dict_of(value: Any) -> Any:
    """JSON objects are read as lists of pairs, to see their order; here it does not matter any more."""
    if isinstance(value, list) and all(isinstance(pair, tuple) for pair in value):
        return {key: dict_of(one) for key, one in value}
    return value


class FormTests(RecordTests):
    def test_types_have_the_models_names(self) -> None:
        self.assertEqual(
            {kind.value for kind in RecordType},
            {
                *("Reception", "Delivery", "Bounce", "TransientFailure", "Expiration", "AdminBounce", "AdminRebind", "Rejection"),
                *("Delayed", "OOB", "Feedback", "XferOut", "XferIn"),
            },
        )
        self.assertEqual({kind.value for kind in FINAL}, {"Delivery", "Bounce", "Expiration", "AdminBounce", "XferOut"})

    def test_every_field_stands_in_the_models_order(self) -> None:
        found = self.of(RecordType.DELIVERY, message(), reply("250 2.0.0 Ok"), NOON, attempt=ATTEMPT, egress_pool="pool")
        self.assertEqual(tuple(found), ALWAYS + SOMETIMES)

    def test_five_fields_are_left_out_where_there_is_nothing_to_say(self) -> None:
        found = self.of(RecordType.BOUNCE, message(), reply("554 no"), NOON)
        self.assertEqual(tuple(found), ALWAYS)
        for kept in SOMETIMES:
            facts = {"provider_name": "x"} if kept == "provider_name" else {"session_id": SESSION}
            if kept not in facts:
                continue
            one = self.of(RecordType.BOUNCE, message(), reply("554 no"), NOON, attempt=Attempt(**facts))  # type: ignore[arg-type]
            self.assertEqual(tuple(one), (*ALWAYS, kept))
        anonymous = Attempt(tls=TlsFacts("AES", "TLSv1.2"))
        found = self.of(RecordType.BOUNCE, message(), reply("554 no"), NOON, attempt=anonymous)
        self.assertEqual(tuple(found), (*ALWAYS, "tls_cipher", "tls_protocol_version"))

    def test_a_delivery_says_everything(self) -> None:
        found = self.of(
            RecordType.DELIVERY, message(), reply("250 2.0.0 Ok: 7F", "."), NOON + 0.25, attempt=ATTEMPT, egress_pool="pool"
        )
        self.assertEqual(len(found.pop("id")), 32)
        self.assertEqual(
            found,
            {
                "type": "Delivery",
                "sender": "news@shop.example",
                "recipient": "ann@example.net",
                "queue": "shop@example.net",
                "site": "ip-1->mx.example.net@smtp_client",
                "size": 1234,
                "response": {
                    "code": 250,
                    "enhanced_code": {"class": 2, "subject": 0, "detail": 0},
                    "content": "Ok: 7F",
                    "command": ".",
                },
                "peer_address": {"name": "mx.example.net", "addr": "192.0.2.7"},
                "timestamp": int(NOON),
                "event_time": "2026-08-04T12:00:00.250000Z",
                "created": int(NOON) - 91,
                "created_time": "2026-08-04T11:58:29.750000Z",
                "num_attempts": 2,
                "bounce_classification": "Uncategorized",
                "egress_pool": "pool",
                "egress_source": "ip-1",
                "source_address": {"address": "10.0.0.1:40000"},
                "feedback_report": None,
                "meta": {},
                "headers": {"Subject": "Hello", "X-Tag": ["a", "b"]},
                "delivery_protocol": "ESMTP",
                "reception_protocol": "ESMTP",
                "nodeid": NODE,
                "tls_cipher": "TLS_AES_256_GCM_SHA384",
                "tls_protocol_version": "TLSv1.3",
                "tls_peer_subject_name": ["CN=mx.example.net"],
                "provider_name": "example",
                "session_id": SESSION,
            },
        )

    def test_what_was_not_tried_has_nulls(self) -> None:
        found = self.of(RecordType.EXPIRATION, message(meta={}), reply("551 5.4.7 too old"), NOON, site="localhost")
        nulls = {key for key, value in found.items() if value is None}
        self.assertEqual(
            nulls,
            {
                *("peer_address", "egress_pool", "egress_source", "source_address", "feedback_report", "delivery_protocol"),
                "reception_protocol",
            },
        )
        self.assertEqual((found["site"], found["response"]["command"]), ("localhost", None))

    def test_a_reply_without_an_enhanced_code_has_null(self) -> None:
        self.assertIsNone(self.of(RecordType.BOUNCE, message(), reply("554 no"), NOON)["response"]["enhanced_code"])

    def test_one_recipient_is_a_text_and_several_are_an_array(self) -> None:
        several = message("ann@example.net", "bob@example.net", "cy@example.net")
        self.assertEqual(self.of(RecordType.DELIVERY, message(), reply("250 ok"), NOON)["recipient"], "ann@example.net")
        self.assertEqual(
            self.of(RecordType.DELIVERY, several, reply("250 ok"), NOON)["recipient"],
            ["ann@example.net", "bob@example.net", "cy@example.net"],
        )
        some = self.of(RecordType.BOUNCE, several, reply("550 no"), NOON, recipients=several.recipients[1:2])
        self.assertEqual(some["recipient"], "bob@example.net")

    def test_the_null_sender_is_empty(self) -> None:
        made = message()
        made.sender = type(made.sender)("", "")
        self.assertEqual(self.of(RecordType.DELIVERY, made, reply("250 ok"), NOON)["sender"], "")

    def test_a_rejection_has_no_message(self) -> None:
        writer = RecordWriter(NODE, ("received_from",))
        answer = reply("550 5.7.1 relaying not permitted", "RCPT TO:<x@y.example>")
        peer = Peer("client.example", "192.0.2.1:40000")
        found = self.fields(writer.rejection("a@b.example", "", answer, peer, SESSION, {"received_from": "192.0.2.1"}, NOON))
        self.assertEqual(tuple(found), (*ALWAYS, "session_id"))
        self.assertEqual((found["type"], found["id"], found["queue"], found["site"], found["size"]), ("Rejection", "", "", "", 0))
        self.assertEqual(found["created_time"], found["event_time"])
        self.assertEqual(found["response"]["command"], "RCPT TO:<x@y.example>")
        self.assertEqual(found["meta"], {"received_from": "192.0.2.1"})
        self.assertIsNone(found["reception_protocol"])


class OneLineTests(RecordTests):
    """No text from outside makes a second line (design, invariant 6)."""

    def test_lines_of_a_reply_are_joined_by_spaces(self) -> None:
        found = self.of(RecordType.BOUNCE, message(), reply("550 5.1.1 no such\nuser\nhere"), NOON)
        self.assertEqual(found["response"]["content"], "no such user here")

    def test_control_characters_stay_escaped(self) -> None:
        nasty = 'x\r\n{"type":"Delivery"}\u0000\u001b[2J"\\'
        made = message(meta={"tenant": nasty, "queue": nasty})
        made.log_headers = {"Subject": nasty}
        line = RecordWriter(NODE, ("*",)).message(RecordType.BOUNCE, made, Reply(550, None, nasty, nasty), NOON)
        self.assertEqual([octet for octet in line if octet < 32], [])
        found = self.fields(line)
        self.assertEqual(found["headers"], {"Subject": nasty})
        self.assertEqual(found["meta"]["tenant"], nasty)

    def test_text_in_other_scripts_is_utf8(self) -> None:
        line = RecordWriter(NODE).message(RecordType.BOUNCE, message("bücher@example.net"), reply("550 нет"), NOON)
        self.assertIn("bücher@example.net".encode(), line)
        self.assertEqual(self.fields(line)["response"]["content"], "нет")


class MetaTests(RecordTests):
    META = {"tenant": "shop", "campaign": "july", "x_one": 1, "x_two": [2], "X_three": 3, "empty": None, "x_null": None}

    def chosen(self, *keys: str) -> dict[str, Any]:
        found = self.of(RecordType.BOUNCE, message(meta=dict(self.META)), reply("550 no"), NOON, meta=keys)["meta"]
        assert isinstance(found, dict)
        return found

    def test_only_what_is_asked_for_is_shown(self) -> None:
        self.assertEqual(self.chosen(), {})
        self.assertEqual(self.chosen("tenant", "absent"), {"tenant": "shop"})

    def test_a_star_at_the_end_takes_every_key_that_begins_so(self) -> None:
        self.assertEqual(self.chosen("x_*"), {"x_one": 1, "x_two": [2]})
        self.assertEqual(self.chosen("x_*", "tenant"), {"tenant": "shop", "x_one": 1, "x_two": [2]})
        self.assertEqual(set(self.chosen("*")), {"tenant", "campaign", "x_one", "x_two", "X_three"})

    def test_nulls_are_left_out(self) -> None:
        self.assertEqual(self.chosen("empty", "x_null"), {})


class TimeTests(SynchronousTestCase):
    def test_times_are_utc_with_microseconds(self) -> None:
        for instant, text in (
            (0.0, "1970-01-01T00:00:00.000000Z"),
            (NOON + 0.999999, "2026-08-04T12:00:00.999999Z"),
            (NOON + 0.5, "2026-08-04T12:00:00.500000Z"),
        ):
            self.assertEqual(rfc3339(instant), text)
