"""Complaints in the Abuse Reporting Format: RFC 5965, with the fields of RFC 6591 and 6692 among the extensions."""

from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from msgspec import Struct

from kumotwist.mail.address import Mailbox
from kumotwist.reports.original import Original, address_in, original_of
from kumotwist.reports.parts import LARGEST_TEXT, Part, fields_of, plain, walk

_Text = str | list[int]  # octets that are not UTF-8 as numbers, as the model does
_ORIGINALS = ("message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers")


class NamedMta(Struct, frozen=True):
    """`dns; mx.example.net`."""

    mta_type: str
    name: str


class FeedbackReport(Struct, frozen=True, kw_only=True):
    """The field `feedback_report` of a record, with the model's names and order (`original_rcpto_to` is its spelling)."""

    feedback_type: str
    user_agent: str
    version: str
    arrival_date: str | None = None
    incidents: int | None = None
    original_envelope_id: str | None = None
    original_mail_from: str | None = None
    reporting_mta: NamedMta | None = None
    source_ip: str | None = None
    authentication_results: list[str] = []
    original_rcpto_to: list[str] = []
    reported_domain: list[str] = []
    reported_uri: list[str] = []
    extensions: dict[str, list[_Text]] = {}
    original_message: _Text | None = None
    supplemental_trace: dict[str, Any] | None = None


class Complaint(Struct, frozen=True, kw_only=True):
    """A report that somebody complained, and what is known of the message that it is about."""

    report: FeedbackReport
    original: Original


_SINGLE = {
    *("feedback-type", "user-agent", "version", "arrival-date", "received-date", "incidents", "original-envelope-id"),
    *("original-mail-from", "reporting-mta", "source-ip"),
}
_SEVERAL = ("authentication-results", "original-rcpt-to", "reported-domain", "reported-uri")


def read_complaint(message: Part, returned_to: Iterable[Mailbox] = ()) -> Complaint | None:
    """The complaint in a message; None where it is none, or lacks what RFC 5965 section 3.1 demands."""
    if message.kind != "multipart/report" or message.parameters.get("report-type", "").lower() != "feedback-report":
        return None
    parts = list(walk(message, 1))[1:]
    stated = next((part for part in parts if part.kind == "message/feedback-report"), None)
    if stated is None:
        return None
    fields = fields_of(stated.octets)
    if not all(fields.get(name) for name in ("feedback-type", "user-agent", "version")):
        return None
    quoted = next((part.octets for part in parts if part.kind in _ORIGINALS), b"")
    original = original_of(quoted, returned_to)
    if not original.recipient and len(fields.get("original-rcpt-to", ())) == 1:
        named = address_in(fields["original-rcpt-to"][0])
        original = Original(id=original.id, recipient=named, message_id=original.message_id, trace=original.trace)
    return Complaint(report=_report(fields, quoted, original), original=original)


def read_feedback(message: Part, returned_to: Iterable[Mailbox] = ()) -> FeedbackReport | None:
    """What the report says in a message that says that it is one; None for others.  Raises ValueError for a malformed one."""
    if message.kind != "multipart/report" or message.parameters.get("report-type", "").lower() != "feedback-report":
        return None
    complaint = read_complaint(message, returned_to)
    if complaint is None:
        raise ValueError("a feedback report without Feedback-Type, User-Agent and Version")
    return complaint.report


def _report(fields: dict[str, list[str]], quoted: bytes, original: Original) -> FeedbackReport:
    def one(name: str) -> str | None:
        return next((plain(value) for value in fields.get(name, ())), None)

    def several(name: str) -> list[str]:
        return [plain(value) for value in fields.get(name, ())]

    incidents = one("incidents") or ""
    return FeedbackReport(
        feedback_type=one("feedback-type") or "",
        user_agent=one("user-agent") or "",
        version=one("version") or "",
        arrival_date=rfc3339_date(one("arrival-date")) or rfc3339_date(one("received-date")),
        incidents=int(incidents) if incidents.isascii() and incidents.isdigit() and len(incidents) < 10 else None,
        original_envelope_id=one("original-envelope-id"),
        original_mail_from=_bare(one("original-mail-from")),
        reporting_mta=named_mta(one("reporting-mta")),
        source_ip=one("source-ip"),
        authentication_results=several("authentication-results"),
        original_rcpto_to=[_bare(value) or "" for value in several("original-rcpt-to")],
        reported_domain=several("reported-domain"),
        reported_uri=several("reported-uri"),
        extensions={
            name: [plain(value) for value in values]
            for name, values in fields.items()
            if name not in _SINGLE and name not in _SEVERAL
        },
        original_message=quoted_text(quoted) if quoted else None,
        supplemental_trace=original.trace,
    )


def quoted_text(octets: bytes) -> _Text:
    """A returned message with LF at the ends of its lines; numbers where it is not UTF-8.  Cut after `LARGEST_TEXT`."""
    octets = octets[:LARGEST_TEXT].replace(b"\r\n", b"\n")
    try:
        return octets.decode()
    except UnicodeDecodeError as fault:
        if len(octets) - fault.start < 4 and len(octets) > LARGEST_TEXT // 2:
            return octets[: fault.start].decode()  # cut within a character
        return list(octets)


def named_mta(value: str | None) -> NamedMta | None:
    """`dns; mx.example.net`; without a type it is a name of the DNS (RFC 3464 section 2.2.2)."""
    if not value or not value.strip():
        return None
    kind, semicolon, name = value.partition(";")
    return NamedMta(kind.strip().lower(), name.strip()) if semicolon else NamedMta("dns", value.strip())


def seconds(value: str | None) -> float | None:
    """A date of a mail header as epoch seconds; None where it is none."""
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def rfc3339_date(value: str | None) -> str | None:
    """The same as RFC 3339 in UTC."""
    at = seconds(value)
    try:
        return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None


def _bare(value: str | None) -> str | None:
    return None if value is None else value.strip().removeprefix("<").removesuffix(">")
