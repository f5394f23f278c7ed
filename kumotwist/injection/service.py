"""
`POST /api/inject/v1`: a request becomes messages that are ours, and an answer that says so.

Contents are made in a thread, in portions; each portion's messages see the policy and go into custody in one change, before
the next but one is begun.  So memory holds two portions whatever the number of recipients, and SMTP has its turn in between.
A request that is small and plain is made at once: the way to a thread and back would cost more than its messages.

`deferred_spool` changes nothing: the model would answer before messages are on disk, and a 200 of ours says that they are.

    Crash before a portion's change: those recipients got nothing, and no 200 was said.
    Crash after it: their messages are ours.  A client that asks again doubles them, unless it gives an Idempotency-Key.
"""

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred, DeferredSemaphore, maybeDeferred, succeed
from twisted.internet.defer import TimeoutError as NotInTime
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.fields import Rate
from kumotwist.egress.throttles import Throttles
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.policy import HookFailed
from kumotwist.hooks.signing import Signatures
from kumotwist.hooks.signing_threads import TURN
from kumotwist.injection.generation import MOST_IN_PORTION, Generation, Made, is_quick
from kumotwist.injection.idempotency import Batch, Keys, Progress, Shelving, digest, name_of
from kumotwist.injection.request import BadRequest, InjectV1Response, check_recipients, read_request
from kumotwist.injection.submission import Forming, Submission
from kumotwist.injection.templates import Templates
from kumotwist.mail.address import NULL_SENDER, BadAddress, Mailbox, parse_mailbox
from kumotwist.mail.disposition import Arrival, Peer
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds
from kumotwist.mail.reply import Refusal
from kumotwist.reception.standing import Standing
from kumotwist.suppression.entry import NO_TENANT
from kumotwist.suppression.list import SuppressionList

GENERATOR_QUEUE = "generator.kumomta.internal"
EVENT = "http_message_generated"
PATIENCE = 300.0  # seconds that a policy may take for one message
MOST_AT_A_TIME = 2  # portions that are being made; there are two cores in most machines and one interpreter
LONGEST_TURN = 0.004  # seconds of the reactor's time that a portion takes at once
_MOST_CHECKED = 2000  # recipients that are looked at in one go
_LARGE = 256 * 1024  # octets of a body that is read in a thread

InThread = Callable[..., "Deferred[Any]"]


class Unavailable(Exception):
    """Nothing can be taken now; the argument says why, for the client, who is to come again."""


class Conflict(Exception):
    """An Idempotency-Key that cannot be used for this; the argument says why."""


class Desk(Protocol):
    """Where messages are handed over; `custody.Custody`."""

    def take(
        self, messages: Sequence[Message], arrival: Arrival, *, shelve: Sequence[tuple[str, bytes | None]] = ()
    ) -> "Deferred[None]": ...

    def closed_for(self) -> str | None: ...


class Injection:
    """Takes requests.  hostname, standing: looked up anew for each request, so another configuration holds at once."""

    log = Logger()

    def __init__(
        self,
        *,
        clock: IReactorTime,
        ids: MessageIds,
        randbits: Callable[[int], int],
        desk: Desk,
        keys: Keys,
        standing: Callable[[], Standing],
        hostname: Callable[[], str],
        in_thread: InThread,
        throttles: Throttles,
        suppressed: SuppressionList | None = None,
    ) -> None:
        self._clock = clock
        self._ids = ids
        self._randbits = randbits
        self._desk = desk
        self._keys = keys
        self._standing = standing
        self._hostname = hostname
        self._in_thread = in_thread
        self._throttles = throttles
        self._suppressed = suppressed or SuppressionList()
        self._templates = Templates(clock.seconds)
        self._turns = DeferredSemaphore(MOST_AT_A_TIME)
        self._stopping = False
        self._running = 0
        self.received = 0  # messages that are ours
        self._ended: Deferred[None] | None = None
        self._keys_known: Deferred[None] | None = None

    def start(self) -> None:
        """Learn the keys that were used before; whoever brings one waits for that."""
        # Threads that make messages hold the interpreter's lock; the loop shall not wait for it as long as usual.
        sys.setswitchinterval(min(TURN, sys.getswitchinterval()))
        self._keys_known = self._in_thread(self._keys.read)
        self._keys_known.addCallbacks(self._keys.add, self._keys_unknown)

    def _keys_unknown(self, failure: Failure) -> None:
        self.log.failure("Idempotency-Keys of before cannot be read; requests that bring one are refused", failure)
        failure.raiseException()

    def stop(self) -> "Deferred[None]":
        """Take no more requests, break off long ones between two portions; fires when none is at it."""
        self._stopping = True
        self._ended = Deferred()
        if not self._running:
            self._ended.callback(None)
        return self._ended

    def closed_for(self) -> str | None:
        """Why nothing is taken now, for people and load balancers; None: all is well."""
        if self._stopping:
            return "shutting down"
        closed = self._desk.closed_for()
        return None if closed is None else closed.removesuffix(". Try later")

    # One request

    async def inject(self, body: bytes, submission: Submission, key: str | None = None) -> InjectV1Response:
        """
        What the client is answered once all that it says is on disk.

        key: its Idempotency-Key.  Raises BadRequest, msgspec.DecodeError, ValueError, Unavailable and Conflict.
        """
        self._running += 1
        try:
            if closed := self.closed_for():
                raise Unavailable(closed)
            asked = read_request(body) if len(body) <= _LARGE else await self._in_thread(read_request, body)
            await self._admitted(len(asked.recipients))
            if key is None:
                return await self._answer(asked, body, submission, Progress())
            return await self._once(asked, body, submission, key)
        finally:
            self._running -= 1
            if self._ended is not None and not self._running and not self._ended.called:
                self._ended.callback(None)

    async def _admitted(self, recipients: int) -> None:
        """Wait until the policy's rate allows so many recipients."""
        services = self._standing().policy.services
        rate: Rate | None = services.injection_rate[0] if services is not None and services.injection_rate else None
        if rate is None or not recipients:
            return
        limit = self._throttles.get("http-inject-recipients", rate)
        while wait := limit.spend(self._clock.seconds(), recipients):
            await deferLater(self._clock, wait)
            if self._stopping:
                raise Unavailable("shutting down")

    async def _once(self, asked: Any, body: bytes, submission: Submission, key: str) -> InjectV1Response:
        """With a key: the answer that it had, or the rest of what it began, or all of it."""
        if self._keys_known is not None and not self._keys_known.called:
            await _waited(self._keys_known)
        if self._keys_known is not None and isinstance(self._keys_known.result, Failure):
            raise Unavailable("Idempotency-Keys of before cannot be read")
        request = digest(body) if len(body) <= _LARGE else await self._in_thread(digest, body)
        name = name_of(submission.http_auth, key)
        while (known := self._keys.get(name)) is not None and known.waiting is not None:
            turn: Deferred[None] = Deferred()
            known.waiting.append(turn)
            await turn
        if known is not None and known.request != request:
            raise Conflict("this Idempotency-Key was used for another request")
        if known is not None and known.answered:
            found = await self._in_thread(self._keys.answer, name)
            if found is not None:
                return found  # type: ignore[no-any-return]  # of a thread
        old = self._keys.forget(name) if known is None and name in self._keys else []
        known = known or self._keys.begin(name, request)
        if known is None:
            raise Unavailable("too many Idempotency-Keys are in use")
        known.waiting = []
        try:
            batches = await self._in_thread(self._keys.batches, name) if known.batches else []
            answer = await self._answer(asked, body, submission, Progress(name, known, batches), old)
            known.answered = True
            return answer
        finally:
            waiting, known.waiting = known.waiting, None
            if not known.answered and not known.batches:
                self._keys.drop(name)  # nothing came of it, and the shelf has nothing
            for turn in waiting:
                turn.callback(None)

    async def _answer(
        self, asked: Any, body: bytes, submission: Submission, progress: Progress, old: Shelving | None = None
    ) -> InjectV1Response:
        sender = sender_of(asked.envelope_sender)
        trace = asked.trace_headers.settings()
        quick = is_quick(body, asked)
        generation = await self.generation(asked, quick)
        forming = Forming(submission, sender, trace, self._standing(), self._hostname())
        shelve = [*(old or []), *self._keys.outlived()]
        if asked.deferred_generation:
            await self._keep_request(body, submission, sender, progress, shelve)
            return progress.answer()
        await self.generate(generation, asked.recipients, forming, progress, shelve=shelve)
        return progress.answer()

    async def generation(self, asked: Any, quick: bool = False) -> Generation:
        """A request made ready, all of it looked at.  Raises BadRequest, msgspec.DecodeError and ValueError."""
        if quick:
            return self._prepared(asked, True, True)
        if len(asked.recipients) <= _MOST_CHECKED:
            both: Generation = await self._turn(self._prepared, asked)
            return both
        generation: Generation = await self._turn(self._prepared, asked, False)
        for at in range(0, len(asked.recipients), _MOST_CHECKED):
            await self._turn(check_recipients, asked.recipients[at : at + _MOST_CHECKED], at)
        return generation

    def _prepared(self, asked: Any, check: bool = True, quick: bool = False) -> Generation:
        """In a thread, unless it is quick: templates are compiled here."""
        generation = Generation(asked, self._templates, self._randbits, self._clock.seconds, quick)
        if check:
            check_recipients(asked.recipients, 0)
        return generation

    def _turn(self, call: Callable[..., Any], *arguments: Any) -> "Deferred[Any]":
        """Have it done in a thread, not too many at a time: long requests take turns with short ones."""
        return self._turns.run(self._in_thread, call, *arguments)

    async def _keep_request(
        self, body: bytes, submission: Submission, sender: Mailbox, progress: Progress, shelve: Shelving
    ) -> None:
        """The request becomes a message of ours; what it asks for is made later (`generator`)."""
        meta = {**submission.kept(), "queue": GENERATOR_QUEUE}
        message = Message(self._ids.next(), sender, (NULL_SENDER,), body, meta)
        arrival = Arrival(peer=Peer("", submission.peer), session_id="")
        shelve = [*shelve, *progress.shelving(Batch(0, 0, []), True)]
        await self._desk.take([message], arrival, shelve=shelve)

    # Its messages

    async def generate(
        self,
        generation: Generation,
        recipients: Sequence[Raw],
        forming: Forming,
        progress: Progress,
        *,
        shelve: Shelving | None = None,
    ) -> None:
        """Make the messages and take them, from where `progress` says on.  Raises Unavailable where nothing could be taken."""
        total = len(recipients)
        shelve = list(shelve or [])
        ahead = self._portion(generation, recipients, progress.done)
        try:
            while progress.done < total or shelve is not None:
                if self._stopping and progress.done:
                    raise Unavailable("shutting down")
                at = progress.done
                portion: list[Made] = await ahead
                ahead = self._portion(generation, recipients, at + len(portion))
                messages, failures = await self._formed(portion, forming)
                batch = Batch(at + len(portion), len(messages), failures)
                shelving = [*(shelve or []), *progress.shelving(batch, batch.done >= total)]
                shelve = None
                progress.add(await self._taken(messages, batch, forming, shelving, progress))
        finally:
            ahead.addErrback(lambda _: None)  # it was awaited, or nobody wants it any more

    def _portion(self, generation: Generation, recipients: Sequence[Raw], at: int) -> "Deferred[list[Made]]":
        """The contents for the recipients from there on, some of them; none where there are no more."""
        following = recipients[at : at + MOST_IN_PORTION]
        if not following:
            return succeed([])
        return maybeDeferred(generation.portion, following) if generation.quick else self._turn(generation.portion, following)

    async def _taken(
        self, messages: Sequence[Message], batch: Batch, forming: Forming, shelving: Shelving, progress: Progress
    ) -> Batch:
        """A batch once it is on disk; where the disk does not take it: all of it failed.  Raises Unavailable for the first."""
        if not messages and not shelving:
            return batch
        try:
            await self._desk.take(messages, forming.arrival, shelve=shelving)
        except Refusal as refusal:
            if not progress.success:
                raise Unavailable(refusal.reply.text.removesuffix(". Try later")) from None
            why = refusal.reply.single_line
            return Batch(batch.done, 0, [*batch.failures, *((one.recipients[0].email, why) for one in messages)])
        self.received += len(messages)
        return batch

    async def _formed(self, portion: Sequence[Made], forming: Forming) -> tuple[list[Message], list[tuple[str, str]]]:
        """The messages as policy and signatures leave them, and who gets none; the signatures of a portion are made together."""
        faults = {at: made.fault for at, made in enumerate(portion) if made.mailbox is None}
        seen: dict[int, tuple[Message, bytes | None, Deferred[None] | None]] = {}
        until = self._clock.seconds() + LONGEST_TURN
        for at, made in enumerate(portion):
            if at not in faults:
                with _Failing(faults, at):
                    seen[at] = await self._seen(made, forming)
            if self._clock.seconds() > until:
                await deferLater(self._clock, 0)
                until = self._clock.seconds() + LONGEST_TURN
        messages: list[Message] = []
        for at, (message, before, signed) in seen.items():
            with _Failing(faults, at):
                if signed is not None:
                    await signed
                forming.finish(message, before)
                if self._suppressed.stands:
                    for recipient in message.recipients:
                        self._suppressed.check(recipient, message.meta.get("tenant") or NO_TENANT, self._clock.seconds())
                messages.append(message)
        return messages, [(portion[at].shown, faults[at]) for at in sorted(faults)]

    async def _seen(self, made: Made, forming: Forming) -> tuple[Message, bytes | None, "Deferred[None] | None"]:
        """A message that the policy has seen, the content that it got to see, and the signatures that are being made."""
        message = forming.message(made, self._ids.next(), self._clock.seconds())
        before = message.content
        policy, asked, signing = forming.standing.policy, Signatures(message), forming.standing.signing
        if EVENT in policy:
            answer: Any = policy.each(EVENT, PolicyMessage(message, asked), forming.auth)
            if isinstance(answer, Deferred):
                await answer.addTimeout(PATIENCE, self._clock)
        return message, before, None if signing is None else signing.sign([asked])


class _Failing:
    """Around what is done for one recipient: what goes wrong is the reason why that one gets nothing, and the others do."""

    def __init__(self, faults: dict[int, str], at: int) -> None:
        self._faults = faults
        self._at = at

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: object) -> bool:
        if isinstance(fault, Refusal):
            self._faults[self._at] = fault.reply.single_line
        elif isinstance(fault, HookFailed | NotInTime):
            self._faults[self._at] = "451 4.3.0 internal error"
        elif isinstance(fault, ValueError | msgspec.MsgspecError):  # metadata of the policy's that name no queue, or cannot be kept
            self._faults[self._at] = str(fault)
        else:
            return False
        return True


def _waited(shared: "Deferred[Any]") -> Awaitable[None]:
    """Until a Deferred that others wait for too has fired; its result stays its own."""
    mine: Deferred[None] = Deferred()

    def fired(result: Any) -> Any:
        mine.callback(None)
        return result

    shared.addBoth(fired)
    return mine


def sender_of(given: str) -> Mailbox:
    """The envelope sender; empty, or `<>`: the null sender.  Raises BadRequest."""
    text = given.strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    if not text:
        return NULL_SENDER
    try:
        return parse_mailbox(text)
    except BadAddress as fault:
        raise BadRequest(f"envelope_sender: {fault}") from None
