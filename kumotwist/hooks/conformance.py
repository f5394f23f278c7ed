"""
Whether a message keeps to the letter of RFC 5322 and RFC 2045, and how it is brought to do so.

Faults are looked for in the bytes.  What is repaired is repaired one by one, and nothing else changes: the model rebuilds the
whole message from its parse tree, and loses what that has no place for.  Any signature of the message is broken by either.
"""

import re
from collections.abc import Iterator, Sequence
from email import errors, policy
from email.utils import parsedate_to_datetime
from enum import Flag

from msgspec import Struct
from msgspec.structs import replace

from kumotwist.config.fields import nearest, shown
from kumotwist.hooks.fields import FIELD_NAME, field_line
from kumotwist.hooks.mime import Leaf, leaves, octets_of, with_octets
from kumotwist.mail.headers import all_values, first_value, header_end, without

_LONGEST_LINE = 78  # octets, as the model counts; RFC 5322 section 2.1.1 only recommends it
_KNOWN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary", "quoted-printable", "base64"})
_DETECTED = ("utf-8", "windows-1252", "latin-1")

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
# Fields whose value has a grammar of its own.
_STRUCTURED = re.compile(r"(resent-)?(from|sender|to|cc|bcc)|reply-to|content-(type|disposition)", re.IGNORECASE)
_MESSAGE_ID = re.compile(r"<[^<>\s]+@[^<>\s]+>\Z")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+[ \t]*(;|\Z)", re.ASCII)


class Conformance(Flag):
    """What can be wrong.  The names are the model's."""

    MISSING_COLON_VALUE = 1  # a line of the header without a colon
    NON_CANONICAL_LINE_ENDINGS = 2  # CR or LF alone
    NAME_ENDS_WITH_SPACE = 4  # a blank before the colon
    LINE_TOO_LONG = 8  # more than 78 octets
    NEEDS_TRANSFER_ENCODING = 16  # octets above 127, or a character set or encoding that nobody knows
    MISSING_DATE_HEADER = 32  # or one that is no date
    MISSING_MESSAGE_ID_HEADER = 64  # or one that is no message id
    MISSING_MIME_VERSION = 128  # or one that is not 1.0
    INVALID_MIME_HEADERS = 256  # a content type or transfer encoding that says nothing


NOTHING = Conformance(0)
_ADDED = Conformance.MISSING_DATE_HEADER | Conformance.MISSING_MESSAGE_ID_HEADER | Conformance.MISSING_MIME_VERSION


class Repair(Struct, frozen=True, kw_only=True):
    """
    How to fix.  date, message_id: what is put where they are missing.

    detect_encoding: text of an unknown character set is taken for UTF-8 if it can be, else for the first of the encodings that
    has all its octets.  Otherwise octets that are no UTF-8 become replacement characters.
    """

    date: str
    message_id: str
    detect_encoding: bool = False
    encodings: tuple[str, ...] = _DETECTED


def parse_flags(text: str) -> Conformance:
    """`MISSING_COLON_VALUE|LINE_TOO_LONG`; empty: none.  Raises ValueError."""
    found = NOTHING
    for name in filter(None, (one.strip() for one in text.split("|"))):
        if name not in Conformance.__members__:
            meant = nearest(name, Conformance.__members__)
            hint = f"did you mean {shown(meant)}?" if meant else f"expected one of {', '.join(Conformance.__members__)}"
            raise ValueError(f"check_fix_conformance: unknown flag {shown(name)}, {hint}")
        found |= Conformance[name]
    return found


def names_of(flags: Conformance) -> str:
    """The flags as they are written."""
    return "|".join(flag.name or "" for flag in Conformance if flag in flags)


def encodings_tried(include: Sequence[str] = (), exclude: Sequence[str] = ()) -> tuple[str, ...]:
    """The encodings that detection tries, in their order: UTF-8 first, since hardly anything else looks like it."""
    unwanted = {name.lower() for name in exclude}
    return tuple(name for name in dict.fromkeys(("utf-8", *include) if include else _DETECTED) if name.lower() not in unwanted)


def faults_of(content: bytes) -> Conformance:
    """All that is wrong with a message."""
    found = _faults_of_lines(content) | _faults_of_header(content[: header_end(content)])
    date = first_value(content, "Date")
    if date is None or not _is_date(date):
        found |= Conformance.MISSING_DATE_HEADER
    message_id = first_value(content, "Message-ID")
    if message_id is None or not _MESSAGE_ID.match(message_id):
        found |= Conformance.MISSING_MESSAGE_ID_HEADER
    if first_value(content, "MIME-Version") != "1.0":
        found |= Conformance.MISSING_MIME_VERSION
    return found | _faults_of_parts(content)


def _faults_of_lines(content: bytes) -> Conformance:
    found = Conformance.NON_CANONICAL_LINE_ENDINGS if _BARE.search(content) else NOTHING
    if max(map(len, _LINE_END.split(content))) > _LONGEST_LINE:
        found |= Conformance.LINE_TOO_LONG
    return found if content.isascii() else found | Conformance.NEEDS_TRANSFER_ENCODING


def _faults_of_header(block: bytes) -> Conformance:
    found = NOTHING
    for line in _LINE_END.split(block):
        if not line or line[:1] in b" \t":
            continue
        name, colon, _ = line.partition(b":")
        if not colon:
            found |= Conformance.MISSING_COLON_VALUE
        elif name.endswith((b" ", b"\t")):
            found |= Conformance.NAME_ENDS_WITH_SPACE
    return found


def _is_date(value: str) -> bool:
    try:
        parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):  # what its parser raises differs by version of Python
        return False
    return True


def _faults_of_parts(content: bytes) -> Conformance:
    found = NOTHING
    for leaf in leaves(content):
        found |= _faults_of_part(content, leaf)
    return found


def _faults_of_part(content: bytes, leaf: Leaf) -> Conformance:
    """What is wrong with the content of a part, and with the fields that describe it."""
    raw = content[leaf.body : leaf.end]
    found = Conformance.LINE_TOO_LONG if max(map(len, _LINE_END.split(raw))) > _LONGEST_LINE else NOTHING
    if not raw.isascii() or (leaf.is_text and not _is_decodable(content, leaf)):
        found |= Conformance.NEEDS_TRANSFER_ENCODING
    head = content[leaf.start : leaf.body]
    media_type = first_value(head, "Content-Type")
    encoding = (first_value(head, "Content-Transfer-Encoding") or "").split(";")[0].strip().lower()
    if (media_type is not None and not _MEDIA_TYPE.match(media_type)) or encoding not in _KNOWN_ENCODINGS:
        found |= Conformance.INVALID_MIME_HEADERS
    return found


def _is_decodable(content: bytes, leaf: Leaf) -> bool:
    try:
        octets_of(content, leaf).decode(leaf.charset)
    except (LookupError, ValueError):
        return False
    return True


# --- repairs ---------------------------------------------------------------------------------------------------------


def repaired(content: bytes, faults: Conformance, repair: Repair) -> bytes:
    """The message without these faults, of those that it has."""
    if Conformance.NON_CANONICAL_LINE_ENDINGS in faults:
        content = _LINE_END.sub(b"\r\n", content)
    if faults & (Conformance.MISSING_COLON_VALUE | Conformance.NAME_ENDS_WITH_SPACE):
        end = header_end(content)
        content = _tidy_header(content[:end], faults) + content[end:]
    if faults & (Conformance.LINE_TOO_LONG | Conformance.NEEDS_TRANSFER_ENCODING):
        content = _encoded_header(content, repair)
    if faults & ~_ADDED & ~(Conformance.MISSING_COLON_VALUE | Conformance.NAME_ENDS_WITH_SPACE):
        content = _encoded_parts(content, faults, repair)
    return _with_missing(content, faults, repair)


def _tidy_header(block: bytes, faults: Conformance) -> bytes:
    """Each line with a name and a colon; a line that is no name of a field goes."""
    kept = []
    for line in block.splitlines(keepends=True):
        name, colon, rest = line.partition(b":")
        bare = name.rstrip(b" \t\r\n")
        if line[:1] in (b" ", b"\t"):
            kept.append(line)
        elif not colon and Conformance.MISSING_COLON_VALUE in faults:
            if FIELD_NAME.match(bare.decode("latin-1")):
                kept.append(bare + b":" + line[len(line.rstrip(b"\r\n")) :])
        elif colon and Conformance.NAME_ENDS_WITH_SPACE in faults:
            kept.append(bare + colon + rest)
        else:
            kept.append(line)
    return b"".join(kept)


def _encoded_header(content: bytes, repair: Repair) -> bytes:
    """Fields that have long lines or octets above 127 folded and encoded anew; the others as they are."""
    end = header_end(content)
    return b"".join([*(_encoded_field(field, repair) for field in _whole_fields(content[:end])), content[end:]])


def _whole_fields(block: bytes) -> Iterator[bytes]:
    """The fields of a header block with their folded lines; joined they are the block."""
    field = b""
    for line in block.splitlines(keepends=True):
        if field and line[:1] not in (b" ", b"\t"):
            yield field
            field = b""
        field += line
    yield field


def _encoded_field(field: bytes, repair: Repair) -> bytes:
    name, colon, raw = field.partition(b":")
    is_long = max(map(len, _LINE_END.split(field))) > _LONGEST_LINE
    label = name.decode("latin-1")
    if not colon or not FIELD_NAME.match(label) or not (is_long or not field.isascii()):
        return field
    text = _text(_LINE_END.sub(b"", raw).strip(), repair)
    text = "".join(c if c == "\t" or c.isprintable() else "\ufffd" for c in text)
    if not text.isascii() and _STRUCTURED.fullmatch(label):
        try:
            # Encoded words may stand for names and comments there, never for addresses and parameters (RFC 2047 section 5).
            folded: str = policy.SMTP.header_factory(label, text).fold(policy=policy.SMTP)
            return folded.encode("ascii")
        except (errors.MessageError, ValueError, LookupError, AttributeError, TypeError):
            return field  # what it stands for cannot be told; better left as it is
    return field_line(label, text, encode=True)


def _text(octets: bytes, repair: Repair) -> str:
    """Octets that do not say what they mean."""
    for encoding in repair.encodings if repair.detect_encoding else ("utf-8",):
        try:
            return octets.decode(encoding)
        except (LookupError, ValueError):
            continue
    return octets.decode("utf-8", "replace")


def _encoded_parts(content: bytes, faults: Conformance, repair: Repair) -> bytes:
    """The parts that have one of the faults, encoded anew; the last first, so that places stay true."""
    for leaf in reversed(list(leaves(content))):
        wrong = _faults_of_part(content, leaf) & faults
        if not wrong or leaf.content_type.startswith("message/"):  # RFC 2046 section 5.2.1: no encoding around a message
            continue
        octets, charset = octets_of(content, leaf), None
        if leaf.is_text and not _is_decodable(content, leaf):
            octets = _text(octets, repair).replace("\r\n", "\n").replace("\n", "\r\n").encode()
            charset = "utf-8"
        if Conformance.INVALID_MIME_HEADERS in wrong:
            content, leaf = _without_bad_type(content, leaf)
        content = with_octets(content, leaf, octets, charset)
    return content


def _without_bad_type(content: bytes, leaf: Leaf) -> tuple[bytes, Leaf]:
    """A part without a content type that is none: then it is plain text, which is what such a type stands for."""
    head = content[leaf.start : leaf.body]
    media_type = first_value(head, "Content-Type")
    if media_type is None or _MEDIA_TYPE.match(media_type):
        return content, leaf
    kept = without(head, ("Content-Type",))
    shorter = len(head) - len(kept)
    content = b"".join((content[: leaf.start], kept, content[leaf.body :]))
    return content, replace(leaf, body=leaf.body - shorter, end=leaf.end - shorter, charset="us-ascii")


def _with_missing(content: bytes, faults: Conformance, repair: Repair) -> bytes:
    """With the fields that are missing on top, in place of those that say nothing."""
    for flag, name, value in (
        (Conformance.MISSING_MIME_VERSION, "MIME-Version", "1.0"),
        (Conformance.MISSING_MESSAGE_ID_HEADER, "Message-ID", repair.message_id),
        (Conformance.MISSING_DATE_HEADER, "Date", repair.date),
    ):
        if flag in faults and not (name == "MIME-Version" and all_values(content, name) == [value]):
            content = field_line(name, value) + without(content, (name,))
    return content
