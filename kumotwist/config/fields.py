"""
Kinds of value that settings are made of: durations, rates, sizes, networks.  Text → value, and back for messages.

Durations are seconds as float; instants are epoch seconds; sizes are octets as int.  What a setting admits is written in
its annotation: `extra["kind"]` names an entry of `config.kinds`, ge and le bound it, `extra["key"]` is how files call it.
"""

import re
from collections.abc import Collection
from difflib import get_close_matches
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated

from msgspec import Meta, Struct

Duration = Annotated[float, Meta(description="duration", extra={"kind": "duration"})]
Size = Annotated[int, Meta(description="size", ge=1, extra={"kind": "size"})]
Count = Annotated[int, Meta(description="count", ge=0, extra={"kind": "whole"})]
Positive = Annotated[int, Meta(description="count", ge=1, extra={"kind": "whole"})]
Port = Annotated[int, Meta(description="port", ge=1, le=65535, extra={"kind": "whole"})]
FilePath = Annotated[str, Meta(description="path", extra={"kind": "path"})]  # made absolute by its file's place
IpText = Annotated[str, Meta(description="IP address", extra={"kind": "ip"})]
DomainText = Annotated[str, Meta(description="domain name", extra={"kind": "domain"})]
DomainPattern = Annotated[str, Meta(description="domain pattern", extra={"kind": "domain_pattern"})]
HostAndPort = Annotated[str, Meta(description="host and port", extra={"kind": "host_and_port"})]
RoutedTo = Annotated[str, Meta(description="domain, perhaps with a port", extra={"kind": "routing_domain"})]
HeaderName = Annotated[str, Meta(description="header name", extra={"kind": "header"})]
KeyAbove = Annotated[str, Meta(description="name", extra={"key": ""})]  # the key of the table itself, never in it
FreeSpace = Annotated[str | int, Meta(description="free space", extra={"kind": "free_space"})]  # "10%" or octets


class BadValue(ValueError):
    """Text that is no value of the wanted kind.  wrong: what it is instead; meant: what was probably meant, or nothing."""

    def __init__(self, wrong: str, meant: str = "") -> None:
        super().__init__(f"{wrong}, did you mean {meant}?" if meant else wrong)
        self.wrong = wrong
        self.meant = meant


class Rate(Struct, frozen=True):
    """`limit` events in `period` seconds; `max_burst` at once from idle (default: limit); local: never shared with other nodes."""

    limit: int
    period: float
    max_burst: int | None = None
    local: bool = False


class Limit(Struct, frozen=True):
    """So many at a time; local: never shared with other nodes."""

    limit: int
    local: bool = False


class Networks(Struct, frozen=True):
    """A set of addresses and networks."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def __contains__(self, address: object) -> bool:
        return _lies_in(str(address), self.networks)


@lru_cache(maxsize=8192)
def _lies_in(text: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    address: IPv4Address | IPv6Address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # the same host: ::ffff:127.0.0.1 is as prohibited as 127.0.0.1
    return any(address.version == network.version and address in network for network in networks)


def shown(text: str, most: int = 60) -> str:
    """Text as faults show it: in quotes, on one line, of bearable length."""
    if len(text) > most:
        text = f"{text[: most - 3]}..."
    return '"{}"'.format("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))


_LONGEST_NAME = 4096  # PATH_MAX


def shown_file(name: str) -> str:
    """The name of a file as faults show it: whole."""
    return shown(name, _LONGEST_NAME)


_MOST_TO_COMPARE = 1000  # names; and characters in one: comparing is slow, and a suggestion from so many is luck


def nearest(word: str, words: Collection[str]) -> str:
    """The word that was probably meant, or nothing."""
    if len(words) > _MOST_TO_COMPARE or len(word) > _MOST_TO_COMPARE:
        return ""
    folded = {known.casefold(): known for known in words}
    found = get_close_matches(word.casefold().replace("-", "_"), folded, n=1) or get_close_matches(word.casefold(), folded, n=1)
    return folded[found[0]] if found else ""


# --- durations -------------------------------------------------------------------------------------------------------

_DAY = 86400.0
_MONTH = 30.44 * _DAY
_YEAR = 365.25 * _DAY
_UNITS = (
    (("ns", "nsec"), 1e-9),
    (("us", "usec"), 1e-6),
    (("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    (("s", "sec", "secs", "second", "seconds"), 1.0),
    (("m", "min", "mins", "minute", "minutes"), 60.0),
    (("h", "hr", "hrs", "hour", "hours"), 3600.0),
    (("d", "day", "days"), _DAY),
    (("w", "wk", "wks", "week", "weeks"), 7 * _DAY),
    (("month", "months"), _MONTH),
    (("y", "yr", "yrs", "year", "years"), _YEAR),
)
_DURATION_UNITS = {name: seconds for names, seconds in _UNITS for name in names}
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?\Z")
_DURATION = re.compile(r"(?:[0-9]{1,15}(?:\.[0-9]{1,15})?\s*[A-Za-z]+\s*)+\Z")
_DURATION_PART = re.compile(r"([0-9.]+)\s*([A-Za-z]+)")
LONGEST = 100 * _YEAR  # nothing longer is meant, and timers cannot count much further


def parse_duration(text: str) -> float:
    """`300`, `1.5`, `5 minutes`, `1d 2h`, `1h30m`, `200 ms`: seconds.  A month is 30.44 days, a year 365.25, as in the model."""
    text = _bearable(text)
    if _NUMBER.match(text):
        return _bounded(float(text), text)
    if not _DURATION.match(text):
        raise BadValue(f"{shown(text)} is not a duration")
    total = 0.0
    for number, unit in _DURATION_PART.findall(text):
        # "M" is a month to some and a minute to others
        seconds = None if unit == "M" else _DURATION_UNITS.get(unit.lower())
        if seconds is None:
            meant = nearest(unit, _DURATION_UNITS)
            raise BadValue(f"unknown unit {shown(unit)} in {shown(text)}", shown(text.replace(unit, meant)) if meant else "")
        # divided rather than multiplied, so that "200 ms" is the same float as 0.2
        total += float(number) * seconds if seconds >= 1.0 else float(number) / round(1 / seconds)
    return _bounded(total, text)


def _bearable(text: str) -> str:
    """Without blanks around; BadValue if it is so long that it is surely something else."""
    text = text.strip()
    if len(text) > 200:
        raise BadValue(f"{shown(text)} has {len(text)} characters")
    return text


def _bounded(seconds: float, text: str) -> float:
    if seconds > LONGEST:
        raise BadValue(f"{shown(text)} is longer than 100 years")
    return seconds


_SHOWN_UNITS = (
    ("year", round(_YEAR) * 1000),
    ("month", round(_MONTH) * 1000),
    ("day", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
)


def format_duration(seconds: float) -> str:
    """`1day 2h`, `20m`, `1s 500ms`, as the model writes durations in its responses; to the millisecond."""
    left = round(seconds * 1000)
    if left < 0:
        return f"-{format_duration(-seconds)}"
    parts = []
    for unit, length in _SHOWN_UNITS:
        number, left = divmod(left, length)
        if number:
            plural = "s" if number > 1 and len(unit) > 2 else ""
            parts.append(f"{number}{unit}{plural}")
    return " ".join(parts) or "0s"


# --- numbers ---------------------------------------------------------------------------------------------------------

_WHOLE = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3}){1,5}|[1-9][0-9_]{0,17}|0)\Z")


def parse_whole(text: str) -> int:
    """`25`, `10_000`, `1,000`.  No leading zeros, since some readers take them for octal, and no 0x."""
    if not _WHOLE.match(text):
        zero = len(text) > 1 and text.startswith("0") and text.isdigit()
        raise BadValue(f"{shown(text)} {'has a leading zero' if zero else 'is not a number'}")
    return int(text.replace(",", "").replace("_", ""))


_SIZE = re.compile(r"([0-9][0-9_]{0,17}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\Z")
_SIZE_UNITS = {
    "": 1, "b": 1, "byte": 1, "bytes": 1, "octets": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}  # fmt: skip


def parse_size(text: str) -> int:
    """`4096`, `10kb` (1000 octets each), `1MiB` (1024²): octets."""
    found = _SIZE.match(_bearable(text))
    if not found:
        raise BadValue(f"{shown(text)} is not a size")
    number, unit = found[1].replace("_", ""), found[2]
    octets = _SIZE_UNITS.get(unit.lower())
    if octets is None:
        meant = shown(f"{found[1]}{unit}b") if f"{unit}b".lower() in _SIZE_UNITS else ""
        raise BadValue(f"unknown unit {shown(unit)} in {shown(text)}", meant)
    return int(number) * octets if number.isdigit() else round(float(number) * octets)


# --- rates and limits ------------------------------------------------------------------------------------------------

# The model's units are s, sec, second and so on, without plurals; its documentation has plurals, so both are taken.
_RATE_UNITS = {name: seconds for names, seconds in _UNITS[3:7] for name in names}
_RATE = re.compile(r"(local:)?([^/]*)/\s*([0-9]*)\s*([^,]*?)\s*(?:,\s*max_burst\s*=(.*))?\Z", re.DOTALL)
_CANONICAL_UNITS = {1.0: "s", 60.0: "m", 3600.0: "h", _DAY: "d"}


def parse_rate(text: str) -> Rate:
    """`100/s`, `1,000/hr`, `10_000/day`, `20/30min`, `local:50/d,max_burst=1`."""
    text = _bearable(text)
    found = _RATE.match(text)
    if not found:
        meant = shown(f"{text}/s") if text.isdigit() else ""
        raise BadValue(f"{shown(text)} has no period", meant)
    local, number, many, unit, burst = found.groups()
    seconds = _RATE_UNITS.get(unit)
    if seconds is None:
        close = nearest(unit, _RATE_UNITS)
        meant = shown(f"{local or ''}{number}/{many}{close}") if close else ""
        raise BadValue(f"unknown unit {shown(unit)} in {shown(text)}" if unit else f"{shown(text)} has no unit", meant)
    limit = _at_least_one(number.strip(), text)
    period = _at_least_one(many, text) * seconds if many else seconds
    if period > LONGEST:
        raise BadValue(f"the period of {shown(text)} is longer than 100 years")
    return Rate(limit, period, None if burst is None else _at_least_one(burst.strip(), text), bool(local))


def _at_least_one(digits: str, text: str) -> int:
    number = digits.replace(",", "").replace("_", "")
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        where = "" if digits == text else f" in {shown(text)}"
        raise BadValue(f"{shown(digits)}{where} is not a whole number")
    if not int(number):
        raise BadValue(f"{shown(text)} lets nothing pass")
    return int(number)


def format_rate(rate: Rate) -> str:
    """The model's canonical form: `100/h`, `50/d,max_burst=1`, `local:100/7380s`."""
    unit = _CANONICAL_UNITS.get(rate.period) or f"{rate.period:.15g}s"
    burst = "" if rate.max_burst is None else f",max_burst={rate.max_burst}"
    return f"{'local:' if rate.local else ''}{rate.limit}/{unit}{burst}"


def parse_limit(text: str) -> Limit:
    """`10`, `1,000`, `local:10`."""
    local, colon, digits = _bearable(text).rpartition(":")
    if colon and local != "local":
        raise BadValue(f"{shown(text)} is not a limit", shown(f"local:{digits}") if local.lower() == "local" else "")
    return Limit(_at_least_one(digits, text), bool(colon))


# --- addresses -------------------------------------------------------------------------------------------------------

ANYWHERE = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


def parse_ip(text: str) -> IPv4Address | IPv6Address:
    """An IPv4 or IPv6 address without brackets."""
    try:
        return ip_address(text)
    except ValueError:
        inside = text.removeprefix("[").removesuffix("]")
        try:
            meant = shown(str(ip_address(inside.partition("/")[0])))
        except ValueError:
            meant = ""
        raise BadValue(f"{shown(text)} is not an IP address", meant) from None


def parse_networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """One address or one block without host bits; `any` is both families whole."""
    if text == "any":
        return ANYWHERE
    try:
        block = ip_network(text, strict=False)
    except ValueError:
        raise BadValue(f"{shown(text)} is neither an IP address nor a network") from None
    try:
        ip_network(text)
    except ValueError:
        raise BadValue(f"{shown(text)} has bits set beyond its prefix", f'"{block}"') from None
    if isinstance(block, IPv6Network) and block.prefixlen >= 96 and block.network_address.ipv4_mapped is not None:
        # clients are compared by their IPv4 addresses, so nobody would ever be in it
        short = IPv4Network((block.network_address.ipv4_mapped, block.prefixlen - 96))
        meant = short.network_address if short.prefixlen == 32 else short
        raise BadValue(f"{shown(text)} is IPv4 written as IPv6", f'"{meant}"')
    return (block,)


def parse_listen(text: str) -> tuple[str, int]:
    """`0.0.0.0:25`, `[::]:25`: the address and the port, 0 to have one picked."""
    host, colon, digits = text.rpartition(":")
    if not colon or not digits.isascii() or not digits.isdigit() or len(digits) > 5 or int(digits) > 65535:
        raise BadValue(f"{shown(text)} has no port from 0 to 65535")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise BadValue(f"{shown(host)} in {shown(text)} is not an IP address") from None
    if (address.version == 6) != bracketed:
        raise BadValue(f"{shown(text)} is ambiguous", shown(join_port(str(address), int(digits))))
    return str(address), int(digits)


def join_port(address: str, port: int) -> str:
    """An address and a port as they are written together: with brackets around IPv6."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
