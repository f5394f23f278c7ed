"""
From a request to the contents of its messages, in portions that are made in a thread.

Nothing here knows of queues, policy or the spool: a recipient goes in, header and body come out, or why there are none.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Raw, Struct

from kumotwist.injection.building import BuiltContent
from kumotwist.injection.fields import named
from kumotwist.injection.request import BadRequest, TemplateDialect, decode_recipient
from kumotwist.injection.templates import Templates
from kumotwist.injection.whole import WholeContent
from kumotwist.mail.address import BadAddress, Mailbox, parse_mailbox

MOST_IN_PORTION = 20  # recipients: with policy, custody and queues some 10 ms of the reactor's time
LONGEST_PORTION = 0.01  # seconds, after which a portion ends with the recipient at hand
LARGEST_PORTION = 1024 * 1024  # octets


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

    def __init__(self, asked: Any, templates: Templates, randbits: Callable[[int], int], seconds: Callable[[], float]) -> None:
        """asked: an InjectionInPortions.  Raises BadRequest where no recipient could ever get the content."""
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


def fault_of(fault: msgspec.DecodeError | ValueError) -> str:
    """A fault of a request, on one line of bearable length."""
    return str(fault).replace("\n", " ")[:500]
