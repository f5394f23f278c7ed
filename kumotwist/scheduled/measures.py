"""Scheduled queues as metrics tell them: each, and by domain, tenant, campaign, provider and pool."""

from collections.abc import Iterable, Iterator

from kumotwist.metrics.family import PAUSE_AFTER, Family, Labels, Sample, counters, gauge, gauges
from kumotwist.ready.counts import provider_of
from kumotwist.ready.queue import ReadyQueue
from kumotwist.scheduled.queue import ScheduledQueue
from kumotwist.scheduled.service import Scheduler

_DELAYS = (
    ("delayed_due_to_ready_queue_full", "times that the queue was held up since a ready queue was full"),
    ("delayed_due_to_message_rate_throttle", "times that the queue was held up by a rate"),
    ("delayed_due_to_throttle_insert_ready", "messages that a policy put off"),
)


def measures(scheduler: Scheduler, ready: Iterable[ReadyQueue]) -> Iterator[Family | None]:
    """Of all queues; ready: the ready queues."""
    queues = list(scheduler.queues.values())
    tally = _Tally()
    in_hand = 0
    for number, one in enumerate(list(ready), 1):
        in_hand += tally.begin(one)
        if number % PAUSE_AFTER == 0:
            yield None
    for number, queue in enumerate(queues, 1):
        tally.add(queue)
        if number % PAUSE_AFTER == 0:
            yield None
    yield gauge("scheduled_count_total", "messages in scheduled queues", tally.total)
    yield gauge("scheduled_queue_count", "scheduled queues", len(queues))
    in_all = tally.total + in_hand + len(scheduler.asked)
    yield gauge("message_count", "messages that wait or are being sent", in_all)
    yield from tally.families()
    yield from _of_sources(scheduler)


class _Tally:
    """One pass over queues; a queue whose destination is not known yet counts with its domain."""

    def __init__(self) -> None:
        self.total = 0
        self._each: list[Sample] = []
        self._delays: list[list[Sample]] = [[] for _ in _DELAYS]
        self._domains: dict[Labels, int] = {}
        self._tenants: dict[Labels, int] = {}
        self._campaigns: dict[Labels, int] = {}
        self._pooled: dict[Labels, int] = {}
        self._providers: dict[str, str] = {}  # by site

    def begin(self, ready: ReadyQueue) -> int:
        """What is ready counts for its provider; how many messages are ready, or in the hand of a session."""
        provider = self._providers[ready.path.destination.site] = provider_of(ready)
        size = ready.lanes.size
        if size:
            _more(self._pooled, (provider, ready.sessions.latest_pool), size)
        return size + len(ready.in_hand)

    def add(self, queue: ScheduledQueue) -> None:
        if queue.delayed_full or queue.delayed_rate or queue.delayed_policy:
            delays = (queue.delayed_full, queue.delayed_rate, queue.delayed_policy)
            for samples, number in zip(self._delays, delays, strict=True):
                if number:
                    samples.append(((queue.name,), number))
        count = len(queue.held) + queue.parked
        if not count:
            return
        self.total += count
        self._each.append(((queue.name,), count))
        parts = queue.parts
        _more(self._domains, (parts.domain,), count)
        if parts.tenant:
            _more(self._tenants, (parts.tenant,), count)
            if parts.campaign:
                _more(self._campaigns, (parts.tenant, parts.campaign), count)
        site = queue.destination.site if queue.destination is not None else parts.routed_to
        _more(self._pooled, (self._providers.get(site, site), queue.pool or ""), count)

    def families(self) -> Iterator[Family | None]:
        yield gauges("scheduled_count", "messages in the scheduled queue", ("queue",), self._each)
        yield gauges("scheduled_by_domain", "messages in scheduled queues, by domain", ("domain",), self._domains.items())
        yield gauges("scheduled_by_tenant", "messages in scheduled queues, by tenant", ("tenant",), self._tenants.items())
        what = "messages in scheduled queues, by tenant and campaign"
        yield gauges("scheduled_by_tenant_campaign", what, ("tenant", "campaign"), self._campaigns.items())
        for (name, what), samples in zip(_DELAYS, self._delays, strict=True):
            yield counters(name, what, ("queue",), samples)
        yield None
        coarse: dict[Labels, int] = {}
        for (provider, _), count in self._pooled.items():
            _more(coarse, (provider,), count)
        yield gauges("queued_count_by_provider", "messages scheduled and ready, by provider or site", ("provider",), coarse.items())
        what = "messages scheduled and ready, by provider or site and pool"
        yield gauges("queued_count_by_provider_and_pool", what, ("provider", "pool"), self._pooled.items())


def _more(sums: dict[Labels, int], key: Labels, count: int) -> None:
    sums[key] = sums.get(key, 0) + count


def _of_sources(scheduler: Scheduler) -> Iterator[Family]:
    sources = scheduler.sources
    failures = [((name, ailment.value), count) for (name, ailment), count in sources.failures.items()]
    what = "connections that failed for want of the source's address or proxy"
    yield counters("egress_source_connection_failures_total", what, ("source", "kind"), failures)
    suspended = [((one.source.name, one.ailment.value), 1) for one in sources.suspended]
    yield gauges("egress_source_health_suspended", "1 while a source is left alone", ("source", "reason"), suspended)
