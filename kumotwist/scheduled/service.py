"""
The scheduler: every message that is ours and waits, waits here, in exactly one of two places.

    in the wheel            until its due time
    in its queue's `held`   due, but the queue is blocked: no room in the ready queue, a rate, a suspension, no source …

What was held up goes on when its cause ends, without polling: room is announced by the ready queue, the end of a suspension
and a source that returns are announced too, a rate has an alarm, a destination is a Deferred.  What comes back from delivery
comes through `settled`, `disposed` and `returned` (see scheduled.returns), and waits again once the spool has what changed.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from kumotwist.config.egress import PathSettings
from kumotwist.config.queues import QueueSettings
from kumotwist.custody import Custody
from kumotwist.egress.sharing import SharedRate, SharedRates
from kumotwist.hooks.directions import Directions
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.policy import Policy
from kumotwist.mail.address import Mailbox
from kumotwist.mail.disposition import Attempt, Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import parse_queue_name
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Refusal, Reply
from kumotwist.ready.queue import ReadyQueue
from kumotwist.ready.service import ReadyQueues
from kumotwist.scheduled.administration import Administration
from kumotwist.scheduled.envelopes import Envelopes
from kumotwist.scheduled.orders import BounceOrder
from kumotwist.scheduled.policy import ENUMERATED, ask, before_ready
from kumotwist.scheduled.portions import in_portions, portions_of
from kumotwist.scheduled.promotion import Destinations, Promotion
from kumotwist.scheduled.queue import ScheduledQueue
from kumotwist.scheduled.retry import while_waiting
from kumotwist.scheduled.returns import Returns
from kumotwist.scheduled.shrinking import shrinking
from kumotwist.scheduled.sources import Ailment, Sources
from kumotwist.scheduled.wheel import Wheel
from kumotwist.suppression.entry import Suppressed
from kumotwist.suppression.list import SuppressionList

MOST_PER_TURN = 500  # messages of one queue moved before others have their turn
AFTER_A_FAULT = 60.0  # seconds that a queue rests when a fault of ours kept a message from being placed
SWEEP = 60.0  # seconds between looks for held messages that grew too old, and for empty queues

# What may end at a time that somebody asked to be woken at.
_ENDS_WITH_TIME = (
    Reason.MESSAGE_RATE_THROTTLE,
    Reason.FAILED_TO_INSERT_INTO_READY_QUEUE,
    Reason.READY_QUEUE_WAS_FULL,
    Reason.READY_QUEUE_WAS_SUSPENDED,
)


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
        throttles: SharedRates,
        new_id: Callable[[], str],
        suppressed: SuppressionList | None = None,
    ) -> None:
        """
        draw: a number from 0 to 1, uniformly.  load_envelope: from the spool, for a message that was shrunk.
        new_id: for an operator's order.  suppressed: who gets no mail; None: everybody does.
        """
        self._clock = clock
        self._custody = custody
        self._throttles = throttles
        self.queues: dict[str, ScheduledQueue] = {}
        self.asked: dict[Message, None] = {}  # messages about which a policy is asked just now
        self.wheel: Wheel[Message] = Wheel()
        self.envelopes = Envelopes(load_envelope, self._put_off_unread)
        self._returns = Returns(clock, draw, custody, self.envelopes, self)
        self.administration = Administration(clock, custody, ready, self._returns, self, new_id)
        orders, nobody = self.administration.orders, SuppressionList()
        self._promotion = Promotion(clock, ready, destinations, directions, self._limits, self, orders, suppressed or nobody)
        self._timer: IDelayedCall | None = None
        self._sweeping: IDelayedCall | None = None
        self._stopped = False

    def start(self) -> None:
        self._sweeping = self._clock.callLater(SWEEP, self._sweep)

    def stop(self) -> None:
        """Promote nothing more; everything that waits is in the spool."""
        self._stopped = True
        for call in (self._timer, self._sweeping, *(queue.alarm for queue in self.queues.values())):
            if call is not None and call.active():
                call.cancel()
        self._promotion.lines.stop()
        self.administration.stop()

    # Admission

    def admit(self, message: Message, reason: Reason) -> None:
        """A message that the spool has begins to wait: until its due time, or not at all."""
        queue = self.queue(message.queue)
        message.queue = queue.name
        message.through = None
        if self.administration.orders.stand and self._ends(queue, message):
            pass
        elif message.due > self._clock.seconds():
            self._park(queue, message)
        elif self._promotion.overtaken(queue, message):
            pass
        elif queue.held or queue.blocked is not None or not self._place(queue, message):
            queue.held.append(message)
            if queue.blocked is None:
                self._promote(queue)

    def admit_stored(self, messages: Iterable[Message]) -> None:
        """Messages that a start found in the spool."""
        now = self._clock.seconds()
        for message in messages:
            if ENUMERATED in self.policy:
                self.envelopes.of(message, self._tell_enumerated)
                continue
            expired = while_waiting(self.queue(message.queue).settings, message, now)
            if expired is not None:
                self.envelopes.of(message, self._returns.expire, expired)
            else:
                self.admit(message, Reason.ENUMERATED)

    def _tell_enumerated(self, message: Message) -> None:
        """Ask the policy about a stored message; whatever it says, the message is ours and is admitted."""
        policy = self.policy
        question = lambda: policy.in_time(ENUMERATED, policy.each(ENUMERATED, PolicyMessage(message)))  # noqa: E731
        ask(question, self.asking(message, lambda *_: self._admit_told(message)))

    def _admit_told(self, message: Message) -> None:
        try:
            message.name_queue()
        except ValueError as fault:
            self.log.error("spool_message_enumerated left {id} without a queue: {fault}", id=message.id, fault=fault)
        self.admit(message, Reason.ENUMERATED)

    def queue(self, name: str) -> ScheduledQueue:
        """The scheduled queue of that name, made if there is none."""
        queue = self.queues.get(name)
        if queue is None:
            settings = self._promotion.directions.configured_queue(parse_queue_name(name))
            queue = self.queues[name] = ScheduledQueue(name, settings, self._clock.seconds())
        return queue

    def _limits(self, queue: ScheduledQueue, settings: QueueSettings) -> tuple[tuple[SharedRate, str], ...]:
        """The rates that a queue keeps to: its own, and those that it shares with others of its tenant."""
        named = [(name, rate, what) for name, rate, what in self._promotion.directions.overall_rates(queue.parts)]
        if settings.max_message_rate is not None:
            named.append((f"schedq-{queue.name}-message-rate", settings.max_message_rate, "max_message_rate of the queue"))
        return tuple((self._throttles.get(name, rate), what) for name, rate, what in named)

    def direct(self, directions: Directions) -> None:
        """Another configuration holds from now on: each queue asks anew before its next message."""
        self._promotion.directions = directions
        self._promotion.sources.renew()

    # Waiting for a time

    def park(self, queue: ScheduledQueue, message: Message) -> None:
        """The message waits until its due time, unless an operator's order ends it first."""
        if not self.administration.orders.stand or not self._ends(queue, message):
            self._park(queue, message)

    def _ends(self, queue: ScheduledQueue, message: Message) -> bool:
        """Whether an operator's order ends it."""
        order = self.administration.orders.bounces.find(queue.name)
        if order is not None:
            self.bounce(message, order)
        return order is not None

    def _park(self, queue: ScheduledQueue, message: Message) -> None:
        queue.parked += 1
        self._custody.rest(message, shrinking(queue.settings.shrink_policy, message.due - self._clock.seconds()))
        if self.wheel.insert(message.due, message):
            self._set_timer()

    def _put_off_unread(self, message: Message) -> None:
        """Its envelope could not be read: whatever is to be told about it waits too."""
        message.due = self._clock.seconds() + SWEEP
        self._park(self.queue(message.queue), message)

    def hold(self, queue: ScheduledQueue, message: Message) -> None:
        """The message is due, and goes on in a moment."""
        message.through = None
        if not self.administration.orders.stand or not self._ends(queue, message):
            queue.held.append(message)
            self._clock.callLater(0, self._promote, queue)

    def _set_timer(self) -> None:
        due = self.wheel.next()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if due is not None and not self._stopped:
            self._timer = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._tick)

    def _tick(self) -> None:
        touched: dict[ScheduledQueue, None] = {}
        for message in list(self.wheel.due(self._clock.seconds())):
            queue = self.queue(message.queue)
            queue.parked -= 1
            queue.held.append(message)
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
        self._note_idle(queue)

    def _note_idle(self, queue: ScheduledQueue) -> None:
        if not queue.held:
            queue.told = None
            queue.idle_since = self._clock.seconds()

    def _place(self, queue: ScheduledQueue, message: Message) -> bool:
        """Promotion.place, whose own faults cost its queue a minute and nothing else."""
        if self._stopped:
            return False  # it is in the spool; a ready queue that is made now would ask for sessions, and get none, for ever
        try:
            return self._promotion.place(queue, message)
        except Exception:  # noqa: BLE001  a bug of ours: other queues, and the next try, must not suffer
            self.log.failure("{queue}: {id} could not be placed; trying again", queue=queue.name, id=message.id)
            queue.blocked = Reason.FAILED_TO_INSERT_INTO_READY_QUEUE
            self.resume_at(queue, self._clock.seconds() + AFTER_A_FAULT)
            return False

    def has_room(self, ready: ReadyQueue) -> None:
        """Serve the queues that wait for this one in turn, a message each, until it is full again."""
        self._promotion.lines.has_room(ready)

    def promote_one(self, queue: ScheduledQueue) -> bool:
        """One step of `_promote`; True if the queue could go on at once."""
        if self._stopped or queue.blocked is not None or not queue.held or not self._place(queue, queue.held[0]):
            return False
        queue.held.popleft()
        self._note_idle(queue)
        return bool(queue.held) and queue.blocked is None

    # What promotion asks for (scheduled.promotion.Waiting)

    def resume(self, queue: ScheduledQueue) -> None:
        # Not from here: what unblocked the queue may have come while a message of it is just being placed.
        self._clock.callLater(0, self._promote, queue)

    def resume_at(self, queue: ScheduledQueue, when: float) -> None:
        """To the moment: the wheel's ticks would waste a part of each rate that is not a burst."""
        alarm = queue.alarm
        if alarm is not None and alarm.active():
            if alarm.getTime() <= when:
                return  # looks again then, and asks again
            alarm.cancel()
        queue.alarm = self._clock.callLater(max(0.0, when - self._clock.seconds()), self._alarmed, queue)

    def _alarmed(self, queue: ScheduledQueue) -> None:
        queue.alarm = None
        if queue.blocked in _ENDS_WITH_TIME:
            queue.blocked = None
        self._promote(queue)

    def read_envelope(self, queue: ScheduledQueue, message: Message) -> None:
        unreadable: Deferred[None] = Deferred()
        unreadable.addCallback(lambda _: self._go_on(queue))
        self.envelopes.of(message, self._envelope_read, queue, otherwise=unreadable)

    def _envelope_read(self, message: Message, queue: ScheduledQueue) -> None:
        self.queue(queue.name).held.appendleft(message)
        self._go_on(queue)

    def _go_on(self, queue: ScheduledQueue) -> None:
        """What blocked a queue, however it ended, blocks it no longer."""
        for one in (queue, self.queue(queue.name)):  # it looked empty meanwhile, and may have been dropped and made anew
            if one.blocked is Reason.FAILED_TO_INSERT_INTO_READY_QUEUE and not one.asking:
                one.blocked = None
        self.resume(self.queue(queue.name))

    def suppress(self, message: Message, found: Sequence[tuple[Mailbox, Suppressed]]) -> None:
        self._returns.suppressed(message, found)

    def ask_policy(self, queue: ScheduledQueue, message: Message) -> None:
        self.envelopes.of(message, self._ask_policy, queue)

    def _ask_policy(self, message: Message, queue: ScheduledQueue) -> None:
        heard = self.asking(message, lambda _, refusal: self._heard_policy(queue, message, refusal))
        before_ready(self.policy, message, heard)

    def asking(self, message: Message, then: Callable[..., None]) -> Callable[..., None]:
        """The same `then`; until it is called, the message is known to be somewhere: a policy is asked about it."""
        self.asked[message] = None

        def answered(*heard: Any) -> None:
            self.asked.pop(message, None)
            then(*heard)

        return answered

    def _heard_policy(self, queue: ScheduledQueue, message: Message, refusal: Refusal | None) -> None:
        now = self._clock.seconds()
        if refusal is not None:
            self._returns.fail(message, refusal.reply)
        elif message.due > now:
            what_for, message.waits_for = message.waits_for, ""
            self.queue(message.queue).delayed_policy += 1
            self._returns.put_off(message, Reason.THROTTLED_BY_POLICY, message.due - now, what_for)
        else:
            queue = self.queue(message.queue)  # the one that it came from looked empty, and may have been dropped meanwhile
            self._promotion.passed(message)
            if queue.blocked is not None or not self._place(queue, message):
                queue.held.appendleft(message)
                if queue.blocked is None:
                    self.resume(queue)

    @property
    def sources(self) -> Sources:
        """Which can be used just now."""
        return self._promotion.sources

    @property
    def policy(self) -> Policy:
        return self._promotion.directions.policy

    def forget(self, message: Message) -> None:
        """It is no longer on its way to a ready queue."""
        self._promotion.forget(message)

    def fail(self, message: Message, answer: Reply) -> None:
        self.envelopes.of(message, self._returns.fail, answer)

    def set_back(self, message: Message, seconds: float, why: Reason) -> None:
        self._returns.returned(message, why, seconds)

    def bounce(self, message: Message, order: BounceOrder) -> None:
        self.administration.bounce_one(message, order)

    def tell_delay(self, message: Message, why: Reason, until: float | None, what_for: str) -> None:
        self.envelopes.of(message, self._tell_delay, why, until, what_for)

    def _tell_delay(self, message: Message, why: Reason, until: float | None, what_for: str) -> None:
        began = Reason.DUE_TIME_WAS_REACHED if message.attempts else Reason.RECEIVED
        # As in the model a suspension of the queue shows the queue's name as the site.
        site = message.queue if why is Reason.SCHEDULED_QUEUE_WAS_SUSPENDED else None
        self._custody.note_delay(message, (began, why), until, what_for, site=site)

    def ease(self, message: Message, settings: PathSettings) -> None:
        self._custody.ease(message, settings)

    def source_missing(self, name: str) -> bool:
        """The source's address is not on this machine; whether the source is left alone now."""
        return self._promotion.source_failed(name, Ailment.UNPLUMBED)

    def proxy_unhealthy(self, name: str) -> bool:
        """The source's proxy does not do its part; whether the source is left alone now."""
        return self._promotion.source_failed(name, Ailment.PROXY_UNHEALTHY)

    def source_usable(self, name: str) -> bool:
        """Whether connections from there make sense now."""
        return self._promotion.sources.usable(name)

    # Coming back from delivery (ready.queue.Home); see scheduled.returns

    def settled(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        self._returns.settled(message, attempt, outcomes)

    def went_on(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        """An attempt ended for some, and the session goes on with the others: they are the message's recipients now."""
        self._returns.went_on(message, attempt, outcomes)

    def dropped(self, message: Message, answer: Reply, delay: float) -> None:
        """A session got stuck with the message and was ended: it waits, uncounted."""
        self._returns.dropped(message, answer, delay)

    def disposed(self, message: Message, attempt: Attempt, verdict: Verdict, answer: Reply) -> None:
        self._returns.disposed(message, attempt, verdict, answer)

    def returned(self, message: Message, reason: Reason, delay: float) -> None:
        self._returns.returned(message, reason, delay)

    def kept_waiting(self, message: Message, reason: Reason, until: float, what_for: str) -> None:
        self.envelopes.of(message, self._tell_delay, reason, until, what_for)

    def too_old(self, message: Message, until: float) -> bool:
        return while_waiting(self.queue(message.queue).settings, message, until) is not None

    # Housekeeping

    def _sweep(self) -> None:
        now = self._clock.seconds()
        for name, queue in list(self.queues.items()):
            if queue.held:
                in_portions(self._clock, self._aging(queue), f"looking for what grew too old in {name}")
            if queue.empty and queue.blocked is None and now - queue.idle_since > queue.settings.reap_interval:
                del self.queues[name]
        self._sweeping = self._clock.callLater(SWEEP, self._sweep)

    def _aging(self, queue: ScheduledQueue) -> Iterator[None]:
        """End what grew too old while it was held up; it may have come in any order."""
        now = self._clock.seconds()
        for some in portions_of(list(queue.held)):
            old = {message for message in some if while_waiting(queue.settings, message, now) is not None}
            if old:
                old.intersection_update(queue.held)  # what has gone on meanwhile has done so in time
                queue.held = deque(message for message in queue.held if message not in old)
                for message in old:
                    self.envelopes.of(message, self._end_of_age, queue, now)
            yield None

    def _end_of_age(self, message: Message, queue: ScheduledQueue, now: float) -> None:
        if not self._returns.expired_by(message, queue, now):
            self.hold(self.queue(message.queue), message)  # its envelope says something else than its shadow did
