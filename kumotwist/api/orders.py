"""Operators' orders over HTTP: suspend queues, bounce their mail, bind it to other queues."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kumotwist.api.endpoint import Call, Endpoint, Plain, Problem, text
from kumotwist.api.forms import DurationGiven, Instant, lasts, reason_of
from kumotwist.api.stages import Stages
from kumotwist.config.fields import format_duration
from kumotwist.logs.record import rfc3339
from kumotwist.ready.orders import SuspendedReady
from kumotwist.ready.standing import STANDS_FOR
from kumotwist.scheduled.inspection import Bouncing, Suspended
from kumotwist.scheduled.orders import Criteria, Rebinding

_GONE = {404: "there is no such order"}
_TAG = "orders"


class SuspendV1Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which queues, why, and for how long (5 minutes unless said).  No criteria: every queue."""

    reason: str
    campaign: str | None = None
    tenant: str | None = None
    domain: str | None = None
    queue_names: tuple[str, ...] = ()
    duration: DurationGiven | None = None
    expires: Instant | None = None


class BounceV1Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As to suspend; suppress_logging: without records."""

    reason: str
    campaign: str | None = None
    tenant: str | None = None
    domain: str | None = None
    routing_domain: str | None = None
    queue_names: tuple[str, ...] = ()
    duration: DurationGiven | None = None
    expires: Instant | None = None
    suppress_logging: bool = False


class SuspendReadyQueueV1Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """name: of the ready queue, exactly."""

    name: str
    reason: str
    duration: DurationGiven | None = None
    expires: Instant | None = None


class RebindV1Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mail that waits in these queues, and what is written into its metadata.  No criteria: all mail that waits."""

    reason: str
    data: dict[str, str]
    campaign: str | None = None
    tenant: str | None = None
    domain: str | None = None
    routing_domain: str | None = None
    suppress_logging: bool = False
    trigger_rebind_event: bool = False
    always_flush: bool = False


class CancelV1Request(Struct, frozen=True, kw_only=True):
    """Which order ends."""

    id: UUID


class SuspendV1Response(Struct, frozen=True):
    """The order's id."""

    id: UUID


class BounceV1Response(Struct, frozen=True):
    """The order's id; the counts are always empty, since mail is bounced from now on."""

    id: UUID
    bounced: dict[str, int] = {}
    total_bounced: int = 0


class SuspendV1ListEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """duration: what remains."""

    id: UUID
    reason: str
    duration: str
    campaign: str | None = None
    tenant: str | None = None
    domain: str | None = None
    queue_names: tuple[str, ...] = ()


class BounceV1ListEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """duration: what remains.  bounced: messages by queue, since the server started."""

    id: UUID
    reason: str
    duration: str
    bounced: dict[str, int]
    total_bounced: int
    campaign: str | None = None
    tenant: str | None = None
    domain: str | None = None
    routing_domain: str | None = None
    queue_names: tuple[str, ...] = ()


class SuspendReadyQueueV1ListEntry(Struct, frozen=True, kw_only=True):
    """duration: what remains."""

    id: UUID
    name: str
    reason: str
    duration: str
    expires: str


class Done(Struct, frozen=True):
    """Nothing more is to be said: `{}`."""


def order_endpoints(stages: Stages) -> tuple[Endpoint, ...]:
    orders = _Orders(stages)
    return (
        *_three("bounce", "mail that ends", BounceV1Request, orders.bounce, BounceV1Response, BounceV1ListEntry, orders.bounces,
                lambda id: stages.administration.stop_bouncing(id)),
        *_three("suspend", "queues that wait", SuspendV1Request, orders.suspend, SuspendV1Response, SuspendV1ListEntry,
                orders.suspensions, lambda id: stages.administration.resume(id)),
        *_three("suspend-ready-q", "ready queues that wait", SuspendReadyQueueV1Request, orders.suspend_ready, SuspendV1Response,
                SuspendReadyQueueV1ListEntry, orders.ready_suspensions, lambda id: stages.ready.resume(id)),
        Endpoint(
            method="POST",
            path="/api/admin/rebind/v1",
            summary="Tell mail that waits where it belongs anew, or flush it",
            tag=_TAG,
            asks=RebindV1Request,
            answers=Done,
            run=orders.rebind,
        ),
    )  # fmt: skip


def _three(
    name: str,
    what: str,
    asks: Any,
    order: Callable[..., Any],
    answers: Any,
    entry: Any,
    listed: Callable[[Call], Any],
    cancel: Callable[[str], "Deferred[bool] | None"],
) -> tuple[Endpoint, ...]:
    path = f"/api/admin/{name}/v1"

    async def cancelled(call: Call, asked: CancelV1Request) -> Plain:
        done = cancel(str(asked.id))
        if done is None:
            raise Problem(404, f"{asked.id} not found")
        await done
        return text(f"removed {asked.id}")

    return (
        Endpoint(method="POST", path=path, summary=f"Order {what}", tag=_TAG, asks=asks, answers=answers, run=order),
        Endpoint(method="GET", path=path, summary=f"The orders about {what}", tag=_TAG, answers=list[entry], run=listed),
        Endpoint(
            method="DELETE",
            path=path,
            summary=f"Cancel an order about {what}",
            tag=_TAG,
            asks=CancelV1Request,
            run=cancelled,
            refusals=_GONE,
        ),
    )


class _Orders:
    """What the endpoints do."""

    log = Logger()

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    def _until(self, asked: Any) -> float:
        return lasts(asked.duration, asked.expires, self._stages.now(), STANDS_FOR)

    async def suspend(self, call: Call, asked: SuspendV1Request) -> SuspendV1Response:
        criteria = Criteria(
            domain=asked.domain, tenant=asked.tenant, campaign=asked.campaign, queue_names=asked.queue_names
        )  # fmt: skip
        until = self._until(asked)
        order = await self._stages.administration.suspend(criteria, reason_of(asked.reason), expires=until)
        return SuspendV1Response(UUID(order.id))

    async def bounce(self, call: Call, asked: BounceV1Request) -> BounceV1Response:
        order = await self._stages.administration.bounce(
            criteria_of(asked), reason_of(asked.reason), expires=self._until(asked), suppress_logging=asked.suppress_logging
        )
        return BounceV1Response(UUID(order.id))

    async def suspend_ready(self, call: Call, asked: SuspendReadyQueueV1Request) -> SuspendV1Response:
        order = await self._stages.ready.suspend(asked.name, reason_of(asked.reason), expires=self._until(asked))
        return SuspendV1Response(UUID(order.id))

    def suspensions(self, call: Call) -> list[SuspendV1ListEntry]:
        return [_suspended(one) for one in self._stages.administration.suspensions()]

    def bounces(self, call: Call) -> list[BounceV1ListEntry]:
        return [_bouncing(one) for one in self._stages.administration.bounces()]

    def ready_suspensions(self, call: Call) -> list[SuspendReadyQueueV1ListEntry]:
        return [ready_entry(one) for one in self._stages.ready.suspensions()]

    def rebind(self, call: Call, asked: RebindV1Request) -> Done:
        """It goes on by itself; the answer says that it has begun, as the model's does."""
        rebinding = Rebinding(
            criteria=criteria_of(asked),
            reason=reason_of(asked.reason),
            data=asked.data,
            trigger_rebind_event=asked.trigger_rebind_event,
            always_flush=asked.always_flush,
            suppress_logging=asked.suppress_logging,
        )
        bound = self._stages.administration.rebind(rebinding)
        bound.addCallbacks(
            lambda count: self.log.info("{count} messages were bound anew: {reason}", count=count, reason=rebinding.reason),
            lambda failure: self.log.failure("binding messages anew broke off", failure),
        )
        return Done()


def criteria_of(asked: Any) -> Criteria:
    """Which queues a request is about."""
    return Criteria(
        domain=asked.domain,
        tenant=asked.tenant,
        campaign=asked.campaign,
        routing_domain=asked.routing_domain,
        queue_names=getattr(asked, "queue_names", ()),
    )


def _suspended(one: Suspended) -> SuspendV1ListEntry:
    order, about = one.order, one.order.criteria
    return SuspendV1ListEntry(
        id=UUID(order.id),
        reason=order.reason,
        duration=format_duration(one.remaining),
        campaign=about.campaign,
        tenant=about.tenant,
        domain=about.domain,
        queue_names=about.queue_names,
    )


def _bouncing(one: Bouncing) -> BounceV1ListEntry:
    order, about = one.order, one.order.criteria
    return BounceV1ListEntry(
        id=UUID(order.id),
        reason=order.reason,
        duration=format_duration(one.remaining),
        bounced=dict(one.bounced),
        total_bounced=one.total_bounced,
        campaign=about.campaign,
        tenant=about.tenant,
        domain=about.domain,
        routing_domain=about.routing_domain,
        queue_names=about.queue_names,
    )


def ready_entry(one: SuspendedReady) -> SuspendReadyQueueV1ListEntry:
    """A suspension of a ready queue as lists show it."""
    order = one.order
    return SuspendReadyQueueV1ListEntry(
        id=UUID(order.id),
        name=order.name,
        reason=order.reason,
        duration=format_duration(one.remaining),
        expires=rfc3339(order.expires),
    )
