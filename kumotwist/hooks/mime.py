"""
The parts of a message that hold text: found in its bytes and edited there, so that all others stay as they are.

RFC 2045 (fields, transfer encodings), RFC 2046 section 5.1 (boundaries).  Whoever wants more of a message's structure gets
Python's own EmailMessage, by `parse_whole`.
"""

import base64
import quopri
import re
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage, Message
from email.parser import BytesParser
from typing import cast

from msgspec import Struct

from kumotwist.hooks.fields import at_bottom
from kumotwist.mail.headers import first_value, header_end, raw_values, with_field, without

_MOST_LEVELS = 20  # of parts in parts
_LONGEST_LINE = 78  # octets; RFC 5322 section 2.1.1 recommends it
_CONTENT_FIELDS = ("Content-Type", "Content-Transfer-Encoding", "Content-Disposition")
_AS_OBJECTS = policy.SMTP.clone(max_line_length=_LONGEST_LINE)


class Leaf(Struct, frozen=True, kw_only=True):
    """
    A part without parts.  start, body, end: where it begins, where its body does, and where it ends.

    content_type: lower case.  charset: as its field has it, us-ascii if it has none; text parts only.
    """

    start: int
    body: int
    end: int
    content_type: str
    charset: str
    attached: bool

    @property
    def is_text(self) -> bool:
        return self.content_type.startswith("text/")


def parse_whole(content: bytes) -> EmailMessage:
    """A message as Python's EmailMessage, a copy: `bytes()` of it is what `set_data` wants."""
    return BytesParser(policy=_AS_OBJECTS).parsebytes(content)


def leaves(content: bytes) -> Iterator[Leaf]:
    """The parts without parts, in their order; of a message in the message, the whole."""
    yield from _leaves(content, 0, len(content), 0)


def _leaves(content: bytes, start: int, end: int, level: int) -> Iterator[Leaf]:
    part = content[start:end]
    body = header_end(part)
    if body == len(part):
        return  # no empty line: nothing but a header
    body += 2 if part.startswith(b"\r\n", body) else 1
    fields = content_fields(part)
    boundary = fields.get_boundary() if fields.get_content_maintype() == "multipart" else None
    if boundary and level < _MOST_LEVELS:
        for first, last in _between(content, boundary.encode("latin-1", "replace"), start + body, end):
            yield from _leaves(content, first, last, level + 1)
        return
    yield Leaf(
        start=start,
        body=start + body,
        end=end,
        content_type=fields.get_content_type(),
        charset=str(fields.get_content_charset("us-ascii")),
        attached=fields.get_content_disposition() == "attachment",
    )


def content_fields(part: bytes) -> "Message[str, str]":
    """The fields that say what a part is, for Python's `email` to take apart."""
    fields: Message[str, str] = Message()
    for name in _CONTENT_FIELDS:
        for raw in raw_values(part, name)[:1]:
            fields[name] = " ".join(raw.decode("latin-1").split())
    return fields


def _between(content: bytes, boundary: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where each part between the boundaries begins and ends; the last may lack its closing one."""
    # The line break before a delimiter belongs to it; where a part is empty it is the one that ends the delimiter before.
    delimiter = re.compile(rb"\r?\n--" + re.escape(boundary) + rb"(--)?[ \t]*(?:\r?\n|\Z)")
    opened = -1
    position = start - 2
    while found := delimiter.search(content, position, end):
        if opened >= 0:
            yield opened, max(found.start(), opened)
        if found[1]:
            return
        opened = found.end()
        position = opened - 2
    if opened >= 0:
        yield opened, end


def text_of(content: bytes, leaf: Leaf) -> str:
    """The text of a part, with LF.  What its character set does not know is shown as U+FFFD."""
    octets = octets_of(content, leaf)
    try:
        text = octets.decode(leaf.charset, "replace")
    except LookupError:  # a character set that nobody knows
        text = octets.decode("utf-8", "replace")
    return text.replace("\r\n", "\n")


def octets_of(content: bytes, leaf: Leaf) -> bytes:
    """What a part holds, its transfer encoding undone as far as it is valid."""
    fields = content_fields(content[leaf.start : leaf.end])
    fields.set_payload(content[leaf.body : leaf.end].decode("ascii", "surrogateescape"))
    return cast(bytes, fields.get_payload(decode=True))


def first_text(content: bytes, subtype: str) -> Leaf | None:
    """The first part that is text of that kind and no attachment."""
    return next((leaf for leaf in leaves(content) if leaf.content_type == f"text/{subtype}" and not leaf.attached), None)


def with_text(content: bytes, leaf: Leaf, text: str) -> bytes:
    """The message with other text in one part: in its own character set if that has all of it, else in UTF-8; in 7 bits."""
    charset = leaf.charset
    try:
        octets = text.encode(charset)
    except (LookupError, UnicodeEncodeError):
        charset = "utf-8"
        octets = text.encode(charset, "replace")
    return with_octets(content, leaf, octets.replace(b"\n", b"\r\n"), charset)


def with_appended(content: bytes, subtype: str, more: str) -> bytes | None:
    """The message with more text at the end of its first plain or HTML part, in a page before its `</body>`; None without one."""
    leaf = first_text(content, subtype)
    if leaf is None:
        return None
    text = text_of(content, leaf)
    more = more.replace("\r\n", "\n")
    if subtype == "html":
        at = max(text.rfind("</body>"), text.rfind("</BODY>"))
        return with_text(content, leaf, text + more if at < 0 else text[:at] + more + text[at:])
    line_end = "\n" if text and not text.endswith("\n") else ""
    return with_text(content, leaf, text + line_end + more)


def with_octets(content: bytes, leaf: Leaf, octets: bytes, charset: str | None) -> bytes:
    """The message with other content in one part.  charset: None leaves what the part says of it."""
    part = content[leaf.start : leaf.body]
    encoding, encoded = in_seven_bits(octets, is_text=leaf.is_text)
    if charset is not None and charset != leaf.charset:
        fields = content_fields(part)
        fields.set_param("charset", charset)
        part = at_bottom(without(part, ("Content-Type",)), f"Content-Type: {fields['Content-Type']}\r\n".encode())
    before = (first_value(part, "Content-Transfer-Encoding") or "7bit").strip().lower()
    if before != encoding:
        part = at_bottom(without(part, ("Content-Transfer-Encoding",)), f"Content-Transfer-Encoding: {encoding}\r\n".encode())
    if leaf.start == 0 and encoding != "7bit" and first_value(part, "MIME-Version") is None:
        part = with_field(part, "MIME-Version", "1.0")
    if leaf.end == len(content) and not encoded.endswith(b"\n"):
        encoded += b"\r\n"  # before a boundary the line end would be the boundary's
    return b"".join((content[: leaf.start], part, encoded, content[leaf.end :]))


def in_seven_bits(octets: bytes, *, is_text: bool) -> tuple[str, bytes]:
    """The transfer encoding that fits, and the content in it.  octets: with CRLF.  RFC 2045 sections 6.7 and 6.8."""
    longest = max(map(len, octets.split(b"\r\n")))
    if octets.isascii() and longest <= _LONGEST_LINE and b"\0" not in octets:
        return "7bit", octets
    high = sum(octet > 0x7F for octet in octets)
    if is_text and high * 6 < len(octets):
        return "quoted-printable", quopri.encodestring(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    return "base64", base64.encodebytes(octets).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
