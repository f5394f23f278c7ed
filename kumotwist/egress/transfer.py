"""
Mail on its way to another node of ours: the queue that it waits in, and what it remembers meanwhile.  Pure.

A message that is transferred leaves its queue for one named after the target; where it belongs, and how often it was tried,
lies in its metadata until the other node, or a cancellation here, puts it back.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from kumotwist.config.queues import QueueSettings, XferDelivery
from kumotwist.mail.message import Message
from kumotwist.mail.schedule import Schedule

XFER = ".xfer.kumomta.internal"
REMEMBERED = "xfer_queue_info"
_BELONGS = ("queue", "routing_domain", "tenant", "campaign")
_RETRY, _LONGEST_RETRY = 10.0, 300.0  # seconds
_NEVER_TOO_OLD = 3650 * 86400.0  # that is for the node to say where the mail belongs


class Kept(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a message was before: where its metadata sent it, when it was due (0: at once), how often it was tried."""

    queue: str | None = None
    routing_domain: str | None = None
    tenant: str | None = None
    campaign: str | None = None
    schedule: Schedule | None = None
    due: float = 0.0
    num_attempts: int = 0


def xfer_queue(target: str) -> str:
    return f"{target}{XFER}"


def xfer_settings(queue: str) -> QueueSettings:
    """What holds for the queue of a target, by its domain."""
    return QueueSettings(
        retry_interval=_RETRY,
        max_retry_interval=_LONGEST_RETRY,
        max_age=_NEVER_TOO_OLD,
        instead_of_smtp=XferDelivery(target=queue.removesuffix(XFER)),
    )


def send_away(message: Message, target: str) -> None:
    """Point a message to another node, at once.  One that is on its way already keeps what it remembers."""
    meta = message.meta
    if REMEMBERED not in meta:
        belongs = {key: meta[key] for key in _BELONGS if isinstance(meta.get(key), str)}
        kept = Kept(schedule=message.schedule, due=message.due, num_attempts=message.attempts, **belongs)
        meta[REMEMBERED] = msgspec.to_builtins(kept)
    for key in _BELONGS:
        meta.pop(key, None)
    meta["queue"] = xfer_queue(target)
    message.schedule, message.attempts, message.due = None, 0, 0.0


def bring_back(message: Message) -> None:
    """As it was before it was sent away.  Raises msgspec.ValidationError where what it remembers is nothing of ours."""
    meta = message.meta
    kept = msgspec.convert(meta.get(REMEMBERED, {}), type=Kept)
    meta.pop(REMEMBERED, None)
    for key in _BELONGS:
        meta.pop(key, None)
        value = getattr(kept, key)
        if value is not None:
            meta[key] = value
    message.schedule, message.attempts, message.due = kept.schedule, kept.num_attempts, kept.due


class Transferred(Struct, frozen=True, kw_only=True):
    """A message as one node tells it to another, before its content."""

    node: str
    id: str
    sender: str
    recipients: tuple[str, ...]
    meta: dict[str, Any]
    last_reply: str = ""
    log_headers: dict[str, Any] | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Transferred).decode


def packed(message: Message, node: str, log_headers: Mapping[str, Any] | None) -> bytes:
    """`{json}` LF content."""
    told = Transferred(
        node=node,
        id=message.id,
        sender=message.sender.email,
        recipients=tuple(one.email for one in message.recipients),
        meta=message.meta,
        last_reply=message.last_reply,
        log_headers=dict(log_headers) if log_headers else None,
    )
    return _encode(told) + b"\n" + (message.content or b"")


def unpacked(octets: bytes) -> tuple[Transferred, bytes]:
    """Raises msgspec.MsgspecError."""
    head, _, content = octets.partition(b"\n")
    return _decode(head), content
