"""
What holds a scheduled queue up: an operator's suspension, a rate, paths that are full or suspended, no usable source.

Then the queue is `blocked`, one Delayed record says why and until when, and what ends it wakes the queue: nothing is polled.
"""

from math import inf
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from kumotwist.config.fields import format_rate
from kumotwist.egress.sharing import NOT_KNOWN_YET
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.ready.queue import ReadyQueue
from kumotwist.scheduled.lines import Lines
from kumotwist.scheduled.orders import BounceOrder, OrderIndex, Suspension
from kumotwist.scheduled.queue import ScheduledQueue


class Orders(Protocol):
    """What operators have ordered about queues."""

    @property
    def stand(self) -> bool:
        """Whether there are any."""

    @property
    def suspensions(self) -> OrderIndex[Suspension]: ...

    @property
    def bounces(self) -> OrderIndex[BounceOrder]: ...


class Held(Protocol):
    """What is needed of the scheduler."""

    def resume_at(self, queue: ScheduledQueue, when: float) -> None:
        """The queue may be able to go on at that time."""

    def promote_one(self, queue: ScheduledQueue) -> bool:
        """Move one message of a queue that is not blocked; True if it could go on at once."""

    def tell_delay(self, message: Message, why: Reason, until: float | None, what_for: str) -> None:
        """A Delayed record; the envelope may be in the spool only."""


class Holdups:
    """Blocks queues."""

    def __init__(self, clock: IReactorTime, orders: Orders, scheduler: Held) -> None:
        self._clock = clock
        self.orders = orders
        self._scheduler = scheduler
        self.lines = Lines(clock, scheduler.promote_one)

    def block(
        self, queue: ScheduledQueue, message: Message, why: Reason, until: float | None, what_for: str, told: object = None
    ) -> None:
        """
        Nothing of the queue goes on until that ends; told once, with the message that met it first.

        told: what it is told for, where that is not every cause of this kind.
        """
        queue.blocked = why
        if why is Reason.READY_QUEUE_WAS_FULL:
            queue.delayed_full += 1
        elif why is Reason.MESSAGE_RATE_THROTTLE:
            queue.delayed_rate += 1
        about = told or why
        if queue.told != about:
            queue.told = about
            self._scheduler.tell_delay(message, why, until, what_for)

    def suspended(self, queue: ScheduledQueue, message: Message) -> bool:
        """Whether an operator's order holds the queue up; its end is announced."""
        order = self.orders.suspensions.find(queue.name)
        if order is None:
            return False
        what_for = f"the end of its suspension: {order.reason}"
        self.block(queue, message, Reason.SCHEDULED_QUEUE_WAS_SUSPENDED, order.expires, what_for, told=order.id)
        return True

    def for_rate(self, queue: ScheduledQueue, message: Message, now: float) -> bool:
        """Whether a rate that the queue keeps to holds it up: then it stands in that rate's line."""
        for limit, what in queue.limits:
            wait = self.lines.wait(limit, queue, now)
            if wait > 0.0:
                until = None if wait == NOT_KNOWN_YET else now + wait
                what_for = f"{what} ({format_rate(limit.rate)})" + (" admits it" if until is None else "")
                self.block(queue, message, Reason.MESSAGE_RATE_THROTTLE, until, what_for)
                self.lines.join_for_rate(limit, queue)
                return True
        return False

    def for_paths(self, queue: ScheduledQueue, message: Message, taken_up: list[ReadyQueue], pool: str, selectable: float) -> None:
        """
        No source of the pool can be chosen: until there is room, a suspension ends, or a rate of choosing frees.

        taken_up: full ones and suspended ones.  selectable: when a rate of choosing frees, epoch seconds; inf: none holds.
        """
        for ready in taken_up:
            self.lines.join_for_room(ready, queue)
        full = [ready.name for ready in taken_up if ready.suspension is None]
        ends = [(order.expires, ready.name, order) for ready in taken_up if (order := ready.suspension) is not None]
        first = min(ends, default=None, key=lambda end: end[0])
        if full:
            self.block(queue, message, Reason.READY_QUEUE_WAS_FULL, None, f"there is room in {' or '.join(full)}")
        elif first is not None and first[0] <= selectable:
            expires, name, order = first
            what_for = f"the end of the suspension of {name}: {order.reason}"
            self.block(queue, message, Reason.READY_QUEUE_WAS_SUSPENDED, expires, what_for, told=order.id)
        else:
            until = selectable if selectable != inf else None
            what_for = f"a source_selection_rate of pool {pool}" + (" admits it" if until is None else "")
            self.block(queue, message, Reason.MESSAGE_RATE_THROTTLE, until, what_for)
        if selectable != inf:
            self._scheduler.resume_at(queue, selectable)
