"""
SPF records as they are written: terms, and the macros in them.

RFC 7208 sections 4.6.1, 5, 6, 7.1 and 12.  Whatever is wrong anywhere in a record makes all of it a permerror.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network

from msgspec import Struct

VERSION = "v=spf1"

# Section 12.
_MACRO = r"%(?:\{[A-Za-z][0-9]*[rR]?[.\-+,/_=]*\}|%|_|-)"
_LITERAL = r"[\x21-\x24\x26-\x7e]"
_MACRO_STRING = rf"(?:{_MACRO}|{_LITERAL})*"
# Section 7.1: toplabel is not all digits; or the whole ends in a macro.
_TOP_LABEL = r"(?:[A-Za-z0-9]*[A-Za-z][A-Za-z0-9]*|[A-Za-z0-9]+-[A-Za-z0-9-]*[A-Za-z0-9])"
_DOMAIN_SPEC = re.compile(rf"{_MACRO_STRING}(?:\.{_TOP_LABEL}\.?|{_MACRO})\Z")
_IN_MECHANISM = re.compile(rf"{_MACRO_STRING}\Z")
_TERM = re.compile(r"(?P<qualifier>[+\-?~]?)(?P<name>[A-Za-z][A-Za-z0-9_.\-]*)(?P<rest>[:/].*)?\Z", re.DOTALL)
_MODIFIER = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_.\-]*)=(?P<value>.*)\Z", re.DOTALL)
_DUAL_CIDR = re.compile(r"(?P<domain>.*?)(?:/(?P<v4>0|[1-9][0-9]?))?(?://(?P<v6>0|[1-9][0-9]{0,2}))?\Z", re.DOTALL)
_LETTERS = re.compile(r"%\{([A-Za-z])([0-9]*)[^}]*\}")
_ONLY_IN_EXPLANATIONS = frozenset("crt")
_EVERYWHERE = frozenset("slodiphv")

QUALIFIERS = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral", "": "pass"}


class BadRecord(ValueError):
    """A record that breaks the grammar; the argument says where."""


class Mechanism(Struct, frozen=True, kw_only=True):
    """One mechanism.  result: what a match means.  domain: its macro string, None for the domain that is checked."""

    name: str
    result: str
    domain: str | None = None
    v4: int = 32
    v6: int = 128
    network: IPv4Network | IPv6Network | None = None


class Record(Struct, frozen=True, kw_only=True):
    """A whole record.  redirect, explanation: macro strings."""

    mechanisms: tuple[Mechanism, ...]
    redirect: str | None = None
    explanation: str | None = None


def is_record(text: str) -> bool:
    """Whether a TXT record is one of SPF (section 4.5)."""
    return text[: len(VERSION)].lower() == VERSION and text[len(VERSION) : len(VERSION) + 1] in ("", " ")


def parse_record(text: str) -> Record:
    """Raises BadRecord."""
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, str] = {}
    for term in filter(None, text[len(VERSION) :].split(" ")):
        modifier = _MODIFIER.match(term)
        if modifier is None:
            mechanisms.append(_mechanism(term))
            continue
        name, value = modifier["name"].lower(), modifier["value"]
        if name in ("redirect", "exp"):
            if name in modifiers:
                raise BadRecord(f"{name}= stands there twice")
            modifiers[name] = _domain_spec(value, term)
        else:
            _check_macros(value, term, _EVERYWHERE | _ONLY_IN_EXPLANATIONS)
    return Record(mechanisms=tuple(mechanisms), redirect=modifiers.get("redirect"), explanation=modifiers.get("exp"))


def _mechanism(term: str) -> Mechanism:
    found = _TERM.match(term)
    if found is None or not term.isascii():
        raise BadRecord(f"not a term: {_shown(term)}")
    name, rest = found["name"].lower(), found["rest"] or ""
    read = _READERS.get(name)
    if read is None:
        raise BadRecord(f"an unknown mechanism: {_shown(term)}")
    return read(name, QUALIFIERS[found["qualifier"]], rest, term)


def _all(name: str, result: str, rest: str, term: str) -> Mechanism:
    if rest:
        raise BadRecord(f"all takes nothing: {_shown(term)}")
    return Mechanism(name=name, result=result)


def _with_domain(name: str, result: str, rest: str, term: str) -> Mechanism:
    """`include`, `exists`."""
    if not rest.startswith(":"):
        raise BadRecord(f"{name} needs a domain: {_shown(term)}")
    return Mechanism(name=name, result=result, domain=_domain_spec(rest[1:], term))


def _ptr(name: str, result: str, rest: str, term: str) -> Mechanism:
    if not rest:
        return Mechanism(name=name, result=result)
    return _with_domain(name, result, rest, term)


def _hosts(name: str, result: str, rest: str, term: str) -> Mechanism:
    """`a`, `mx`: a domain and two prefix lengths, each of which may be missing."""
    found = _DUAL_CIDR.match(rest)
    assert found is not None  # it matches anything
    v4, v6 = int(found["v4"] or 32), int(found["v6"] or 128)
    if v4 > 32 or v6 > 128:
        raise BadRecord(f"a prefix too long: {_shown(term)}")
    domain = None
    if found["domain"]:
        if not found["domain"].startswith(":"):
            raise BadRecord(f"not a term: {_shown(term)}")
        domain = _domain_spec(found["domain"][1:], term)
    return Mechanism(name=name, result=result, domain=domain, v4=v4, v6=v6)


def _network(name: str, result: str, rest: str, term: str) -> Mechanism:
    """`ip4`, `ip6`."""
    text = rest.removeprefix(":")
    _, slash, prefix = text.partition("/")
    if rest == text or (slash and not re.fullmatch(r"0|[1-9][0-9]{0,2}", prefix)):
        raise BadRecord(f"no network: {_shown(term)}")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise BadRecord(f"no network: {_shown(term)}") from None
    if f"ip{network.version}" != name:
        raise BadRecord(f"a network of the other kind: {_shown(term)}")
    return Mechanism(name=name, result=result, network=network)


_READERS = {
    "all": _all,
    "include": _with_domain,
    "exists": _with_domain,
    "ptr": _ptr,
    "a": _hosts,
    "mx": _hosts,
    "ip4": _network,
    "ip6": _network,
}


def _domain_spec(text: str, term: str) -> str:
    if not _DOMAIN_SPEC.match(text):
        raise BadRecord(f"no domain: {_shown(term)}")
    _check_macros(text, term, _EVERYWHERE)
    return text


def _check_macros(text: str, term: str, letters: frozenset[str]) -> None:
    if not _IN_MECHANISM.match(text):
        raise BadRecord(f"not a macro string: {_shown(term)}")
    for letter, digits in _LETTERS.findall(text):
        if letter.lower() not in letters or (digits and not int(digits)):
            raise BadRecord(f"an unknown macro: {_shown(term)}")


def check_explanation(text: str) -> None:
    """A text to explain a fail: macros, and blanks between.  Raises BadRecord."""
    for word in text.split(" "):
        _check_macros(word, word, _EVERYWHERE | _ONLY_IN_EXPLANATIONS)


def _shown(term: str) -> str:
    return repr(term[:60])
