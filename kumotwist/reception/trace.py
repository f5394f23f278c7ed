"""
The trace fields that a message gets on top when it comes in.  Pure; every other byte of the message stays.

Received: RFC 5321 section 4.4, in the model's layout.  The supplemental field: chosen metadata, encoded but not encrypted,
so that they can be read back from a report about the message that quotes its header.
"""

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from functools import lru_cache
from typing import Any

import msgspec

from kumotwist.mail.address import Mailbox
from kumotwist.mail.disposition import TlsFacts

_LONGEST_FOR = 256  # octets of an address that is still named: a line of data must stay under 998
_WIDTH = 75  # columns of the supplemental field's lines

_encode = msgspec.json.Encoder().encode


def received_start(ehlo_domain: str | None, peer_ip: str, hostname: str, local_ip: str, tls: TlsFacts | None) -> bytes:
    """The part of Received that all messages of a session have in common, up to the message's id."""
    protocol = f"ESMTPS ({tls.protocol_version}:{tls.cipher})" if tls else "ESMTP"
    return (
        f"Received: from {ehlo_domain or 'unspecified'} ({peer_ip})\r\n"
        f"  by {hostname} (KumoTwist {local_ip})\r\n"
        f"  with {protocol} id "
    ).encode()


def received(start: bytes, message_id: str, recipient: Mailbox, now: float) -> bytes:
    """The whole field; `for` names only one recipient, so none learns of another."""
    address = recipient.email.encode()
    clause = b" for <%b>" % address if len(address) <= _LONGEST_FOR else b""
    return b"%b%b%b;\r\n  %b\r\n" % (start, message_id.encode(), clause, _date(int(now)))


@lru_cache(maxsize=4)
def _date(second: int) -> bytes:
    """RFC 5322 section 3.3, in UTC."""
    return formatdate(second).replace("-0000", "+0000").encode()


def supplemental(name: str, recipients: Sequence[Mailbox], meta: Mapping[str, Any], include: Sequence[str]) -> bytes:
    """
    The supplemental field.  include: the metadata keys that it carries, where they are set.

    Base64 of a JSON object that is recognized by its key `_@_`; white space in the value is folding.
    """
    facts: dict[str, Any] = {"_@_": "\\_/"}
    facts["recipient"] = recipients[0].email if len(recipients) == 1 else [one.email for one in recipients]
    if include:
        facts.update((key, meta[key]) for key in include if meta.get(key) is not None)
    text = b2a_base64(_encode(facts), newline=False)
    first = _WIDTH - len(name) - 2
    if len(text) <= first:
        return b"%b: %b\r\n" % (name.encode(), text)
    lines = [text[:first], *(text[at : at + _WIDTH - 1] for at in range(first, len(text), _WIDTH - 1))]
    return b"%b: %b\r\n" % (name.encode(), b"\r\n\t".join(lines))
