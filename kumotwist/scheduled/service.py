"""
The scheduler: every message that is ours and waits, waits here, in exactly one of two places.

    in the wheel            until its due time
    in its queue's `held`   due, but the queue is blocked: no room in the ready queue, a rate, an unknown destination, no source

What was held up goes on when its cause ends, without polling: room is announced by the ready queue, the end of a rate is in
the wheel, a destination is a Deferred, a source that returns is announced.  What comes back from delivery comes through
`settled`, `disposed` and `returned`, and waits again once the spool has what changed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.egress import EgressPool, PoolEntry
from kumotwist.config.queues import QueueSettings
from kumotwist.custody import Custody
from kumotwist.egress.path import Destination
from kumotwist.egress.site import destination_of_mx_list
from kumotwist.logs.record import RecordType
from kumotwist.mail.address import Mailbox
from kumotwist.mail.disposition import NOT_TRIED, Attempt, Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import parse_queue_name
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Reply, reply
from kumotwist.ready.queue import ReadyQueue
from kumotwist.ready.service import ReadyQueues
from kumotwist.scheduled.queue import ScheduledQueue
from kumotwist.scheduled.retry import Expired, after_failure, while_waiting
from kumotwist.scheduled.sources import Sources
from kumotwist.scheduled.wheel import Wheel

MOST_PER_TURN = 500  # messages of one queue moved before others have their turn
SWEEP = 60.0  # seconds between looks for held messages that grew too old, and for empty queues

_RECORD_OF = {
    Verdict.DELIVERED: RecordType.DELIVERY,
    Verdict.BOUNCED: RecordType.BOUNCE,
    Verdict.POSTPONED: RecordType.TRANSIENT_FAILURE,
}

QueueSettingsFor = Callable[[str, str | None, str | None], QueueSettings]


class Destinations(Protocol):
    """Where a domain's mail goes; the resolver."""

    def destination(self, domain: str) -> "Destination | Deferred[Destination]": ...


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
        pools: Mapping[str, EgressPool],
        settings_for: QueueSettingsFor,
    ) -> None:
        """
        draw: a number from 0 to 1, uniformly.  load_envelope: from the spool, for a message that was shrunk.
        settings_for: (domain, tenant, campaign) → what holds for such a queue.
        """
        self._clock = clock
        self._draw = draw
        self._custody = custody
        self._load_envelope = load_envelope
        self._ready = ready
        self._destinations = destinations
        self._pools = pools
        self._settings_for = settings_for
        self.sources = Sources(clock, self._source_returned)
        self._queues: dict[str, ScheduledQueue] = {}
        self._wheel: Wheel[Message | ScheduledQueue] = Wheel()
        self._timer: IDelayedCall | None = None
        self._wanting: dict[ReadyQueue, dict[ScheduledQueue, None]] = {}
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
        elif queue.held or queue.blocked is not None or not self._promote_message(queue, message):
            queue.held.append(message)
            if queue.blocked is None:
                self._promote(queue)

    def admit_stored(self, messages: Iterable[Message]) -> None:
        """Messages that a start found in the spool."""
        now = self._clock.seconds()
        for message in messages:
            expired = while_waiting(self._queue(message.queue).settings, message, now)
            if expired is not None:
                self._with_envelope(message, self._expire, expired)
            else:
                self.admit(message, Reason.ENUMERATED)

    def _queue(self, name: str) -> ScheduledQueue:
        queue = self._queues.get(name)
        if queue is None:
            parts = parse_queue_name(name)
            settings = self._settings_for(parts.domain, parts.tenant, parts.campaign)
            queue = ScheduledQueue(name, settings, self._pool(settings), self._clock.seconds())
            self._queues[name] = queue
        return queue

    def _pool(self, settings: QueueSettings) -> EgressPool:
        name = settings.egress_pool
        return self._pools["unspecified" if name is None else name]

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
                if queue.blocked is Reason.MESSAGE_RATE_THROTTLE:
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
            if not self._promote_message(queue, queue.held[0]):
                return
            queue.held.popleft()
            moved += 1
            if moved == MOST_PER_TURN and queue.held:
                self._clock.callLater(0, self._promote, queue)
                return
        if not queue.held:
            queue.told = None
            queue.idle_since = self._clock.seconds()

    def _promote_message(self, queue: ScheduledQueue, message: Message) -> bool:
        """
        Find a place for one message that is due; False if the queue is blocked now.

        Once True, the message is in a ready queue, or on its way back because it has nowhere to go.
        """
        now = self._clock.seconds()
        if queue.limit is not None and (wait := queue.limit.wait(now)) > 0:
            self._block(queue, message, Reason.MESSAGE_RATE_THROTTLE, now + wait, "max_message_rate of the queue")
            self._wheel.insert(now + wait, queue)
            self._set_timer()
            return False
        destination = self._destination(queue, now)
        if destination is None:
            return False
        if not self._choose(queue, message, destination):
            return False
        if queue.limit is not None:
            queue.limit.spend(now)
        return True

    def _choose(self, queue: ScheduledQueue, message: Message, destination: Destination) -> bool:
        """Weighted round robin over the sources that can be used, until one has room."""
        if not queue.entries:
            text = f"451 4.4.4 KumoMTA internal: no sources available for {queue.name} pool=`{queue.pool}`"
            self._with_envelope(message, self._fail, reply(text))
            return True
        candidates: Sequence[PoolEntry] = queue.entries
        if not self.sources.all_usable:
            candidates = [entry for entry in candidates if self.sources.usable(entry.name)]
            if not candidates:
                what_for = f"a source of pool {queue.pool} can be used"
                self._block(queue, message, Reason.NO_SOURCE_IS_USABLE, None, what_for)
                return False
        full: list[ReadyQueue] = []
        while (entry := queue.rotation.choose(candidates)) is not None:
            ready = queue.paths.get(entry.name)
            if ready is None or ready.stopped:
                ready = queue.paths[entry.name] = self._ready.get(entry.name, destination, queue.parts.routed_to)
            if ready.admit(message):
                return True
            full.append(ready)
            candidates = [other for other in candidates if other is not entry]
        for ready in full:
            self._wanting.setdefault(ready, {})[queue] = None
        names = " or ".join(ready.name for ready in full)
        self._block(queue, message, Reason.READY_QUEUE_WAS_FULL, None, f"there is room in {names}")
        return False

    def _destination(self, queue: ScheduledQueue, now: float) -> Destination | None:
        """Where the queue's mail goes; None while that is being looked up (the queue is then blocked)."""
        known = queue.destination
        if known is not None and (known.expires > now or queue.settings.mx_list):
            return known
        if queue.settings.mx_list:
            found: Destination | Deferred[Destination] = destination_of_mx_list(queue.parts.routed_to, queue.settings.mx_list)
        else:
            found = self._destinations.destination(queue.parts.routed_to)
        if isinstance(found, Deferred):
            queue.blocked = Reason.FAILED_TO_INSERT_INTO_READY_QUEUE
            found.addCallbacks(self._found, self._not_found, callbackArgs=(queue,), errbackArgs=(queue,))
            found.addErrback(self._report, "looking up where a queue's mail goes")
            return None
        self._point(queue, found)
        return found

    def _point(self, queue: ScheduledQueue, destination: Destination) -> None:
        if queue.destination is None or queue.destination.site != destination.site:
            queue.paths = {}
        queue.destination = destination

    def _found(self, destination: Destination, queue: ScheduledQueue) -> None:
        self._point(queue, destination)
        queue.blocked = None
        # Not from here: the answer may have come while a message of the queue is just being promoted.
        self._clock.callLater(0, self._promote, queue)

    def _not_found(self, failure: Failure, queue: ScheduledQueue) -> None:
        answer = reply(f"451 4.4.4 failed to resolve queue {queue.name}: {failure.getErrorMessage()}")
        held, queue.held = queue.held, type(queue.held)()
        queue.blocked = None
        for message in held:
            self._with_envelope(message, self._fail, answer)

    # Being blocked

    def _block(self, queue: ScheduledQueue, message: Message, why: Reason, until: float | None, what_for: str) -> None:
        """Nothing of the queue goes on until that ends; told once, with the message that met it first."""
        queue.blocked = why
        if queue.told is not why:
            queue.told = why
            self._with_envelope(message, self._tell_delay, why, until, what_for)

    def _tell_delay(self, message: Message, why: Reason, until: float | None, what_for: str) -> None:
        began = Reason.DUE_TIME_WAS_REACHED if message.attempts else Reason.RECEIVED
        self._custody.note_delay(message, (began, why), until, what_for)

    def has_room(self, ready: ReadyQueue) -> None:
        """Serve the queues that wait for this one in turn, a message each, until it is full again."""
        wanting = list(self._wanting.pop(ready, ()))
        for queue in wanting:
            if queue.blocked is Reason.READY_QUEUE_WAS_FULL:
                queue.blocked = None
        while wanting and not self._stopped:
            wanting = [queue for queue in wanting if self._promote_one(queue)]

    def _promote_one(self, queue: ScheduledQueue) -> bool:
        """One step of `_promote`; True if the queue could go on at once."""
        if queue.blocked is not None or not queue.held or not self._promote_message(queue, queue.held[0]):
            return False
        queue.held.popleft()
        if not queue.held:
            queue.told = None
        return bool(queue.held)

    def source_missing(self, name: str) -> None:
        """The source's address is not on this machine: what is ready for it chooses anew."""
        for queue in self._ready.of_source(name):
            self.sources.missing(queue.path.source)
            queue.give_all_back(Reason.SOURCE_IS_UNHEALTHY_AND_SUSPENDED)

    def _source_returned(self, name: str) -> None:
        for queue in list(self._queues.values()):
            if queue.blocked is Reason.NO_SOURCE_IS_USABLE and any(entry.name == name for entry in queue.entries):
                queue.blocked = None
                self._promote(queue)

    # Coming back from delivery (ready.queue.Home)

    def settled(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        told: list[tuple[RecordType, Reply, tuple[Mailbox, ...]]] = []
        remaining: tuple[Mailbox, ...] = ()
        last: Reply | None = None
        for outcome in outcomes:
            told.append((_RECORD_OF[outcome.verdict], outcome.reply, outcome.recipients))
            if outcome.verdict is Verdict.POSTPONED:
                remaining += outcome.recipients
                last = outcome.reply
        if last is None:
            pool = self._queue(message.queue).pool
            self._custody.settle(message, told, keep=False, attempt=attempt, egress_pool=pool)
        else:
            message.recipients = remaining
            self._retry(message, told, last, attempt)

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
        self._retry(message, [(RecordType.TRANSIENT_FAILURE, answer, message.recipients)], answer, NOT_TRIED)

    def _retry(
        self,
        message: Message,
        told: list[tuple[RecordType, Reply, tuple[Mailbox, ...]]],
        last: Reply,
        attempt: Attempt,
    ) -> None:
        queue = self._queue(message.queue)
        before = message.attempts
        decision = after_failure(queue.settings, message, self._clock.seconds(), self._draw())
        if isinstance(decision, Expired):
            told.append((RecordType.EXPIRATION, decision.reply, message.recipients))
            self._custody.settle(message, told, keep=False, attempt=attempt, egress_pool=queue.pool)
            return
        message.attempts = before + 1
        message.due = decision.due
        message.last_reply = last.single_line
        stored = self._custody.settle(message, told, keep=True, attempt=attempt, egress_pool=queue.pool, attempts=before)
        # Only now, so that reading the message back cannot find what it was before this attempt.
        stored.addCallback(lambda _: self.admit(message, Reason.LOGGED_TRANSIENT_FAILURE))
        stored.addErrback(self._report, "putting a message back into its queue")

    def _expire(self, message: Message, expired: Expired) -> None:
        pool = self._queue(message.queue).pool
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
