"""
A report that tells a sender what did not arrive: RFC 3464, made from a log record.

Only for final failures that somebody can be told of: a message of the null sender is never answered (RFC 5321 section 6.1),
and the report is itself from the null sender, so that no two servers answer one another for ever.
"""

from collections.abc import Mapping, Sequence
from email.utils import formatdate
from enum import Enum
from typing import Any

from msgspec import Struct

from kumotwist.mail.headers import header_end

_WIDTH = 900  # octets of a line; RFC 5322 section 2.1.1 allows 998


class Included(Enum):
    """How much of the message that failed goes back."""

    NO = "No"
    HEADERS_ONLY = "HeadersOnly"
    FULL_CONTENT = "FullContent"


class NoticeSettings(Struct, frozen=True, kw_only=True):
    """
    The model's parameters of `generate_rfc3464_message`.

    stable_content: the same record gives the same octets, always: without ids that are drawn, dated as the event.
    """

    mta_type: str
    mta_name: str
    include_original_message: Included = Included.NO
    enable_expiration: bool = False
    enable_bounce: bool = False
    stable_content: bool = False


class Notice(Struct, frozen=True):
    """A report to be sent, from the null sender.  recipient: the sender of the message that failed."""

    recipient: str
    content: bytes


def notice_of(
    record: Mapping[str, Any], settings: NoticeSettings, original: bytes | None, *, unique: str, now: float
) -> Notice | None:
    """
    The report for a record; None where none is due.

    original: the message that failed, if it is at hand.  unique: letters and digits that no other report has; now: epoch seconds.
    """
    if not _is_due(record, settings):
        return None
    sender = str(record["sender"])
    recipients = record["recipient"] if isinstance(record["recipient"], list) else [record["recipient"]]
    if settings.stable_content:
        unique, now = str(record["id"]), float(record["timestamp"])
    boundary = f"report-{unique}"
    head = [
        f"From: Mail Delivery Subsystem <mailer-daemon@{_clean(settings.mta_name)}>",
        f"To: <{_clean(sender)}>",
        "Subject: Returned mail: what was not delivered",
        f"Date: {formatdate(now)}",
        f"Message-ID: <{unique}@{_clean(settings.mta_name)}>",
        "Auto-Submitted: auto-generated (failure)",  # RFC 3834: nobody's machine is to answer
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
    ]
    parts = [
        ("text/plain; charset=utf-8", "\r\n".join(_words(record, recipients)).encode()),
        (_status_kind(recipients), "\r\n".join(_status(record, recipients, settings)).encode()),
        *_quoted(original, settings.include_original_message),
    ]
    octets = [_lines(head), b"\r\n"]
    for kind, content in parts:
        octets.append(f"--{boundary}\r\nContent-Type: {kind}\r\n{_encoding(content)}\r\n".encode() + content + b"\r\n")
    octets.append(f"--{boundary}--\r\n".encode())
    return Notice(sender, b"".join(octets))


def _is_due(record: Mapping[str, Any], settings: NoticeSettings) -> bool:
    if not record.get("sender") or not record.get("recipient"):
        return False
    if record.get("type") == "Bounce":
        return settings.enable_bounce and record.get("delivery_protocol") == "ESMTP"
    return record.get("type") == "Expiration" and settings.enable_expiration


def _words(record: Mapping[str, Any], recipients: Sequence[str]) -> list[str]:
    """What a person reads."""
    expired = record["type"] == "Expiration"
    why = "It was tried for as long as it was to be tried." if expired else "It will not be tried again."
    lines = ["Your message could not be delivered to the following:", ""]
    for recipient in recipients:
        lines += _folded(f"  <{_clean(str(recipient))}>: {_clean(_diagnostic(record))}", "    ")
    return [*lines, "", why]


def _status(record: Mapping[str, Any], recipients: Sequence[str], settings: NoticeSettings) -> list[str]:
    """RFC 3464 section 2.2 and, after an empty line for each, section 2.3."""
    response = record["response"]
    code = response.get("enhanced_code")
    status = f"{code['class']}.{code['subject']}.{code['detail']}" if code else f"{str(response['code'])[:1]}.0.0"
    if not status.startswith("5"):
        status = "5.4.7" if record["type"] == "Expiration" else f"5.{status.partition('.')[2]}"  # it failed for good
    lines = [
        f"Reporting-MTA: {_clean(settings.mta_type)}; {_clean(settings.mta_name)}",
        f"Arrival-Date: {formatdate(record['created'])}",
    ]
    peer = record.get("peer_address")
    for recipient in recipients:
        lines += [
            "",
            f"Final-Recipient: {_address_type(recipient)}; {_clean(str(recipient))}",
            "Action: failed",
            f"Status: {status}",
        ]
        if peer and peer.get("name"):
            lines.append(f"Remote-MTA: dns; {_clean(peer['name'])}")
        lines += _folded(f"Diagnostic-Code: smtp; {_clean(_diagnostic(record))}", " ")
        lines.append(f"Last-Attempt-Date: {formatdate(record['timestamp'])}")
    return [*lines, ""]


def _diagnostic(record: Mapping[str, Any]) -> str:
    response = record["response"]
    code = response.get("enhanced_code")
    lead = f"{code['class']}.{code['subject']}.{code['detail']} " if code else ""
    return f"{response['code']} {lead}{response['content']}".rstrip()


def _quoted(original: bytes | None, included: Included) -> list[tuple[str, bytes]]:
    if original is None or included is Included.NO:
        return []
    if included is Included.FULL_CONTENT:
        return [("message/rfc822", original)]
    return [("text/rfc822-headers", original[: header_end(original)])]


def _status_kind(recipients: Sequence[str]) -> str:
    ascii_only = all(str(one).isascii() for one in recipients)
    return "message/delivery-status" if ascii_only else "message/global-delivery-status"  # RFC 6533


def _address_type(recipient: str) -> str:
    return "rfc822" if str(recipient).isascii() else "utf-8"


def _encoding(content: bytes) -> str:
    return "" if content.isascii() else "Content-Transfer-Encoding: 8bit\r\n"


def _clean(text: str) -> str:
    """On one line, whatever it holds: nothing that a peer said can become a header field of ours."""
    return "".join(one if one.isprintable() else " " for one in text.encode("utf-8", "replace").decode())


def _folded(line: str, indent: str) -> list[str]:
    """A long line in pieces, so that none has more octets than a line may have."""
    most = _WIDTH // 4  # characters: each has at most four octets in UTF-8
    return [line[:most], *(indent + line[at : at + most] for at in range(most, len(line), most))]


def _lines(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()
