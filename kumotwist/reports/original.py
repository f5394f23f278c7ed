"""
The message that a report is about: what its quoted header tells of it, and what the report's own addresses do.

Our id stands in the Received field that we wrote (RFC 5321 section 4.4), the recipient and chosen metadata in the
supplemental field (`X-KumoRef` by default, but any X- field that carries the mark counts).
"""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from kumotwist.mail.address import BadAddress, Mailbox, parse_mailbox
from kumotwist.mail.headers import Wanted, header_end

_MARK, _MARKED = "_@_", "\\_/"
_LONGEST_TRACE = 16 * 1024  # characters of an X- field that may be ours
_LONGEST_RECEIVED = 2048
_OUR_ID = re.compile(
    r"\bby \S+ \(KumoTwist [^)\s]{0,64}\)\s+with .{0,200}? id ([0-9a-f]{32})(?: for <([^>\s]{1,512})>)?;", re.DOTALL
)
_VERP = re.compile(r"[^=]*?[+\-]([^=]+)=([A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+)\Z")


class Original(Struct, frozen=True, kw_only=True):
    """What is known of it; empty or None where it is not.  trace: the supplemental field's object, without its mark."""

    id: str = ""
    recipient: str = ""
    message_id: str = ""
    trace: dict[str, Any] | None = None


def original_of(quoted: bytes, returned_to: Iterable[Mailbox] = ()) -> Original:
    """
    quoted: the original as the report quotes it, or only its header.
    returned_to: the report's own recipients, whose local part may name the original one (VERP: `bounce+ann=example.net`).
    """
    fields = Wanted(("Received", "X-*", "Message-ID")).read(quoted[: header_end(quoted)])
    trace = next(filter(None, (_trace(field.value) for field in fields if field.name.lower().startswith("x-"))), None)
    ours = next(
        filter(None, (_OUR_ID.search(field.value[:_LONGEST_RECEIVED]) for field in fields if field.name.lower() == "received")),
        None,
    )
    message_id = next((field.value for field in fields if field.name.lower() == "message-id"), "")
    named = trace.get("recipient") if trace is not None else None
    if isinstance(named, list) and len(named) == 1:
        named = named[0]
    recipient = named if isinstance(named, str) else (ours[2] if ours and ours[2] else "")
    return Original(
        id=ours[1] if ours else "",
        recipient=address_in(recipient) or next(filter(None, map(recipient_of_verp, returned_to)), ""),
        message_id=message_id.strip("<> ")[:998],
        trace=trace,
    )


def recipient_of_verp(address: Mailbox) -> str:
    """The recipient that a bounce address carries in its local part; empty where it carries none."""
    found = _VERP.match(address.local)
    if not found:
        return ""
    local = found[1]
    # `bounce-list-ann=example.net` does not say where the name begins; most lists have no dash in front of a user's name.
    return address_in(f"{local.rpartition('+')[2]}@{found[2]}")


def address_in(text: str) -> str:
    """The address that a text is, without brackets; empty where it is none."""
    text = text.strip().strip("<>").strip()
    try:
        return parse_mailbox(text).email
    except BadAddress:
        return ""


def _trace(value: str) -> dict[str, Any] | None:
    """The object in a supplemental field, without its mark; None where it is no such field."""
    if len(value) > _LONGEST_TRACE:
        return None
    packed = "".join(value.split())
    if len(packed) % 4 or not packed.startswith("ey"):  # base64 of `{"`
        return None
    try:
        found = msgspec.json.decode(base64.b64decode(packed, validate=True))
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(found, dict) or found.pop(_MARK, None) != _MARKED:
        return None
    return found
