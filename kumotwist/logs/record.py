"""
Log records: one JSON object a line, with the model's types, field names and field order.

A record is built where the fact is decided (custody), encoded once, made durable together with the change that it
tells of, and only then written to the log's files.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from kumotwist.bounces.classifier import UNCATEGORIZED, unclassified
from kumotwist.config.server import RecordSettings
from kumotwist.mail.disposition import NOT_TRIED, Attempt, Peer, SourceAddress
from kumotwist.mail.message import Message
from kumotwist.mail.reply import Reply
from kumotwist.reports.delivery_status import BounceReport, Failed
from kumotwist.reports.feedback import Complaint, FeedbackReport
from kumotwist.reports.original import Original


class RecordType(Enum):
    """What a record tells.  Final ones end a message: it is never tried again."""

    RECEPTION = "Reception"
    DELIVERY = "Delivery"
    BOUNCE = "Bounce"
    TRANSIENT_FAILURE = "TransientFailure"
    EXPIRATION = "Expiration"
    ADMIN_BOUNCE = "AdminBounce"
    ADMIN_REBIND = "AdminRebind"
    REJECTION = "Rejection"
    DELAYED = "Delayed"
    OOB = "OOB"
    FEEDBACK = "Feedback"
    XFER_OUT = "XferOut"
    XFER_IN = "XferIn"


def switched_off(per_record: Mapping[str, RecordSettings]) -> frozenset[RecordType]:
    """Record types that the configuration does not want; `Any` speaks for those without an entry of their own."""
    other = per_record.get("Any")
    return frozenset(kind for kind in RecordType if (one := per_record.get(kind.value, other)) is not None and not one.enable)


FINAL = frozenset({RecordType.DELIVERY, RecordType.BOUNCE, RecordType.EXPIRATION, RecordType.ADMIN_BOUNCE, RecordType.XFER_OUT})

# What these tell of belongs to a class of bounces; the others carry `Uncategorized`.
_CLASSIFIED = frozenset({
    *(RecordType.BOUNCE, RecordType.TRANSIENT_FAILURE, RecordType.EXPIRATION, RecordType.ADMIN_BOUNCE),
    *(RecordType.OOB, RecordType.FEEDBACK, RecordType.REJECTION),
})  # fmt: skip


class Record(Struct, kw_only=True):
    """One line of the mail log; the fields stand in the model's order.  UNSET fields are left out, None is written as null."""

    type: RecordType
    id: str
    sender: str
    recipient: str | list[str]
    queue: str
    site: str
    size: int
    response: Reply
    peer_address: Peer | None
    timestamp: int
    event_time: str
    created: int
    created_time: str
    num_attempts: int
    bounce_classification: str
    egress_pool: str | None
    egress_source: str | None
    source_address: SourceAddress | None
    feedback_report: FeedbackReport | None
    meta: Mapping[str, Any]
    headers: Mapping[str, Any]
    delivery_protocol: str | None
    reception_protocol: str | None
    nodeid: str
    tls_cipher: str | UnsetType = UNSET
    tls_protocol_version: str | UnsetType = UNSET
    tls_peer_subject_name: tuple[str, ...] | UnsetType = UNSET
    provider_name: str | UnsetType = UNSET
    session_id: str | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode
_OLDEST_EVENT = 10 * 365 * 86400.0  # seconds that a report may look back
_MOST_LEVELS = 32  # of lists and mappings in one another
_LEAST_WHOLE, _MOST_WHOLE = -(2**63), 2**64 - 1


def _mended(value: Any, levels: int = _MOST_LEVELS) -> Any:
    """A value as JSON can have it: what it cannot is told in words, so that a record may look odd but is never missing."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return value.encode("utf-8", "backslashreplace").decode()
    if value is None or value is UNSET or isinstance(value, bool | float | Enum):
        return value
    if isinstance(value, int):
        return value if _LEAST_WHOLE <= value <= _MOST_WHOLE else str(value)
    if not levels:
        return "..."
    if isinstance(value, Struct):
        return type(value)(**{name: _mended(getattr(value, name), levels - 1) for name in value.__struct_fields__})
    if isinstance(value, Mapping):
        return {_mended(str(key)): _mended(one, levels - 1) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_mended(one, levels - 1) for one in value]
    return _mended(value.decode("latin-1") if isinstance(value, bytes) else repr(value))


@lru_cache(maxsize=64)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(instant: float) -> str:
    """Epoch seconds as UTC with microseconds."""
    whole = int(instant)
    return f"{_second(whole)}.{int((instant - whole) * 1e6):06d}Z"


def _on_one_line(reply: Reply) -> Reply:
    if "\n" not in reply.text:
        return reply
    return Reply(reply.code, reply.enhanced, reply.text.replace("\n", " "), reply.command)


class RecordWriter:
    """Builds and encodes records for one node; knows which metadata the records shall show."""

    def __init__(self, node_id: str, meta: tuple[str, ...] = (), classify: Callable[[str], str] = unclassified) -> None:
        """
        meta: metadata keys to copy; a trailing `*` takes every key that begins so.
        classify: the class of bounces that a response on one line belongs to.
        """
        self._node_id = node_id
        self._classify = classify
        self._exact = tuple(key for key in meta if not key.endswith("*"))
        self._prefixes = tuple(key[:-1] for key in meta if key.endswith("*"))

    def message(
        self,
        kind: RecordType,
        message: Message,
        reply: Reply,
        now: float,
        *,
        recipients: tuple[Any, ...] | None = None,
        attempt: Attempt = NOT_TRIED,
        egress_pool: str | None = None,
        site: str | None = None,
        complaint: Complaint | None = None,
    ) -> bytes:
        """One line (without its newline) about a message; `recipients` defaults to all of its own."""
        created = message.created
        about = message.recipients if recipients is None else recipients
        tls = attempt.tls
        return self._encode(
            Record(
                type=kind,
                id=message.id,
                sender=message.sender.email,
                recipient=about[0].email if len(about) == 1 else [one.email for one in about],
                queue=message.queue,
                site=attempt.site if site is None else site,
                size=message.size,
                response=_on_one_line(reply),
                peer_address=attempt.peer,
                timestamp=int(now),
                event_time=rfc3339(now),
                created=int(created),
                created_time=rfc3339(created),
                num_attempts=message.attempts,
                bounce_classification=self._classify(reply.single_line) if kind in _CLASSIFIED else UNCATEGORIZED,
                egress_pool=egress_pool,
                egress_source=attempt.egress_source,
                source_address=attempt.source_address,
                feedback_report=complaint.report if complaint else None,
                meta=self._chosen(message.meta) if complaint is None else self._with_original(message, complaint.original),
                headers=message.log_headers or {},
                delivery_protocol=attempt.delivery_protocol,
                reception_protocol=message.meta.get("reception_protocol"),
                nodeid=self._node_id,
                tls_cipher=tls.cipher if tls else UNSET,
                tls_protocol_version=tls.protocol_version if tls else UNSET,
                tls_peer_subject_name=tls.peer_subject_name if tls and tls.peer_subject_name else UNSET,
                provider_name=attempt.provider_name or UNSET,
                session_id=attempt.session_id or UNSET,
            )
        )

    def out_of_band(self, message: Message, report: BounceReport, failed: Failed, peer: Peer, session_id: str, now: float) -> bytes:
        """
        One line about a recipient whom an earlier message did not reach, as a report says that came in as `message`.

        Its sender is who the report was sent to: the earlier message's sender.  peer: who sent the report.
        """
        # Whatever a report says, an event of tomorrow or of the last century is none.
        at = failed.at if failed.at is not None and now - _OLDEST_EVENT < failed.at <= now else now
        about = message.recipients
        return self._encode(
            Record(
                type=RecordType.OOB,
                id=message.id,
                sender=about[0].email if about else "",
                recipient=failed.recipient,
                queue=message.queue,
                site="",
                size=0,
                response=_on_one_line(failed.reply),
                peer_address=Peer(report.reporting_mta, peer.addr),
                timestamp=int(at),
                event_time=rfc3339(at),
                created=int(message.created),
                created_time=rfc3339(message.created),
                num_attempts=0,
                bounce_classification=self._classify(failed.reply.single_line),
                egress_pool=None,
                egress_source=None,
                source_address=None,
                feedback_report=None,
                meta=self._with_original(message, report.original),
                headers=message.log_headers or {},
                delivery_protocol=None,
                reception_protocol=message.meta.get("reception_protocol"),
                nodeid=self._node_id,
                session_id=session_id,
            )
        )

    def rejection(
        self, sender: str, recipient: str, reply: Reply, peer: Peer, session_id: str, meta: Mapping[str, Any], now: float
    ) -> bytes:
        """One line about something that we refused to a client: there is no message, so id and queue are empty."""
        return self._encode(
            Record(
                type=RecordType.REJECTION,
                id="",
                sender=sender,
                recipient=recipient,
                queue="",
                site="",
                size=0,
                response=_on_one_line(reply),
                peer_address=peer,
                timestamp=int(now),
                event_time=rfc3339(now),
                created=int(now),
                created_time=rfc3339(now),
                num_attempts=0,
                bounce_classification=self._classify(reply.single_line),
                egress_pool=None,
                egress_source=None,
                source_address=None,
                feedback_report=None,
                meta=self._chosen(meta),
                headers={},
                delivery_protocol=None,
                reception_protocol=None,
                nodeid=self._node_id,
                session_id=session_id,
            )
        )

    def _encode(self, record: Record) -> bytes:
        """A line that can be parsed, whatever a policy put into the metadata and whatever a peer said."""
        try:
            return _encode(record)
        except (TypeError, ValueError, OverflowError, RecursionError):  # UnicodeEncodeError is a ValueError
            return _encode(_mended(record))

    def _with_original(self, message: Message, original: Original) -> Mapping[str, Any]:
        """The chosen metadata, and what is known of the message that a report is about."""
        known = {
            "original_id": original.id,
            "original_recipient": original.recipient,
            "original_message_id": original.message_id,
        }
        return {**self._chosen(message.meta), **{key: value for key, value in known.items() if value}}

    def _chosen(self, meta: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._exact and not self._prefixes:
            return {}
        chosen = {key: meta[key] for key in self._exact if meta.get(key) is not None}
        if self._prefixes:
            chosen.update((k, v) for k, v in meta.items() if v is not None and k.startswith(self._prefixes))
        return chosen
