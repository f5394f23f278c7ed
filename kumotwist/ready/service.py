"""All ready queues: found or made by source and site, given their settings, and dropped when nobody needs them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from msgspec.structs import replace
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.egress import EgressSource, PathSettings
from kumotwist.config.queues import RefreshStrategy
from kumotwist.egress.path import Destination, EgressPath, path_name
from kumotwist.egress.sharing import SharedLeases, SharedRates
from kumotwist.egress.turns import Turns
from kumotwist.hooks.directions import Directions, then
from kumotwist.hooks.policy import HookFailed
from kumotwist.mail.message import Message
from kumotwist.metrics.family import Family
from kumotwist.ready.counts import ReadyCounts
from kumotwist.ready.inspection import ReadyView, view_ready
from kumotwist.ready.orders import ReadySuspension, SuspendedReady
from kumotwist.ready.queue import Home, ReadyQueue
from kumotwist.ready.refresh import Refresh
from kumotwist.ready.standing import STANDS_FOR, Shelve, Standing
from kumotwist.ready.states import State

SWEEP = 60.0  # seconds between looks for queues that nobody needs
IDLE_BEFORE_DROPPED = 600.0  # seconds

_ASKED = ("get_egress_path_config", "get_egress_source")


class ReadyQueues:
    """
    Ready queues by name.

    An egress path is a source and a site, but what holds there may be said by domain: the answer for the first, by name,
    of the domains that feed a path counts for it, and a domain that would have it otherwise is reported once.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        load: Callable[[Message], "Deferred[None]"],
        open_session: Callable[[ReadyQueue], "Deferred[None]"],
        directions: Directions,
        throttles: SharedRates,
        leases: SharedLeases,
        shelve: Shelve,
        new_id: Callable[[], str],
    ) -> None:
        """throttles, leases: limits that paths share by name.  shelve: on the spool's shelf.  new_id: for an operator's order."""
        self._clock = clock
        self._load = load
        self._open_session = open_session
        self._directions = directions
        self._throttles = throttles
        self._leases = leases
        self._turns = Turns()
        self.counts = ReadyCounts()
        self._queues: dict[str, ReadyQueue] = {}
        self._feeding: dict[str, str] = {}  # ready queue → the domain whose settings hold
        self._heard: set[tuple[str, str]] = set()  # ready queues and domains that were compared with those
        self._sweeping: IDelayedCall | None = None
        self._refresh = Refresh(clock, self._ask_anew)
        self._new_id = new_id
        self.orders = Standing(clock, shelve, "orders/ready/", ReadySuspension, self._suspend, self._resume)
        self.most_connections: Callable[[], int] | None = None  # of each path; asked whenever one may be opened; None: any
        self.home: Home  # set once, by the composition root, before anything is admitted

    def start(self) -> None:
        self._sweeping = self._clock.callLater(SWEEP, self._sweep)

    def stop(self) -> "Deferred[list[tuple[bool, None]]]":
        """Fires when every session has ended."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        self.orders.stop()
        self._refresh.stop()
        return DeferredList([queue.stop() for queue in self._queues.values()])

    def get(self, source: EgressSource, destination: Destination, domain: str) -> "ReadyQueue | Deferred[ReadyQueue]":
        """The ready queue for what `domain` sends through `source` to this destination.  Raises (or fails with) HookFailed."""
        name = path_name(source.name, destination.site, destination.protocol)
        queue = self._queues.get(name)
        if queue is not None and queue.path.destination.instead_of_smtp != destination.instead_of_smtp:
            queue.reshape(replace(queue.path, destination=destination))  # batches of another size
        if queue is not None and (self._feeding[name] == domain or (name, domain) in self._heard):
            return queue
        found = self._directions.path(domain, source.name, destination)
        return then(found, lambda settings: self._with(name, source, destination, domain, settings))

    def _with(self, name: str, source: EgressSource, destination: Destination, domain: str, settings: PathSettings) -> ReadyQueue:
        """The queue of that name, made if there is none yet, with what a domain says of it taken into account."""
        path = EgressPath(source=source, destination=destination, settings=settings)
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = ReadyQueue(
                path, self._clock, self.home, self._load, self._open_session, self._throttles, self._leases, self._turns
            )
            self.counts.introduce(queue)
            if self.most_connections is not None:
                queue.most_connections = self.most_connections
            self._feeding[name] = domain
            self._refresh_later(queue)
            queue.suspension = self.orders.about(name)
        else:
            self._agree(queue, path, domain)
        return queue

    def of_source(self, source: str) -> list[ReadyQueue]:
        return [queue for queue in self._queues.values() if queue.path.source.name == source]

    def __iter__(self) -> Iterator[ReadyQueue]:
        return iter(self._queues.values())

    def find(self, name: str) -> ReadyQueue | None:
        """The ready queue of that name, if there is one now."""
        return self._queues.get(name)

    def ask_again(self, name: str) -> None:
        """What holds on that path has changed."""
        self._heard = {(path, domain) for path, domain in self._heard if path != name}
        self._ask_anew(name)

    def direct(self, directions: Directions) -> None:
        """Another configuration holds: every path asks what holds now; until it is answered, what held before does."""
        self._directions = directions
        self._heard.clear()
        for name in list(self._queues):
            self._refresh.forget(name)
            self._ask_anew(name)

    def _ask_anew(self, name: str) -> None:
        """What holds on a path now; while it is asked for, and where nobody knows, what held before does."""
        queue = self._queues.get(name)
        if queue is None:
            return
        self._refresh_later(queue)
        try:
            found = then(self._directions.source(queue.path.source.name), partial(self._ask_path, name))
        except HookFailed:
            return
        if isinstance(found, Deferred):
            found.addErrback(self._keeps, name)

    def _refresh_later(self, queue: ReadyQueue) -> None:
        """A policy is asked again after `refresh_interval`; data say something else only with another configuration."""
        settings, policy = queue.path.settings, self._directions.policy
        if settings.refresh_strategy is RefreshStrategy.TTL and any(event in policy for event in _ASKED):
            self._refresh.after(queue.name, settings.refresh_interval)

    def _ask_path(self, name: str, source: EgressSource) -> "Deferred[None] | None":
        queue = self._queues.get(name)
        if queue is None:
            return None
        destination = queue.path.destination
        found = self._directions.path(self._feeding[name], source.name, destination)
        return then(found, lambda settings: queue.reshape(EgressPath(source=source, destination=destination, settings=settings)))

    def _keeps(self, failure: Failure, name: str) -> None:
        if not failure.check(HookFailed):  # those have been logged
            self.log.failure("{path} keeps its settings", failure, path=name)

    def _agree(self, queue: ReadyQueue, path: EgressPath, domain: str) -> None:
        first = self._feeding[queue.name]
        self._heard.add((queue.name, domain))
        if path.settings != queue.path.settings:
            self.log.warn(
                "{path} is fed by {one} and {other}, for which shaping says different things; what it says for {first} counts",
                path=queue.name,
                one=first,
                other=domain,
                first=min(first, domain),
            )
        if domain < first:
            self._heard.add((queue.name, first))
            self._feeding[queue.name] = domain
            queue.reshape(path)

    # Operators' actions and views

    def load(self, shelved: Iterable[tuple[str, bytes]]) -> None:
        """The orders that the spool's shelf has; before anything is admitted."""
        self.orders.load(shelved)

    def suspend(
        self, name: str, reason: str, *, duration: float = STANDS_FOR, expires: float | None = None
    ) -> "Deferred[ReadySuspension]":
        """
        Send nothing from the ready queue of exactly this name, be it there yet or not.  Fires once the order is on disk.

        What is ready chooses another source of its pool, or waits.  duration: seconds; expires: epoch seconds, instead of it.
        """
        until = self._clock.seconds() + duration if expires is None else expires
        return self.orders.add(ReadySuspension(id=self._new_id(), name=name, reason=reason, expires=until))

    def resume(self, id: str) -> "Deferred[bool] | None":
        """Cancel a suspension.  None: there is none of that id."""
        return self.orders.cancel(id)

    def suspensions(self) -> list[SuspendedReady]:
        """Those in force, each with the seconds that remain."""
        now = self._clock.seconds()
        return [SuspendedReady(order=order, remaining=order.expires - now) for order in self.orders]

    def _suspend(self, order: ReadySuspension) -> None:
        queue = self._queues.get(order.name)
        if queue is not None:
            queue.suspend(order)

    def _resume(self, order: ReadySuspension) -> None:
        queue = self._queues.get(order.name)
        if queue is not None:
            queue.resume()

    def withdraw(self, queue_fits: Callable[[str], bool]) -> list[Message]:
        """Take out what is ready and comes from these scheduled queues."""
        return [message for queue in list(self._queues.values()) for message in queue.withdraw(queue_fits)]

    def abort(self, name: str, session_id: str) -> bool:
        """End a connection now: what is on its wire waits again, uncounted.  False: there is no such queue, or session."""
        queue = self._queues.get(name)
        return queue is not None and queue.abort(session_id)

    def inspect(self, name: str) -> ReadyView | None:
        """A ready queue as it is now; None: there is none of that name."""
        queue = self._queues.get(name)
        return view_ready(queue, self._clock.seconds()) if queue is not None else None

    def decided_by(self, name: str) -> str | None:
        """The domain whose answer counts for a ready queue; None: there is none of that name."""
        return self._feeding.get(name)

    def states(self) -> dict[str, Mapping[str, State]]:
        """What keeps ready queues from opening connections, by name; those that nothing keeps are left out."""
        return {name: now for name, queue in self._queues.items() if (now := queue.states.now)}

    # Housekeeping

    def _sweep(self) -> None:
        now = self._clock.seconds()
        for name, queue in list(self._queues.items()):
            queue.return_old()
            if queue.quiet and now - queue.idle_since > IDLE_BEFORE_DROPPED:
                del self._queues[name], self._feeding[name]
                self._refresh.forget(name)
                self._heard = {(path, domain) for path, domain in self._heard if path != name}
                self.counts.retire(queue)
                queue.stop()
        self.counts.prune(self._queues.values())
        self._sweeping = self._clock.callLater(SWEEP, self._sweep)

    def measures(self) -> Iterator[Family | None]:
        """For the metrics."""
        return self.counts.measures(list(self._queues.values()))
