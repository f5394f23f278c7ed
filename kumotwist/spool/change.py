"""
What is written to the spool at once: messages that come, change or go, and the log records that tell of it.

Beside the messages lies the shelf, for small things that must outlive the process: operators' orders, cursors, counts, each
under a key such as "orders/ID".

A change is all or nothing.  Because a message and its records share one synced write, spool and log can never disagree:
that is how "it leaves only after its final record is on disk" and "accepted = recorded + still here" are kept.
"""

from typing import Any

import msgspec
from msgspec import Struct

from kumotwist.mail.address import stored_mailbox
from kumotwist.mail.message import Message
from kumotwist.mail.schedule import Schedule


class Envelope(Struct, array_like=True, frozen=True):
    """Everything about a message but its content, as the spool keeps it.  New fields go to the end, with a default."""

    sender: str
    recipients: tuple[str, ...]
    meta: dict[str, Any]
    size: int
    attempts: int = 0
    due: float = 0.0
    last_reply: str = ""
    schedule: Schedule | None = None
    log_headers: dict[str, Any] | None = None


LONGEST_KEY = 80  # octets of a key on the shelf: a file name holds it even where each octet is written as three

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Envelope).decode


def encode_envelope(message: Message) -> bytes:
    return _encode(
        Envelope(
            message.sender.email,
            tuple([one.email for one in message.recipients]),
            message.meta,
            message.size,
            message.attempts,
            message.due,
            message.last_reply,
            message.schedule,
            dict(message.log_headers) if message.log_headers else None,
        )
    )


def decode_message(message_id: str, envelope: bytes) -> Message:
    """The message without its content.  Raises msgspec.DecodeError where the bytes are none of ours."""
    message = Message(message_id, stored_mailbox(""), (), None, size=0)
    restore_envelope(message, envelope)
    return message


def restore_envelope(message: Message, envelope: bytes) -> None:
    """Bring back what `shrink` dropped; attempts and due time as stored, too."""
    kept = _decode(envelope)
    message.sender = stored_mailbox(kept.sender)
    message.recipients = tuple([stored_mailbox(one) for one in kept.recipients])
    message.meta = kept.meta
    message.size = kept.size
    message.attempts = kept.attempts
    message.due = kept.due
    message.last_reply = kept.last_reply
    message.schedule = kept.schedule
    message.log_headers = kept.log_headers
    message.envelope_loaded = True


class Change:
    """
    puts: (message id, envelope, content); content None leaves the stored content as it is.
    removals: message ids.  records: (record type, one JSON line) in the order in which they happened.
    shelved: (key, value) for the shelf; value None takes it off.
    """

    __slots__ = ("puts", "records", "removals", "shelved")

    def __init__(self) -> None:
        self.puts: list[tuple[str, bytes, bytes | None]] = []
        self.removals: list[str] = []
        self.records: list[tuple[str, bytes]] = []
        self.shelved: list[tuple[str, bytes | None]] = []

    def store(self, message: Message) -> None:
        """Keep the whole message."""
        assert message.content is not None
        self.puts.append((message.id, encode_envelope(message), message.content))

    def update(self, message: Message) -> None:
        """Keep what changed beside the content: recipients, attempts, due time."""
        self.puts.append((message.id, encode_envelope(message), None))

    def shelve(self, key: str, value: bytes | None) -> None:
        """Put a value on the shelf, in place of what was there; None takes it off.  Raises ValueError: no key, or too long."""
        if not 0 < len(key.encode()) <= LONGEST_KEY:
            raise ValueError(f"{key!r} is no key for the shelf: 1 to {LONGEST_KEY} octets are")
        self.shelved.append((key, value))
