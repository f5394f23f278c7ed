"""Reports of bounces that keep to RFC 3464 (and RFC 6533, its internationalized form)."""

import re
from collections.abc import Iterable

from msgspec import Struct

from kumotwist.mail.address import Mailbox
from kumotwist.mail.reply import EnhancedCode, Reply, split_enhanced
from kumotwist.reports.feedback import NamedMta, named_mta, seconds
from kumotwist.reports.original import Original, address_in, original_of
from kumotwist.reports.parts import Part, blocks, plain, walk

MOST_RECIPIENTS = 100  # that one report makes records of

_STATUS_KINDS = ("message/delivery-status", "message/global-delivery-status")
_ORIGINALS = ("message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers")
_ACTIONS = frozenset({"failed", "delayed", "delivered", "relayed", "expanded"})
_STATUS = re.compile(r"\s*([245])\.(\d{1,3})\.(\d{1,3})\b")
_LONGEST_TEXT = 1024  # characters of a diagnostic


class Failed(Struct, frozen=True, kw_only=True):
    """One recipient whom a message did not reach.  at: when it was tried last, epoch seconds."""

    recipient: str
    reply: Reply
    at: float | None = None


class BounceReport(Struct, frozen=True, kw_only=True):
    """A report; failed is empty where it tells only of delays and deliveries.  reporting_mta: who wrote it, empty if unknown."""

    reporting_mta: str
    failed: tuple[Failed, ...]
    original: Original


def read_bounce(message: Part, returned_to: Iterable[Mailbox] = ()) -> BounceReport | None:
    """
    The report in a message; None where it is none, or malformed.

    returned_to: its own recipients, which may name the original one.  A report's type parameter is not looked at: some write
    none.  Fields that RFC 3464 demands must be there, and what may stand once must not stand twice.
    """
    if message.kind != "multipart/report":
        return None
    parts = list(walk(message, 2))[1:]
    stated = next((part for part in parts if part.kind in _STATUS_KINDS), None)
    if stated is None:
        return None
    groups = blocks(stated.octets)
    if len(groups) < 2 or any(len(values) > 1 and name in _ONCE for group in groups for name, values in group.items()):
        return None
    reporting = named_mta(_one(groups[0], "reporting-mta"))
    if reporting is None:
        return None
    quoted = next((part.octets for part in parts if part.kind in _ORIGINALS), b"")
    original = original_of(quoted, returned_to)
    failed = []
    for group in groups[1 : MOST_RECIPIENTS + 1]:
        action = _one(group, "action").strip().lower()
        status = _STATUS.match(_one(group, "status"))
        final = _address(_one(group, "final-recipient"))
        if action not in _ACTIONS or status is None or not final:
            return None
        if action == "failed":
            recipient = _address(_one(group, "original-recipient")) or final
            code = EnhancedCode(int(status[1]), int(status[2]), int(status[3]))
            at = seconds(_one(group, "last-attempt-date"))
            failed.append(Failed(recipient=recipient, reply=_reply(code, _one(group, "diagnostic-code")), at=at))
    return BounceReport(reporting_mta=plain(reporting.name)[:_LONGEST_TEXT], failed=tuple(failed), original=original)


_ONCE = frozenset({
    *("reporting-mta", "original-envelope-id", "dsn-gateway", "received-from-mta", "arrival-date"),
    *("original-recipient", "final-recipient", "action", "status", "remote-mta", "diagnostic-code", "last-attempt-date"),
    *("final-log-id", "will-retry-until"),
})  # fmt: skip


def _one(group: dict[str, list[str]], name: str) -> str:
    return next(iter(group.get(name, ())), "")


def _address(value: str) -> str:
    """`rfc822; ann@example.net`; what is no address of ours is kept as it stands, and so are addresses of other worlds."""
    _, semicolon, address = value.partition(";")
    text = plain(address if semicolon else value).strip()
    return address_in(text) or text.removeprefix("<").removesuffix(">")[:512]


def _reply(status: EnhancedCode, diagnostic: str) -> Reply:
    """
    The answer that the report tells of: what its diagnostic says if that is SMTP's, else 550 and nothing.

    The enhanced code is the report's; one that the diagnostic repeats in front is not repeated in the text.
    """
    kind, semicolon, text = diagnostic.partition(";")
    if not semicolon or kind.strip().lower() != "smtp":
        return Reply(550, status, "")
    text = " ".join(plain(text).split())[:_LONGEST_TEXT]
    code, _, rest = text.replace("-", " ", 1).partition(" ") if text[3:4] == "-" else text.partition(" ")
    if code.isascii() and code.isdigit() and len(code) == 3:
        # A reply of several lines is quoted with what leads each of them.
        rest = re.sub(rf" {code}[ -](?:{status} )?", " ", f" {split_enhanced(rest)[1]}").strip()
        return Reply(int(code), status, rest)
    return Reply(550, status, text)


__all__ = ["BounceReport", "Failed", "NamedMta", "read_bounce"]
