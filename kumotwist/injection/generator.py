"""
Requests whose messages are made later (`deferred_generation`): each waits as a message in `generator.kumomta.internal`.

One after the other they are generated as any other request, and end with a Delivery record, or with a Bounce where the
request as a whole cannot be fulfilled.  How far one has come lies on the shelf, written with each portion, so a crash in the
middle neither loses nor doubles a recipient's message.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.injection.idempotency import GeneratorProgress, generator_note
from kumotwist.injection.request import BadRequest, read_request
from kumotwist.injection.service import GENERATOR_QUEUE, Injection, InThread, Unavailable, sender_of
from kumotwist.injection.submission import Forming, remembered
from kumotwist.logs.record import RecordType
from kumotwist.mail.disposition import Attempt
from kumotwist.mail.message import Message
from kumotwist.mail.reply import Reply, reply
from kumotwist.reception.standing import Standing

PROTOCOL = "HttpInjectionGenerator"
TRY_AGAIN = 30.0  # seconds after something of ours kept a request from being generated


class Ledger(Protocol):
    """What tells what became of a message; `custody.Custody`."""

    def settle(
        self,
        message: Message,
        told: Sequence[tuple[RecordType, Reply, tuple[Any, ...]]],
        *,
        keep: bool,
        attempt: Attempt,
        shelve: Sequence[tuple[str, bytes | None]] = (),
    ) -> "Deferred[None]": ...


class Generator:
    """The requests that wait, oldest first."""

    log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        injection: Injection,
        ledger: Ledger,
        load: "Callable[[Message], Deferred[None]]",
        shelved: Callable[[str], list[tuple[str, bytes]]],
        standing: Callable[[], Standing],
        hostname: Callable[[], str],
        in_thread: InThread,
    ) -> None:
        """load: brings back envelope and content of a message that was shrunk.  shelved: reads the shelf; blocks."""
        self._clock = clock
        self._injection = injection
        self._ledger = ledger
        self._load = load
        self._shelved = shelved
        self._standing = standing
        self._hostname = hostname
        self._in_thread = in_thread
        self._waiting: deque[Message] = deque()
        self._at_work: Deferred[None] | None = None
        self._at_hand: Message | None = None
        self._again: IDelayedCall | None = None
        self._stopped = False

    def __len__(self) -> int:
        """Requests that wait, without the one at hand."""
        return len(self._waiting)

    @staticmethod
    def wants(message: Message) -> bool:
        """Whether a message is a request that waits to be generated."""
        return message.queue == GENERATOR_QUEUE

    def admit(self, message: Message) -> None:
        """A request that the spool has begins to wait."""
        self._waiting.append(message)
        self._work()

    def holding(self) -> Iterator[Message]:
        """The requests that wait, and the one at hand; for the books."""
        yield from list(self._waiting)
        if self._at_hand is not None and self._at_hand not in self._waiting:
            yield self._at_hand

    def stop(self) -> "Deferred[None]":
        """Begin no other; fires when the one at hand has broken off.  Those that wait are in the spool."""
        self._stopped = True
        if self._again is not None and self._again.active():
            self._again.cancel()
        done: Deferred[None] = Deferred()
        if self._at_work is None:
            done.callback(None)
        else:
            self._at_work.addBoth(lambda _: done.callback(None))
        return done

    def _work(self) -> None:
        if self._at_work is not None or self._stopped or not self._waiting or (self._again and self._again.active()):
            return
        self._at_hand = message = self._waiting.popleft()
        self._at_work = Deferred.fromCoroutine(self._generate(message))
        self._at_work.addErrback(self._broke, message)
        self._at_work.addCallback(self._went_on)

    def _went_on(self, _: None) -> None:
        self._at_work = self._at_hand = None
        if self._waiting and not self._stopped:
            self._clock.callLater(0, self._work)

    def _broke(self, failure: Failure, message: Message) -> None:
        """Something of ours, or the disk: the request waits, since it was accepted."""
        self._waiting.appendleft(message)
        if self._stopped:
            return
        if failure.check(Unavailable):
            self.log.warn("request {id} waits: {why}", id=message.id, why=failure.getErrorMessage())
        else:
            self.log.failure("request {id} was not generated; it is tried again", failure, id=message.id)
        self._again = self._clock.callLater(TRY_AGAIN, self._work)

    async def _generate(self, message: Message) -> None:
        if message.content is None or not message.envelope_loaded:
            await self._load(message)
        if closed := self._injection.closed_for():
            raise Unavailable(closed)
        note = await self._in_thread(generator_note, self._shelved, message.id)
        progress = GeneratorProgress(message.id, note)
        try:
            asked = read_request(message.content or b"")
            generation = await self._injection.generation(asked)
            forming = Forming(
                remembered(message.meta),
                sender_of(asked.envelope_sender),
                asked.trace_headers.settings(),
                self._standing(),
                self._hostname(),
            )
        except (BadRequest, msgspec.DecodeError, ValueError) as fault:
            why = str(fault).replace("\n", " ")[:400]
            await self._end(message, RecordType.BOUNCE, reply(f"500 {why}"), progress)
            return
        await self._injection.generate(generation, asked.recipients, forming, progress)
        for recipient, why in progress.failures:
            self.log.warn("request {id}: {recipient} gets nothing: {why}", id=message.id, recipient=recipient, why=why)
        told = f"200 OK success_count={progress.success} fail_count={progress.done - progress.success}"
        await self._end(message, RecordType.DELIVERY, reply(told), progress)

    async def _end(self, message: Message, kind: RecordType, answer: Reply, progress: GeneratorProgress) -> None:
        attempt = Attempt(site=GENERATOR_QUEUE, delivery_protocol=PROTOCOL)
        await self._ledger.settle(
            message, [(kind, answer, message.recipients)], keep=False, attempt=attempt, shelve=progress.finished()
        )
