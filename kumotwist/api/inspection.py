"""Messages and scheduled queues as operators are shown them over HTTP."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred, DeferredList

from kumotwist.api.endpoint import Call, Endpoint, Problem
from kumotwist.api.forms import settings_shown
from kumotwist.api.stages import Stages
from kumotwist.logs.record import rfc3339
from kumotwist.mail.schedule import Schedule, rfc3339_utc
from kumotwist.scheduled.inspection import MessageView, inspect_message

MOST_SHOWN = 10_000  # messages of one queue in one answer
_AT_ONCE = 100  # messages that are read at a time
_TAG = "inspect"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HEX = frozenset("0123456789abcdef")


class MessageQuery(Struct, frozen=True, kw_only=True):
    """want_body: the content, too."""

    id: str
    want_body: bool = False


class QueueQuery(Struct, frozen=True, kw_only=True):
    """limit: so many messages at most."""

    queue_name: str
    want_body: bool = False
    limit: int | None = None


class MessageInformation(Struct, frozen=True, kw_only=True):
    """A message.  due: RFC 3339; null: at once.  scheduling: as it was asked for."""

    sender: str
    recipient: list[str]
    meta: dict[str, Any]
    data: str | None = None
    due: str | None = None
    num_attempts: int | None = None
    scheduling: dict[str, Any] = {}


class InspectMessageV1Response(Struct, frozen=True, kw_only=True):
    """One message."""

    id: str
    message: MessageInformation


class InspectQueueV1Response(Struct, frozen=True, kw_only=True):
    """
    A scheduled queue: its messages, those that are due first.

    delayed_metric: those of them that wait for their due time.  last_changed: when it was idle last, or was made.
    blocked: what holds up those that are due, if anything does.
    """

    queue_name: str
    messages: list[InspectMessageV1Response]
    num_scheduled: int
    queue_config: dict[str, Any]
    delayed_metric: int
    now: str
    last_changed: str
    egress_pool: str | None = None
    site: str | None = None
    blocked: str | None = None
    ready: dict[str, int] = {}


def inspection_endpoints(stages: Stages) -> tuple[Endpoint, ...]:
    looking = _Looking(stages)
    return (
        Endpoint(
            method="GET",
            path="/api/admin/inspect-message/v1",
            summary="A message as the spool has it",
            tag=_TAG,
            query=MessageQuery,
            answers=InspectMessageV1Response,
            run=looking.message,
            refusals={404: "there is no such message, or it has gone"},
        ),
        Endpoint(
            method="GET",
            path="/api/admin/inspect-sched-q/v1",
            summary="A scheduled queue and its messages",
            tag=_TAG,
            query=QueueQuery,
            answers=InspectQueueV1Response,
            run=looking.queue,
            refusals={404: "there is no such queue"},
        ),
    )


class _Looking:
    """What the endpoints do."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    async def message(self, call: Call, asked: MessageQuery) -> InspectMessageV1Response:
        view = None
        if len(asked.id) == 32 and _HEX.issuperset(asked.id):
            view = await inspect_message(asked.id, partial(self._stages.spool.load, content=asked.want_body))
        if view is None:
            raise Problem(404, f"there is no message {asked.id[:60]!r}; its log records may say what became of it")
        return _shown(view)

    async def queue(self, call: Call, asked: QueueQuery) -> InspectQueueV1Response:
        limit = MOST_SHOWN if asked.limit is None else min(asked.limit, MOST_SHOWN)
        if limit < 0:
            raise Problem(422, "limit: expected 0 or more")
        queue = self._stages.scheduler.queues.get(asked.queue_name)
        view = self._stages.administration.inspect_queue(asked.queue_name, limit)
        if queue is None or view is None:
            raise Problem(404, f"there is no scheduled queue {asked.queue_name[:200]!r}")
        return InspectQueueV1Response(
            queue_name=view.queue_name,
            messages=[_shown(one) async for one in self._read((place.id for place in view.messages), asked.want_body)],
            num_scheduled=view.num_scheduled,
            queue_config=settings_shown(view.queue_config),
            delayed_metric=view.parked,
            now=rfc3339(view.now),
            last_changed=rfc3339(queue.idle_since),
            egress_pool=view.egress_pool,
            site=view.site,
            blocked=view.blocked,
            ready=dict(view.ready),
        )

    async def _read(self, ids: Iterable[str], content: bool) -> Any:
        """Those that are still there, a portion at a time."""
        load = partial(self._stages.spool.load, content=content)
        rest: Iterator[str] = iter(ids)
        while some := list(islice(rest, _AT_ONCE)):
            asked: list[Deferred[MessageView | None]] = [inspect_message(one, load) for one in some]
            for found, view in await DeferredList(asked, consumeErrors=True):
                if found and view is not None:
                    yield view


def _shown(view: MessageView) -> InspectMessageV1Response:
    return InspectMessageV1Response(
        id=view.id,
        message=MessageInformation(
            sender=view.sender,
            recipient=list(view.recipient),
            meta=dict(view.meta),
            data=None if view.data is None else view.data.decode("utf-8", "replace"),
            due=rfc3339(view.due) if view.due > 0 else None,
            num_attempts=view.num_attempts,
            scheduling=scheduling(view.scheduling),
        ),
    )


def scheduling(schedule: Schedule | None) -> dict[str, Any]:
    """The model's table; see `mail.schedule.parse_schedule`."""
    if schedule is None:
        return {}
    found: dict[str, Any] = {}
    if schedule.first_attempt is not None:
        found["first_attempt"] = rfc3339_utc(schedule.first_attempt)
    if schedule.window is not None:
        window = schedule.window
        days = ",".join(_DAYS[day] for day in window.days)
        found |= {"dow": days, "tz": window.tz, "start": window.start, "end": window.end}
    if schedule.expires is not None:
        found["expires"] = rfc3339_utc(schedule.expires)
    return found
