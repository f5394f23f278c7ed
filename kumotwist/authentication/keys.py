"""
Keys of signatures: private ones to sign with, and what the DNS publishes of them.

RFC 6376 section 3.6 (key records), RFC 8301 (RSA of 1024 bits or more, no SHA-1), RFC 8463 (Ed25519).
"""

import hashlib
from base64 import b64encode
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
)
from msgspec import Struct

from kumotwist.authentication.tags import BadTags, from_base64, names, parse_tags

RSA = "rsa-sha256"
ED25519 = "ed25519-sha256"
LEAST_BITS = 1024  # RFC 8301 section 3.2

_PKCS1 = PKCS1v15()
_SHA256 = SHA256()


class KeyUnusable(Exception):
    """A private key that cannot sign what it should; the argument says why, and nothing of the key.  For the operator."""


class SigningKey(Protocol):
    """A private key."""

    @property
    def algorithm(self) -> str:
        """As in `a=`."""

    def sign(self, signed: bytes) -> bytes:
        """The signature of these octets."""

    def record(self) -> str:
        """The key record that publishes it."""


class RsaKey:
    """An RSA key.  Signing releases the interpreter's lock for nearly all of its time."""

    __slots__ = ("_key",)
    algorithm = RSA

    def __init__(self, key: RSAPrivateKey) -> None:
        self._key = key

    def sign(self, signed: bytes) -> bytes:
        return self._key.sign(signed, _PKCS1, _SHA256)

    def record(self) -> str:
        public = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"v=DKIM1; k=rsa; p={b64encode(public).decode()}"


class Ed25519Key:
    """An Ed25519 key: it signs the hash (RFC 8463 section 3)."""

    __slots__ = ("_key",)
    algorithm = ED25519

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, signed: bytes) -> bytes:
        return self._key.sign(hashlib.sha256(signed).digest())

    def record(self) -> str:
        return f"v=DKIM1; k=ed25519; p={b64encode(self._key.public_key().public_bytes_raw()).decode()}"


def load_key(octets: bytes) -> SigningKey:
    """A private key in PEM or DER, PKCS#8 or (RSA) PKCS#1.  Raises KeyUnusable.  RSA takes milliseconds: it is checked."""
    load = load_pem_private_key if b"-----BEGIN" in octets else load_der_private_key
    try:
        key = load(octets, None)
    except TypeError:
        raise KeyUnusable("it is encrypted, and nobody is here to give a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnusable("it is no private key in PEM or DER form") from None
    if isinstance(key, Ed25519PrivateKey):
        return Ed25519Key(key)
    if not isinstance(key, RSAPrivateKey):
        raise KeyUnusable("it is neither an RSA nor an Ed25519 key")
    if key.key_size < LEAST_BITS:
        raise KeyUnusable(f"it has {key.key_size} bits, and receivers want {LEAST_BITS} or more")
    return RsaKey(key)


class PublishedKey(Struct, frozen=True, kw_only=True):
    """
    What a key record says.  public: None where the key is revoked.  strict: `i=` must have the very domain of `d=`.

    hashes, services: None where any will do.
    """

    kind: str
    public: RSAPublicKey | Ed25519PublicKey | None
    strict: bool = False
    testing: bool = False
    hashes: tuple[str, ...] | None = None
    services: tuple[str, ...] | None = None

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        """Whether this key made that signature of these octets."""
        try:
            if isinstance(self.public, RSAPublicKey):
                self.public.verify(signature, signed, _PKCS1, _SHA256)
            elif self.public is not None:
                self.public.verify(signature, hashlib.sha256(signed).digest())
            return self.public is not None
        except InvalidSignature:
            return False


def parse_key_record(text: str) -> PublishedKey:
    """RFC 6376 section 3.6.1.  Raises BadTags."""
    tags = parse_tags(text)
    if tags.get("v", "DKIM1") != "DKIM1" or ("v" in tags and next(iter(tags)) != "v"):
        raise BadTags("not a key record of version DKIM1")
    if "p" not in tags:
        raise BadTags("p= is missing")
    kind = tags.get("k", "rsa").lower()
    flags = names(tags.get("t", ""))
    return PublishedKey(
        kind=kind,
        public=_public(kind, from_base64(tags["p"], "p")),
        strict="s" in flags,
        testing="y" in flags,
        hashes=tuple(names(tags["h"])) if "h" in tags else None,
        services=tuple(names(tags["s"])) if "s" in tags else None,
    )


def _public(kind: str, octets: bytes) -> RSAPublicKey | Ed25519PublicKey | None:
    if not octets:
        return None
    try:
        if kind == "ed25519":
            return Ed25519PublicKey.from_public_bytes(octets)
        key = load_der_public_key(octets)
    except (ValueError, UnsupportedAlgorithm):
        raise BadTags("p= is no public key") from None
    if kind != "rsa" or not isinstance(key, RSAPublicKey):
        raise BadTags(f"p= is no key of kind {kind[:20]}")
    if key.key_size < LEAST_BITS:
        raise BadTags(f"p= is a key of {key.key_size} bits, too short to count")
    return key
