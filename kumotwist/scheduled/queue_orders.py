"""The operators' orders about scheduled queues that are in force, ready to be asked whenever a message moves."""

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime

from kumotwist.ready.standing import Shelve, Standing
from kumotwist.scheduled.orders import BounceOrder, OrderIndex, Suspension

SHELF = "orders/"  # what the keys of all operators' orders on the spool's shelf begin with


class QueueOrders:
    """
    stand: whether there are any; where there are none, that is all that a message's move costs.

    suspensions, bounces: to be asked for a queue.  suspending, bouncing: the orders themselves.
    bounced: how many messages of which queue each bounce order has ended, since the server started.
    """

    def __init__(
        self,
        clock: IReactorTime,
        shelve: Shelve,
        *,
        suspended: Callable[[Suspension], None],
        resumed: Callable[[Suspension], None],
        bounces: Callable[[BounceOrder], None],
    ) -> None:
        """suspended, resumed, bounces: told what has just come into force, or gone out of it."""
        self.stand = False
        self.suspensions: OrderIndex[Suspension] = OrderIndex()
        self.bounces: OrderIndex[BounceOrder] = OrderIndex()
        self.bounced: dict[str, dict[str, int]] = {}
        self._suspended = suspended
        self._resumed = resumed
        self._bounces = bounces
        self.suspending = Standing(clock, shelve, f"{SHELF}suspension/", Suspension, self._suspend, self._resume)
        self.bouncing = Standing(clock, shelve, f"{SHELF}bounce/", BounceOrder, self._bounce, self._bounce_no_more)

    def load(self, shelved: Iterable[tuple[str, bytes]]) -> None:
        """What the spool's shelf has; before anything is admitted."""
        kept = list(shelved)
        self.suspending.load(kept)
        self.bouncing.load(kept)

    def stop(self) -> None:
        self.suspending.stop()
        self.bouncing.stop()

    def count(self, order: BounceOrder, queue: str) -> None:
        """It has ended a message."""
        counts = self.bounced.get(order.id)
        if counts is not None:
            counts[queue] = counts.get(queue, 0) + 1

    def _suspend(self, order: Suspension) -> None:
        self.suspensions.add(order)
        self.stand = True
        self._suspended(order)

    def _resume(self, order: Suspension) -> None:
        self.suspensions.remove(order)
        self._note()
        self._resumed(order)

    def _bounce(self, order: BounceOrder) -> None:
        self.bounces.add(order)
        self.bounced[order.id] = {}
        self.stand = True
        self._bounces(order)

    def _bounce_no_more(self, order: BounceOrder) -> None:
        self.bounces.remove(order)
        del self.bounced[order.id]
        self._note()

    def _note(self) -> None:
        self.stand = bool(self.suspensions or self.bounces)
