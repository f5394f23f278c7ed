"""
DKIM verification: for each signature of a message whether it holds.

RFC 6376 section 6, RFC 8301, RFC 8463.  A signature that was understood and does not hold is `fail`, as RFC 8601 section 2.7.1
has it; the model says `permerror` there too.  Otherwise results are the model's.
"""

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

from kumotwist.authentication.canonical import Canonicalization, SignedContent, bottom_up, canonical_field, name_of
from kumotwist.authentication.keys import ED25519, RSA, PublishedKey, parse_key_record
from kumotwist.authentication.lookups import Lookups, Unanswered
from kumotwist.authentication.results import AuthenticationResult
from kumotwist.authentication.tags import BadTags, names, needed, octets, parse_tags, whole

MOST_SIGNATURES = 10  # looked at, from the top; each costs a lookup
_GRACE = 900  # seconds that a clock may be wrong

_FORMS = {form.word: form for form in Canonicalization}
_DOMAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\Z")
# RFC 6376 section 3.5: what is signed of the signature itself has no value in `b=`, and no blanks around it.
_OWN_VALUE = re.compile(rb"([;:][ \t\r\n]*b[ \t\r\n]*=)[^;]*")


class Broken(Exception):
    """Why a signature does not count, and what its result is."""

    def __init__(self, result: str, reason: str) -> None:
        super().__init__(reason)
        self.result = result
        self.reason = reason


class Signature(Struct, frozen=True, kw_only=True):
    """A signature as it stands in a message.  field: whole, with its CRLF.  instance: that of ARC."""

    field: bytes
    tags: Mapping[str, str]
    algorithm: str
    domain: str
    selector: str
    header_form: Canonicalization
    body_form: Canonicalization
    names: tuple[bytes, ...]
    body_hash: bytes
    signature: bytes
    length: int | None


def text_of(field: bytes) -> str:
    """A field's value as text, folds and all."""
    return field[field.find(b":") + 1 :].decode("latin-1")


def read_signature(field: bytes, tags: Mapping[str, str], now: float) -> Signature:
    """What DKIM-Signature and ARC-Message-Signature have in common.  Raises BadTags."""
    header_word, _, body_word = tags.get("c", "simple/simple").lower().partition("/")
    header_form, body_form = _FORMS.get(header_word.strip()), _FORMS.get(body_word.strip() or "simple")
    if header_form is None or body_form is None:
        raise BadTags("c= is not known")
    algorithm = needed(tags, "a").lower()
    if algorithm not in (RSA, ED25519):
        raise BadTags(f"a={algorithm[:20]} does not count")
    signed = names(needed(tags, "h"))
    if "from" not in signed:
        raise BadTags("From is not signed")
    _check_times(tags, now)
    return Signature(
        field=field,
        tags=tags,
        algorithm=algorithm,
        domain=domain_of(tags, "d"),
        selector=domain_of(tags, "s"),
        header_form=header_form,
        body_form=body_form,
        names=tuple(name.encode("latin-1") for name in signed),
        body_hash=octets(tags, "bh"),
        signature=octets(tags, "b"),
        length=whole(tags, "l"),
    )


def domain_of(tags: Mapping[str, str], name: str) -> str:
    """A domain, or a selector.  Raises BadTags."""
    domain = needed(tags, name)
    if not _DOMAIN.match(domain) or len(domain) > 253:
        raise BadTags(f"{name}= is no name")
    return domain


def _check_times(tags: Mapping[str, str], now: float) -> None:
    made, expires = whole(tags, "t"), whole(tags, "x")
    if expires is not None and expires + _GRACE < now:
        raise BadTags("expired")
    if made is not None and expires is not None and expires < made:
        raise BadTags("x= is before t=")


def _read(field: bytes, now: float) -> Signature:
    """A DKIM-Signature.  Raises BadTags."""
    tags = parse_tags(text_of(field))
    if needed(tags, "v") != "1":
        raise BadTags("v= is not 1")
    if "q" in tags and "dns/txt" not in names(tags["q"]):
        raise BadTags("q= is not known")
    found = read_signature(field, tags, now)
    identity = tags.get("i", f"@{found.domain}").rpartition("@")[2].lower()
    if identity != found.domain.lower() and not identity.endswith(f".{found.domain.lower()}"):
        raise BadTags("i= is not under d=")
    return found


async def verify(content: bytes, lookups: Lookups, now: float) -> list[AuthenticationResult]:
    """A result for each DKIM-Signature, from the top, at most MOST_SIGNATURES of them; none for a message without."""
    signed = SignedContent(content)
    fields = [field for field in signed.fields if name_of(field) == b"dkim-signature"][:MOST_SIGNATURES]
    return [await _verify_one(signed, field, lookups, now, fields) for field in fields]


async def _verify_one(
    content: SignedContent, field: bytes, lookups: Lookups, now: float, fields: Sequence[bytes]
) -> AuthenticationResult:
    result, reason = "pass", None
    try:
        found = _read(field, now)
        key = await published(lookups, found.selector, found.domain)
        _check_key(found, key)
        check_signature(content, found, key)
    except BadTags as fault:
        result, reason = "permerror", str(fault)
    except Broken as fault:
        result, reason = fault.result, fault.reason
    return AuthenticationResult(method="dkim", result=result, reason=reason, props=_props(field, fields))


async def published(lookups: Lookups, selector: str, domain: str) -> PublishedKey:
    """The key record; the first that is one.  Raises Broken."""
    name = f"{selector}._domainkey.{domain}"
    try:
        texts = await lookups.texts(name)
    except Unanswered as fault:
        raise Broken("temperror", f"no answer for {name}: {fault}") from None
    wrong: BadTags | None = None
    for text in texts:
        try:
            return parse_key_record(text)
        except BadTags as bad:
            wrong = wrong or bad
    if wrong is not None:
        raise Broken("permerror", f"the key record at {name} is none: {wrong}")
    # The model's word for it; RFC 6376 section 6.1.2 would have permerror, but a key may have yet to reach a server.
    raise Broken("temperror", f"no key record at {name}")


def _check_key(found: Signature, key: PublishedKey) -> None:
    """Raises Broken where the record is not for this signature."""
    check_kind(found.algorithm, key)
    if key.services is not None and not {"*", "email"} & set(key.services):
        raise Broken("permerror", "the key is not for mail")
    identity = found.tags.get("i", "").rpartition("@")[2].lower()
    if key.strict and identity and identity != found.domain.lower():
        raise Broken("permerror", "the key is for d= itself, and i= is below it")


def check_kind(algorithm: str, key: PublishedKey) -> None:
    """Raises Broken where a key is not one for an algorithm, or is revoked."""
    if key.public is None:
        raise Broken("permerror", "the key has been revoked")
    if algorithm != f"{key.kind}-sha256":
        raise Broken("permerror", f"a={algorithm} and a key of kind {key.kind[:20]}")
    if key.hashes is not None and "sha256" not in key.hashes:
        raise Broken("permerror", "the key is not for sha256")


def check_signature(content: SignedContent, found: Signature, key: PublishedKey) -> None:
    """Raises Broken unless body and header are those that were signed."""
    if found.length is not None and found.length > content.body_size(found.body_form):
        raise Broken("fail", "the body is shorter than what was signed")
    if content.body_hash(found.body_form, found.length) != found.body_hash:
        raise Broken("fail", "body hash did not verify")
    fields = content.named(found.names)
    if b"dkim-signature" in fields:
        fields = {**fields, b"dkim-signature": [one for one in fields[b"dkim-signature"] if one is not found.field]}
    if b"arc-message-signature" in fields:
        fields = {**fields, b"arc-message-signature": [one for one in fields[b"arc-message-signature"] if one is not found.field]}
    signed = [canonical_field(field, found.header_form) for field in bottom_up(fields, found.names)]
    signed.append(canonical_field(without_value(found.field), found.header_form))
    if not key.verifies(found.signature, b"".join(signed)):
        raise Broken("fail", "signature did not verify")


def without_value(field: bytes) -> bytes:
    """A signature's field as it is signed: nothing after `b=`, and no CRLF at the end."""
    return _OWN_VALUE.sub(rb"\1", field.removesuffix(b"\r\n"), count=1)


def _props(field: bytes, fields: Sequence[bytes]) -> dict[str, str]:
    """What is told of a signature, as far as it can be read."""
    try:
        tags = parse_tags(text_of(field))
    except BadTags:
        return {}
    shown = {f"header.{name}": tags[name] for name in ("a", "c", "d", "s", "t", "x") if name in tags}
    if "d" in tags:
        shown["header.i"] = f"@{tags['d']}"
    if "b" in tags:
        shown["header.b"] = _short(tags["b"], field, fields)
    return shown


def _short(signature: str, field: bytes, fields: Sequence[bytes]) -> str:
    """The first eight characters of `b=`, more where another signature begins with the same (RFC 6008)."""
    others = []
    for other in fields:
        if other is not field:
            found = re.search(r"[;:][ \t\r\n]*b[ \t\r\n]*=([^;]*)", text_of(other))
            others.append("".join(found[1].split()) if found else "")
    text = "".join(signature.split())
    length = 8
    while length < len(text) and any(other.startswith(text[:length]) for other in others):
        length += 1
    return text[:length]
