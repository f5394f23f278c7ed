"""
Mailboxes and domains as they stand in an envelope: parse, compare, print.

RFC 5321 section 4.1.2 (grammar), RFC 6531 section 3.3 (UTF-8 in local parts and domains), RFC 5891 (IDNA).
Domains are kept as lower-case A-labels; literals keep their brackets; local parts are kept as they came, quotes included.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

import idna
from msgspec import Struct


class BadAddress(ValueError):
    """Text that is no address of the wanted kind; the argument says why."""


class Mailbox(Struct, frozen=True, gc=False):
    """
    One envelope address.

    local: the local part as it was given, quotes included; empty for the null sender.
    domain: lower-case A-label or bracketed literal; empty for the null sender and for a bare Postmaster.
    """

    local: str
    domain: str

    @property
    def email(self) -> str:
        """The address as it stands between < and >."""
        return f"{self.local}@{self.domain}" if self.domain else self.local

    @property
    def user(self) -> str:
        """The local part without quotes and escapes."""
        if self.local.startswith('"'):
            return re.sub(r"\\(.)", r"\1", self.local[1:-1])
        return self.local

    def __str__(self) -> str:
        return self.email


NULL_SENDER = Mailbox("", "")
POSTMASTER = Mailbox("postmaster", "")

# RFC 5321 section 4.1.2, with RFC 6531's non-ASCII in atext and qtext.
#   Local-part = Dot-string / Quoted-string
#   Dot-string = Atom *("." Atom)
_ATOM = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\u0080-\U0010ffff]+"
_DOT_STRING = rf"{_ATOM}(?:\.{_ATOM})*"
_QUOTED_STRING = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\[\x20-\x7e])*"'
_LOCAL = re.compile(rf"(?:{_DOT_STRING}|{_QUOTED_STRING})\Z")
# A label begins with a letter, digit or non-ASCII character; "_" is tolerated inside, as the model does.
_LABEL = r"[A-Za-z0-9\u0080-\U0010ffff](?:[A-Za-z0-9_\-\u0080-\U0010ffff]*[A-Za-z0-9_\u0080-\U0010ffff])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?\Z")
_GENERAL_LITERAL = re.compile(r"[A-Za-z0-9\-]*[A-Za-z0-9]:[\x21-\x5a\x5e-\x7e]+\Z")

MOST_LOCAL_OCTETS = 64  # RFC 5321 section 4.5.3.1.1; refused above 4 times that, since real senders exceed it
MOST_DOMAIN_OCTETS = 255  # RFC 5321 section 4.5.3.1.2


@lru_cache(maxsize=16384)
def parse_domain(text: str) -> str:
    """The domain as lower-case A-labels, or a literal in its canonical form; BadAddress if it is neither."""
    if text.startswith("["):
        return _literal(text)
    if not _DOMAIN.match(text):
        raise BadAddress(f"not a domain name: {text!r}")
    name = text.lower().rstrip(".")
    if not name.isascii():
        try:
            name = idna.encode(text.rstrip("."), uts46=True).decode("ascii").lower()
        except (idna.IDNAError, UnicodeError) as fault:
            raise BadAddress(f"not an internationalised domain name: {text!r}: {fault}") from None
    if len(name) > MOST_DOMAIN_OCTETS or max(map(len, name.split("."))) > 63:
        raise BadAddress(f"domain name too long: {text!r}")
    return name


def _literal(text: str) -> str:
    """RFC 5321 section 4.1.3, strictly: [1.2.3.4], [IPv6:...], [tag:content]."""
    if not text.endswith("]"):
        raise BadAddress(f"not an address literal: {text!r}")
    inside = text[1:-1]
    try:
        if inside[:5].lower() == "ipv6:":
            return f"[IPv6:{IPv6Address(inside[5:])}]"
        if ":" not in inside:
            return f"[{IPv4Address(inside)}]"
    except ValueError:
        raise BadAddress(f"not an address literal: {text!r}") from None
    tag, _, _ = inside.partition(":")
    if not tag or not _GENERAL_LITERAL.match(inside):
        raise BadAddress(f"not an address literal: {text!r}")
    return text


@lru_cache(maxsize=16384)
def parse_mailbox(text: str) -> Mailbox:
    """
    `local@domain` without brackets; the bare word Postmaster (any case) is a mailbox without a domain.

    Raises BadAddress.  Cached: a sender's address comes with each of its messages.
    """
    local, at, domain = text.rpartition("@")
    if not at:
        if text.lower() == "postmaster":
            return POSTMASTER
        raise BadAddress(f"address without a domain: {text!r}")
    if not _LOCAL.match(local):
        raise BadAddress(f"not a local part: {local!r}")
    if len(local) > 4 * MOST_LOCAL_OCTETS:
        raise BadAddress(f"local part of {len(local)} characters")
    return Mailbox(local, parse_domain(domain))


def stored_mailbox(text: str) -> Mailbox:
    """The mailbox whose `email` this is; for text that we wrote ourselves, so nothing is checked."""
    local, at, domain = text.rpartition("@")
    return Mailbox(local, domain) if at else Mailbox(text, "")
