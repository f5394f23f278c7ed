"""
Header fields as they go out: folded, and what is not ASCII encoded, by the modern policy of Python's `email`.

A value never becomes more than one field: line breaks in it are blanks.
"""

import re
from email import policy
from email.headerregistry import Address
from functools import lru_cache

from kumotwist.injection.request import BadRequest, header_name
from kumotwist.mail.address import BadAddress, parse_mailbox

_SMTP = policy.SMTP
_UTF8 = policy.SMTPUTF8
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]+")
_LONGEST_VALUE = 64 * 1024
_LONGEST_LINE = 990  # RFC 5322 section 2.1.1 allows 998
_WIDTH = 78
_LEAST = 40  # columns: no fold before that, so that no line is only a name
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_ADDRESSES = frozenset({"from", "sender", "reply-to", "to", "cc", "bcc", "resent-from", "resent-to"})


def on_one_line(value: str) -> str:
    """Without line breaks and control characters."""
    return _CONTROLS.sub(" ", value).strip() if not value.isprintable() else value.strip()


def field(name: str, value: str) -> bytes:
    """One field with its line ends.  Raises BadRequest."""
    value = on_one_line(value)
    if len(value) > _LONGEST_VALUE:
        raise BadRequest(f"{name}: longer than {_LONGEST_VALUE} characters")
    return _folded(name, value)


@lru_cache(maxsize=2048)
def _folded(name: str, value: str) -> bytes:
    header_name(name)
    if value.isascii():
        plain = _folded_plain(f"{name}: {value}")
        if plain is not None:
            return plain
    chosen = _SMTP if value.isascii() or not _has_utf8_address(name, value) else _UTF8
    try:
        found: str = chosen.header_factory(name, value).fold(policy=chosen)
    except (ValueError, LookupError, IndexError, AttributeError, TypeError):
        # The library stumbles over some malformed structured fields; as plain text they go out as they were given.
        found = chosen.header_factory("X", value).fold(policy=chosen)
        found = f"{name}:{found.partition(':')[2]}"
    octets = found.encode("utf-8", "replace")
    lines = octets.removesuffix(b"\r\n").split(b"\r\n")
    if any(b"\n" in line or b"\r" in line for line in lines) or not all(line[:1] in b" \t" for line in lines[1:]):
        raise BadRequest(f"{name}: it would not be one field")
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def _folded_plain(line: str) -> bytes | None:
    """
    An ASCII field folded at its blanks; None where a line would still be too long.

    Not by the library: it encodes what has no blank to fold at, and an encoded List-Unsubscribe is none.
    """
    lines = []
    while len(line) > _WIDTH:
        at = line.rfind(" ", _LEAST, _WIDTH)
        if at < 0:
            at = line.find(" ", _WIDTH)
        if at < 0 or not line[at + 1 :].strip():
            break
        lines.append(line[:at])
        line = line[at:]
        if line.startswith("  "):  # blanks in a row stay together, at the begin of a line that has more than blanks
            rest = line.lstrip(" ")
            if len(line) - len(rest) >= _WIDTH - _LEAST:
                return None
    lines.append(line)
    if any(len(one) > _LONGEST_LINE or not one.strip() for one in lines):
        return None
    return "\r\n".join(lines).encode() + b"\r\n"


def _has_utf8_address(name: str, value: str) -> bool:
    """Addresses that are not ASCII themselves cannot be encoded (RFC 6532); names of people can."""
    if name.lower() not in _ADDRESSES:
        return False
    value = _QUOTED.sub("", value)  # a name may look like an address
    return any(not one.isascii() for one in re.findall(r"[^\s<>,\"]+@[^\s<>,\"]+", value))


def correspondent(email: str, name: str | None, what: str) -> str:
    """`"Name" <address>` as a field's value.  Raises BadRequest."""
    try:
        mailbox = parse_mailbox(email.strip())
    except BadAddress as fault:
        raise BadRequest(f"{what}: {fault}") from None
    return named(mailbox.email, name)


def named(email: str, name: str | None) -> str:
    """A field's value for an address that was checked."""
    shown = on_one_line(name or "")
    if not shown:
        return email
    escaped = shown.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <{email}>'


def address_field(name: str, email: str, shown: str | None) -> bytes:
    """A field with one address, its name encoded where it must be."""
    return field(name, named(email, shown)) if not shown or shown.isascii() else _encoded(name, email, on_one_line(shown))


@lru_cache(maxsize=256)
def _encoded(name: str, email: str, shown: str) -> bytes:
    if not email.isascii():
        return field(name, named(email, shown))
    local, _, domain = email.rpartition("@")
    try:
        whole = str(Address(shown, local, domain) if not local.startswith('"') else Address(shown, addr_spec=email))
    except (ValueError, LookupError, IndexError):
        whole = named(email, shown)
    return field(name, whole)
