"""All ready queues: found or made by source and site, given their settings, and dropped when nobody needs them."""

from collections.abc import Callable, Iterator
from functools import partial

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.egress import EgressSource, PathSettings
from kumotwist.egress.leases import Leases
from kumotwist.egress.path import Destination, EgressPath, path_name
from kumotwist.egress.throttles import Throttles
from kumotwist.hooks.directions import Directions, then
from kumotwist.hooks.policy import HookFailed
from kumotwist.mail.message import Message
from kumotwist.ready.queue import Home, ReadyQueue

SWEEP = 60.0  # seconds between looks for queues that nobody needs
IDLE_BEFORE_DROPPED = 600.0  # seconds


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
        throttles: Throttles,
        leases: Leases,
    ) -> None:
        """throttles, leases: limits that paths share by name."""
        self._clock = clock
        self._load = load
        self._open_session = open_session
        self._directions = directions
        self._throttles = throttles
        self._leases = leases
        self._queues: dict[str, ReadyQueue] = {}
        self._feeding: dict[str, str] = {}  # ready queue → the domain whose settings hold
        self._heard: set[tuple[str, str]] = set()  # ready queues and domains that were compared with those
        self._sweeping: IDelayedCall | None = None
        self.home: Home  # set once, by the composition root, before anything is admitted

    def start(self) -> None:
        self._sweeping = self._clock.callLater(SWEEP, self._sweep)

    def stop(self) -> "Deferred[list[tuple[bool, None]]]":
        """Fires when every session has ended."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        return DeferredList([queue.stop() for queue in self._queues.values()])

    def get(self, source: EgressSource, destination: Destination, domain: str) -> "ReadyQueue | Deferred[ReadyQueue]":
        """The ready queue for what `domain` sends through `source` to this destination.  Raises (or fails with) HookFailed."""
        name = path_name(source.name, destination.site)
        queue = self._queues.get(name)
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
                path, self._clock, self.home, self._load, self._open_session, self._throttles, self._leases
            )
            self._feeding[name] = domain
        else:
            self._agree(queue, path, domain)
        return queue

    def of_source(self, source: str) -> list[ReadyQueue]:
        return [queue for queue in self._queues.values() if queue.path.source.name == source]

    def __iter__(self) -> Iterator[ReadyQueue]:
        return iter(self._queues.values())

    def direct(self, directions: Directions) -> None:
        """Another configuration holds: every path asks what holds now; until it is answered, what held before does."""
        self._directions = directions
        self._heard.clear()
        for name, queue in list(self._queues.items()):
            try:
                found = then(directions.source(queue.path.source.name), partial(self._ask_path, name))
            except HookFailed:
                continue
            if isinstance(found, Deferred):
                found.addErrback(self._keeps, name)

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

    def _sweep(self) -> None:
        now = self._clock.seconds()
        for name, queue in list(self._queues.items()):
            if queue.quiet and now - queue.idle_since > IDLE_BEFORE_DROPPED:
                del self._queues[name], self._feeding[name]
                self._heard = {(path, domain) for path, domain in self._heard if path != name}
                queue.stop()
        self._sweeping = self._clock.callLater(SWEEP, self._sweep)
