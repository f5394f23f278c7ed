"""
The keys that messages are signed with: read from where the configuration says, kept for a while, read again.

A key that cannot be used is remembered too, for a short time, and said once for each time that it was tried.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kumotwist.authentication.keys import KeyUnusable, SigningKey, load_key
from kumotwist.authentication.selection import WantedSignature
from kumotwist.config.keys import KeyData, KeyEvent, KeySource
from kumotwist.hooks.signing_threads import Threads

AskPolicy = Callable[[KeyEvent], Any]  # the policy's answer to an event, or a Deferred of it

_FAILURE_KEPT = 10.0  # seconds: a key that has been put right is found soon, and a burst of mail asks once
_MOST_KEPT = 8192
_LARGEST = 1024 * 1024  # octets of a file that may be a key


class _Kept(Struct, frozen=True):
    """key: or why there is none.  until: epoch seconds."""

    key: SigningKey | str
    until: float


class SigningKeys:
    """
    Keys by where they come from.

    Reading a file and checking an RSA key take milliseconds, and are done in the threads that sign.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, threads: Threads, ask_policy: AskPolicy) -> None:
        self._seconds = clock.seconds
        self._threads = threads
        self._ask_policy = ask_policy
        self._kept: dict[KeySource, _Kept] = {}
        self._coming: dict[KeySource, list[Deferred[None]]] = {}

    def known(self, wanted: WantedSignature) -> SigningKey | str | None:
        """The key, or why it cannot be used; None: it has to be read first."""
        kept = self._kept.get(wanted.key)
        if kept is None or self._seconds() >= kept.until:
            return None
        key = kept.key
        if not isinstance(key, str) and wanted.algorithm is not None and key.algorithm != wanted.algorithm:
            return f"it makes signatures of {key.algorithm}, and {wanted.algorithm} is wanted"
        return key

    def forget(self) -> None:
        """Read all of them again."""
        self._kept.clear()

    def learn(self, wanted: WantedSignature) -> "Deferred[None]":
        """Fires when `known` knows; never fails.  However many ask for a key meanwhile, it is read once."""
        waiter: Deferred[None] = Deferred()
        waiting = self._coming.get(wanted.key)
        if waiting is not None:
            waiting.append(waiter)
            return waiter
        self._coming[wanted.key] = [waiter]
        Deferred.fromCoroutine(self._learn(wanted)).addBoth(self._learnt, wanted.key)
        return waiter

    async def _learn(self, wanted: WantedSignature) -> None:
        try:
            source = wanted.key
            if isinstance(source, KeyEvent):
                source = KeyData(await self._of_policy(source))
            key: SigningKey | str = await self._threads.run(partial(_read, source))
        except KeyUnusable as fault:
            key = str(fault)
        except CancelledError:
            key = "reading it was given up"
        except Exception as fault:  # noqa: BLE001  our own bug, or a library's: it costs what needs this key, and is told
            self.log.failure("the key of {domain} could not be read", domain=wanted.signer.domain)
            key = f"reading it failed: {type(fault).__name__}"
        self._keep(wanted, key)

    async def _of_policy(self, event: KeyEvent) -> bytes:
        """Raises KeyUnusable.  What a policy's error says may hold what it has just read, so only its kind is told."""
        try:
            answer = self._ask_policy(event)
            found = await answer if isinstance(answer, Deferred) else answer
        except CancelledError:
            raise
        except Exception as fault:  # noqa: BLE001  whatever a policy raises
            raise KeyUnusable(f"{event.event_name} failed: {type(fault).__name__}") from None
        if isinstance(found, str):
            found = found.encode("utf-8", "surrogateescape")
        if not isinstance(found, bytes):
            raise KeyUnusable(f"{event.event_name} has no answer")
        return found

    def _keep(self, wanted: WantedSignature, key: SigningKey | str) -> None:
        unusable = isinstance(key, str)
        if unusable:
            self.log.warn(
                "the DKIM key of {selector}._domainkey.{domain} ({where}) cannot be used: {fault}",
                selector=wanted.signer.selector,
                domain=wanted.signer.domain,
                where=_shown(wanted.key),
                fault=key,
            )
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        ttl = min(wanted.ttl, _FAILURE_KEPT) if unusable else wanted.ttl
        self._kept[wanted.key] = _Kept(key, self._seconds() + max(ttl, 1.0))

    def _learnt(self, _: object, source: KeySource) -> None:
        for waiter in self._coming.pop(source):
            waiter.callback(None)


def _read(source: str | KeyData) -> SigningKey:
    """In a thread.  Raises KeyUnusable."""
    if isinstance(source, KeyData):
        return load_key(source.data)
    try:
        with open(source, "rb") as stream:
            return load_key(stream.read(_LARGEST))
    except OSError as fault:
        raise KeyUnusable(f"its file cannot be read: {os.strerror(fault.errno or 0)}") from None


def _shown(source: KeySource) -> str:
    """Where a key is, never what it is."""
    if isinstance(source, KeyEvent):
        return f"event {source.event_name}"
    return "in the configuration" if isinstance(source, KeyData) else source
