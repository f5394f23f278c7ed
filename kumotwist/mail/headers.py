"""
Header fields of a message, read and edited as bytes: what is not asked for keeps every byte.

RFC 5322 section 2.2 (fields, folding), RFC 2047 (encoded words).  A line ends in LF here, whether a CR stands before it or
not, since a listener may be told to let bare LFs in.
"""

from collections.abc import Iterator, Sequence
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from msgspec import Struct

_FOLDS = b" \t"


class Field(Struct, frozen=True, gc=False):
    """One header field.  name: as it stands in the message.  value: unfolded and decoded."""

    name: str
    value: str


def header_end(content: bytes) -> int:
    """Where the header block ends: the index of the empty line after it, or of the message's end where there is none."""
    if content.startswith((b"\r\n", b"\n")):
        return 0
    end = content.find(b"\n\r\n")
    bare = content.find(b"\n\n", 0, len(content) if end < 0 else end)
    if bare >= 0:
        end = bare
    return len(content) if end < 0 else end + 1


def _lines(block: bytes) -> Iterator[tuple[int, int, int]]:
    """Start, colon and end (after its last line) of each field of a header block; lines without a colon are passed over."""
    start, size = 0, len(block)
    while start < size:
        end = block.find(b"\n", start) + 1 or size
        while end < size and block[end] in _FOLDS:
            end = block.find(b"\n", end) + 1 or size
        colon = block.find(b":", start, end)
        if colon > start:
            yield start, colon, end
        start = end


def decoded(raw: bytes) -> str:
    """A field's value as text: unfolded, encoded words decoded, or as it stands if they cannot be."""
    value = raw.replace(b"\r\n", b"").replace(b"\n", b"").strip()
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")  # loses nothing, and is what such mail most often is
    if "=?" not in text:
        return text
    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, ValueError):  # ValueError: UnicodeError is one
        return text


class Wanted:
    """The names of fields that someone wants to see, read in one pass over the header block."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, names: Sequence[str]) -> None:
        """names: in any case; a trailing `*` stands for any ending."""
        lower = [name.lower().encode() for name in names]
        self._exact = frozenset(name for name in lower if not name.endswith(b"*"))
        self._prefixes = tuple(name[:-1] for name in lower if name.endswith(b"*"))

    def __bool__(self) -> bool:
        return bool(self._exact or self._prefixes)

    def __contains__(self, name: bytes) -> bool:
        """Whether a name in lower case is wanted."""
        return name in self._exact or (bool(self._prefixes) and name.startswith(self._prefixes))

    def read(self, content: bytes) -> tuple[Field, ...]:
        """The wanted fields of a message, in its order."""
        if not self:
            return ()
        block = content[: header_end(content)]
        found = []
        for start, colon, end in _lines(block):
            name = block[start:colon].rstrip(_FOLDS)  # RFC 5322 section 4.5.8: blanks may stand before the colon
            if name.lower() in self:
                found.append(Field(name.decode("latin-1"), decoded(block[colon + 1 : end])))
        return tuple(found)


def all_values(content: bytes, name: str) -> list[str]:
    """The values of all fields of that name."""
    return [field.value for field in Wanted((name,)).read(content)]


def first_value(content: bytes, name: str) -> str | None:
    """The value of the first field of that name; None if there is none."""
    return next(iter(all_values(content, name)), None)


def raw_values(content: bytes, name: str) -> list[bytes]:
    """The values of all fields of that name as they stand: folded, encoded, with their line ends."""
    wanted = name.lower().encode()
    block = content[: header_end(content)]
    return [block[colon + 1 : end] for start, colon, end in _lines(block) if block[start:colon].rstrip(_FOLDS).lower() == wanted]


def without(content: bytes, names: Sequence[str]) -> bytes:
    """The message without all fields of those names."""
    unwanted = Wanted(names)
    end = header_end(content)
    block = content[:end]
    kept = []
    kept_to = 0
    for start, colon, after in _lines(block):
        if block[start:colon].rstrip(_FOLDS).lower() in unwanted:
            kept.append(block[kept_to:start])
            kept_to = after
    if not kept_to:
        return content
    return b"".join([*kept, content[kept_to:]])


def with_field(content: bytes, name: str, value: str) -> bytes:
    """The message with a field on top.  value: already folded where it is long; ValueError if it would end the field early."""
    line = f"{name}: {value}".encode()
    if not name or not name.isascii() or not name.isprintable() or ":" in name or " " in name:
        raise ValueError(f"not a header field name: {name!r}")
    bare = line.replace(b"\r\n ", b"").replace(b"\r\n\t", b"")
    if b"\r" in bare or b"\n" in bare:
        raise ValueError(f"a line break that folds nothing in header field {name}")
    return line + b"\r\n" + content


_SHORTEST_RECEIVED = len(b"Received:\r\n")


def has_hops(content: bytes, hops: int) -> bool:
    """Whether the message has that many Received fields or more."""
    end = header_end(content)
    if end < hops * (_SHORTEST_RECEIVED - 1):
        return False  # most header blocks are too short for it, and need not be searched
    block = content[:end].lower()
    return block.count(b"\nreceived:") + block.startswith(b"received:") >= hops
