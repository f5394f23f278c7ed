"""
From a request to the contents of its messages, in portions that are made in a thread.

Nothing here knows of queues, policy or the spool: a recipient goes in, header and body come out, or why there are none.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from msgspec import Raw, Struct

from kumotwist.injection.building import BuiltContent
from kumotwist.injection.fields import named
from kumotwist.injection.request import BadRequest, Content, TemplateDialect, decode_recipient
from kumotwist.injection.templates import Templates
from kumotwist.injection.whole import WholeContent
from kumotwist.mail.address import BadAddress, Mailbox, parse_mailbox

MOST_IN_PORTION = 20  # recipients: with policy, custody and queues some 10 ms of the reactor's time
LONGEST_PORTION = 0.01  # seconds, after which a portion ends with the recipient at hand
LARGEST_PORTION = 1024 * 1024  # octets

# What is made at once, on the reactor's thread: less than a millisecond, and some 20 however it is contrived.
_QUICK_BODY = 8 * 1024  # octets
_QUICK_RECIPIENTS = 4
_QUICK_GAPS = 20  # in each text
_QUICK_HEADERS = 20
_QUICK_ATTACHMENTS = 2
_PLAIN_GAP = re.compile(r"""\{\{-?(?:[^{}|()\[\]*%~+'"-]|'[^{}'"]*'|"[^{}'"]*")*-?\}\}""")  # no filters, calls or sums


class Made(Struct, frozen=True):
    """What became of one recipient: a mailbox and a content, or a fault.  shown: the recipient as the client named it."""

    shown: str
    mailbox: Mailbox | None = None
    content: bytes = b""
    fault: str = ""
    metadata: dict[str, Any] = {}


class Prepared(Protocol):
    """A content that is ready for its recipients."""

    def message(self, email: str, name: str | None, values: dict[str, Any], now: float) -> bytes: ...


class Generation:
    """The messages of one request.  To be made and used in a thread: compiling and filling templates takes its time."""

    def __init__(
        self,
        asked: Any,
        templates: Templates,
        randbits: Callable[[int], int],
        seconds: Callable[[], float],
        quick: bool = False,
    ) -> None:
        """
        asked: an InjectionInPortions.  quick: no thread is needed.

        Raises BadRequest where no recipient could ever get the content.
        """
        self.quick = quick
        dialect: TemplateDialect = asked.template_dialect
        self._seconds = seconds
        self._substitutions: dict[str, Any] = asked.substitutions
        self._content: Prepared = (
            WholeContent(asked.content, dialect, templates)
            if isinstance(asked.content, str)
            else BuiltContent(asked.content, dialect, templates, randbits)
        )

    def portion(self, recipients: Sequence[Raw]) -> list[Made]:
        """For the first of these recipients, as many as one portion holds; at least one."""
        until = self._seconds() + LONGEST_PORTION
        octets = 0
        portion: list[Made] = []
        for raw in recipients[:MOST_IN_PORTION]:
            made = self._one(raw)
            portion.append(made)
            octets += len(made.content)
            if octets > LARGEST_PORTION or self._seconds() > until:
                break
        return portion

    def _one(self, raw: Raw) -> Made:
        recipient = decode_recipient(raw)
        email, name = recipient.email, recipient.name
        try:
            mailbox = parse_mailbox(email.strip())
        except BadAddress as fault:
            return Made(email, fault=str(fault))
        values: dict[str, Any] = {**self._substitutions, "email": email, "to_header": named(mailbox.email, name)}
        if name is not None:
            values["name"] = name
        values.update(recipient.substitutions)
        try:
            content = self._content.message(mailbox.email, name, values, self._seconds())
        except (BadRequest, RecursionError) as fault:
            return Made(email, fault=str(fault))
        return Made(email, mailbox, content, metadata=recipient.metadata)


def is_quick(body: bytes, asked: Any) -> bool:
    """Whether a request (an InjectionInPortions) is so small and plain that a thread would cost more than its messages."""
    if len(body) > _QUICK_BODY or len(asked.recipients) > _QUICK_RECIPIENTS:
        return False
    content = asked.content
    if isinstance(content, str):
        # What is not ASCII is parsed and built anew, and a message of many parts takes long for that.
        if not body.isascii() or b"\\u" in body or "multipart" in content.lower():
            return False
    elif len(content.headers) > _QUICK_HEADERS or len(content.attachments) > _QUICK_ATTACHMENTS:
        return False
    return asked.template_dialect is not TemplateDialect.JINJA or all(_is_plain(text) for text in _texts(content))


def _texts(content: str | Content) -> Iterator[str]:
    if isinstance(content, str):
        yield content
        return
    yield from content.headers.values()
    yield from (text for text in (content.subject, content.text_body, content.html_body, content.amp_html_body) if text)


def _is_plain(text: str) -> bool:
    gaps = text.count("{{")
    return "{%" not in text and gaps <= _QUICK_GAPS and len(_PLAIN_GAP.findall(text)) == gaps
