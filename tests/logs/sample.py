"""A small mail log: one message that is delivered at the second try, one that bounces, one that is refused."""

from collections.abc import Iterator

from kumotwist.config.server import LogSettings
from kumotwist.logs.files import LogFiles
from kumotwist.logs.record import RecordType, RecordWriter
from kumotwist.mail.address import parse_mailbox
from kumotwist.mail.disposition import Attempt, Peer, SourceAddress
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds
from kumotwist.mail.reply import Reply, reply

NOON = 1_785_844_800.0  # 2026-08-04T12:00:00Z
_NODE = "6ac0a4f2-6b4f-4f3b-9d8c-6fb6d4f2f8a1"


def write_sample(directory: str) -> list[bytes]:
    """The lines that are in the directory afterwards, in order."""
    records = list(_records())
    files = LogFiles(LogSettings(log_dir=directory), lambda: NOON, lambda _: (), lambda *_: None)
    files.start(())
    files.tend()
    files.write([(number, kind.value, line) for number, (kind, line) in enumerate(records, 1)])
    files.close()
    return [line for _, line in records]


def _records() -> Iterator[tuple[RecordType, bytes]]:
    writer = RecordWriter(_NODE, ("tenant",))
    first = _message("ann@example.net", NOON)
    client = Attempt(peer=Peer("app.shop.example", "192.0.2.10"), session_id="5f0d6a56-2d2b-4b7e-8f1a-111111111111")
    outward = Attempt(
        site="ip-1->mx.example.net@smtp_client",
        egress_source="ip-1",
        peer=Peer("mx.example.net", "198.51.100.7"),
        source_address=SourceAddress("10.0.0.1:40000"),
        delivery_protocol="ESMTP",
    )
    refused = Attempt(
        site="ip-2->mail.example.org@smtp_client",
        egress_source="ip-2",
        peer=Peer("mail.example.org", "203.0.113.9"),
        source_address=SourceAddress("10.0.0.2:40000"),
        delivery_protocol="ESMTP",
    )
    yield _of(writer, RecordType.RECEPTION, first, Reply(250, None, ""), NOON, client)
    greylisted = reply("451 4.7.1 greylisted, try again later", "RCPT TO:<ann@example.net>")
    yield _of(writer, RecordType.TRANSIENT_FAILURE, first, greylisted, NOON + 2.5, outward)
    first.attempts = 1
    yield _of(writer, RecordType.DELIVERY, first, reply("250 2.0.0 Ok: queued as 7F2A", "."), NOON + 1203, outward)
    second = _message("bob@news.example.org", NOON + 1260)
    yield _of(writer, RecordType.RECEPTION, second, Reply(250, None, ""), NOON + 1260, client)
    unknown = reply("550 5.1.1 no such user", "RCPT TO:<bob@news.example.org>")
    yield _of(writer, RecordType.BOUNCE, second, unknown, NOON + 1261, refused)
    answer = reply("550 5.7.1 relaying not permitted", "RCPT TO:<x@elsewhere.example>")
    peer = Peer("stranger.example", "192.0.2.66")
    session = "5f0d6a56-2d2b-4b7e-8f1a-222222222222"
    yield RecordType.REJECTION, writer.rejection("who@stranger.example", "", answer, peer, session, {}, NOON + 1300)


def _message(recipient: str, received: float) -> Message:
    ids = MessageIds(lambda: received, lambda bits: 1)
    meta = {"reception_protocol": "ESMTP", "tenant": "shop"}
    message = Message(ids.next(), parse_mailbox("news@shop.example"), (parse_mailbox(recipient),), b"x" * 4096, meta)
    message.queue = message.queue_name()
    return message


def _of(
    writer: RecordWriter, kind: RecordType, message: Message, answer: Reply, now: float, attempt: Attempt
) -> tuple[RecordType, bytes]:
    pool = "pool-1" if attempt.egress_source else None
    return kind, writer.message(kind, message, answer, now, attempt=attempt, egress_pool=pool)
