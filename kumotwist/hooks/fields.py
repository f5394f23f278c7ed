"""
Header fields as a policy writes them: checked, so that a value never becomes a second field; folded and encoded where asked.

RFC 5322 sections 2.2.3 (folding) and 3.6.8 (names), RFC 2047 (encoded words).
"""

import re
from email.charset import QP, Charset
from email.header import Header

from kumotwist.mail.headers import header_end

FIELD_NAME = re.compile(r"[!-9;-~]{1,200}\Z")
_FOLD = re.compile(r"\r\n(?=[ \t])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SOFT = 75  # columns after which a line ends where there is a blank, as in the model
_HARD = 900  # and where it ends without one

_UTF8 = Charset("utf-8")
_UTF8.header_encoding = QP


class NoHeaderEnd(ValueError):
    """A message without an empty line after its header: nothing can be put before what is not there."""


def field_line(name: str, value: str, *, encode: bool = False) -> bytes:
    """
    One header field with its CRLF.  Raises ValueError where name or value could not stand in one.

    value: as it shall stand, already folded if it is long (CRLF and a blank or tab, no line of blanks alone).
    encode: folds it instead, and writes what is not ASCII as encoded words.
    """
    if not FIELD_NAME.match(name):
        raise ValueError(f"not a header field name: {name!r}")
    value = value.removesuffix("\r\n")
    unfolded = _FOLD.sub("", value)
    if "\r" in unfolded or "\n" in unfolded:
        raise ValueError(f"a line break that folds nothing in header field {name}: {value[:100]!r}")
    if _CONTROLS.search(value):
        raise ValueError(f"a control character in header field {name}: {value[:100]!r}")
    if encode:
        return f"{name}: {_folded(name, unfolded)}\r\n".encode("ascii")
    if _has_blank_line(value):
        raise ValueError(f"a line of blanks alone in header field {name}: {value[:100]!r}")
    return f"{name}: {value}\r\n".encode()


def _has_blank_line(value: str) -> bool:
    """Some take a line of blanks for the empty line that ends the header (RFC 5322 section 3.2.2 forbids to fold so)."""
    return any(not line.strip(" \t") for line in value.split("\r\n")[1:])


def _folded(name: str, value: str) -> str:
    if value.isascii():
        return _wrapped(value, len(name) + 2)
    value.encode()  # a lone surrogate is no text
    return Header(value, _UTF8, maxlinelen=_SOFT, header_name=name).encode(linesep="\r\n")


def _wrapped(value: str, used: int) -> str:
    """ASCII text in lines that end before a blank, near the 75th column.  used: columns that the name takes."""
    lines = [""]
    for word in re.findall(r"[ \t]*[^ \t]+|[ \t]+\Z", value):
        blanks = len(word) - len(word.lstrip(" \t"))
        if lines[-1].strip(" \t") and blanks and used + len(lines[-1]) + len(word) > _SOFT:
            lines.append("")
            used = 0
        while len(word) > _HARD:
            lines[-1] += word[: _HARD - used]
            word = " " + word[_HARD - used :]
            lines.append("")
            used = 0
        lines[-1] += word
    return "\r\n".join(line for line in lines if line.strip(" \t"))


def at_bottom(content: bytes, line: bytes) -> bytes:
    """The message with a field after all others.  Raises NoHeaderEnd."""
    end = header_end(content)
    if end == len(content):
        raise NoHeaderEnd("the message has no empty line after its header")
    return b"".join((content[:end], line, content[end:]))
