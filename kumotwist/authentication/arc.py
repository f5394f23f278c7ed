"""
ARC: the chain of those who handled a message and what each had found of it, verified and continued.

RFC 8617.  Each set is an ARC-Authentication-Results, an ARC-Message-Signature and an ARC-Seal of one instance.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence

from msgspec import Struct

from kumotwist.authentication.canonical import Canonicalization, SignedContent, bottom_up, canonical_field, name_of
from kumotwist.authentication.keys import SigningKey
from kumotwist.authentication.lookups import Lookups
from kumotwist.authentication.results import AuthenticationResult, format_results
from kumotwist.authentication.signing import Signer, Unsignable, folded, names_signed, signed_field
from kumotwist.authentication.tags import BadTags, needed, octets, parse_tags
from kumotwist.authentication.verification import (
    Broken,
    check_kind,
    check_signature,
    domain_of,
    published,
    read_signature,
    text_of,
    without_value,
)

MOST_INSTANCES = 50  # section 4.2.1
_RELAXED = Canonicalization.RELAXED
_NAMES = (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")
# Section 4.1.2: an ARC-Message-Signature never signs these; what others do to them later is none of its business.
_NOT_SIGNED = frozenset({"arc-authentication-results", "arc-message-signature", "arc-seal", "authentication-results"})


class ArcSet(Struct, frozen=True):
    """The three fields of one instance, whole."""

    results: bytes
    message: bytes
    seal: bytes

    @property
    def sealed(self) -> tuple[bytes, bytes, bytes]:
        """In the order in which seals sign them (section 5.1.1)."""
        return self.results, self.message, self.seal


class Chain(Struct, frozen=True):
    """What verification found.  result: `none`, `pass` or `fail`.  oldest_pass: the first instance from which on all held."""

    sets: tuple[ArcSet, ...]
    result: str
    reason: str | None = None
    oldest_pass: int = 0

    def told(self) -> AuthenticationResult:
        props = {"header.oldest-pass": str(self.oldest_pass)} if self.sets else {}
        return AuthenticationResult(method="arc", result=self.result, reason=self.reason, props=props)


def _instance(field: bytes) -> int:
    """Raises BadTags."""
    first, _, _ = text_of(field).partition(";")
    value = parse_tags(first).get("i", "") if name_of(field) == _NAMES[0] else parse_tags(text_of(field)).get("i", "")
    if not value.isascii() or not value.isdigit() or len(value) > 3 or not 1 <= int(value) <= MOST_INSTANCES:
        raise BadTags(f"i= is no instance from 1 to {MOST_INSTANCES}")
    return int(value)


def _sets(content: SignedContent) -> tuple[ArcSet, ...]:
    """All sets from the first instance on.  Raises BadTags where one is not whole, or there is one too many."""
    found: dict[int, dict[bytes, bytes]] = {}
    for field in content.fields:
        name = name_of(field)
        if name in _NAMES:
            one = found.setdefault(_instance(field), {})
            if name in one:
                raise BadTags(f"{name.decode()} stands there twice with the same instance")
            one[name] = field
    for number in range(1, len(found) + 1):
        if set(found.get(number, ())) != set(_NAMES):
            raise BadTags(f"the set of instance {number} is not whole")
    return tuple(ArcSet(*(found[number][name] for name in _NAMES)) for number in sorted(found))


async def verify_chain(content: bytes, lookups: Lookups, now: float) -> Chain:
    """
    Section 5.2: whole sets, each seal, and the newest message signature; older ones are broken by any honest list.

    A DNS that does not answer makes the chain `fail` for this reading, as the RFC has no other word.
    """
    signed = SignedContent(content)
    try:
        sets = _sets(signed)
    except BadTags as fault:
        return Chain((), "fail", str(fault))
    if not sets:
        return Chain((), "none")
    try:
        for number, one in enumerate(sets, 1):
            _check_standing(number, one)
        await _check_message(signed, sets[-1].message, lookups, now)
        for number in range(len(sets), 0, -1):
            await _check_seal(sets[:number], lookups)
    except BadTags as fault:
        return Chain(sets, "fail", str(fault))
    except Broken as fault:
        return Chain(sets, "fail", fault.reason)
    return Chain(sets, "pass", None, await _oldest_pass(signed, sets, lookups, now))


def _check_standing(number: int, one: ArcSet) -> None:
    """Section 5.2 step 3: what the seals say of the chain before them.  Raises BadTags."""
    said = parse_tags(text_of(one.seal)).get("cv", "").lower()
    if said != ("none" if number == 1 else "pass"):
        raise BadTags(f"the seal of instance {number} says cv={said[:10]}")


async def _check_message(content: SignedContent, field: bytes, lookups: Lookups, now: float) -> None:
    """Raises BadTags and Broken."""
    found = read_signature(field, parse_tags(text_of(field)), now)
    if b"arc-seal" in found.names:
        raise BadTags("a message signature that signs seals")
    key = await published(lookups, found.selector, found.domain)
    check_kind(found.algorithm, key)
    check_signature(content, found, key)


async def _check_seal(sets: Sequence[ArcSet], lookups: Lookups) -> None:
    """The seal of the last of these.  Raises BadTags and Broken."""
    field = sets[-1].seal
    tags: Mapping[str, str] = parse_tags(text_of(field))
    if "h" in tags:
        raise BadTags("a seal with h=")  # section 4.1.3
    signature = octets(tags, "b")
    key = await published(lookups, domain_of(tags, "s"), domain_of(tags, "d"))
    check_kind(needed(tags, "a").lower(), key)
    signed = [canonical_field(one, _RELAXED) for group in sets for one in group.sealed][:-1]
    signed.append(canonical_field(without_value(field), _RELAXED))
    if not key.verifies(signature, b"".join(signed)):
        raise Broken("fail", f"the seal of instance {len(sets)} did not verify")


async def _oldest_pass(content: SignedContent, sets: Sequence[ArcSet], lookups: Lookups, now: float) -> int:
    """Section 5.2 step 6: 0 where all message signatures hold."""
    for number in range(len(sets) - 1, 0, -1):
        try:
            await _check_message(content, sets[number - 1].message, lookups, now)
        except (BadTags, Broken):
            return number + 1
    return 0


def seal(
    content: bytes, chain: Chain, signer: Signer, key: SigningKey, server: str, results: Sequence[AuthenticationResult], now: int
) -> bytes:
    """
    The three fields of the next set, to go on top.  Raises Unsignable where the chain is broken or full.

    The results are told as they are; what the chain was found to be is added if nobody has.
    """
    number = len(chain.sets) + 1
    if chain.result == "fail" or number > MOST_INSTANCES:
        raise Unsignable(f"the chain cannot go on: {chain.reason or 'it has as many instances as may be'}")
    told = list(results)
    if not any(result.method == "arc" for result in told):
        told.append(chain.told())
    aar = f"ARC-Authentication-Results: i={number}; {format_results(server, told)}\r\n".encode()
    ams = _message_signature(SignedContent(content), signer, key, number, now)
    tags = [f"i={number}", f"a={key.algorithm}", f"t={now}", f"cv={chain.result}", f"d={signer.domain}", f"s={signer.selector}"]
    top = (folded("ARC-Seal:", tags) + "\r\n\tb=").encode()
    before = [field for one in chain.sets for field in one.sealed]
    return signed_field(top, [*before, aar, ams], _RELAXED, key) + ams + aar


def _message_signature(content: SignedContent, signer: Signer, key: SigningKey, number: int, now: int) -> bytes:
    """Section 4.1.2: a DKIM signature but for its version."""
    headers = tuple(name for name in signer.headers if name not in _NOT_SIGNED)
    fields = content.named([name.encode() for name in headers])
    if not fields.get(b"from"):
        raise Unsignable("an ARC signature requires a From header, but it is missing from this message")
    names = names_signed(_with_headers(signer, headers), fields)
    form = signer.body_canonicalization
    tags = [
        f"i={number}",
        f"a={key.algorithm}",
        f"d={signer.domain}",
        f"s={signer.selector}",
        f"c={signer.header_canonicalization.word}/{form.word}",
        f"bh={b64encode(content.body_hash(form)).decode()}",
        "h=" + ":".join(names),
        f"t={now}",
    ]
    top = (folded("ARC-Message-Signature:", tags) + "\r\n\tb=").encode()
    return signed_field(top, bottom_up(fields, [name.encode() for name in names]), signer.header_canonicalization, key)


def _with_headers(signer: Signer, headers: tuple[str, ...]) -> Signer:
    return (
        signer
        if headers == signer.headers
        else Signer(domain=signer.domain, selector=signer.selector, headers=headers, over_sign=signer.over_sign)
    )
