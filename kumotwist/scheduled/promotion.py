"""
Where a message that is due goes on: what its queue is told, the rates it keeps to, its destination, a source with room.

Each of these may hold the queue up.  Then the queue is `blocked`, one Delayed record says why, and what ends it wakes the
queue: an answer that was waited for, the moment at which a rate frees, room in a ready queue, a source that is back.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.egress import PathSettings, PoolEntry
from kumotwist.config.queues import MaildirDelivery, QueueSettings, RefreshStrategy
from kumotwist.egress.path import Destination
from kumotwist.egress.sharing import NOT_KNOWN_YET, SharedRate
from kumotwist.egress.site import destination_of_mx_list, destination_without_hosts
from kumotwist.hooks.directions import Directions, Pool, then
from kumotwist.hooks.policy import HookFailed
from kumotwist.mail.address import Mailbox
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Reply, reply
from kumotwist.ready.queue import ReadyQueue
from kumotwist.ready.service import ReadyQueues
from kumotwist.scheduled.holdups import Held, Holdups, Orders
from kumotwist.scheduled.lines import FOR_A_PATH
from kumotwist.scheduled.orders import BounceOrder
from kumotwist.scheduled.policy import THROTTLE
from kumotwist.scheduled.queue import NEVER_PLANNED, Outlet, ScheduledQueue
from kumotwist.scheduled.sources import Ailment, Sources
from kumotwist.suppression.entry import NO_TENANT, Suppressed
from kumotwist.suppression.list import SuppressionList


class Destinations(Protocol):
    """Where a domain's mail goes; the resolver."""

    def destination(self, domain: str) -> "Destination | Deferred[Destination]": ...


class Waiting(Held, Protocol):
    """What promotion needs of the scheduler, which has the queues and the wheel."""

    def resume(self, queue: ScheduledQueue) -> None:
        """The queue can go on; not from within the call that blocked it."""

    def asking(self, message: Message, then: Callable[..., None]) -> Callable[..., None]:
        """The same `then`; until it is called, the message is known to be somewhere."""

    def ask_policy(self, queue: ScheduledQueue, message: Message) -> None:
        """Ask the policy whether the message may go on, and bring it back."""

    def fail(self, message: Message, answer: Reply) -> None:
        """A counted failure that no peer caused; the envelope may be in the spool only."""

    def returned(self, message: Message, reason: Reason, delay: float) -> None:
        """The message waits so long, uncounted; not at all, and then in its queue."""

    def set_back(self, message: Message, seconds: float, why: Reason) -> None:
        """The message waits so long, uncounted; the envelope may be in the spool only."""

    def read_envelope(self, queue: ScheduledQueue, message: Message) -> None:
        """Have the envelope in memory, bring the message back to the head of its queue, and unblock that."""

    def suppress(self, message: Message, found: Sequence[tuple[Mailbox, Suppressed]]) -> None:
        """These recipients get no mail: it ends for them, and comes back for the others."""

    def bounce(self, message: Message, order: BounceOrder) -> None:
        """An operator's order ends it; the envelope may be in the spool only."""

    def ease(self, message: Message, settings: PathSettings) -> None:
        """It goes on to a path where that holds: let go of what there is no memory for."""


class Promotion:
    """Finds a place for messages that are due."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        ready: ReadyQueues,
        destinations: Destinations,
        directions: Directions,
        limits_for: Callable[[ScheduledQueue, QueueSettings], tuple[tuple[SharedRate, str], ...]],
        scheduler: Waiting,
        orders: Orders,
        suppressed: SuppressionList,
    ) -> None:
        """
        limits_for: the rates that a queue keeps to, each with what the log calls it.  suppressed: who gets no mail.
        """
        self._clock = clock
        self._ready = ready
        self._destinations = destinations
        self.directions = directions
        self._limits_for = limits_for
        self._scheduler = scheduler
        self._orders = orders
        self._suppressed = suppressed
        self._holdups = Holdups(clock, orders, scheduler)
        self.lines = self._holdups.lines
        self.sources = Sources(clock, self._source_returned)
        self._passed: set[Message] = set()
        self._lacking: dict[ScheduledQueue, None] = {}  # queues that wait for a source

    def place(self, queue: ScheduledQueue, message: Message) -> bool:
        """
        Find a place for one message that is due; False if the queue is blocked now.

        Once True, the message is in a ready queue, or somebody else has it: the policy that is asked whether it may go on,
        or the spool, since it has nowhere to go.
        """
        now = self._clock.seconds()
        if self._orders.stand:
            if (order := self._orders.bounces.find(queue.name)) is not None:
                self._scheduler.bounce(message, order)
                return True
            if self._holdups.suspended(queue, message):
                return False
        if self._suppressed.stands and self._ends_here(queue, message, now):
            return True
        if not self._planned(queue, now) or (queue.limits and self._holdups.for_rate(queue, message, now)):
            return False
        if THROTTLE in self.directions.policy and message not in self._passed:
            self._scheduler.ask_policy(queue, message)
            return True
        destination = self._destination(queue, now)
        if destination is None or not self._choose(queue, message, destination):
            return False
        for limit, _ in queue.limits:
            limit.spend(now)
        self._passed.discard(message)
        return True

    def _ends_here(self, queue: ScheduledQueue, message: Message, now: float) -> bool:
        """
        End the message for those of its recipients who get no mail.  True: somebody else has it, and brings back what remains.

        An envelope that only the spool has is read first, one of a queue at a time: else a queue that comes due at once would
        be in memory as a whole.
        """
        if not message.envelope_loaded:
            queue.blocked = Reason.FAILED_TO_INSERT_INTO_READY_QUEUE
            self._scheduler.read_envelope(queue, message)
            return True
        tenant = message.meta.get("tenant") or NO_TENANT
        found = [(one, why) for one in message.recipients if (why := self._suppressed.find(one, tenant, now)) is not None]
        if found:
            self._passed.discard(message)
            self._scheduler.suppress(message, found)
        return bool(found)

    def passed(self, message: Message) -> None:
        """The policy has let the message go on; it is not asked again if something else holds the message up."""
        self._passed.add(message)

    def forget(self, message: Message) -> None:
        """It is no longer on its way to a ready queue."""
        self._passed.discard(message)

    # Another configuration came while the message was received

    def overtaken(self, queue: ScheduledQueue, message: Message) -> bool:
        """
        Send a message as the configuration has it that it was received under: so it sees one from start to end.

        True once somebody else has it.  False where no other has come, and where the message has to wait for more than
        answers: what waits goes on under the configuration of that time.
        """
        received, message.directions = message.directions, None
        if received is None or received is self.directions or self._orders.stand:
            return False
        if self._suppressed.stands and self._ends_here(queue, message, self._clock.seconds()):
            return True
        try:
            found = then(received.queue(queue.parts), lambda settings: self._route(queue, message, settings, received))
        except HookFailed:
            return False
        if not isinstance(found, Deferred):
            return self._sent(queue, message, received, *found)

        def go_on(sent: bool | Failure) -> None:
            if sent is not True:
                self._scheduler.returned(message, Reason.RECEIVED, 0.0)

        found.addCallback(lambda route: self._sent(queue, message, received, *route)).addBoth(
            self._scheduler.asking(message, go_on)
        )
        found.addErrback(self._report, queue)
        return True

    def _route(
        self, queue: ScheduledQueue, message: Message, settings: QueueSettings, received: Directions
    ) -> "tuple[Pool, Destination] | Deferred[tuple[Pool, Destination]]":
        """The pool that the message goes through, and where to."""
        to = self._where(queue, settings)
        pool = received.pool(message.pool) if message.pool else then(_with_pool(settings, received), lambda found: found[1])
        return then(pool, lambda through: then(to, lambda found: (through, found)))

    def _sent(self, queue: ScheduledQueue, message: Message, received: Directions, pool: Pool, destination: Destination) -> bool:
        """Put the message into a ready queue of that pool, if it may go now."""
        now = self._clock.seconds()
        if THROTTLE in received.policy or any(self.lines.wait(limit, queue, now) > 0 for limit, _ in queue.limits):
            return False
        outlet = queue.overtaken
        if outlet is None or outlet.pool != pool:
            outlet = queue.overtaken = Outlet(pool)
        candidates: Sequence[PoolEntry] = [entry for entry in pool.entries if self.sources.usable(entry.name)]
        while (entry := outlet.rotation.choose(candidates)) is not None:
            ready = self._ready.get(pool.sources[entry.name], destination, queue.parts.routed_to)
            if not isinstance(ready, Deferred) and ready.selectable_in() == 0.0 and self._admit(ready, message):
                message.through = pool.name
                for limit, _ in queue.limits:
                    limit.spend(now)
                return True
            candidates = [other for other in candidates if other is not entry]
        return False

    # What the queue is told

    def _planned(self, queue: ScheduledQueue, now: float) -> bool:
        """
        Whether it is known what holds for the queue.

        Another configuration is waited for, so that no message goes by two; when the same is asked again, as policies are
        each minute, what it said before does meanwhile.
        """
        directions = self.directions
        if queue.epoch == directions.epoch and now < queue.ask_again_at:
            return True
        if not queue.asking:
            self._ask(queue, directions, now)
        if queue.epoch != directions.epoch and queue.asking:
            queue.blocked = Reason.FAILED_TO_INSERT_INTO_READY_QUEUE
            return False
        return queue.epoch != NEVER_PLANNED

    def _ask(self, queue: ScheduledQueue, directions: Directions, now: float) -> None:
        queue.ask_again_at = now + queue.settings.refresh_interval
        try:
            found = then(directions.queue(queue.parts), lambda settings: _with_pool(settings, directions))
        except HookFailed:
            self._unplanned(queue)
            return
        if not isinstance(found, Deferred):
            self._plan(found, queue, directions)
            return
        queue.asking = True
        found.addCallback(self._plan, queue, directions)
        found.addErrback(self._not_answered, queue)
        found.addBoth(self._answered, queue)

    def _plan(self, found: "tuple[QueueSettings, Pool]", queue: ScheduledQueue, directions: Directions) -> None:
        settings, pool = found
        if not self.sources.all_usable:
            self.sources.heed(pool.sources.values())
        queue.plan(settings, pool, self._limits_for(queue, settings), directions.epoch)
        queue.ask_again_at = directions.pool_kept_until(pool)
        if "get_queue_config" in directions.policy and settings.refresh_strategy is RefreshStrategy.TTL:
            queue.ask_again_at = min(queue.ask_again_at, self._clock.seconds() + settings.refresh_interval)

    def _not_answered(self, failure: Failure, queue: ScheduledQueue) -> None:
        if not failure.check(HookFailed):  # those have been logged
            self.log.failure("{queue}: what holds for it cannot be found out", failure, queue=queue.name)
        self._unplanned(queue)

    def _answered(self, _: object, queue: ScheduledQueue) -> None:
        queue.asking = False
        if queue.blocked is Reason.FAILED_TO_INSERT_INTO_READY_QUEUE:
            queue.blocked = None
            self._scheduler.resume(queue)

    def _unplanned(self, queue: ScheduledQueue) -> None:
        """The policy broke: go on with what held before, or let everything wait for the next chance."""
        if queue.epoch != NEVER_PLANNED:
            return
        held, queue.held = queue.held, type(queue.held)()
        for message in held:
            self._scheduler.set_back(message, queue.settings.retry_interval, Reason.FAILED_TO_INSERT_INTO_READY_QUEUE)

    # Where the mail goes

    def _destination(self, queue: ScheduledQueue, now: float) -> Destination | None:
        """None while it is being looked up: the queue is then blocked."""
        known = queue.destination
        if known is not None and known.expires > now:
            return known
        found = self._where(queue, queue.settings)
        if isinstance(found, Deferred):
            queue.blocked = Reason.FAILED_TO_INSERT_INTO_READY_QUEUE
            found.addCallbacks(self._found, self._not_found, callbackArgs=(queue,), errbackArgs=(queue,))
            found.addErrback(self._report, queue)
            return None
        queue.point(found)
        return found

    def _where(self, queue: ScheduledQueue, settings: QueueSettings) -> "Destination | Deferred[Destination]":
        domain = queue.parts.routed_to
        if settings.instead_of_smtp is not None:
            return destination_without_hosts(domain, settings.instead_of_smtp)
        return destination_of_mx_list(domain, settings.mx_list) if settings.mx_list else self._destinations.destination(domain)

    def _found(self, destination: Destination, queue: ScheduledQueue) -> None:
        queue.point(destination)
        queue.blocked = None
        self._scheduler.resume(queue)

    def _not_found(self, failure: Failure, queue: ScheduledQueue) -> None:
        answer = reply(f"451 4.4.4 failed to resolve queue {queue.name}: {failure.getErrorMessage()}")
        held, queue.held = queue.held, type(queue.held)()
        queue.blocked = None
        for message in held:
            self._scheduler.fail(message, answer)

    # Which source

    def _choose(self, queue: ScheduledQueue, message: Message, destination: Destination) -> bool:
        """Weighted round robin over the sources that can be used, until one has room."""
        try:
            outlet = self._outlet(queue, message)
        except HookFailed as fault:
            self._scheduler.fail(message, reply(f"451 4.4.4 failed to resolve queue {queue.name}: {fault}"))
            return True
        if outlet is None:
            return False
        candidates: Sequence[PoolEntry] = outlet.pool.entries
        if not candidates:
            text = f"451 4.4.4 KumoMTA internal: no sources available for {queue.name} pool=`{outlet.pool.name}`"
            self._scheduler.fail(message, reply(text))
            return True
        if not self.sources.all_usable:
            candidates = [entry for entry in candidates if self.sources.usable(entry.name)]
            if not candidates:
                self._lacking[queue] = None
                until = self.sources.earliest(outlet.pool.sources)
                what_for = f"a source of pool {outlet.pool.name} can be used"
                self._holdups.block(queue, message, Reason.NO_SOURCE_IS_USABLE, until, what_for)
                return False
        taken_up: list[ReadyQueue] = []  # full ones, and suspended ones
        earliest = inf
        while (entry := outlet.rotation.choose(candidates)) is not None:
            ready = outlet.paths.get(entry.name)
            if ready is None or ready.stopped:
                ready = self._path(queue, message, outlet, entry.name, destination)
                if ready is None:
                    return False
            if ready.suspension is None and (wait := ready.selectable_in()) > 0:
                if wait == NOT_KNOWN_YET:
                    ready.when_selectable(partial(self._selectable, queue))
                earliest = min(earliest, wait)
            elif self._admit(ready, message):
                message.through = outlet.pool.name
                return True
            else:
                taken_up.append(ready)
            candidates = [other for other in candidates if other is not entry]
        self._holdups.for_paths(queue, message, taken_up, outlet.pool.name, self._clock.seconds() + earliest)
        return False

    def _admit(self, ready: ReadyQueue, message: Message) -> bool:
        self._scheduler.ease(message, ready.path.settings)
        return ready.admit(message)

    def _selectable(self, queue: ScheduledQueue) -> None:
        """It is known now when a source may be chosen again."""
        self._scheduler.resume_at(queue, self._clock.seconds())

    def _outlet(self, queue: ScheduledQueue, message: Message) -> Outlet | None:
        """The pool that the message goes through; None while that is asked for.  Raises HookFailed where nobody knows it."""
        ends_here = isinstance(queue.settings.instead_of_smtp, MaildirDelivery)
        if message.pool is None or message.pool == queue.pool or ends_here:
            return queue.outlet
        outlet = queue.outlets.get(message.pool)
        if outlet is not None:
            return outlet
        found = self.directions.pool(message.pool)
        if not isinstance(found, Deferred):
            outlet = queue.outlets[message.pool] = Outlet(found)
            queue.ask_again_at = min(queue.ask_again_at, self.directions.pool_kept_until(found))
            return outlet
        self._wait_for(queue, message, found, lambda pool: queue.outlets.update({pool.name: Outlet(pool)}))
        return None

    def _path(
        self, queue: ScheduledQueue, message: Message, outlet: Outlet, source: str, destination: Destination
    ) -> ReadyQueue | None:
        """The ready queue of a source; None while its settings are asked for."""
        try:
            found = self._ready.get(outlet.pool.sources[source], destination, queue.parts.routed_to)
        except HookFailed:
            self._unanswered(queue, message)
            return None
        if isinstance(found, Deferred):
            self._wait_for(queue, message, found, lambda ready: outlet.paths.update({source: ready}))
            return None
        outlet.paths[source] = found
        return found

    def _wait_for(self, queue: ScheduledQueue, message: Message, found: "Deferred[Any]", keep: Callable[[Any], None]) -> None:
        """The queue is blocked until a policy has answered."""

        def answered(answer: Any) -> None:
            keep(answer)
            queue.blocked = None
            self._scheduler.resume(queue)

        def failed(failure: Failure) -> None:
            if not failure.check(HookFailed):
                self.log.failure("{queue}: its way out cannot be found", failure, queue=queue.name)
            self._unanswered(queue, message)

        queue.blocked = Reason.FAILED_TO_INSERT_INTO_READY_QUEUE
        found.addCallbacks(answered, failed)
        found.addErrback(self._report, queue)

    def _unanswered(self, queue: ScheduledQueue, message: Message) -> None:
        """A policy broke over a pool or a path: it is asked again after the queue's retry interval, and nothing is counted."""
        until = self._clock.seconds() + queue.settings.retry_interval
        self._holdups.block(queue, message, Reason.FAILED_TO_INSERT_INTO_READY_QUEUE, until, "the policy's next chance")
        self._scheduler.resume_at(queue, until)

    # Sources that come and go

    def source_failed(self, name: str, ailment: Ailment) -> bool:
        """No connection came about from there; True if the source is left alone now: what is ready for it chooses anew."""
        queues = self._ready.of_source(name)
        if not queues or not self.sources.failed(queues[0].path.source, ailment):
            return False
        for queue in queues:
            queue.give_all_back(Reason.SOURCE_IS_UNHEALTHY_AND_SUSPENDED)
        return True

    def _source_returned(self, name: str) -> None:
        """Those who wait for any source, or only for room with another one, choose afresh."""
        lacking, self._lacking = list(self._lacking), {}
        waiting = {queue: None for queue in self.lines.for_room() if queue.draws_on(name)}
        for queue in (*lacking, *waiting):
            if queue.blocked is Reason.NO_SOURCE_IS_USABLE or queue.blocked in FOR_A_PATH:
                queue.blocked = None
                self._scheduler.resume(queue)

    def _report(self, failure: Failure, queue: ScheduledQueue) -> None:
        self.log.failure("{queue}: going on failed", failure, queue=queue.name)


def _with_pool(
    settings: QueueSettings, directions: Directions
) -> "tuple[QueueSettings, Pool] | Deferred[tuple[QueueSettings, Pool]]":
    ends_here = isinstance(settings.instead_of_smtp, MaildirDelivery)  # then no address of ours sends it
    return then(directions.pool(None if ends_here else settings.egress_pool), lambda pool: (settings, pool))
