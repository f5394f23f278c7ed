"""
The scheduler: every message that is ours and waits, waits here, in exactly one of two places.

    in the wheel            until its due time
    in its queue's `held`   due, but the queue is blocked: no room in the ready queue, a rate, an unknown destination, no source

What was held up goes on when its cause ends, without polling: room is announced by the ready queue, the end of a rate is in
the wheel, a destination is a Deferred, a source that returns is announced.  What comes back from delivery comes through
`settled`, `disposed` and `returned`, and waits again once the spool has what changed.
"""

from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.queues import QueueSettings
from kumotwist.custody import Custody
from kumotwist.egress.limits import RateLimit
from kumotwist.egress.throttles import Throttles
from kumotwist.hooks.directions import Directions
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.policy import Policy
from kumotwist.logs.record import RecordType
from kumotwist.mail.address import Mailbox
from kumotwist.mail.disposition import NOT_TRIED, Attempt, Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import parse_queue_name
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Refusal, Reply
from kumotwist.ready.queue import ReadyQueue
from kumotwist.ready.service import ReadyQueues
from kumotwist.scheduled.policy import ENUMERATED, REQUEUE, REWRITE, ask, before_ready, on_requeue, rewritten
from kumotwist.scheduled.promotion import Destinations, Promotion
from kumotwist.scheduled.queue import ScheduledQueue
from kumotwist.scheduled.retry import Expired, after_failure, while_waiting
from kumotwist.scheduled.wheel import Wheel

MOST_PER_TURN = 500  # messages of one queue moved before others have their turn
AFTER_A_FAULT = 60.0  # seconds that a queue rests when a fault of ours kept a message from being placed
SWEEP = 60.0  # seconds between looks for held messages that grew too old, and for empty queues

_RECORD_OF = {
    Verdict.DELIVERED: RecordType.DELIVERY,
    Verdict.BOUNCED: RecordType.BOUNCE,
    Verdict.POSTPONED: RecordType.TRANSIENT_FAILURE,
}

Told = list[tuple[RecordType, Reply, tuple[Mailbox, ...]]]

_ENDS_WITH_TIME = (Reason.MESSAGE_RATE_THROTTLE, Reason.FAILED_TO_INSERT_INTO_READY_QUEUE)


class Scheduler:
    """All scheduled queues; the Home of all ready queues."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        draw: Callable[[], float],
        custody: Custody,
        load_envelope: Callable[[Message], "Deferred[None]"],
        ready: ReadyQueues,
        destinations: Destinations,
        directions: Directions,
        throttles: Throttles,
    ) -> None:
        """
        draw: a number from 0 to 1, uniformly.  load_envelope: from the spool, for a message that was shrunk.
        """
        self._clock = clock
        self._draw = draw
        self._custody = custody
        self._load_envelope = load_envelope
        self._throttles = throttles
        self._promotion = Promotion(clock, ready, destinations, directions, self._limits, self)
        self._queues: dict[str, ScheduledQueue] = {}
        self._wheel: Wheel[Message | ScheduledQueue] = Wheel()
        self._timer: IDelayedCall | None = None
        self._sweeping: IDelayedCall | None = None
        self._stopped = False

    def start(self) -> None:
        self._sweeping = self._clock.callLater(SWEEP, self._sweep)

    def stop(self) -> None:
        """Promote nothing more; everything that waits is in the spool."""
        self._stopped = True
        for call in (self._timer, self._sweeping):
            if call is not None and call.active():
                call.cancel()

    # Admission

    def admit(self, message: Message, reason: Reason) -> None:
        """A message that the spool has begins to wait: until its due time, or not at all."""
        queue = self._queue(message.queue)
        message.queue = queue.name
        if message.due > self._clock.seconds():
            self._park(queue, message)
        elif queue.held or queue.blocked is not None or not self._place(queue, message):
            queue.held.append(message)
            if queue.blocked is None:
                self._promote(queue)

    def admit_stored(self, messages: Iterable[Message]) -> None:
        """Messages that a start found in the spool."""
        now = self._clock.seconds()
        for message in messages:
            if ENUMERATED in self._policy:
                self._with_envelope(message, self._tell_enumerated)
                continue
            expired = while_waiting(self._queue(message.queue).settings, message, now)
            if expired is not None:
                self._with_envelope(message, self._expire, expired)
            else:
                self.admit(message, Reason.ENUMERATED)

    def _tell_enumerated(self, message: Message) -> None:
        """Ask the policy about a stored message; whatever it says, the message is ours and is admitted."""
        ask(lambda: self._policy.each(ENUMERATED, PolicyMessage(message)), lambda *_: self._admit_told(message))

    def _admit_told(self, message: Message) -> None:
        try:
            message.name_queue()
        except ValueError as fault:
            self.log.error("spool_message_enumerated left {id} without a queue: {fault}", id=message.id, fault=fault)
        self.admit(message, Reason.ENUMERATED)

    def _queue(self, name: str) -> ScheduledQueue:
        queue = self._queues.get(name)
        if queue is None:
            settings = self._promotion.directions.configured_queue(parse_queue_name(name))
            queue = self._queues[name] = ScheduledQueue(name, settings, self._clock.seconds())
        return queue

    def _limits(self, queue: ScheduledQueue, settings: QueueSettings) -> tuple[tuple[RateLimit, str], ...]:
        """The rates that a queue keeps to: its own, and those that it shares with others of its tenant."""
        named = [(name, rate, what) for name, rate, what in self._promotion.directions.overall_rates(queue.parts)]
        if settings.max_message_rate is not None:
            named.append((f"schedq-{queue.name}-message-rate", settings.max_message_rate, "max_message_rate of the queue"))
        return tuple((self._throttles.get(name, rate), what) for name, rate, what in named)

    def direct(self, directions: Directions) -> None:
        """Another configuration holds from now on: each queue asks anew before its next message."""
        self._promotion.directions = directions

    # Waiting for a time

    def _park(self, queue: ScheduledQueue, message: Message) -> None:
        queue.parked += 1
        self._custody.rest(message)
        if self._wheel.insert(message.due, message):
            self._set_timer()

    def _set_timer(self) -> None:
        due = self._wheel.next()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if due is not None and not self._stopped:
            self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._tick)

    def _tick(self) -> None:
        touched: dict[ScheduledQueue, None] = {}
        for thing in list(self._wheel.due(self._clock.seconds())):
            if isinstance(thing, Message):
                queue = self._queue(thing.queue)
                queue.parked -= 1
                queue.held.append(thing)
            else:
                queue = thing
                if queue.blocked in _ENDS_WITH_TIME:
                    queue.blocked = None
            touched[queue] = None
        self._set_timer()
        for queue in touched:
            self._promote(queue)

    # Promotion

    def _promote(self, queue: ScheduledQueue) -> None:
        """Move what is held to ready queues until something blocks the queue."""
        moved = 0
        while queue.held and queue.blocked is None and not self._stopped:
            if not self._place(queue, queue.held[0]):
                return
            queue.held.popleft()
            moved += 1
            if moved == MOST_PER_TURN and queue.held:
                self._clock.callLater(0, self._promote, queue)
                return
        if not queue.held:
            queue.told = None
            queue.idle_since = self._clock.seconds()

    def _place(self, queue: ScheduledQueue, message: Message) -> bool:
        """Promotion.place, whose own faults cost its queue a minute and nothing else."""
        try:
            return self._promotion.place(queue, message)
        except Exception:  # noqa: BLE001  a bug of ours: other queues, and the next try, must not suffer
            self.log.failure("{queue}: {id} could not be placed; trying again", queue=queue.name, id=message.id)
            queue.blocked = Reason.FAILED_TO_INSERT_INTO_READY_QUEUE
            self.resume_at(queue, self._clock.seconds() + AFTER_A_FAULT)
            return False

    def has_room(self, ready: ReadyQueue) -> None:
        """Serve the queues that wait for this one in turn, a message each, until it is full again."""
        wanting = self._promotion.wanting(ready)
        while wanting and not self._stopped:
            wanting = [queue for queue in wanting if self._promote_one(queue)]

    def _promote_one(self, queue: ScheduledQueue) -> bool:
        """One step of `_promote`; True if the queue could go on at once."""
        if queue.blocked is not None or not queue.held or not self._place(queue, queue.held[0]):
            return False
        queue.held.popleft()
        if not queue.held:
            queue.told = None
        return bool(queue.held)

    # What promotion asks for (scheduled.promotion.Waiting)

    def resume(self, queue: ScheduledQueue) -> None:
        # Not from here: what unblocked the queue may have come while a message of it is just being placed.
        self._clock.callLater(0, self._promote, queue)

    def resume_at(self, queue: ScheduledQueue, when: float) -> None:
        if self._wheel.insert(when, queue):
            self._set_timer()

    def ask_policy(self, queue: ScheduledQueue, message: Message) -> None:
        self._with_envelope(message, self._ask_policy, queue)

    def _ask_policy(self, message: Message, queue: ScheduledQueue) -> None:
        before_ready(self._policy, message, lambda _, refusal: self._heard_policy(queue, message, refusal))

    def _heard_policy(self, queue: ScheduledQueue, message: Message, refusal: Refusal | None) -> None:
        now = self._clock.seconds()
        if refusal is not None:
            self._fail(message, refusal.reply)
        elif message.due > now:
            self._return(message, Reason.THROTTLED_BY_POLICY, message.due - now)
        else:
            self._promotion.passed(message)
            if queue.blocked is not None or not self._place(queue, message):
                queue.held.appendleft(message)

    @property
    def _policy(self) -> Policy:
        return self._promotion.directions.policy

    def fail(self, message: Message, answer: Reply) -> None:
        self._with_envelope(message, self._fail, answer)

    def set_back(self, message: Message, seconds: float, why: Reason) -> None:
        self._with_envelope(message, self._return, why, seconds)

    def tell_delay(self, message: Message, why: Reason, until: float | None, what_for: str) -> None:
        self._with_envelope(message, self._tell_delay, why, until, what_for)

    def _tell_delay(self, message: Message, why: Reason, until: float | None, what_for: str) -> None:
        began = Reason.DUE_TIME_WAS_REACHED if message.attempts else Reason.RECEIVED
        self._custody.note_delay(message, (began, why), until, what_for)

    def source_missing(self, name: str) -> None:
        """The source's address is not on this machine."""
        self._promotion.source_missing(name)

    # Coming back from delivery (ready.queue.Home)

    def settled(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        if REWRITE in self._policy:
            rewritten(self._policy, message, attempt, outcomes, lambda heard: self._settle(message, attempt, heard))
        else:
            self._settle(message, attempt, outcomes)

    def _settle(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        told: Told = []
        remaining: tuple[Mailbox, ...] = ()
        last: Reply | None = None
        for outcome in outcomes:
            told.append((_RECORD_OF[outcome.verdict], outcome.reply, outcome.recipients))
            if outcome.verdict is Verdict.POSTPONED:
                remaining += outcome.recipients
                last = outcome.reply
        if last is None:
            pool = message.pool or self._queue(message.queue).pool
            self._custody.settle(message, told, keep=False, attempt=attempt, egress_pool=pool)
        else:
            message.recipients = remaining
            self._requeue(message, told, last, attempt)

    def went_on(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        """An attempt ended for some, and the session goes on with the others: they are the message's recipients now."""
        told: Told = [(_RECORD_OF[outcome.verdict], outcome.reply, outcome.recipients) for outcome in outcomes]
        pool = message.pool or self._queue(message.queue).pool
        self._custody.settle(message, told, keep=True, attempt=attempt, egress_pool=pool)

    def dropped(self, message: Message, answer: Reply, delay: float) -> None:
        """A session got stuck with the message and was ended: it waits, uncounted."""
        self._custody.note(message, RecordType.DELAYED, answer)
        message.due = self._clock.seconds() + delay
        self._park(self._queue(message.queue), message)

    def disposed(self, message: Message, attempt: Attempt, verdict: Verdict, answer: Reply) -> None:
        self._with_envelope(message, self._dispose, attempt, verdict, answer)

    def _dispose(self, message: Message, attempt: Attempt, verdict: Verdict, answer: Reply) -> None:
        self.settled(message, attempt, [Outcome(verdict, message.recipients, answer)])

    def returned(self, message: Message, reason: Reason, delay: float) -> None:
        self._with_envelope(message, self._return, reason, delay)

    def _return(self, message: Message, reason: Reason, delay: float) -> None:
        queue = self._queue(message.queue)
        until = self._clock.seconds() + delay
        expired = while_waiting(queue.settings, message, until)
        if expired is not None:
            self._expire(message, expired)
        elif delay > 0:
            self._custody.note_delay(message, (reason,), until)
            message.due = until
            self._park(queue, message)
        else:
            queue.held.append(message)
            self._clock.callLater(0, self._promote, queue)

    def _fail(self, message: Message, answer: Reply) -> None:
        """A counted failure that no peer caused."""
        self._requeue(message, [(RecordType.TRANSIENT_FAILURE, answer, message.recipients)], answer, NOT_TRIED)

    def _requeue(self, message: Message, told: Told, last: Reply, attempt: Attempt) -> None:
        """A counted failure: the policy may have the message elsewhere, or nowhere."""
        self._promotion.forget(message)
        if REQUEUE not in self._policy:
            self._retry(message, told, last, attempt)
            return
        before = message.queue
        on_requeue(
            self._policy,
            message,
            last,
            (Reason.LOGGED_TRANSIENT_FAILURE,),
            counted=True,
            delay=None,
            then=lambda _, refusal: self._requeued(message, before, told, last, attempt, refusal),
        )

    def _requeued(self, message: Message, before: str, told: Told, last: Reply, attempt: Attempt, refusal: Refusal | None) -> None:
        if refusal is not None:
            told.append((RecordType.BOUNCE, refusal.reply, message.recipients))
            self._custody.settle(message, told, keep=False, attempt=attempt, egress_pool=message.pool or self._queue(before).pool)
            return
        try:
            message.name_queue()
        except ValueError as fault:
            self.log.error("requeue_message left {id} without a queue: {fault}", id=message.id, fault=fault)
            message.queue = before
        if message.queue == before:
            self._retry(message, told, last, attempt)
            return
        moved_to, message.queue = message.queue, before
        attempts = message.attempts
        message.attempts, message.due, message.last_reply = attempts + 1, 0.0, last.single_line
        stored = self._custody.settle(
            message, told, keep=True, attempt=attempt, egress_pool=message.pool or self._queue(before).pool, attempts=attempts
        )
        message.queue = moved_to
        stored.addCallback(lambda _: self.admit(message, Reason.LOGGED_TRANSIENT_FAILURE))
        stored.addErrback(self._report, "moving a message to another queue")

    def _retry(
        self,
        message: Message,
        told: Told,
        last: Reply,
        attempt: Attempt,
    ) -> None:
        queue = self._queue(message.queue)
        before = message.attempts
        decision = after_failure(queue.settings, message, self._clock.seconds(), self._draw())
        if isinstance(decision, Expired):
            told.append((RecordType.EXPIRATION, decision.reply, message.recipients))
            self._custody.settle(message, told, keep=False, attempt=attempt, egress_pool=message.pool or queue.pool)
            return
        message.attempts = before + 1
        message.due = decision.due
        message.last_reply = last.single_line
        stored = self._custody.settle(
            message, told, keep=True, attempt=attempt, egress_pool=message.pool or queue.pool, attempts=before
        )
        # Only now, so that reading the message back cannot find what it was before this attempt.
        stored.addCallback(lambda _: self.admit(message, Reason.LOGGED_TRANSIENT_FAILURE))
        stored.addErrback(self._report, "putting a message back into its queue")

    def _expire(self, message: Message, expired: Expired) -> None:
        self._promotion.forget(message)
        pool = message.pool or self._queue(message.queue).pool
        told = [(RecordType.EXPIRATION, expired.reply, message.recipients)]
        self._custody.settle(message, told, keep=False, egress_pool=pool, site="localhost")

    def _with_envelope(self, message: Message, then: Callable[..., None], *arguments: object) -> None:
        """Call then(message, ...) once its sender, recipients and metadata are in memory."""
        if message.envelope_loaded:
            then(message, *arguments)
            return
        loaded = self._load_envelope(message)
        loaded.addCallbacks(lambda _: then(message, *arguments), self._unreadable, errbackArgs=(message,))
        loaded.addErrback(self._report, f"going on with message {message.id}")

    def _unreadable(self, failure: Failure, message: Message) -> None:
        """The spool did not give the message's envelope: try again later, unless it says that it has none."""
        if failure.check(KeyError):
            self.log.critical("message {id} of {queue} is not in the spool any more", id=message.id, queue=message.queue)
            return
        self.log.failure("message {id} cannot be read; trying again in {delay} s", failure, id=message.id, delay=SWEEP)
        message.due = self._clock.seconds() + SWEEP
        self._park(self._queue(message.queue), message)

    def _report(self, failure: Failure, what: str) -> None:
        self.log.failure("failed while {what}", failure, what=what)

    # Housekeeping

    def _sweep(self) -> None:
        now = self._clock.seconds()
        for name, queue in list(self._queues.items()):
            while queue.held and (expired := while_waiting(queue.settings, queue.held[0], now)) is not None:
                self._with_envelope(queue.held.popleft(), self._expire, expired)
            if queue.empty and queue.blocked is None and now - queue.idle_since > queue.settings.reap_interval:
                del self._queues[name]
        self._sweeping = self._clock.callLater(SWEEP, self._sweep)
