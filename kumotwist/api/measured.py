"""Everything that the server measures, joined; and the books, which an operator can have audited."""

from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime

from kumotwist.api.endpoint import Call, Endpoint, Endpoints
from kumotwist.api.loop_lag import LoopLag
from kumotwist.api.metrics import Measures, Metrics, ProcessTimes, http
from kumotwist.books import Audit, Books
from kumotwist.bounces.classifier import Classifier
from kumotwist.delivery.service import Delivery
from kumotwist.dns.resolver import Resolver
from kumotwist.hooks.directions import Directions
from kumotwist.hooks.signing import Signing
from kumotwist.injection.service import Injection
from kumotwist.logs.logbook import Logbook
from kumotwist.metrics.family import gauge, histogram
from kumotwist.publishing.service import Publishing
from kumotwist.ready.service import ReadyQueues
from kumotwist.reception.shared import Reception
from kumotwist.scheduled.measures import measures as scheduled_measures
from kumotwist.scheduled.service import Scheduler
from kumotwist.spool.memory import MemoryWatch
from kumotwist.spool.residence import Residence
from kumotwist.spool.service import Spool
from kumotwist.spool.space import DiskSpace
from kumotwist.suppression.service import Suppression


class _Serving(Protocol):
    @property
    def injection(self) -> Injection: ...


class Parts(Protocol):
    """The server, as far as it is measured.  What changes with the configuration is looked up each time."""

    reactor: Any
    reception: Reception
    delivery: Delivery
    ready: ReadyQueues
    scheduler: Scheduler
    spool: Spool
    space: DiskSpace
    residence: Residence
    memory: MemoryWatch
    resolver: Resolver
    signing: Signing
    classifier: Classifier
    directions: Directions
    suppression: Suppression
    books: Books
    logbook: Logbook

    @property
    def serving(self) -> _Serving: ...

    @property
    def publishing(self) -> Publishing: ...


class Measured:
    """What of the server is measured, and offered.  metrics: all of it."""

    def __init__(self, parts: Parts, clock: IReactorTime) -> None:
        self._books = parts.books
        self._lag = LoopLag(clock)
        self.metrics = Metrics(clock, [*_stages(parts), ProcessTimes(clock).measures, self._lag.measures])

    def offer(self, endpoints: Endpoints) -> None:
        endpoints.add(*self.metrics.endpoints())
        endpoints.add(
            Endpoint(
                method="GET",
                path="/api/admin/audit/v1",
                summary="Whether every message that is ours is where it should be",
                tag="debugging",
                answers=Audit,
                run=self._audit,
            )
        )

    async def _audit(self, call: Call) -> Audit:
        return await self._books.audit()

    def stop(self) -> None:
        self._lag.stop()


def _stages(parts: Parts) -> list[Measures]:
    """In the order in which mail passes them."""
    return [
        parts.reception.counts.measures,
        lambda: http(parts.serving.injection.received),
        lambda: parts.directions.policy.times.measures(),
        parts.signing.measures,
        lambda: scheduled_measures(parts.scheduler, parts.ready),
        parts.ready.measures,
        parts.delivery.measures,
        parts.resolver.measures,
        parts.spool.counts.measures,
        parts.residence.measures,
        parts.space.measures,
        parts.memory.measures,
        parts.suppression.measures,
        lambda: [histogram("bounce_classify_latency", "seconds to find the class of a response", parts.classifier.latency)],
        lambda: parts.logbook.mail_log.measures() if parts.logbook.mail_log is not None else (),
        lambda: parts.publishing.measures(),
        lambda: [gauge("stranded_messages", "messages that the last audit found nobody to have", parts.books.stranded_messages)],
    ]
