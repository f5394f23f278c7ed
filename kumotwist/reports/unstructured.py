"""
Bounces in words: what servers write that keep to no standard, or whose RFC 3464 report is broken.

Known by the sentence that such a server begins with: qmail and those who copied it, Exim, Sendmail and Postfix without a
report, Exchange and its hosted form, Gmail and Yahoo as they were.  Only for mail from nobody, or from a mailer daemon: a person
may write such a sentence, too.  Lines are looked at one after the other, so the work grows with the text and no faster.
"""

import re
from collections.abc import Iterable

from kumotwist.mail.address import Mailbox
from kumotwist.mail.reply import EnhancedCode, Reply
from kumotwist.reports.delivery_status import MOST_RECIPIENTS, BounceReport, Failed
from kumotwist.reports.original import Original, address_in, original_of
from kumotwist.reports.parts import Part, plain, walk

_DAEMONS = frozenset({"mailer-daemon", "postmaster", "mailerdaemon", "mail-daemon"})
_OPENINGS = (
    "this is the qmail-send program",  # qmail, and Yahoo long ago
    "i wasn't able to deliver your message to the following addresses",
    "the following address(es) failed",  # Exim
    "the following addresses had permanent fatal errors",  # Sendmail
    "the following addresses had permanent delivery errors",
    "i'm sorry to have to inform you that your message could not",  # Postfix
    "did not reach the following recipient",  # Exchange
    "delivery has failed to these recipients or groups",
    "delivery to the following recipient failed permanently",  # Gmail
    "delivery to the following recipients failed",
    "unable to deliver your message to the following address",  # Yahoo
    "the following recipients could not be reached",
    "your message could not be delivered to the following",
    "your message wasn't delivered to",
    "could not be delivered to one or more",
    "this message was undeliverable due to the following reason",
)
_DELAYS = (
    "this is a warning message only",
    "you do not need to resend",
    "will continue to try",
    "will be retried",
    "delivery is delayed",
    "has not yet been delivered",
    "delivery attempts will continue",
)
_ENDS = (
    "--- below this line is a copy",
    "this is a copy of the message",
    "----- original message",
    "--- original message",
    "original message headers",
    "message header follows",
    "return-path:",
    "received:",
)
_HOSTS = (re.compile(r"(?:program|mail system) at (?:host )?([A-Za-z0-9.\-]+[A-Za-z0-9])"),)
_ANSWER = re.compile(r"(?<![\d.])([45]\d\d)[ \-]+(?:[45]\d\d[ \-]+)?(?:#?([245])\.(\d{1,3})\.(\d{1,3}))?")
_STATUS = re.compile(r"(?<![\d.])#?([45])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_WORD = re.compile(r"[^\s<>(),;:@]{1,256}@[^\s<>(),;:@]{1,255}")
_MOST_LINES = 200
_LONGEST_REASON = 1024
_LONGEST_LINE = 2048


def read_bounce_in_words(message: Part, sender: Mailbox, returned_to: Iterable[Mailbox] = ()) -> BounceReport | None:
    """The report in a message from `sender`; None where it is none."""
    if not _from_nobody(message, sender):
        return None
    parts = list(walk(message, 2))
    text = next((part.text for part in parts if part.kind == "text/plain"), "")
    lower = text.lower()
    at = min((found for phrase in _OPENINGS if (found := lower.find(phrase)) >= 0), default=-1)
    listed = [
        address for value in message.values("X-Failed-Recipients") for address in map(address_in, value.split(",")) if address
    ]
    if at < 0 and not listed:
        return None
    told, rest = _split(text[max(at, 0) :])
    attached = next((part.octets for part in parts if part.kind in ("message/rfc822", "text/rfc822-headers")), None)
    original = original_of(rest.encode("utf-8", "replace") if attached is None else attached, returned_to)
    failed: tuple[Failed, ...] = ()
    if not any(phrase in lower for phrase in _DELAYS):
        failed = _failed(told, listed, original)
        if not failed:
            return None
    return BounceReport(reporting_mta=_host(message, text), failed=failed, original=original)


def _from_nobody(message: Part, sender: Mailbox) -> bool:
    if not sender.local:
        return True
    found = _WORD.search(message.first("From"))
    return {sender.local.lower(), found[0].partition("@")[0].lower() if found else ""} & _DAEMONS != set()


def _split(text: str) -> tuple[list[str], str]:
    """The lines that tell what happened, and the rest, in which the original message is quoted."""
    lines = text.split("\n")
    for number, line in enumerate(lines[:_MOST_LINES]):
        if number and line.strip().lower().startswith(_ENDS):
            begins = number if ":" in line and not line.lstrip().startswith("-") else number + 1
            return lines[:number], "\n".join(lines[begins:]).lstrip("\n")
    return lines[:_MOST_LINES], "\n".join(lines[_MOST_LINES:])


def _failed(lines: list[str], listed: list[str], original: Original) -> tuple[Failed, ...]:
    """Who did not get it, each with the reason given; whoever `X-Failed-Recipients` names counts, too."""
    reasons: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in lines[1:] if len(lines) > 1 else lines:
        address, behind = _leading_address(line)
        if address:
            current = reasons.setdefault(address, [])
            current.append(behind)
        elif not line.strip():
            current = current if current is not None and not "".join(current).strip() else None
        elif current is not None:
            current.append(line)
    for address in listed or ([] if reasons else [original.recipient]):
        if address:
            reasons.setdefault(address, [])
    everything = " ".join(" ".join(lines).split())
    return tuple(
        Failed(recipient=address, reply=_reply(" ".join(" ".join(said).split()), everything))
        for address, said in list(reasons.items())[:MOST_RECIPIENTS]
    )


def _leading_address(line: str) -> tuple[str, str]:
    """The address that a line begins with, and what follows it; empty where it begins with none."""
    stripped = line.strip()
    if len(stripped) > _LONGEST_LINE:
        return "", ""
    found = _WORD.match(stripped.lstrip("<•*- "))
    if not found:
        return "", ""
    address = address_in(found[0].rstrip("."))
    behind = stripped.lstrip("<•*- ")[found.end() :]
    return address, behind.lstrip(">:;, ")


def _reply(reason: str, everything: str) -> Reply:
    """The answer that a server quoted, near the address or else anywhere; 550 and the reason where none did."""
    for text in (reason,) if _status(reason) else (reason, everything):
        found = _ANSWER.search(text)
        if found:
            code = EnhancedCode(int(found[2]), int(found[3]), int(found[4])) if found[2] else _status(reason)
            return Reply(int(found[1]), code, plain(text[found.end() :].strip(" -"))[:_LONGEST_REASON])
    return Reply(550, _status(reason) or _status(everything), plain(reason or everything)[:_LONGEST_REASON])


def _status(text: str) -> EnhancedCode | None:
    found = _STATUS.search(text)
    return EnhancedCode(int(found[1]), int(found[2]), int(found[3])) if found else None


def _host(message: Part, text: str) -> str:
    """The server that wrote it: by its own words, else by its address."""
    for pattern in _HOSTS:
        found = pattern.search(text[:2000])
        if found:
            return found[1].lower()
    named = _WORD.search(message.first("From"))
    return named[0].partition("@")[2].lower() if named else ""
