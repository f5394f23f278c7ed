"""
Canonical forms of a message: what of header and body is signed, whatever blanks and folds a relay changes.

RFC 6376 section 3.4.  Lines end in CRLF here and nowhere else: a bare CR or LF is an octet like any other.  No step takes a
regular expression over the body: `in` and `replace` on bytes cost microseconds for what a pattern costs milliseconds.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping

from kumotwist.config.dkim import Canonicalization

__all__ = ["Canonicalization", "SignedContent", "bottom_up", "canonical_body", "canonical_field", "name_of", "value_of"]

_BLANKS = b" \t"
_EMPTY_LINES = re.compile(rb"(?:\r\n)+\Z")


class SignedContent:
    """
    A message as those see it who sign or verify: its fields in order, its body, and the hashes of the body that were asked for.

    fields: whole, with their CRLF.  A line without a colon belongs to nobody.
    """

    __slots__ = ("_bodies", "_hashes", "body", "fields")

    def __init__(self, content: bytes) -> None:
        if content.startswith(b"\r\n"):
            block, self.body = b"", content[2:]
        else:
            end = content.find(b"\r\n\r\n")
            block, self.body = (content, b"") if end < 0 else (content[:end], content[end + 4 :])
        self.fields = _fields(block)
        self._hashes: dict[tuple[Canonicalization, int | None], bytes] = {}
        self._bodies: dict[Canonicalization, bytes] = {}

    def named(self, names: Iterable[bytes]) -> Mapping[bytes, list[bytes]]:
        """The fields of these names (in lower case), each list in the order of the message."""
        found: dict[bytes, list[bytes]] = {name: [] for name in names}
        for field in self.fields:
            same = found.get(name_of(field))
            if same is not None:
                same.append(field)
        return found

    def body_hash(self, form: Canonicalization, length: int | None = None) -> bytes:
        """SHA-256 of the body in that form, or of its first octets."""
        known = self._hashes.get((form, length))
        if known is None:
            body = self._canonical(form)
            known = hashlib.sha256(body if length is None else body[:length]).digest()
            self._hashes[form, length] = known
        return known

    def body_size(self, form: Canonicalization) -> int:
        """Octets of the body in that form."""
        return len(self._canonical(form))

    def _canonical(self, form: Canonicalization) -> bytes:
        body = self._bodies.get(form)
        if body is None:
            body = self._bodies[form] = canonical_body(self.body, form)
        return body


def _fields(block: bytes) -> list[bytes]:
    fields: list[bytes] = []
    for line in block.removesuffix(b"\r\n").split(b"\r\n"):
        if line[:1] in (b" ", b"\t"):
            if fields:
                fields[-1] += line + b"\r\n"
        elif b":" in line:
            fields.append(line + b"\r\n")
    return fields


def name_of(field: bytes) -> bytes:
    """A field's name in lower case, without the blanks that may stand before its colon (RFC 5322 section 4.5.8)."""
    return field[: field.find(b":")].rstrip(_BLANKS).lower()


def value_of(field: bytes) -> bytes:
    """What stands after a field's colon, its folds taken out."""
    return field[field.find(b":") + 1 :].replace(b"\r\n", b"").strip(_BLANKS)


def _single_blanks(text: bytes) -> bytes:
    """Each run of blanks made one space: halved until nothing is left to halve."""
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text


def canonical_field(field: bytes, form: Canonicalization) -> bytes:
    """One field as it is signed, with its CRLF if it has one."""
    if form is Canonicalization.SIMPLE:
        return field
    end = b"\r\n" if field.endswith(b"\r\n") else b""
    return b"".join((name_of(field), b":", _single_blanks(value_of(field)), end))


def canonical_body(body: bytes, form: Canonicalization) -> bytes:
    """A body as it is signed: it ends with one CRLF, or in the relaxed form is empty."""
    if form is Canonicalization.RELAXED:
        body = _single_blanks(body)
        if b" \r\n" in body:
            body = body.replace(b" \r\n", b"\r\n")
        body = body.removesuffix(b" ")
        if not body:
            return b""
    if not body.endswith(b"\r\n"):
        return body + b"\r\n"
    if body.endswith(b"\r\n\r\n") or body == b"\r\n":
        body = _without_empty_lines(body)
        return b"" if not body and form is Canonicalization.RELAXED else body + b"\r\n"
    return body


def _without_empty_lines(body: bytes) -> bytes:
    """Without the line ends at its end; the pattern is only tried on what can be nothing else."""
    kept = body.rstrip(b"\r\n")
    rest = body[len(kept) :]
    return kept + _EMPTY_LINES.sub(b"", rest)


def bottom_up(fields: Mapping[bytes, list[bytes]], names: Iterable[bytes]) -> Iterator[bytes]:
    """
    The fields that a list of names (in lower case) stands for: of those with one name the lowest first.

    A name beyond the last of them stands for nothing, and says that there is nothing more (RFC 6376 section 5.4.2).
    """
    used: dict[bytes, int] = {}
    for name in names:
        same = fields.get(name, ())
        count = used[name] = used.get(name, 0) + 1
        if count <= len(same):
            yield same[-count]
