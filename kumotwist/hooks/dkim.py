"""`kumo.dkim`: signers, which say how a message is to be signed and with which key."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Never, TypedDict, Unpack

from kumotwist.authentication.keys import ED25519, RSA
from kumotwist.authentication.selection import WantedSignature
from kumotwist.authentication.signing import Signer
from kumotwist.config.dkim import KeyFailure
from kumotwist.config.given import GivenParameters
from kumotwist.hooks.absent import missing
from kumotwist.hooks.context import services
from kumotwist.hooks.parameters import KeySource, Span
from kumotwist.hooks.registration import calling_place

__all__ = ["ed25519_signer", "rsa_sha256_signer", "set_signing_threads"]

_MOST_KEPT = 4096  # signers that are remembered by what was given; a policy makes the same ones again and again
_CACHE = "kumotwist dkim signers"


class SignerParameters(TypedDict, total=False):
    """`rsa_sha256_signer` and `ed25519_signer`; `config.dkim.DkimSigner`."""

    domain: str
    selector: str
    headers: list[str]
    key: KeySource
    header_canonicalization: str | None
    body_canonicalization: str | None
    expiration: Span | None
    over_sign: bool | None
    ttl: Span | None
    atps: str | None
    atpsh: str | None
    agent_user_identifier: str | None
    body_length: bool | None
    reporting: bool | None
    on_key_failure: str | None


def rsa_sha256_signer(given: Mapping[str, Any] | None = None, /, **parameters: Unpack[SignerParameters]) -> WantedSignature:
    """
    A signer with an RSA key, for `msg.dkim_sign`.  Raises BadParameters (a ValueError).

    domain, selector: where receivers find the key.  headers: what is signed, From among them.  key: a file, `{"key_data": …}`,
    `{"environment": …}` or `{"event_name": …, "event_args": […]}`; read when it is needed, and again after ttl (5 minutes).
    on_key_failure: `Refuse` (451) or `SendUnsigned`.  A key of another kind is a key that cannot be used.
    """
    return _signer("rsa_sha256_signer", RSA, given, parameters)


def ed25519_signer(given: Mapping[str, Any] | None = None, /, **parameters: Unpack[SignerParameters]) -> WantedSignature:
    """A signer with an Ed25519 key; otherwise as `rsa_sha256_signer`.  Sign with RSA too: many receivers know nothing else."""
    return _signer("ed25519_signer", ED25519, given, parameters)


def set_signing_threads(count: int) -> None:
    """How many threads sign, 1 or more; as many as there are processors unless this says otherwise."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"set_signing_threads: {count!r}, expected a whole number, 1 or more")
    signing = services("dkim.set_signing_threads").signing
    if signing is not None:
        signing.threads.resize(count)


def _signer(of: str, algorithm: str, given: Mapping[str, Any] | None, parameters: Mapping[str, Any]) -> WantedSignature:
    """The same parameters make the same signer, so it is read once."""
    caches = services(f"dkim.{of}").caches
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"{of}: a {type(given).__name__}, expected keywords or one mapping")
    file = calling_place()[0]
    wanted = {**(given or {}), **parameters}
    known: dict[str, WantedSignature] = caches.setdefault(_CACHE, {})
    name = repr((of, file, wanted))
    if name not in known:
        if len(known) >= _MOST_KEPT:
            known.clear()
        known[name] = _read(of, algorithm, wanted, file)
    return known[name]


def _read(of: str, algorithm: str, given: Mapping[str, Any], file: str) -> WantedSignature:
    settings = GivenParameters(of, given, file).dkim_signer()
    signer = Signer(
        domain=settings.domain,
        selector=settings.selector,
        headers=tuple(name.lower() for name in settings.headers),
        header_canonicalization=settings.header_canonicalization,
        body_canonicalization=settings.body_canonicalization,
        over_sign=settings.over_sign,
        expiration=None if settings.expiration is None else int(settings.expiration),
        atps=settings.atps,
        atpsh=settings.atpsh,
        agent_user_identifier=settings.agent_user_identifier,
        body_length=settings.body_length,
        reporting=settings.reporting,
    )
    unsigned = settings.on_key_failure is KeyFailure.SEND_UNSIGNED
    return WantedSignature(signer=signer, key=settings.key, algorithm=algorithm, ttl=settings.ttl, unsigned=unsigned)


if not TYPE_CHECKING:  # else no name would be unknown to a type checker

    def __getattr__(name: str) -> Never:
        raise missing("kumo.dkim", name, __all__)
