"""
What ready queues have done, by queue, protocol, provider, pool and source.

Each queue counts for itself.  What is told of a queue goes with it; sums over several do not fall when one of them goes, or
whoever draws rates from them would see outcomes that never were: what a queue did is then kept here, for its protocol, and for
its provider as long as that has other queues.
"""

from collections.abc import Iterable, Iterator, Sequence

from kumotwist.metrics.family import PAUSE_AFTER, Family, Histogram, Labels, Sample, counters, gauges, histograms
from kumotwist.ready.queue import ReadyQueue

Finer = tuple[str, str, str]  # provider, source, pool

_OUTCOMES = (
    ("delivered", "recipients delivered to"),
    ("transfail", "recipients put off for now"),
    ("fail", "recipients refused for good"),
)
_SERVICE = ("service",)
_SMTP = "smtp_client"


def provider_of(queue: ReadyQueue) -> str:
    """The provider's name that shaping gives, else the site's."""
    return queue.path.settings.provider_name or queue.path.destination.site


class ReadyCounts:
    """What queues did that are gone, and all that is told of those that are here."""

    def __init__(self) -> None:
        self._gone: dict[str, list[int]] = {}  # by protocol: outcomes, sessions established, messages turned away
        self._gone_finer: dict[Finer, list[int]] = {}
        self._latency: dict[str, Histogram] = {}

    def introduce(self, queue: ReadyQueue) -> None:
        """The queue is new."""
        service = queue.path.destination.service
        queue.sessions.service = service
        queue.sessions.label = (f"{service}:{queue.name}",)
        queue.sessions.latency = self._latency.setdefault(service, Histogram())

    def retire(self, queue: ReadyQueue) -> None:
        """The queue is gone."""
        tally = _Tally({}, self._gone_finer)
        tally.add(queue)
        service = queue.sessions.service
        _add(self._gone.setdefault(service, [0] * 5), tally.totals[service][:5])

    def prune(self, queues: Iterable[ReadyQueue]) -> None:
        """Forget the providers that have no queue any more."""
        if self._gone_finer:
            here = {provider_of(queue) for queue in queues}
            self._gone_finer = {key: counts for key, counts in self._gone_finer.items() if key[0] in here}

    def measures(self, queues: Sequence[ReadyQueue]) -> Iterator[Family | None]:
        """What is 0 for a queue is not told of it."""
        finer = {key: list(counts) for key, counts in self._gone_finer.items()}
        tally = _Tally({_SMTP: [0] * 7, **{service: [*gone, 0, 0] for service, gone in self._gone.items()}}, finer)
        for number, queue in enumerate(queues, 1):
            tally.add(queue)
            if number % PAUSE_AFTER == 0:
                yield None
        for at, (name, what, kind) in enumerate(_BY_QUEUE):
            sums = [((service,), total[at]) for service, total in tally.totals.items()]
            yield kind(name, what, _SERVICE, sums + tally.each[at])
        yield None
        yield from tally.by_provider()
        told = [((service,), one) for service, one in self._latency.items()]
        yield histograms("deliver_message_latency_rollup", "seconds that it took to send a message", _SERVICE, told)


_BY_QUEUE = (
    *((f"total_messages_{name}", what, counters) for name, what in _OUTCOMES),
    ("total_connection_count", "connections made", counters),
    ("ready_full", "times that a ready queue had no room for a message", counters),
    ("ready_count", "messages that are ready to be sent", gauges),
    ("connection_count", "connections open now", gauges),
)


class _Tally:
    """One pass over queues.  totals: by protocol, in the order of _BY_QUEUE; each: the same by queue.  finer: outcomes."""

    def __init__(self, totals: dict[str, list[int]], finer: dict[Finer, list[int]]) -> None:
        self.totals = totals
        self.each: list[list[Sample]] = [[] for _ in _BY_QUEUE]
        self.finer = finer
        self.sessions: dict[Labels, int] = {}
        self.pooled: dict[Labels, int] = {}

    def add(self, queue: ReadyQueue) -> None:
        done, path, label = queue.sessions, queue.path, queue.sessions.label
        provider = path.settings.provider_name or path.destination.site
        delivered = transfailed = failed = 0
        for pool, counts in done.by_pool.items():
            outcomes = [counts.delivered, counts.transfailed, counts.failed]
            key = (provider, path.source.name, pool)
            if key in self.finer:
                _add(self.finer[key], outcomes)
            else:
                self.finer[key] = outcomes
            delivered, transfailed, failed = delivered + outcomes[0], transfailed + outcomes[1], failed + outcomes[2]
        sessions = len(done)
        numbers = (delivered, transfailed, failed, done.connected, done.turned_away, queue.lanes.size, sessions)
        for samples, number in zip(self.each, numbers, strict=True):
            if number:
                samples.append((label, number))
        _add(self.totals.setdefault(done.service, [0] * 7), numbers)
        if sessions:
            self.sessions[provider,] = self.sessions.get((provider,), 0) + sessions
            pooled = (provider, done.latest_pool)
            self.pooled[pooled] = self.pooled.get(pooled, 0) + sessions

    def by_provider(self) -> Iterator[Family | None]:
        coarse: dict[Labels, list[int]] = {}
        for key, counts in self.finer.items():
            _add(coarse.setdefault(key[:1], [0, 0, 0]), counts)
        yield None
        for at, (name, what) in enumerate(_OUTCOMES):
            by = [(key, counts[at]) for key, counts in coarse.items() if counts[at]]
            yield counters(f"total_messages_{name}_by_provider", f"{what}, by provider or site", ("provider",), by)
            labels = ("provider", "source", "pool")
            finer: list[Sample] = [(key, counts[at]) for key, counts in self.finer.items() if counts[at]]
            yield counters(f"total_messages_{name}_by_provider_and_source", f"{what}, by provider, source and pool", labels, finer)
        what = "sessions now, by provider or site"
        yield gauges("connection_count_by_provider", what, ("provider",), self.sessions.items())
        what = "sessions now, by provider or site and the pool that was new there last"
        yield gauges("connection_count_by_provider_and_pool", what, ("provider", "pool"), self.pooled.items())


def _add(sums: list[int], numbers: Sequence[int]) -> None:
    """One by one."""
    for at, number in enumerate(numbers):
        if number:
            sums[at] += number
