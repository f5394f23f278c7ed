"""All ready queues: found or made by source and site, given their settings, and dropped when nobody needs them."""

from collections.abc import Callable, Iterator, Mapping

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from kumotwist.config.egress import EgressSource, PathSettings
from kumotwist.egress.path import Destination, EgressPath, path_name
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.ready.queue import Home, ReadyQueue

SWEEP = 60.0  # seconds between looks for queues that nobody needs
IDLE_BEFORE_DROPPED = 600.0  # seconds

SettingsFor = Callable[[str, str, str], PathSettings]


class ReadyQueues:
    """
    Ready queues by name.

    An egress path is a source and a site, but shaping may name domains: the answer for the first, by name, of the
    domains that feed a path counts for it, and a domain that would have it otherwise is reported once.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        load: Callable[[Message], "Deferred[None]"],
        open_session: Callable[[ReadyQueue], "Deferred[None]"],
        sources: Mapping[str, EgressSource],
        settings_for: SettingsFor,
    ) -> None:
        """settings_for: (domain, source, site) → what holds there."""
        self._clock = clock
        self._load = load
        self._open_session = open_session
        self._sources = sources
        self._settings_for = settings_for
        self._queues: dict[str, ReadyQueue] = {}
        self._feeding: dict[str, str] = {}  # ready queue → the domain whose settings hold
        self._disagreed: set[tuple[str, str]] = set()
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

    def get(self, source: str, destination: Destination, domain: str) -> ReadyQueue:
        """The ready queue for what `domain` sends through `source` to this destination."""
        name = path_name(source, destination.site)
        queue = self._queues.get(name)
        if queue is None:
            settings = self._settings_for(domain, source, destination.site)
            path = EgressPath(source=self._sources[source], destination=destination, settings=settings)
            queue = ReadyQueue(path, self._clock, self.home, self._load, self._open_session)
            self._queues[name] = queue
            self._feeding[name] = domain
        elif domain != self._feeding[name]:
            self._agree(queue, destination, domain)
        return queue

    def of_source(self, source: str) -> list[ReadyQueue]:
        return [queue for queue in self._queues.values() if queue.path.source.name == source]

    def __iter__(self) -> Iterator[ReadyQueue]:
        return iter(self._queues.values())

    def apply(self, sources: Mapping[str, EgressSource]) -> None:
        """Sources or shaping changed: every path gets what holds now."""
        self._sources = sources
        self._disagreed.clear()
        for name, queue in self._queues.items():
            source = queue.path.source.name
            if source in sources:
                settings = self._settings_for(self._feeding[name], source, queue.path.destination.site)
                queue.reshape(EgressPath(source=sources[source], destination=queue.path.destination, settings=settings))
            else:
                queue.give_all_back(Reason.READY_QUEUE_WAS_SUSPENDED)

    def _agree(self, queue: ReadyQueue, destination: Destination, domain: str) -> None:
        first = self._feeding[queue.name]
        if (queue.name, domain) in self._disagreed:
            return
        settings = self._settings_for(domain, queue.path.source.name, destination.site)
        if settings != queue.path.settings:
            self._disagreed.add((queue.name, domain))
            self.log.warn(
                "{path} is fed by {one} and {other}, for which shaping says different things; what it says for {first} counts",
                path=queue.name,
                one=first,
                other=domain,
                first=min(first, domain),
            )
        if domain < first:
            self._feeding[queue.name] = domain
            queue.reshape(EgressPath(source=queue.path.source, destination=destination, settings=settings))

    def _sweep(self) -> None:
        now = self._clock.seconds()
        for name, queue in list(self._queues.items()):
            if queue.quiet and now - queue.idle_since > IDLE_BEFORE_DROPPED:
                del self._queues[name], self._feeding[name]
                queue.stop()
        self._sweeping = self._clock.callLater(SWEEP, self._sweep)
