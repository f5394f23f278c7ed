"""
Lists of tags, `a=b; c=d`: signatures, key records, DMARC records.

RFC 6376 section 3.2.
"""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping

_BLANKS = " \t\r\n"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_ALL_BLANKS = re.compile(r"[ \t\r\n]+")


class BadTags(ValueError):
    """A list of tags that is none, or lacks what it must have; the argument says what."""


def parse_tags(text: str) -> Mapping[str, str]:
    """Tag → value without the blanks around it.  Raises BadTags; a tag that stands there twice is one (section 3.2)."""
    found: dict[str, str] = {}
    for part in text.strip(_BLANKS).removesuffix(";").split(";"):
        name, equals, value = part.partition("=")
        name = name.strip(_BLANKS)
        if not equals or not _NAME.match(name):
            raise BadTags(f"not a tag: {part.strip(_BLANKS)[:40]!r}")
        if name in found:
            raise BadTags(f"{name}= stands there twice")
        found[name] = value.strip(_BLANKS)
    return found


def needed(tags: Mapping[str, str], name: str) -> str:
    """A tag that must be there and say something.  Raises BadTags."""
    value = tags.get(name, "")
    if not value:
        raise BadTags(f"{name}= is missing")
    return value


def whole(tags: Mapping[str, str], name: str) -> int | None:
    """A number, or None where it is not there.  Raises BadTags."""
    value = tags.get(name)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 76:
        raise BadTags(f"{name}= is no number")
    return int(value)


def octets(tags: Mapping[str, str], name: str) -> bytes:
    """Base64, folded or not.  Raises BadTags."""
    return from_base64(needed(tags, name), name)


def from_base64(text: str, name: str) -> bytes:
    """Raises BadTags."""
    try:
        return b64decode(_ALL_BLANKS.sub("", text), validate=True)
    except (NotBase64, ValueError):
        raise BadTags(f"{name}= is not Base64") from None


def names(text: str) -> list[str]:
    """A list with colons between its items, in lower case."""
    return [name.strip(_BLANKS).lower() for name in text.split(":")]
