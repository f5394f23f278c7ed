"""
What operators do to scheduled queues: suspend them, bounce their mail, bind it to other queues, look into them.

    suspend   the mail waits, uncounted, until the suspension ends; one Delayed record when the wait begins; it still grows old
    bounce    what waits or is ready ends with an AdminBounce record, and so does what comes while the order stands
    rebind    what waits is told where it belongs anew, once; an AdminRebind record if that is another queue

Orders that stand are kept over restarts.  What is on the wire is never touched: when it comes back, the orders hold for it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kumotwist.custody import Custody
from kumotwist.hooks.policy import Policy
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import reply
from kumotwist.ready.service import ReadyQueues
from kumotwist.ready.standing import STANDS_FOR
from kumotwist.scheduled.envelopes import Envelopes
from kumotwist.scheduled.inspection import Bouncing, QueueView, Suspended, view_queue
from kumotwist.scheduled.orders import BounceOrder, Criteria, Rebinding, Suspension
from kumotwist.scheduled.portions import in_portions, portions_of
from kumotwist.scheduled.queue import ScheduledQueue
from kumotwist.scheduled.queue_orders import QueueOrders
from kumotwist.scheduled.rebinding import Rebinder
from kumotwist.scheduled.returns import Returns
from kumotwist.scheduled.wheel import Wheel

_BUCKETS = 64  # of the wheel that are looked through in one turn, where nothing is taken out


class Queues(Protocol):
    """The scheduler, which has the queues."""

    @property
    def queues(self) -> Mapping[str, ScheduledQueue]: ...

    @property
    def wheel(self) -> Wheel[Message]: ...

    @property
    def envelopes(self) -> Envelopes: ...

    @property
    def policy(self) -> Policy: ...

    def queue(self, name: str) -> ScheduledQueue:
        """The scheduled queue of that name, made if there is none."""

    def admit(self, message: Message, reason: Reason) -> None:
        """It waits until its due time, or not at all."""

    def resume(self, queue: ScheduledQueue) -> None:
        """The queue may be able to go on."""


class Administration:
    """Operators' actions on scheduled queues."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        custody: Custody,
        ready: ReadyQueues,
        returns: Returns,
        scheduler: Queues,
        new_id: Callable[[], str],
    ) -> None:
        """new_id: makes the id of an order."""
        self._clock = clock
        self._ready = ready
        self._returns = returns
        self._scheduler = scheduler
        self._new_id = new_id
        self._rebinder = Rebinder(clock, custody, scheduler)
        self.orders = QueueOrders(
            clock, custody.shelve, suspended=self._begin_suspension, resumed=self._end_suspension, bounces=self._begin_bounce
        )

    def load(self, shelved: Iterable[tuple[str, bytes]]) -> None:
        """The orders that the spool's shelf has; before anything is admitted."""
        self.orders.load(shelved)

    def stop(self) -> None:
        self.orders.stop()

    def _expires(self, duration: float, expires: float | None) -> float:
        return self._clock.seconds() + duration if expires is None else expires

    # Suspension

    def suspend(
        self, criteria: Criteria, reason: str, *, duration: float = STANDS_FOR, expires: float | None = None
    ) -> "Deferred[Suspension]":
        """
        The mail of these queues waits, from now on.  Fires once the order is on disk.

        duration: seconds.  expires: epoch seconds, instead of a duration.
        """
        order = Suspension(id=self._new_id(), reason=reason, criteria=criteria, expires=self._expires(duration, expires))
        return self.orders.suspending.add(order)

    def resume(self, id: str) -> "Deferred[bool] | None":
        """Cancel a suspension: the mail goes on at once.  None: there is none of that id."""
        return self.orders.suspending.cancel(id)

    def suspensions(self) -> list[Suspended]:
        """Those in force, each with the seconds that remain."""
        now = self._clock.seconds()
        return [Suspended(order=order, remaining=order.expires - now) for order in self.orders.suspending]

    def _begin_suspension(self, order: Suspension) -> None:
        fits = _Fitting(order.criteria)
        for message in self._ready.withdraw(fits):
            self._scheduler.queue(message.queue).held.append(message)
        for queue in list(self._scheduler.queues.values()):
            if queue.held and fits(queue.name):
                self._scheduler.resume(queue)

    def _end_suspension(self, order: Suspension) -> None:
        for queue in list(self._scheduler.queues.values()):
            if queue.blocked is Reason.SCHEDULED_QUEUE_WAS_SUSPENDED and order.criteria.fit(queue.name):
                queue.blocked = None
                self._scheduler.resume(queue)

    # Bounce

    def bounce(
        self,
        criteria: Criteria,
        reason: str,
        *,
        duration: float = STANDS_FOR,
        expires: float | None = None,
        suppress_logging: bool = False,
    ) -> "Deferred[BounceOrder]":
        """
        The mail of these queues ends: what is there, a portion at a time, and what comes until the order expires.

        Fires once the order is on disk; the portions may take longer.
        """
        order = BounceOrder(
            id=self._new_id(),
            reason=reason,
            criteria=criteria,
            expires=self._expires(duration, expires),
            suppress_logging=suppress_logging,
        )
        return self.orders.bouncing.add(order)

    def stop_bouncing(self, id: str) -> "Deferred[bool] | None":
        """Cancel a bounce order: what it has not reached yet stays.  None: there is none of that id."""
        return self.orders.bouncing.cancel(id)

    def bounces(self) -> list[Bouncing]:
        """Those in force, each with the seconds that remain and what it has ended since the server started."""
        now = self._clock.seconds()
        return [
            Bouncing(order=order, remaining=order.expires - now, bounced=dict(self.orders.bounced[order.id]))
            for order in self.orders.bouncing
        ]

    def bounce_one(self, message: Message, order: BounceOrder) -> "Deferred[None]":
        """End a message.  Fires once it is gone, or waits again because it cannot be read."""
        ended: Deferred[None] = Deferred()
        self._scheduler.envelopes.of(message, self._bounce_read, order, ended, otherwise=ended)
        return ended

    def _bounce_read(self, message: Message, order: BounceOrder, ended: "Deferred[None]") -> None:
        self.orders.count(order, message.queue)
        answer = reply(f"551 5.7.1 Administrator bounced with reason: {order.reason}")
        self._returns.bounce(message, answer, silently=order.suppress_logging).chainDeferred(ended)

    def _begin_bounce(self, order: BounceOrder) -> None:
        in_portions(self._clock, self._bouncing(order), f"bouncing for {order.id}")

    def _bouncing(self, order: BounceOrder) -> "Iterator[Deferred[Any] | None]":
        """Everything of these queues that is not on the wire."""
        fits = _Fitting(order.criteria)
        yield self._bounce_all(self._ready.withdraw(fits), order)
        for queue in list(self._scheduler.queues.values()):
            if queue.held and fits(queue.name):
                held, queue.held = queue.held, deque()
                for some in portions_of(list(held)):
                    yield self._bounce_all(some, order)
        for some in self._withdrawn(fits):
            yield self._bounce_all(some, order) if some else None

    def _withdrawn(self, fits: "_Fitting") -> Iterator[Sequence[Message]]:
        """Messages of these queues out of the wheel; now and then none, so that others have their turn."""
        for n, taken in enumerate(self._scheduler.wheel.withdraw(lambda message: fits(message.queue))):
            for message in taken:
                self._scheduler.queue(message.queue).parked -= 1
            if taken:
                yield from portions_of(taken)
            elif n % _BUCKETS == 0:
                yield ()

    def _bounce_all(self, messages: Sequence[Message], order: BounceOrder) -> "Deferred[Any]":
        if order.expires > self._clock.seconds() and order.id not in self.orders.bounced:  # it was cancelled meanwhile
            for message in messages:
                self._scheduler.admit(message, Reason.DUE_TIME_WAS_REACHED)
            return DeferredList([])
        return DeferredList([self.bounce_one(message, order) for message in messages], consumeErrors=True)

    # Rebind

    def rebind(self, rebinding: Rebinding) -> "Deferred[int]":
        """
        Tell the mail that waits in these queues where it belongs, once; fires with how many messages that was.

        What is ready or on the wire is not touched, as in the model.
        """
        return self._rebinder.rebind(rebinding, self._waiting_in(_Fitting(rebinding.criteria)))

    def move(self, rebinding: Rebinding) -> "Deferred[int]":
        """As `rebind`, and what is ready goes too: only what is on the wire stays."""
        fits = _Fitting(rebinding.criteria)
        return self._rebinder.rebind(rebinding, chain(portions_of(self._ready.withdraw(fits)), self._waiting_in(fits)))

    def _waiting_in(self, fits: "_Fitting") -> Iterator[Sequence[Message]]:
        for queue in list(self._scheduler.queues.values()):
            if queue.held and fits(queue.name):
                held, queue.held = queue.held, deque()
                yield from portions_of(list(held))
        yield from self._withdrawn(fits)

    # Looking

    def inspect_queue(self, name: str, limit: int | None = None) -> QueueView | None:
        """A scheduled queue and what is in it, `limit` messages at most; None: there is no such queue."""
        queue = self._scheduler.queues.get(name)
        if queue is None:
            return None
        ready = {path.name: count for path in self._ready if (count := path.count_of(name))}
        return view_queue(queue, self._scheduler.wheel, ready, self.orders, limit, self._clock.seconds())


class _Fitting:
    """Whether criteria fit a queue's name, asked once for each name."""

    __slots__ = ("_criteria", "_known")

    def __init__(self, criteria: Criteria) -> None:
        self._criteria = criteria
        self._known: dict[str, bool] = {}

    def __call__(self, name: str) -> bool:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._criteria.fit(name)
        return known
