"""
SPF: whether a domain lets an address send in its name.

RFC 7208, with its limits: ten terms that ask the DNS, two of them that find nothing, ten hosts of an MX.  Where the model
departs from the RFC (a redirect after a match, the first of several records) the RFC is kept.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import quote

from msgspec import Struct

from kumotwist.authentication.lookups import Lookups, Unanswered
from kumotwist.authentication.results import AuthenticationResult
from kumotwist.authentication.spf_record import BadRecord, Mechanism, Record, check_explanation, is_record, parse_record

MOST_LOOKUPS = 10  # section 4.6.4: terms that ask the DNS
MOST_VOID = 2  # and those of them that find nothing
MOST_HOSTS = 10  # of one MX, and names of one PTR
_LONGEST_NAME = 253
_MACRO = re.compile(r"%(?:\{(?P<letter>[A-Za-z])(?P<digits>[0-9]*)(?P<reverse>[rR]?)(?P<delimiters>[.\-+,/_=]*)\}|(?P<sign>[%_-]))")
_SIGNS = {"%": "%", "_": " ", "-": "%20"}


class SpfResult(Struct, frozen=True, kw_only=True):
    """`none`, `neutral`, `pass`, `fail`, `softfail`, `temperror` or `permerror`, and why; explanation: the domain's own words."""

    result: str
    reason: str = ""
    explanation: str | None = None

    def told(self, *, sender: str, helo: str) -> AuthenticationResult:
        props = {"smtp.mailfrom": sender} if sender else {}
        if helo:
            props["smtp.helo"] = helo
        return AuthenticationResult(method="spf", result=self.result, reason=self.explanation or self.reason or None, props=props)


class Sending(Struct, frozen=True, kw_only=True):
    """
    Who sends.  local, sender_domain: of the envelope sender, or of `postmaster@helo`.  receiver: our own name.

    now: epoch seconds.
    """

    address: IPv4Address | IPv6Address
    local: str
    sender_domain: str
    helo: str
    receiver: str = "unknown"
    now: int = 0


class _Over(Exception):
    """The check ends here.  Its result, and why."""

    def __init__(self, result: str, reason: str) -> None:
        super().__init__(reason)
        self.result = result
        self.reason = reason


async def check_host(
    lookups: Lookups, address: str, domain: str, sender: str, helo: str, *, receiver: str = "unknown", now: float = 0.0
) -> SpfResult:
    """
    Section 4.  sender: the envelope sender, which may be empty.  domain: whose record counts: its domain, or else `helo`.

    Raises ValueError if `address` is none.
    """
    local, _, sender_domain = sender.rpartition("@")
    where = ip_address(address)
    if isinstance(where, IPv6Address) and where.ipv4_mapped is not None:
        where = where.ipv4_mapped
    sending = Sending(
        address=where,
        local=local or "postmaster",
        sender_domain=sender_domain or helo,
        helo=helo,
        receiver=receiver,
        now=int(now),
    )
    return await _Check(lookups, sending).run(domain)


class _Check:
    """One check while it lasts: what it has asked so far."""

    def __init__(self, lookups: Lookups, sending: Sending) -> None:
        self._lookups = lookups
        self._sending = sending
        self._asked = 0
        self._void = 0

    async def run(self, domain: str) -> SpfResult:
        try:
            result, reason, explanation = await self._domain(domain)
            text = None
            if result == "fail" and explanation is not None:
                text = await self._explanation(*explanation)
            return SpfResult(result=result, reason=reason, explanation=text)
        except _Over as over:
            return SpfResult(result=over.result, reason=over.reason)

    async def _domain(self, domain: str) -> tuple[str, str, tuple[str, str] | None]:
        """Result, why, and whose words explain it: a macro string and the domain that it is read for.  Raises _Over."""
        if not _is_name(domain) or "." not in domain.strip("."):
            return "none", f"{domain[:100]!r} is no domain", None
        record = await self._record(domain)
        if record is None:
            return "none", f"{domain} has no SPF record", None
        for mechanism in record.mechanisms:
            if await self._matches(mechanism, domain):
                explanation = None if record.explanation is None else (record.explanation, domain)
                return mechanism.result, f"{_written(mechanism)} of {domain}", explanation
        if record.redirect is None:
            return "neutral", f"nothing in the record of {domain} fits", None
        self._count()
        target = await self._expand(record.redirect, domain)
        found = await self._domain(target)
        if found[0] == "none":
            raise _Over("permerror", f"redirect of {domain}: {found[1]}")
        return found

    async def _record(self, domain: str) -> Record | None:
        texts = [text for text in await self._texts(domain) if is_record(text)]
        if not texts:
            return None
        if len(texts) > 1:
            raise _Over("permerror", f"{domain} has {len(texts)} SPF records")
        try:
            return parse_record(texts[0])
        except BadRecord as fault:
            raise _Over("permerror", f"the record of {domain}: {fault}") from None

    # Mechanisms (section 5).

    async def _matches(self, mechanism: Mechanism, domain: str) -> bool:
        name = mechanism.name
        if name == "all":
            return True
        if mechanism.network is not None:
            address = self._sending.address
            return address.version == mechanism.network.version and address in mechanism.network
        self._count()
        target = domain if mechanism.domain is None else await self._expand(mechanism.domain, domain)
        if name == "include":
            return await self._included(target)
        if name == "exists":
            return bool(await self._found(target, 4))
        if name == "a":
            return self._is_among(await self._found(target, self._sending.address.version), mechanism)
        if name == "mx":
            return await self._is_exchanger(target, mechanism)
        return any(_is_below(name, target) for name in await self._validated(target))

    async def _included(self, target: str) -> bool:
        result, reason, _ = await self._domain(target)
        if result == "none":
            raise _Over("permerror", f"include: {reason}")
        return result == "pass"

    async def _is_exchanger(self, target: str, mechanism: Mechanism) -> bool:
        hosts = await self._exchangers(target)
        if len(hosts) > MOST_HOSTS:
            raise _Over("permerror", f"{target} has more than {MOST_HOSTS} MX hosts")
        for host in hosts:
            if host and self._is_among(await self._addresses(host, self._sending.address.version), mechanism):
                return True
        return False

    def _is_among(self, addresses: Sequence[str], mechanism: Mechanism) -> bool:
        own = self._sending.address
        prefix = mechanism.v4 if own.version == 4 else mechanism.v6
        return any(own in ip_network(f"{address}/{prefix}", strict=False) for address in addresses)

    async def _validated(self, target: str) -> list[str]:
        """The names of the client that lead back to it (section 5.5); those of the target first."""
        try:
            names = await self._lookups.names(str(self._sending.address))
        except Unanswered:
            return []
        if not names:
            self._note_void()
        found = []
        for name in list(names)[:MOST_HOSTS]:
            try:
                addresses = await self._lookups.addresses(name, self._sending.address.version) if _is_name(name) else ()
            except Unanswered:
                continue
            if any(ip_address(address) == self._sending.address for address in addresses):
                found.append(name.lower().rstrip("."))
        return sorted(found, key=lambda name: (name != target.lower(), not _is_below(name, target)))

    # Questions, counted.

    def _count(self) -> None:
        self._asked += 1
        if self._asked > MOST_LOOKUPS:
            raise _Over("permerror", f"more than {MOST_LOOKUPS} terms that ask the DNS")

    def _note_void(self) -> None:
        self._void += 1
        if self._void > MOST_VOID:
            raise _Over("permerror", f"more than {MOST_VOID} lookups that find nothing")

    async def _found(self, name: str, version: int) -> Sequence[str]:
        found = await self._addresses(name, version)
        if not found:
            self._note_void()
        return found

    async def _addresses(self, name: str, version: int) -> Sequence[str]:
        if not _is_name(name):
            return ()
        try:
            return await self._lookups.addresses(name, version)
        except Unanswered as fault:
            raise _Over("temperror", f"no answer for {name}: {fault}") from None

    async def _exchangers(self, name: str) -> Sequence[str]:
        if not _is_name(name):
            return ()
        try:
            found = await self._lookups.exchangers(name)
        except Unanswered as fault:
            raise _Over("temperror", f"no answer for {name}: {fault}") from None
        if not found:
            self._note_void()
        return found

    async def _texts(self, name: str) -> Sequence[str]:
        try:
            return await self._lookups.texts(name)
        except Unanswered as fault:
            raise _Over("temperror", f"no answer for {name}: {fault}") from None

    # Macros (section 7).

    async def _explanation(self, spec: str, domain: str) -> str | None:
        """Section 6.2; None wherever something is wrong with it, which never changes the result."""
        try:
            name = await self._expand(spec, domain)
            texts = await self._texts(name) if _is_name(name) else ()
            if len(texts) != 1 or not texts[0].isascii():
                return None
            check_explanation(texts[0])
            return await self._expanded(texts[0], domain)
        except (BadRecord, _Over):
            return None

    async def _expand(self, spec: str, domain: str) -> str:
        """A domain; labels go from its left until it is short enough."""
        name = await self._expanded(spec, domain)
        while len(name) > _LONGEST_NAME and "." in name:
            name = name.partition(".")[2]
        return name

    async def _expanded(self, text: str, domain: str) -> str:
        parts, at = [], 0
        for found in _MACRO.finditer(text):
            parts.append(text[at : found.start()])
            at = found.end()
            if found["sign"]:
                parts.append(_SIGNS[found["sign"]])
                continue
            value = await self._value(found["letter"].lower(), domain)
            value = _transformed(value, found["digits"], bool(found["reverse"]), found["delimiters"] or ".")
            parts.append(quote(value, safe="-._~") if found["letter"].isupper() else value)
        return "".join(parts) + text[at:]

    async def _value(self, letter: str, domain: str) -> str:
        sending = self._sending
        address = sending.address
        if letter == "p":
            return next(iter(await self._validated(domain)), "unknown")
        return {
            "s": f"{sending.local}@{sending.sender_domain}",
            "l": sending.local,
            "o": sending.sender_domain,
            "d": domain,
            "i": str(address) if address.version == 4 else ".".join(address.exploded.replace(":", "").upper()),
            "h": sending.helo,
            "v": "in-addr" if address.version == 4 else "ip6",
            "c": str(address),
            "r": sending.receiver,
            "t": str(sending.now),
        }[letter]


def _transformed(value: str, digits: str, reverse: bool, delimiters: str) -> str:
    """Split, turned round, the rightmost parts kept, joined by dots (section 7.3)."""
    parts = re.split(f"[{re.escape(delimiters)}]", value)
    if reverse:
        parts.reverse()
    if digits:
        parts = parts[-int(digits) :]
    return ".".join(parts)


def _is_name(name: str) -> bool:
    """Whether the DNS could know it: no empty label, none too long."""
    labels = name.removesuffix(".").split(".")
    return len(name) <= _LONGEST_NAME + 1 and all(0 < len(label) <= 63 for label in labels)


def _is_below(name: str, domain: str) -> bool:
    """Whether a name is that domain or one of its own."""
    name, domain = name.lower().rstrip("."), domain.lower().rstrip(".")
    return name == domain or name.endswith(f".{domain}")


def _written(mechanism: Mechanism) -> str:
    if mechanism.network is not None:
        return f"{mechanism.name}:{mechanism.network}"
    return mechanism.name if mechanism.domain is None else f"{mechanism.name}:{mechanism.domain}"
