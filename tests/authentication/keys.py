"""Keys for tests, made once, and a DNS in a table."""

from collections.abc import Coroutine, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kumotwist.authentication.keys import SigningKey, load_key
from kumotwist.authentication.lookups import Unanswered

T = TypeVar("T")


@cache
def rsa_pem(bits: int = 2048) -> bytes:
    key = generate_private_key(65537, bits)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


@cache
def ed25519_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@cache
def rsa_key() -> SigningKey:
    return load_key(rsa_pem())


@cache
def ed25519_key() -> SigningKey:
    return load_key(ed25519_pem())


def answer(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a check that never waits returns."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        found: T = done.value
        return found
    raise AssertionError("a table does not wait")


class Table:
    """
    `authentication.lookups.Lookups` from tables.  silent: names that nobody answers for.

    pointers: address → names; hosts: name → addresses of both kinds.
    """

    def __init__(
        self,
        texts: Mapping[str, Sequence[str]] | None = None,
        *,
        hosts: Mapping[str, Sequence[str]] | None = None,
        mx: Mapping[str, Sequence[str]] | None = None,
        pointers: Mapping[str, Sequence[str]] | None = None,
        silent: Sequence[str] = (),
    ) -> None:
        self._texts = dict(texts or {})
        self._hosts = dict(hosts or {})
        self._mx = dict(mx or {})
        self._pointers = dict(pointers or {})
        self._silent = silent
        self.asked: list[str] = []

    def _ask(self, name: str, table: Mapping[str, Sequence[str]]) -> Sequence[str]:
        self.asked.append(name)
        if name in self._silent:
            raise Unanswered("timeout")
        return table.get(name.lower().rstrip("."), ())

    async def texts(self, name: str) -> Sequence[str]:
        return self._ask(name, self._texts)

    async def addresses(self, name: str, version: int) -> Sequence[str]:
        return [address for address in self._ask(name, self._hosts) if (":" in address) == (version == 6)]

    async def exchangers(self, name: str) -> Sequence[str]:
        return self._ask(name, self._mx)

    async def names(self, address: str) -> Sequence[str]:
        return self._ask(address, self._pointers)

    def for_dkimpy(self, name: bytes, timeout: int = 5) -> bytes | None:
        """What dkimpy asks for TXT."""
        found = self._texts.get(name.decode().lower().rstrip("."))
        return found[0].encode("latin-1") if found else None


def published(domain: str = "example.com") -> dict[str, Sequence[str]]:
    """Both keys, as `rsa` and `ed` of a domain."""
    return {f"rsa._domainkey.{domain}": (rsa_key().record(),), f"ed._domainkey.{domain}": (ed25519_key().record(),)}
