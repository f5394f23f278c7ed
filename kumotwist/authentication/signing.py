"""
DKIM signing: a signer says what is signed and how, a key signs, and the message gets one more field on top.

RFC 6376 section 5, RFC 8463, RFC 6541 (atps).  Nothing of the message changes but for that field.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from kumotwist.authentication.canonical import Canonicalization, SignedContent, bottom_up, canonical_field
from kumotwist.authentication.keys import SigningKey
from kumotwist.smtp.dotted import has_bare_cr_or_lf

_LINE = 75  # columns, as in the model
_FOLD = "\r\n\t"


class Unsignable(Exception):
    """A message that no signature would hold for; the argument says why, fit for its sender to read."""


class Signer(Struct, frozen=True, kw_only=True):
    """
    One signature as it is to be made.

    headers: names in lower case, From among them.  over_sign: each name once more than it occurs, so that nobody can add
    one.  expiration: seconds from now.  body_length: sign as much body as there is, and let anybody add to it.
    atps: the author's domain that has authorized us to sign (RFC 6541); atpsh: how the name of its record is made.
    agent_user_identifier: `i=`.  reporting: ask for reports of failures (RFC 6651).
    """

    domain: str
    selector: str
    headers: tuple[str, ...]
    header_canonicalization: Canonicalization = Canonicalization.RELAXED
    body_canonicalization: Canonicalization = Canonicalization.RELAXED
    over_sign: bool = False
    expiration: int | None = None
    atps: str | None = None
    atpsh: str = "none"
    agent_user_identifier: str | None = None
    body_length: bool = False
    reporting: bool = False


def signatures(content: bytes, wanted: Sequence[tuple[Signer, SigningKey]], now: int) -> bytes:
    """
    The fields to put on top of a message, the last of `wanted` first, each with its CRLF.  Raises Unsignable.

    now: epoch seconds.  Later ones may sign earlier ones, if their headers say so.
    """
    signed = _signable(content)
    made = b""
    for signer, key in wanted:
        field = signature(signed, signer, key, now)
        signed.fields.insert(0, field)
        made = field + made
    return made


def _signable(content: bytes) -> SignedContent:
    """Raises Unsignable where a relay would change what is signed."""
    if has_bare_cr_or_lf(content):
        # What comes after us makes CRLF of it, or refuses it (RFC 5321 section 2.3.8): the signature would be broken.
        raise Unsignable("a line ends in CR or LF alone, which no signature survives")
    return SignedContent(content)


def signature(content: SignedContent, signer: Signer, key: SigningKey, now: int) -> bytes:
    """One DKIM-Signature with its CRLF.  Raises Unsignable."""
    fields = content.named([name.encode() for name in signer.headers])
    if not fields.get(b"from"):
        raise Unsignable("DKIM signing requires a From header, but it is missing from this message")
    names = names_signed(signer, fields)
    top = folded("DKIM-Signature:", _tags(content, signer, key.algorithm, names, now)) + "\r\n\tb="
    return signed_field(top.encode(), bottom_up(fields, [name.encode() for name in names]), signer.header_canonicalization, key)


def signed_field(top: bytes, fields: Iterable[bytes], form: Canonicalization, key: SigningKey) -> bytes:
    """A signature's field, whole.  top: all of it up to the empty `b=` at its end; fields: what else it signs, in order."""
    signed = [canonical_field(field, form) for field in fields]
    signed.append(canonical_field(top, form))
    return top + folded_base64(key.sign(b"".join(signed))) + b"\r\n"


def names_signed(signer: Signer, fields: Mapping[bytes, Sequence[bytes]]) -> list[str]:
    """
    What `h=` says: of the names those that are there, or with over_sign all of them, each once more than it is there.

    Without over_sign a name that is absent is left out: signing it would forbid to add it.
    """
    if signer.over_sign:
        return [name for name in sorted(set(signer.headers)) for _ in range(len(fields[name.encode()]) + 1)]
    left = {name: len(fields[name.encode()]) for name in signer.headers}
    names = []
    for name in signer.headers:
        if left[name]:
            left[name] -= 1
            names.append(name)
    return names


def _tags(content: SignedContent, signer: Signer, algorithm: str, names: Sequence[str], now: int) -> list[str]:
    """All but `b=`, in the model's order."""
    form = signer.body_canonicalization
    tags = [
        "v=1",
        f"a={algorithm}",
        f"d={signer.domain}",
        f"s={signer.selector}",
        f"c={signer.header_canonicalization.word}/{form.word}",
    ]
    if signer.agent_user_identifier is not None:
        tags.append(f"i={signer.agent_user_identifier}")
    if signer.atps is not None:
        tags += [f"atps={signer.atps}", f"atpsh={signer.atpsh}"]
    if signer.reporting:
        tags.append("r=y")
    if signer.body_length:
        tags.append(f"l={content.body_size(form)}")
    tags += [f"bh={b64encode(content.body_hash(form)).decode()}", "h=" + ":".join(names), f"t={now}"]
    if signer.expiration is not None:
        tags.append(f"x={now + signer.expiration}")
    return tags


def folded(name: str, tags: Iterable[str]) -> str:
    """A field of tags, each with its semicolon, none of its lines longer than it must be; `h=` breaks after a colon."""
    lines = [name]
    for tag in tags:
        tag += ";"
        if len(lines[-1]) + 1 + len(tag) <= _LINE:
            lines[-1] += f" {tag}"
            continue
        lines.append("")
        for item in _breakable(tag):
            if lines[-1] and len(lines[-1]) + len(item) > _LINE:
                lines.append(" ")
            lines[-1] += item
    return _FOLD.join(lines)


def _breakable(tag: str) -> list[str]:
    if not tag.startswith("h=") or len(tag) <= _LINE:
        return [tag]
    items = tag.split(":")
    return [f"{item}:" for item in items[:-1]] + items[-1:]


def folded_base64(octets: bytes) -> bytes:
    """What follows `b=`."""
    text = b64encode(octets)
    return b"\r\n\t ".join([text[at : at + _LINE - 3] for at in range(0, len(text), _LINE - 3)])
