"""
Which signatures a message gets: section `dkim` asked for the domain of its From.

The domain's own entry, or the nearest `*.domain` above it, or `*`; and beside it the additional signatures.
"""

from msgspec import Struct

from kumotwist.authentication.keys import ED25519, RSA
from kumotwist.authentication.signing import Signer
from kumotwist.config.dkim import (
    HEADERS,
    AdditionalPolicy,
    Algorithm,
    Canonicalization,
    DkimBase,
    DkimDomain,
    DkimSettings,
    DkimSignature,
    KeyFailure,
)
from kumotwist.config.keys import KeySource

_MOST_KNOWN = 16384  # domains that are remembered; a flood of others begins again
_ALGORITHMS = {Algorithm.SHA256: RSA, Algorithm.ED25519: ED25519, None: None}


class WantedSignature(Struct, frozen=True, kw_only=True):
    """
    A signature that a message is to get, and where its key comes from.

    algorithm: what the key must be; None: whatever it is.  ttl: seconds that the key may be kept.  unsigned: whether the
    message may go without it where the key cannot be used.
    """

    signer: Signer
    key: KeySource
    algorithm: str | None = None
    ttl: float = 300.0
    unsigned: bool = False


class Selection:
    """Section `dkim`, ready to be asked."""

    def __init__(self, settings: DkimSettings) -> None:
        self._settings = settings
        self._known: dict[str, tuple[WantedSignature, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._settings)

    @property
    def fixes(self) -> str:
        """What is repaired before a message is signed."""
        return self._settings.base.fix_conformance

    def wanted(self, author: str) -> tuple[WantedSignature, ...]:
        """The signatures for mail from this domain, in the order in which they are made.  author: in lower case."""
        known = self._known.get(author)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[author] = self._find(author)
        return known

    def _find(self, author: str) -> tuple[WantedSignature, ...]:
        base = self._settings.base
        entry = self._entry(author)
        found = [] if entry is None else [_wanted(base, entry, author)]
        for name in base.additional_signatures:
            additional = self._settings.signature[name]
            if entry is None or additional.policy is not AdditionalPolicy.ONLY_IF_MISSING_DOMAIN_BLOCK:
                found.append(_wanted(base, additional, additional.domain))
        return tuple(found)

    def _entry(self, author: str) -> DkimDomain | None:
        domains = self._settings.domain
        if author in domains:
            return domains[author]
        labels = author.split(".")
        for at in range(1, len(labels)):
            entry = domains.get("*." + ".".join(labels[at:]))
            if entry is not None:
                return entry
        return domains.get("*")


def _wanted(base: DkimBase, entry: DkimDomain | DkimSignature, domain: str) -> WantedSignature:
    """An entry's own words, else those of `base`, else the model's."""
    selector = entry.selector or base.selector or ""
    over_sign = base.over_sign if entry.over_sign is None else entry.over_sign
    expiration = base.expiration if entry.expiration is None else entry.expiration
    signer = Signer(
        domain=domain,
        selector=selector,
        headers=tuple(name.lower() for name in entry.headers or base.headers or HEADERS),
        header_canonicalization=entry.header_canonicalization or base.header_canonicalization or Canonicalization.RELAXED,
        body_canonicalization=entry.body_canonicalization or base.body_canonicalization or Canonicalization.RELAXED,
        over_sign=bool(over_sign),
        expiration=None if expiration is None else int(expiration),
        atps=entry.atps,
        atpsh=entry.atpsh,
        agent_user_identifier=entry.agent_user_identifier,
        body_length=entry.body_length,
        reporting=entry.reporting,
    )
    return WantedSignature(
        signer=signer,
        key=entry.key or entry.filename or f"{base.key_directory}/{domain}/{selector}.key",
        algorithm=_ALGORITHMS[entry.algo],
        ttl=base.key_ttl,
        unsigned=(entry.on_key_failure or base.on_key_failure) is KeyFailure.SEND_UNSIGNED,
    )
