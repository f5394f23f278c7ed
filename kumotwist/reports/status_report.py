"""A report of RFC 3464 in full, as a policy reads one: all its fields, whatever became of its recipients."""

from msgspec import Struct

from kumotwist.reports.feedback import NamedMta, named_mta, quoted_text, rfc3339_date
from kumotwist.reports.parts import Part, blocks, plain, walk

_STATUS_KINDS = ("message/delivery-status", "message/global-delivery-status")
_ORIGINALS = ("message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers")
MOST_RECIPIENTS = 1000  # of one report


class NamedRecipient(Struct, frozen=True):
    """`rfc822; ann@example.net`."""

    recipient_type: str
    recipient: str


class Diagnostic(Struct, frozen=True):
    """`smtp; 550 5.1.1 no such user`."""

    diagnostic_type: str
    diagnostic: str


class PerMessage(Struct, frozen=True, kw_only=True):
    """What is said of the message as a whole.  Dates are RFC 3339 in UTC; extensions: other fields, lower-case name → values."""

    reporting_mta: NamedMta
    original_envelope_id: str | None = None
    dsn_gateway: NamedMta | None = None
    received_from_mta: NamedMta | None = None
    arrival_date: str | None = None
    extensions: dict[str, list[str]] = {}


class PerRecipient(Struct, frozen=True, kw_only=True):
    """What is said of one recipient.  action: `failed`, `delayed`, `delivered`, `relayed` or `expanded`.  status: `5.1.1`."""

    final_recipient: NamedRecipient
    action: str
    status: str
    original_recipient: NamedRecipient | None = None
    remote_mta: NamedMta | None = None
    diagnostic_code: Diagnostic | None = None
    last_attempt_date: str | None = None
    final_log_id: str | None = None
    will_retry_until: str | None = None
    extensions: dict[str, list[str]] = {}


class StatusReport(Struct, frozen=True, kw_only=True):
    """original_message: what the report quotes of it, with LF at the ends of lines; numbers where it is not UTF-8."""

    per_message: PerMessage
    per_recipient: list[PerRecipient]
    original_message: str | list[int] | None = None


class Malformed(ValueError):
    """It says that it is a report, and lacks what one must have."""


_Group = dict[str, list[str]]


def read_status(message: Part) -> StatusReport | None:
    """The report in a message; None where it is none.  Raises Malformed."""
    if message.kind != "multipart/report":
        return None
    parts = list(walk(message, 2))[1:]
    stated = next((part for part in parts if part.kind in _STATUS_KINDS), None)
    if stated is None:
        return None
    groups = blocks(stated.octets)
    if len(groups) < 2:
        raise Malformed("there is nothing about any recipient")
    quoted = next((part.octets for part in parts if part.kind in _ORIGINALS), None)
    return StatusReport(
        per_message=_per_message(groups[0]),
        per_recipient=[_per_recipient(group) for group in groups[1 : MOST_RECIPIENTS + 1]],
        original_message=None if quoted is None else quoted_text(quoted),
    )


def _per_message(group: _Group) -> PerMessage:
    reporting = named_mta(_one(group, "reporting-mta"))
    if reporting is None:
        raise Malformed("Reporting-MTA is missing")
    return PerMessage(
        reporting_mta=reporting,
        original_envelope_id=_one(group, "original-envelope-id"),
        dsn_gateway=named_mta(_one(group, "dsn-gateway")),
        received_from_mta=named_mta(_one(group, "received-from-mta")),
        arrival_date=rfc3339_date(_one(group, "arrival-date")),
        extensions=_others(group, _OF_MESSAGE),
    )


def _per_recipient(group: _Group) -> PerRecipient:
    final, action, status = _recipient(_one(group, "final-recipient")), _one(group, "action"), _one(group, "status")
    if final is None or not action or not status:
        missing = [name for name, value in (("Final-Recipient", final), ("Action", action), ("Status", status)) if not value]
        raise Malformed(f"{missing[0]} is missing")
    return PerRecipient(
        final_recipient=final,
        action=action.lower(),
        status=status,
        original_recipient=_recipient(_one(group, "original-recipient")),
        remote_mta=named_mta(_one(group, "remote-mta")),
        diagnostic_code=_diagnostic(_one(group, "diagnostic-code")),
        last_attempt_date=rfc3339_date(_one(group, "last-attempt-date")),
        final_log_id=_one(group, "final-log-id"),
        will_retry_until=rfc3339_date(_one(group, "will-retry-until")),
        extensions=_others(group, _OF_RECIPIENT),
    )


_OF_MESSAGE = frozenset({"reporting-mta", "original-envelope-id", "dsn-gateway", "received-from-mta", "arrival-date"})
_OF_RECIPIENT = frozenset({
    *("original-recipient", "final-recipient", "action", "status", "remote-mta", "diagnostic-code", "last-attempt-date"),
    *("final-log-id", "will-retry-until"),
})  # fmt: skip


def _one(group: _Group, name: str) -> str | None:
    values = group.get(name, ())
    if len(values) > 1:
        raise Malformed(f"{name} stands twice")
    return (plain(values[0]).strip() or None) if values else None


def _others(group: _Group, known: frozenset[str]) -> dict[str, list[str]]:
    return {name: [plain(value) for value in values] for name, values in group.items() if name not in known}


def _typed(value: str | None, default: str) -> tuple[str, str] | None:
    if value is None:
        return None
    kind, semicolon, rest = value.partition(";")
    return (kind.strip().lower(), rest.strip()) if semicolon else (default, value)


def _recipient(value: str | None) -> NamedRecipient | None:
    typed = _typed(value, "rfc822")
    return None if typed is None else NamedRecipient(*typed)


def _diagnostic(value: str | None) -> Diagnostic | None:
    typed = _typed(value, "smtp")
    return None if typed is None else Diagnostic(*typed)
