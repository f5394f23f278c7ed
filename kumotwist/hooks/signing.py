"""
Messages get the signatures that the configuration wants and that a policy asked for, all of them or the message is refused.

A policy only notes what it wants (`msg.dkim_sign(signer)`); the signatures are made when its handlers are done, over what they
have made of the message.  RSA, and large messages, are signed in threads; a small one with Ed25519 is signed at once, since
handing it over would cost as much.
"""

from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.authentication.arc import Chain, seal
from kumotwist.authentication.keys import RSA, SigningKey
from kumotwist.authentication.results import AuthenticationResult
from kumotwist.authentication.selection import Selection, WantedSignature
from kumotwist.authentication.signing import Signer, Unsignable, signatures
from kumotwist.config.dkim import NO_DKIM, DkimSettings
from kumotwist.hooks.author import NoAuthor, author_domain
from kumotwist.hooks.conformance import Repair, faults_of, parse_flags, repaired
from kumotwist.hooks.signing_keys import AskPolicy, SigningKeys
from kumotwist.hooks.signing_threads import Threads
from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import NULL_QUEUE
from kumotwist.mail.reply import refuse
from kumotwist.metrics.family import QUICK, Family, Histogram, histogram

LARGE = 64 * 1024  # octets of a message that is worth a thread whatever the key: hashing it takes some 40 µs
UNSIGNED = "dkim_unsigned"  # the metadata that say which signatures a message went without, and why

_NO_AUTHOR = "552 5.6.0 DKIM signing requires a From header, but it is missing from this message"
_ODD_AUTHOR = "552 5.6.0 DKIM signing requires a From header with exactly one address"
_NO_KEY = "451 4.7.5 the message cannot be signed just now"

Pair = tuple[Signer, SigningKey]


class Signatures:
    """A message that can still be signed, and the signatures that a policy has asked for."""

    __slots__ = ("asked", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.asked: list[Asked] = []


class Asked:
    """A signature that a policy wants; made when its handlers are done, or at once if it is awaited."""

    __slots__ = ("_of", "_signing", "wanted")

    def __init__(self, signing: "Signing", of: Signatures, wanted: WantedSignature) -> None:
        self._signing = signing
        self._of = of
        self.wanted = wanted
        of.asked.append(self)

    def __await__(self) -> Generator[Any, Any, None]:
        if self in self._of.asked:
            self._of.asked.remove(self)
            d = self._signing.add(self._of.message, (self.wanted,))
            if d is not None:
                yield from d.__await__()


class Signing:
    """What signs messages, for as long as the server runs."""

    log = Logger()

    def __init__(self, clock: IReactorTime, threads: Threads, ask_policy: AskPolicy, settings: DkimSettings = NO_DKIM) -> None:
        self._seconds = clock.seconds
        self.latency = Histogram(QUICK)  # of signing one message, wherever it is done
        self.threads = threads
        self.keys = SigningKeys(clock, threads, ask_policy)
        self._selection = Selection(settings)

    def configure(self, settings: DkimSettings) -> None:
        """From the next message on; keys are read again."""
        self._selection = Selection(settings)
        self.keys.forget()

    @property
    def wants_all(self) -> bool:
        """Whether the configuration has signatures for messages, whatever a policy does."""
        return bool(self._selection)

    def sign(self, messages: Sequence[Signatures], *, configured: bool = True) -> "Deferred[None] | None":
        """
        Make what was asked for, and unless not `configured` what the configuration wants.

        None: it is done.  Else fires when all of them are; raises, or fails with, Refusal for all of them.
        """
        waiting = []
        try:
            for one in messages:
                d = self._sign_one(one, configured and bool(self._selection))
                if d is not None:
                    waiting.append(d)
        except BaseException:
            for d in waiting:
                d.addErrback(lambda _: None)  # the first refusal is the answer for all
            raise
        if len(waiting) < 2:
            return waiting[0] if waiting else None
        return DeferredList(waiting, consumeErrors=True).addCallback(_all_or_none)

    def _sign_one(self, given: Signatures, configured: bool) -> "Deferred[None] | None":
        message = given.message
        wanted = tuple(asked.wanted for asked in given.asked)
        given.asked.clear()
        if configured and message.meta.get("queue") != NULL_QUEUE:
            if self._selection.fixes:
                self._fix(message, self._selection.fixes)
            wanted += self._selection.wanted(_author(message.content or b""))
        return self.add(message, wanted) if wanted else None

    def _fix(self, message: Message, flags: str) -> None:
        """Repair a message before it is signed, since whoever did it later would break the signature."""
        content = message.content or b""
        found = faults_of(content) & parse_flags(flags)
        if found:
            domain = message.sender.domain or message.meta.get("hostname") or "localhost"
            date = format_datetime(datetime.fromtimestamp(self._seconds(), UTC))
            message.content = content = repaired(content, found, Repair(date=date, message_id=f"<{message.id}@{domain}>"))
            message.size = len(content)

    def add(self, message: Message, wanted: Sequence[WantedSignature]) -> "Deferred[None] | None":
        """Sign a message so; as `sign`."""
        pairs: list[Pair] = []
        for one in wanted:
            key = self.keys.known(one)
            if key is None:
                return Deferred.fromCoroutine(self._learn_and_add(message, wanted))
            self._add_pair(pairs, message, one, key)
        return self._add(message, pairs) if pairs else None

    def _add_pair(self, pairs: list[Pair], message: Message, wanted: WantedSignature, key: SigningKey | str) -> None:
        """Raises Refusal where the key cannot be used and the message may not go without it."""
        if not isinstance(key, str):
            pairs.append((wanted.signer, key))
            return
        name = f"{wanted.signer.selector}._domainkey.{wanted.signer.domain}"
        if not wanted.unsigned:
            raise refuse(_NO_KEY, f"DKIM key of {name}: {key}")
        message.meta[UNSIGNED] = f"{name}: {key}"
        self.log.debug("message {id} goes without the signature of {name}: {fault}", id=message.id, name=name, fault=key)

    async def _learn_and_add(self, message: Message, wanted: Sequence[WantedSignature]) -> None:
        """Reads the keys that are not known, then signs; what one of them is then is the truth, however short it is kept."""
        pairs: list[Pair] = []
        for one in wanted:
            key = self.keys.known(one)
            if key is None:
                await self.keys.learn(one)
                key = self.keys.known(one)
            self._add_pair(pairs, message, one, "it could not be read in time" if key is None else key)
        done = self._add(message, pairs) if pairs else None
        if done is not None:
            await done

    def _add(self, message: Message, pairs: Sequence[Pair]) -> "Deferred[None] | None":
        content = message.content or b""
        work = partial(self._signatures, content, tuple(pairs), int(self._seconds()))
        if len(content) < LARGE and all(key.algorithm != RSA for _, key in pairs):
            try:
                _put_on(work(), message)
            except Unsignable as fault:
                raise _unsignable(fault) from None
            return None
        return self.threads.run(work).addCallbacks(_put_on, _not_signed, callbackArgs=(message,))

    def _signatures(self, content: bytes, pairs: tuple[Pair, ...], now: int) -> bytes:
        """In whatever thread it is."""
        began = self._seconds()
        fields = signatures(content, pairs, now)
        self.latency.observe(self._seconds() - began)
        return fields

    def measures(self) -> Iterator[Family]:
        """For the metrics."""
        yield histogram("dkim_signer_sign", "seconds that the signatures of a message took", self.latency)

    async def seal(
        self,
        message: Message,
        chain: Chain,
        wanted: WantedSignature,
        server: str,
        results: Sequence[AuthenticationResult],
    ) -> None:
        """Add a set to a chain of ARC; nothing where the chain is broken.  Fails with Refusal."""
        if chain.result == "fail":
            return
        pairs: list[Pair] = []
        key = self.keys.known(wanted)
        if key is None:
            await self.keys.learn(wanted)
            key = self.keys.known(wanted)
        self._add_pair(pairs, message, wanted, "it could not be read in time" if key is None else key)
        for signer, signing_key in pairs:
            work = partial(seal, message.content or b"", chain, signer, signing_key, server, tuple(results), int(self._seconds()))
            await self.threads.run(work).addCallbacks(_put_on, _not_signed, callbackArgs=(message,))


def _author(content: bytes) -> str:
    try:
        return author_domain(content)
    except NoAuthor:
        raise refuse(_NO_AUTHOR) from None
    except ValueError as fault:
        raise refuse(_ODD_AUTHOR, f"From: {fault}") from None


def _put_on(fields: bytes, message: Message) -> None:
    message.content = content = fields + (message.content or b"")
    message.size = len(content)


def _not_signed(failure: Failure) -> None:
    failure.trap(Unsignable)
    raise _unsignable(failure.value)


def _unsignable(fault: object) -> Exception:
    return refuse(f"552 5.6.0 {fault}" if "From header" in str(fault) else f"554 5.6.0 message cannot be signed: {fault}")


def _all_or_none(outcomes: Any) -> None:
    for fine, outcome in outcomes:
        if not fine:
            outcome.raiseException()
