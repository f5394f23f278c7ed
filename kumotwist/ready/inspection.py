"""A ready queue as operators are shown it: what holds on its path, what limits it, what its sessions do."""

from collections.abc import Mapping

from msgspec import Struct

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Rate, format_rate
from kumotwist.egress.limits import RateLimits
from kumotwist.egress.path import EgressPath
from kumotwist.ready.orders import ReadySuspension
from kumotwist.ready.queue import ReadyQueue
from kumotwist.ready.sessions import SessionView
from kumotwist.ready.states import State


class Bound(Struct, frozen=True):
    """A limit in effect.  value: so many at a time, or a second.  source: the option that sets it.  display: as people write it."""

    value: float
    source: str
    display: str


class Constraints(Struct, frozen=True, kw_only=True):
    """
    What limits a path, each by the option that binds.  None: nothing does.

    max_message_rate: what can be reached; max_message_rate_declared: what is configured, where connections do not allow it.
    """

    max_concurrent_dispatchers: Bound
    max_message_rate: Bound | None = None
    max_message_rate_declared: Bound | None = None
    max_connection_rate: Bound | None = None
    max_source_selection_rate: Bound | None = None


class ReadyView(Struct, frozen=True, kw_only=True):
    """
    A ready queue.

    counts: recipients by outcome since the queue was made.  scheduled_queues: messages that are ready, by scheduled queue.
    resting_until: epoch seconds until which nothing is handed out; None: it is.  now: epoch seconds.
    """

    queue_name: str
    path: EgressPath
    ready_count: int
    connection_count: int
    states: Mapping[str, State]
    suspended: ReadySuspension | None
    resting_until: float | None
    constraints: Constraints
    scheduled_queues: Mapping[str, int]
    sessions: tuple[SessionView, ...]
    delivered: int
    transfailed: int
    failed: int
    now: float


def constraints(
    settings: PathSettings,
    limits: Mapping[str, int],
    message: RateLimits | None,
    connection: RateLimits | None,
    source_selection: RateLimits | None,
) -> Constraints:
    """limits: on connections, by name, the path's own first; the others as `ReadyQueue.rates` has them."""
    own = next(iter(limits))
    least = min(limits, key=lambda name: limits[name])
    opened = _bound(connection)
    declared = _bound(message)
    reached = declared
    if opened is not None:
        per_connection = settings.max_deliveries_per_connection
        ceiling = Bound(
            opened.value * per_connection,
            f"max_deliveries_per_connection x {opened.source}",
            f"{per_connection} x {opened.display}",
        )
        if declared is None or ceiling.value < declared.value:
            reached = ceiling
    return Constraints(
        max_concurrent_dispatchers=Bound(
            limits[least],
            "connection_limit" if least == own else f"additional_connection_limits {least}",
            str(limits[least]),
        ),
        max_message_rate=reached,
        max_message_rate_declared=declared if declared is not reached else None,
        max_connection_rate=opened,
        max_source_selection_rate=_bound(source_selection),
    )


def _bound(limits: RateLimits | None) -> Bound | None:
    """The slowest of them."""
    if limits is None:
        return None
    what, limit = min(limits, key=lambda named: _a_second(named[1].rate))
    return Bound(_a_second(limit.rate), what, format_rate(limit.rate))


def _a_second(rate: Rate) -> float:
    return rate.limit / rate.period


def view_ready(queue: ReadyQueue, now: float) -> ReadyView:
    rates = queue.rates
    total = queue.sessions.total
    return ReadyView(
        queue_name=queue.name,
        path=queue.path,
        ready_count=queue.size,
        connection_count=len(queue.sessions),
        states=queue.states.now,
        suspended=queue.suspension,
        resting_until=queue.resting_until,
        constraints=constraints(
            queue.path.settings, queue.limits, rates["message"], rates["connection"], rates["source_selection"]
        ),
        scheduled_queues={name: queue.count_of(name) for name in queue.lanes.queues},
        sessions=tuple(queue.sessions.views(now)),
        delivered=total.delivered,
        transfailed=total.transfailed,
        failed=total.failed,
        now=now,
    )
