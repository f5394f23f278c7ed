"""Ready queues and egress paths as operators are shown them over HTTP, and what they do to them."""

from typing import Any
from uuid import UUID

from msgspec import Struct

from kumotwist.api.endpoint import Call, Endpoint, Plain, Problem, text
from kumotwist.api.forms import settings_shown
from kumotwist.api.orders import SuspendReadyQueueV1ListEntry, ready_entry
from kumotwist.api.stages import Stages
from kumotwist.config.egress import UNSPECIFIED
from kumotwist.config.fields import format_duration
from kumotwist.config.queues import PolicyDelivery
from kumotwist.delivery.watchdog import Phase, watchdog_patience
from kumotwist.egress.path import Destination
from kumotwist.logs.record import rfc3339
from kumotwist.ready.inspection import Bound, Constraints, ReadyView
from kumotwist.ready.orders import SuspendedReady
from kumotwist.ready.sessions import SessionView
from kumotwist.ready.states import CONNECTION_LIMITED, CONNECTION_RATE_THROTTLED, State

NOT_CONNECTED = UUID(int=0)  # the id of a session that has had no connection yet
_TAG = "inspect"
_GONE = {404: "there is no such ready queue now"}


class ReadyQuery(Struct, frozen=True, kw_only=True):
    """include_scheduled_queues: name those whose mail is ready there."""

    queue_name: str
    include_scheduled_queues: bool = False


class StatesQuery(Struct, frozen=True, kw_only=True):
    """queues: only these; may be given more than once.  None: all."""

    queues: str | list[str] | None = None


class AbortReadyQConnV1Request(Struct, frozen=True, kw_only=True):
    """session_id: as inspect-ready-q shows it."""

    queue_name: str
    session_id: UUID


class CeilingSource(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """kind: primary, additional, reconnect_cycling or other.  name: of the option, where it is not the path's own."""

    kind: str
    name: str | None = None


class EffectiveCeiling(Struct, frozen=True, kw_only=True):
    """A limit in effect, and which option imposes it."""

    value: float
    source: CeilingSource
    display: str


class EffectiveConstraints(Struct, frozen=True, kw_only=True):
    """What limits a path.  max_message_rate_declared: what is configured, where connections do not allow it."""

    max_concurrent_dispatchers: EffectiveCeiling
    max_message_rate: EffectiveCeiling | None = None
    max_message_rate_declared: str | None = None
    max_connection_rate: EffectiveCeiling | None = None
    max_source_selection_rate: EffectiveCeiling | None = None


class QueueState(Struct, frozen=True):
    """context: what keeps it.  since: RFC 3339."""

    context: str
    since: str


class ReadyQueueStateResponse(Struct, frozen=True):
    """State by name, by ready queue; queues that nothing keeps are left out."""

    states_by_ready_queue: dict[str, dict[str, QueueState]]


class ReadyQueueStateSnapshot(Struct, frozen=True, kw_only=True):
    """How a ready queue is.  watchdog_threshold: how long a session may be without progress."""

    ready_count: int
    connection_count: int
    watchdog_threshold: str
    connection_limited: QueueState | None = None
    connection_rate_throttled: QueueState | None = None
    suspended: SuspendReadyQueueV1ListEntry | None = None


class DispatcherSummary(Struct, frozen=True, kw_only=True):
    """A delivery session.  phase: a name, or an object of one name with what belongs to it."""

    session_id: UUID
    started_at: str
    age: str
    phase: str | dict[str, Any]
    detail: str | None
    time_in_current_phase: str
    messages_delivered: int
    messages_transfailed: int
    messages_failed: int
    delivered_this_connection: int
    overall_rate_per_sec: float


class MxResolution(Struct, frozen=True, kw_only=True):
    """by_preference: hosts by rank, the best first from 0; the DNS's own numbers are not kept."""

    site_name: str
    by_preference: dict[str, list[str]]
    is_mx: bool
    is_domain_literal: bool
    is_secure: bool


class InspectReadyQV1Response(Struct, frozen=True, kw_only=True):
    """A ready queue as it is now."""

    queue_name: str
    egress_source: str
    egress_pool: str
    protocol: str
    mx: MxResolution | None
    state: ReadyQueueStateSnapshot
    path_config: dict[str, Any]
    constraints: EffectiveConstraints
    dispatchers: list[DispatcherSummary]
    now: str
    scheduled_queue_names: list[str] | None = None


def ready_endpoints(stages: Stages) -> tuple[Endpoint, ...]:
    looking = _Looking(stages)
    return (
        Endpoint(
            method="GET",
            path="/api/admin/inspect-ready-q/v1",
            summary="A ready queue, its limits and its sessions",
            tag=_TAG,
            query=ReadyQuery,
            answers=InspectReadyQV1Response,
            run=looking.inspect,
            refusals=_GONE,
        ),
        Endpoint(
            method="GET",
            path="/api/admin/ready-q-states/v1",
            summary="What keeps ready queues from opening more connections",
            tag=_TAG,
            query=StatesQuery,
            answers=ReadyQueueStateResponse,
            run=looking.states,
        ),
        Endpoint(
            method="POST",
            path="/api/admin/abort-ready-q-conn/v1",
            summary="End a delivery session at once; its mail waits again, uncounted",
            tag="orders",
            asks=AbortReadyQConnV1Request,
            run=looking.abort,
            refusals={404: "there is no such ready queue, or it has no such session now"},
        ),
    )


class _Looking:
    """What the endpoints do."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    def inspect(self, call: Call, asked: ReadyQuery) -> InspectReadyQV1Response:
        view = self._stages.ready.inspect(asked.queue_name)
        if view is None:
            raise Problem(404, f"there is no ready queue {asked.queue_name[:200]!r} now")
        destination = view.path.destination
        return InspectReadyQV1Response(
            queue_name=view.queue_name,
            egress_source=view.path.source.name,
            egress_pool=self._pool(view),
            protocol=destination.protocol,
            mx=resolution(destination),
            state=self._snapshot(view),
            path_config=settings_shown(view.path.settings),
            constraints=constraints_shown(view.constraints),
            dispatchers=[_dispatcher(one, destination) for one in view.sessions],
            now=rfc3339(view.now),
            scheduled_queue_names=sorted(view.scheduled_queues) if asked.include_scheduled_queues else None,
        )

    def _pool(self, view: ReadyView) -> str:
        """A pool through which mail comes there: a path is its source's and its site's, not a pool's."""
        queues = self._stages.scheduler.queues
        names = [*view.scheduled_queues, *queues]
        source = view.path.source.name
        feeding = (queues[name] for name in names if name in queues)
        return next((one.pool for one in feeding if one.pool is not None and one.draws_on(source)), UNSPECIFIED)

    def _snapshot(self, view: ReadyView) -> ReadyQueueStateSnapshot:
        suspended = view.suspended
        return ReadyQueueStateSnapshot(
            ready_count=view.ready_count,
            connection_count=view.connection_count,
            watchdog_threshold=format_duration(watchdog_patience(view.path.settings)),
            connection_limited=_state(view.states.get(CONNECTION_LIMITED)),
            connection_rate_throttled=_state(view.states.get(CONNECTION_RATE_THROTTLED)),
            suspended=ready_entry(SuspendedReady(order=suspended, remaining=suspended.expires - view.now)) if suspended else None,
        )

    def states(self, call: Call, asked: StatesQuery) -> ReadyQueueStateResponse:
        wanted = {one.decode("utf-8", "replace") for one in call.request.args.get(b"queues", ())}
        found = self._stages.ready.states()
        return ReadyQueueStateResponse(
            {
                queue: {name: QueueState(state.context, rfc3339(state.since)) for name, state in states.items()}
                for queue, states in found.items()
                if not wanted or queue in wanted
            }
        )

    def abort(self, call: Call, asked: AbortReadyQConnV1Request) -> Plain:
        if not self._stages.ready.abort(asked.queue_name, str(asked.session_id)):
            raise Problem(404, f"{asked.queue_name[:200]!r} has no session {asked.session_id} now")
        return text("OK")


def _state(state: State | None) -> QueueState | None:
    return None if state is None else QueueState(state.context, rfc3339(state.since))


def resolution(destination: Destination) -> MxResolution | None:
    """Which hosts; None where mail goes to none."""
    if destination.instead_of_smtp is not None:
        return None
    return MxResolution(
        site_name=destination.site,
        by_preference={str(rank): [host.label for host in group] for rank, group in enumerate(destination.groups)},
        is_mx=destination.is_mx,
        is_domain_literal=destination.domain.startswith("["),
        is_secure=bool(destination.groups) and all(host.secure for group in destination.groups for host in group),
    )


def constraints_shown(constraints: Constraints) -> EffectiveConstraints:
    declared = constraints.max_message_rate_declared
    return EffectiveConstraints(
        max_concurrent_dispatchers=_ceiling(constraints.max_concurrent_dispatchers),
        max_message_rate=_or_none(constraints.max_message_rate),
        max_message_rate_declared=declared.display if declared is not None else None,
        max_connection_rate=_or_none(constraints.max_connection_rate),
        max_source_selection_rate=_or_none(constraints.max_source_selection_rate),
    )


def _or_none(bound: Bound | None) -> EffectiveCeiling | None:
    return None if bound is None else _ceiling(bound)


def _ceiling(bound: Bound) -> EffectiveCeiling:
    return EffectiveCeiling(value=bound.value, source=_source(bound.source), display=bound.display)


def _source(option: str) -> CeilingSource:
    """The model's four kinds, from the words that `ready.inspection` has."""
    if option.startswith("max_deliveries_per_connection x "):
        return CeilingSource(kind="reconnect_cycling")
    if option.startswith("additional_"):
        name = option.partition(" ")[2]
        return CeilingSource(kind="additional", name=name.rpartition(" (")[0] or name)
    if option.startswith(("connection_limit", "max_", "source_selection_rate")):
        return CeilingSource(kind="primary")
    return CeilingSource(kind="other", name=option)


def _dispatcher(session: SessionView, destination: Destination) -> DispatcherSummary:
    return DispatcherSummary(
        session_id=_uuid(session.session_id),
        started_at=rfc3339(session.started_at),
        age=format_duration(session.age),
        phase=_phase(session, destination),
        detail=session.detail,
        time_in_current_phase=format_duration(session.time_in_current_phase),
        messages_delivered=session.messages_delivered,
        messages_transfailed=session.messages_transfailed,
        messages_failed=session.messages_failed,
        delivered_this_connection=session.delivered_this_connection,
        overall_rate_per_sec=session.overall_rate_per_sec,
    )


def _phase(session: SessionView, destination: Destination) -> str | dict[str, Any]:
    if session.phase != Phase.ACCUMULATING_BATCH.value:
        return session.phase
    instead = destination.instead_of_smtp
    want = instead.min_batch_size if isinstance(instead, PolicyDelivery) else 1
    return {session.phase: {"have": min(1, want), "want": want}}


def _uuid(session_id: str) -> UUID:
    try:
        return UUID(session_id)
    except ValueError:
        return NOT_CONNECTED
