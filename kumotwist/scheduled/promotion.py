"""
Where a message that is due goes on: what its queue is told, the rates it keeps to, its destination, a source with room.

Each of these may hold the queue up.  Then the queue is `blocked`, one Delayed record says why, and what ends it wakes the
queue: an answer that was waited for, the moment at which a rate frees, room in a ready queue, a source that is back.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.egress import PoolEntry
from kumotwist.config.queues import QueueSettings
from kumotwist.egress.limits import RateLimit
from kumotwist.egress.path import Destination
from kumotwist.egress.site import destination_of_mx_list
from kumotwist.hooks.directions import Directions, Pool, then
from kumotwist.hooks.policy import HookFailed
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Reply, reply
from kumotwist.ready.queue import ReadyQueue
from kumotwist.ready.service import ReadyQueues
from kumotwist.scheduled.policy import THROTTLE
from kumotwist.scheduled.queue import NEVER_PLANNED, Outlet, ScheduledQueue
from kumotwist.scheduled.sources import Sources

ASK_AGAIN = 60.0  # seconds after which a policy is asked anew what holds for a queue


class Destinations(Protocol):
    """Where a domain's mail goes; the resolver."""

    def destination(self, domain: str) -> "Destination | Deferred[Destination]": ...


class Waiting(Protocol):
    """What promotion needs of the scheduler, which has the queues and the wheel."""

    def resume(self, queue: ScheduledQueue) -> None:
        """The queue can go on; not from within the call that blocked it."""

    def resume_at(self, queue: ScheduledQueue, when: float) -> None:
        """Unblock the queue at that time."""

    def ask_policy(self, queue: ScheduledQueue, message: Message) -> None:
        """Ask the policy whether the message may go on, and bring it back."""

    def fail(self, message: Message, answer: Reply) -> None:
        """A counted failure that no peer caused; the envelope may be in the spool only."""

    def set_back(self, message: Message, seconds: float, why: Reason) -> None:
        """The message waits so long, uncounted; the envelope may be in the spool only."""

    def tell_delay(self, message: Message, why: Reason, until: float | None, what_for: str) -> None:
        """A Delayed record; the envelope may be in the spool only."""


class Promotion:
    """Finds a place for messages that are due."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        ready: ReadyQueues,
        destinations: Destinations,
        directions: Directions,
        limits_for: Callable[[ScheduledQueue, QueueSettings], tuple[tuple[RateLimit, str], ...]],
        scheduler: Waiting,
    ) -> None:
        """limits_for: the rates that a queue keeps to, each with what the log calls it."""
        self._clock = clock
        self._ready = ready
        self._destinations = destinations
        self.directions = directions
        self._limits_for = limits_for
        self._scheduler = scheduler
        self._wanting: dict[ReadyQueue, dict[ScheduledQueue, None]] = {}
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
        if not self._planned(queue, now):
            return False
        for limit, what in queue.limits:
            if (wait := limit.wait(now)) > 0:
                self._block(queue, message, Reason.MESSAGE_RATE_THROTTLE, now + wait, what)
                self._scheduler.resume_at(queue, now + wait)
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

    def passed(self, message: Message) -> None:
        """The policy has let the message go on; it is not asked again if something else holds the message up."""
        self._passed.add(message)

    def forget(self, message: Message) -> None:
        """It is no longer on its way to a ready queue."""
        self._passed.discard(message)

    # What the queue is told

    def _planned(self, queue: ScheduledQueue, now: float) -> bool:
        """Whether it is known what holds for the queue; what is known of an older configuration does while that is asked."""
        directions = self.directions
        if queue.epoch == directions.epoch and (now - queue.planned_at < ASK_AGAIN or "get_queue_config" not in directions.policy):
            return True
        if not queue.asking:
            self._ask(queue, directions, now)
        if queue.epoch == NEVER_PLANNED and queue.asking:
            queue.blocked = Reason.FAILED_TO_INSERT_INTO_READY_QUEUE
        return queue.epoch != NEVER_PLANNED

    def _ask(self, queue: ScheduledQueue, directions: Directions, now: float) -> None:
        queue.planned_at = now
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
        queue.plan(settings, pool, self._limits_for(queue, settings), directions.epoch)

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
        domain, mx_list = queue.parts.routed_to, queue.settings.mx_list
        found = destination_of_mx_list(domain, mx_list) if mx_list else self._destinations.destination(domain)
        if isinstance(found, Deferred):
            queue.blocked = Reason.FAILED_TO_INSERT_INTO_READY_QUEUE
            found.addCallbacks(self._found, self._not_found, callbackArgs=(queue,), errbackArgs=(queue,))
            found.addErrback(self._report, queue)
            return None
        queue.point(found)
        return found

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
                self._block(queue, message, Reason.NO_SOURCE_IS_USABLE, None, f"a source of pool {outlet.pool.name} can be used")
                return False
        full: list[ReadyQueue] = []
        earliest = inf
        while (entry := outlet.rotation.choose(candidates)) is not None:
            ready = outlet.paths.get(entry.name)
            if ready is None or ready.stopped:
                ready = self._path(queue, message, outlet, entry.name, destination)
                if ready is None:
                    return False
            if (wait := ready.selectable_in()) > 0:
                earliest = min(earliest, wait)
            elif ready.admit(message):
                return True
            else:
                full.append(ready)
            candidates = [other for other in candidates if other is not entry]
        if full:
            self._wait_for_room(queue, message, full)
        else:
            until = self._clock.seconds() + earliest
            what = f"a source_selection_rate of pool {outlet.pool.name}"
            self._block(queue, message, Reason.MESSAGE_RATE_THROTTLE, until, what)
            self._scheduler.resume_at(queue, until)
        return False

    def _outlet(self, queue: ScheduledQueue, message: Message) -> Outlet | None:
        """The pool that the message goes through; None while that is asked for.  Raises HookFailed where nobody knows it."""
        if message.pool is None or message.pool == queue.pool:
            return queue.outlet
        outlet = queue.outlets.get(message.pool)
        if outlet is not None:
            return outlet
        found = self.directions.pool(message.pool)
        if not isinstance(found, Deferred):
            outlet = queue.outlets[message.pool] = Outlet(found)
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
        self._block(queue, message, Reason.FAILED_TO_INSERT_INTO_READY_QUEUE, until, "the policy's next chance")
        self._scheduler.resume_at(queue, until)

    # Being blocked

    def _block(self, queue: ScheduledQueue, message: Message, why: Reason, until: float | None, what_for: str) -> None:
        """Nothing of the queue goes on until that ends; told once, with the message that met it first."""
        queue.blocked = why
        if queue.told is not why:
            queue.told = why
            self._scheduler.tell_delay(message, why, until, what_for)

    def _wait_for_room(self, queue: ScheduledQueue, message: Message, full: list[ReadyQueue]) -> None:
        for ready in full:
            self._wanting.setdefault(ready, {})[queue] = None
        names = " or ".join(ready.name for ready in full)
        self._block(queue, message, Reason.READY_QUEUE_WAS_FULL, None, f"there is room in {names}")

    def wanting(self, ready: ReadyQueue) -> list[ScheduledQueue]:
        """The queues that wait for room there, no longer blocked."""
        found = list(self._wanting.pop(ready, ()))
        for queue in found:
            if queue.blocked is Reason.READY_QUEUE_WAS_FULL:
                queue.blocked = None
        return found

    def source_missing(self, name: str) -> None:
        """The source's address is not on this machine: what is ready for it chooses anew."""
        for queue in self._ready.of_source(name):
            self.sources.missing(queue.path.source)
            queue.give_all_back(Reason.SOURCE_IS_UNHEALTHY_AND_SUSPENDED)

    def _source_returned(self, _: str) -> None:
        lacking, self._lacking = list(self._lacking), {}
        for queue in lacking:
            if queue.blocked is Reason.NO_SOURCE_IS_USABLE:
                queue.blocked = None
                self._scheduler.resume(queue)

    def _report(self, failure: Failure, queue: ScheduledQueue) -> None:
        self.log.failure("{queue}: going on failed", failure, queue=queue.name)


def _with_pool(
    settings: QueueSettings, directions: Directions
) -> "tuple[QueueSettings, Pool] | Deferred[tuple[QueueSettings, Pool]]":
    return then(directions.pool(settings.egress_pool), lambda pool: (settings, pool))
