"""
A message taken apart as far as a report needs it: header fields, parts, and the text of a part.

Whoever wrote the message may be hostile, so nothing here raises for what it holds, and all work is bounded: so many parts, so
deep, so many fields of such a length.  RFC 2045 and 2046 as far as reports use them.
"""

import base64
import binascii
import quopri
import re
from collections.abc import Iterator
from itertools import islice

from msgspec import Struct

from kumotwist.mail.headers import Wanted, decoded, header_end

MOST_PARTS = 30
MOST_LEVELS = 4
LARGEST_TEXT = 64 * 1024  # octets of a part that are looked at
MOST_FIELDS = 200  # of a block
LONGEST_FIELD = 4096  # characters of a value

_TYPE = re.compile(r"\s*([!-.0-:<-~]+/[!-.0-:<-~]+)")
_PARAMETER = re.compile(r';\s*([A-Za-z0-9*_\-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))')
_LONGEST_BOUNDARY = 200  # RFC 2046 section 5.1.1 allows 70


class Part(Struct, frozen=True):
    """
    One part of a message, or the whole.

    kind: its type in lower case, `text/plain` where it does not say.  parameters: of its type, names in lower case.
    """

    kind: str
    parameters: dict[str, str]
    content: bytes

    def values(self, name: str) -> list[str]:
        """The header fields of that name."""
        return [field.value[:LONGEST_FIELD] for field in Wanted((name,)).read(self.content)]

    def first(self, name: str) -> str:
        """The first header field of that name; empty where there is none."""
        return next(iter(self.values(name)), "")

    @property
    def octets(self) -> bytes:
        """The body, with its transfer encoding undone; no more than `LARGEST_TEXT`."""
        body = _body(self.content)
        encoding = self.first("Content-Transfer-Encoding").strip().lower()
        if encoding == "base64":
            return _from_base64(body[: 2 * LARGEST_TEXT])[:LARGEST_TEXT]
        if encoding == "quoted-printable":
            return quopri.decodestring(body[: 3 * LARGEST_TEXT])[:LARGEST_TEXT]
        return body[:LARGEST_TEXT]

    @property
    def text(self) -> str:
        """The body as text with LF at the ends of lines."""
        return as_text(self.octets)

    def parts(self) -> "list[Part]":
        """The parts of a multipart; none for anything else."""
        boundary = self.parameters.get("boundary", "")
        if not self.kind.startswith("multipart/") or not boundary:
            return []
        return [part_of(piece) for piece in _pieces(_body(self.content), boundary.encode("utf-8", "replace"))]


def part_of(content: bytes) -> Part:
    """A message, or a part with its header."""
    field = next(iter(Wanted(("Content-Type",)).read(content)), None)
    value = field.value[:LONGEST_FIELD] if field else ""
    kind = _TYPE.match(value)
    given = {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for name, quoted, bare in _PARAMETER.findall(value)}
    return Part(kind[1].lower() if kind else "text/plain", given, content)


def walk(part: Part, levels: int = MOST_LEVELS) -> Iterator[Part]:
    """All parts of a message from the front, itself first; what lies in a returned message is not among them."""
    left = MOST_PARTS
    waiting = [(part, levels)]
    while waiting and left:
        one, deep = waiting.pop()
        left -= 1
        yield one
        if deep:
            waiting += [(inner, deep - 1) for inner in reversed(one.parts())]


def as_text(octets: bytes) -> str:
    """UTF-8, or else Latin-1, which loses nothing; LF at the ends of lines."""
    octets = octets.replace(b"\r\n", b"\n")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def blocks(octets: bytes) -> list[dict[str, list[str]]]:
    """Fields in groups with empty lines between them: name in lower case → values, unfolded."""
    found = []
    for block in re.split(rb"\r?\n[ \t]*\r?\n", octets.strip(b"\r\n \t"), maxsplit=MOST_FIELDS):
        fields = fields_of(block)
        if fields:
            found.append(fields)
    return found[:MOST_FIELDS]


def fields_of(block: bytes) -> dict[str, list[str]]:
    """Name in lower case → values of a group of fields, unfolded and decoded."""
    fields: dict[str, list[str]] = {}
    for number, field in enumerate(Wanted(("*",)).read(block.lstrip(b"\r\n") + b"\r\n\r\n")):
        if number == MOST_FIELDS:
            break
        fields.setdefault(field.name.lower(), []).append(field.value[:LONGEST_FIELD])
    return fields


def plain(text: str) -> str:
    """A text as a record can hold it: encoded words decoded, no half of a surrogate pair."""
    return decoded(text.encode("utf-8", "replace"))


def _body(content: bytes) -> bytes:
    end = header_end(content)
    if content.startswith(b"\r\n", end):
        return content[end + 2 :]
    return content[end + 1 :] if content.startswith(b"\n", end) else content[end:]


def _from_base64(body: bytes) -> bytes:
    kept = re.sub(rb"[^A-Za-z0-9+/]", b"", body)
    kept = kept[: len(kept) // 4 * 4 + (len(kept) % 4 if len(kept) % 4 > 1 else 0)]
    try:
        return base64.b64decode(kept + b"=" * (-len(kept) % 4))
    except binascii.Error:
        return b""


def _pieces(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """What stands between the delimiters of a multipart; a last delimiter may be missing, as it does in cut messages."""
    delimiter = re.compile(rb"(?:\A|\n)--" + re.escape(boundary[:_LONGEST_BOUNDARY]) + rb"(?:(--)|(?=[\r\n \t]|\Z))")
    begun: int | None = None
    for found in islice(delimiter.finditer(body), MOST_PARTS):
        if begun is not None:
            yield body[begun : found.start()].removesuffix(b"\r")
        line_end = body.find(b"\n", found.end())
        if found[1] or line_end < 0:
            return
        begun = line_end + 1  # behind the start of a delimiter that follows at once: then the piece is empty
    if begun is not None:
        yield body[begun:]
