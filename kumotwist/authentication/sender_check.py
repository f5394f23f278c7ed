"""
What receivers will find wrong with mail of a domain that leaves from our addresses, and the DNS line that mends it.

SPF covers the sources, published keys fit the private ones, DMARC is there and aligned, each source's address and name
lead to each other.  Only looked at: nothing is sent.
"""

from collections.abc import Iterable, Sequence
from enum import Enum
from ipaddress import ip_address

from msgspec import Struct

from kumotwist.authentication import spf_record
from kumotwist.authentication.dmarc import aligned, find_record
from kumotwist.authentication.keys import SigningKey, parse_key_record
from kumotwist.authentication.lookups import Lookups, Unanswered
from kumotwist.authentication.signing import Signer
from kumotwist.authentication.spf import check_host
from kumotwist.authentication.tags import BadTags

_TEST = b"a signature to see whether two halves of a key belong together"
_STRING = 255  # octets of one string of a TXT record


class Grade(Enum):
    """How it is."""

    FINE = "ok"
    DOUBTFUL = "note"
    UNKNOWN = "?"
    WRONG = "WRONG"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at.  about: `SPF`, `DKIM` …  mend: the DNS line that would put it right, or nothing."""

    grade: Grade
    about: str
    said: str
    mend: str = ""


class Source(Struct, frozen=True):
    """Where mail leaves from.  address: None where the kernel picks it.  ehlo: the name that it greets with."""

    name: str
    address: str | None
    ehlo: str


def fine(about: str, said: str) -> Finding:
    return Finding(grade=Grade.FINE, about=about, said=said)


def doubtful(about: str, said: str, mend: str = "") -> Finding:
    return Finding(grade=Grade.DOUBTFUL, about=about, said=said, mend=mend)


def unknown(about: str, said: str) -> Finding:
    return Finding(grade=Grade.UNKNOWN, about=about, said=said)


def wrong(about: str, said: str, mend: str = "") -> Finding:
    return Finding(grade=Grade.WRONG, about=about, said=said, mend=mend)


def txt_line(name: str, text: str) -> str:
    """A TXT record as it stands in a zone, cut into strings that fit."""
    strings = [text[at : at + _STRING] for at in range(0, len(text), _STRING)]
    return f"{name}. IN TXT " + " ".join(f'"{one}"' for one in strings)


# SPF


async def spf_findings(lookups: Lookups, domain: str, sources: Sequence[Source]) -> list[Finding]:
    """Whether the domain's record lets each source send."""
    placed = [source for source in sources if source.address is not None]
    try:
        texts = [text for text in await lookups.texts(domain) if spf_record.is_record(text)]
    except Unanswered as fault:
        return [unknown("SPF", f"the DNS does not answer for {domain}: {fault}")]
    if not texts:
        covering = " ".join(f"ip{ip_address(source.address or '').version}:{source.address}" for source in placed) or "mx"
        return [wrong("SPF", f"{domain} has no SPF record", txt_line(domain, f"v=spf1 {covering} ~all"))]
    if len(texts) > 1:
        return [wrong("SPF", f"{domain} has {len(texts)} SPF records, and receivers then heed none: leave one")]
    return [await _covered(lookups, domain, source, texts[0]) for source in placed]


async def _covered(lookups: Lookups, domain: str, source: Source, text: str) -> Finding:
    address = source.address or ""
    found = await check_host(lookups, address, domain, f"postmaster@{domain}", source.ehlo)
    if found.result == "pass":
        return fine("SPF", f"{domain} lets {source.name} ({address}) send: {found.reason}")
    if found.result == "temperror":
        return unknown("SPF", f"nobody knows whether {domain} lets {source.name} ({address}) send: {found.reason}")
    if found.result == "permerror":
        return wrong("SPF", f"the record of {domain} is broken, so receivers heed none of it: {found.reason}")
    said = f"{domain} does not let {source.name} ({address}) send: {found.result}, by {found.reason}"
    return wrong("SPF", said, txt_line(domain, _with_address(text, address)))


def _with_address(text: str, address: str) -> str:
    """The record with one address more, before what speaks for all others."""
    return text[: len(spf_record.VERSION)] + f" ip{ip_address(address).version}:{address}" + text[len(spf_record.VERSION) :]


# DKIM


async def dkim_findings(lookups: Lookups, signer: Signer, key: SigningKey | str) -> list[Finding]:
    """Whether what is published fits the private key.  key: or why it cannot be used."""
    name = f"{signer.selector}._domainkey.{signer.domain}"
    if isinstance(key, str):
        return [wrong("DKIM", f"the private key for {name} cannot be used: {key}")]
    try:
        texts = await lookups.texts(name)
    except Unanswered as fault:
        return [unknown("DKIM", f"the DNS does not answer for {name}: {fault}")]
    mend = txt_line(name, key.record())
    if not texts:
        return [wrong("DKIM", f"no key is published at {name}, so no signature of ours will hold", mend)]
    if len(texts) > 1:
        return [wrong("DKIM", f"there are {len(texts)} TXT records at {name}, and receivers pick any", mend)]
    try:
        published = parse_key_record(texts[0])
    except BadTags as fault:
        return [wrong("DKIM", f"what is published at {name} is no key: {fault}", mend)]
    if published.public is None:
        return [wrong("DKIM", f"the key at {name} has been revoked (its p= is empty)", mend)]
    if f"{published.kind}-sha256" != key.algorithm or not published.verifies(key.sign(_TEST), _TEST):
        return [wrong("DKIM", f"the key at {name} is not that of our private key", mend)]
    found = [fine("DKIM", f"the key at {name} is that of our private key ({key.algorithm})")]
    if published.testing:
        found.append(doubtful("DKIM", f"the key at {name} says that it is being tested (t=y): some receivers ignore it"))
    return found


# DMARC


async def dmarc_findings(lookups: Lookups, domain: str, signing_domains: Iterable[str]) -> list[Finding]:
    """Whether there is a policy, and whether our signatures are aligned with the domain of From."""
    example = txt_line(f"_dmarc.{domain}", f"v=DMARC1; p=none; rua=mailto:postmaster@{domain}")
    try:
        found = await find_record(lookups, domain)
    except Unanswered as fault:
        return [unknown("DMARC", f"the DNS does not answer for _dmarc.{domain}: {fault}")]
    except BadTags as fault:
        return [wrong("DMARC", f"the record at _dmarc.{domain} is broken: {fault}", example)]
    if found is None:
        return [wrong("DMARC", f"{domain} has no DMARC record, which large receivers ask of bulk senders", example)]
    where, record = found
    policy = record.policy if where == domain else record.subdomains
    told = [fine("DMARC", f"{where} says p={policy} for mail from {domain}")]
    if policy == "none":
        told.append(doubtful("DMARC", f"p=none asks receivers to do nothing about mail that others send as {domain}"))
    held = [one for one in signing_domains if aligned(one, domain, strict=record.strict_dkim)]
    if held:
        told.append(fine("DMARC", f"signatures of {held[0]} are aligned with {domain}"))
    else:
        how = "the same (adkim=s)" if record.strict_dkim else "of the same organization"
        said = f"no signature that we make for mail from {domain} has a domain that is {how}: only SPF can align"
        told.append(doubtful("DMARC", said) if policy == "none" else wrong("DMARC", said))
    return told


# Names and addresses


async def name_findings(lookups: Lookups, source: Source) -> list[Finding]:
    """Whether address and greeting lead to each other."""
    if source.address is None:
        return [doubtful("PTR", f"{source.name} has no source_address: its address cannot be known here")]
    address = ip_address(source.address)
    if not address.is_global:
        return [doubtful("PTR", f"{source.name} ({address}) is not an address of the public net: receivers see another")]
    about = f"{source.name} ({address})"
    kind = "A" if address.version == 4 else "AAAA"
    pointer = f"{address.reverse_pointer}. IN PTR {source.ehlo}."
    forward = f"{source.ehlo}. IN {kind} {address}"
    try:
        names = [name.lower().rstrip(".") for name in await lookups.names(str(address))]
        of_ehlo = [ip_address(one) for one in await lookups.addresses(source.ehlo, address.version)]
    except Unanswered as fault:
        return [unknown("PTR", f"the DNS does not answer for {about}: {fault}")]
    found = []
    if not names:
        found.append(wrong("PTR", f"{about} has no name: many receivers refuse such clients", pointer))
    elif source.ehlo.lower() not in names:
        found.append(wrong("PTR", f"{about} is named {', '.join(names[:3])}, and greets as {source.ehlo}", pointer))
    if address not in of_ehlo:
        found.append(wrong("EHLO", f"{about} greets as {source.ehlo}, which does not lead back to {address}", forward))
    return found or [fine("PTR", f"{about} is named {source.ehlo}, and greets so")]
