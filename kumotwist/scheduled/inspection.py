"""Scheduled queues, the orders about them and single messages, as operators are shown them.  Values, and how they are filled."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

from msgspec import Struct
from twisted.internet.defer import Deferred

from kumotwist.config.queues import QueueSettings
from kumotwist.mail.address import stored_mailbox
from kumotwist.mail.message import Message
from kumotwist.mail.schedule import Schedule
from kumotwist.scheduled.orders import BounceOrder, OrderIndex, Suspension
from kumotwist.scheduled.queue import ScheduledQueue
from kumotwist.scheduled.wheel import Wheel
from kumotwist.spool.service import NOT_KNOWN


class Suspended(Struct, frozen=True, kw_only=True):
    """A suspension in force.  remaining: seconds."""

    order: Suspension
    remaining: float


class Bouncing(Struct, frozen=True, kw_only=True):
    """A bounce order in force.  remaining: seconds.  bounced: messages that it ended, by queue, since the server started."""

    order: BounceOrder
    remaining: float
    bounced: Mapping[str, int]

    @property
    def total_bounced(self) -> int:
        return sum(self.bounced.values())


class Place(Struct, frozen=True):
    """A message that waits, without what only the spool has.  due: epoch seconds; 0 or past: it is held up, or goes on now."""

    id: str
    due: float
    num_attempts: int


class QueueView(Struct, frozen=True, kw_only=True):
    """
    A scheduled queue.

    num_scheduled: messages that wait in it; parked: those of them that are not yet due.  blocked: what holds up those that
    are due, by the name that Delayed records give it.  ready: how many messages of it are ready, by ready queue.
    now: epoch seconds.
    """

    queue_name: str
    messages: tuple[Place, ...]
    num_scheduled: int
    parked: int
    queue_config: QueueSettings
    blocked: str | None
    suspension: Suspension | None
    bounce: BounceOrder | None
    egress_pool: str | None
    site: str | None
    ready: Mapping[str, int]
    now: float


class MessageView(Struct, frozen=True, kw_only=True):
    """A message as the spool has it.  data: its content, where that was asked for."""

    id: str
    queue: str
    sender: str
    recipient: tuple[str, ...]
    meta: Mapping[str, Any]
    due: float
    num_attempts: int
    last_reply: str
    scheduling: Schedule | None
    data: bytes | None


class OrdersFor(Protocol):
    """What stands about queues."""

    @property
    def suspensions(self) -> OrderIndex[Suspension]: ...

    @property
    def bounces(self) -> OrderIndex[BounceOrder]: ...


def view_queue(
    queue: ScheduledQueue, wheel: Wheel[Message], ready: Mapping[str, int], orders: OrdersFor, limit: int | None, now: float
) -> QueueView:
    """limit: so many messages at most; those that are due come first."""
    return QueueView(
        queue_name=queue.name,
        messages=tuple(Place(one.id, one.due, one.attempts) for one in islice(_waiting(queue, wheel), limit)),
        num_scheduled=queue.parked + len(queue.held),
        parked=queue.parked,
        queue_config=queue.settings,
        blocked=queue.blocked.value if queue.blocked is not None else None,
        suspension=orders.suspensions.find(queue.name),
        bounce=orders.bounces.find(queue.name),
        egress_pool=queue.pool,
        site=queue.destination.site if queue.destination is not None else None,
        ready=ready,
        now=now,
    )


def _waiting(queue: ScheduledQueue, wheel: Wheel[Message]) -> Iterator[Message]:
    yield from queue.held
    left = queue.parked
    for bucket in wheel.buckets():
        if not left:
            return
        for message in bucket:
            if message.queue == queue.name:
                left -= 1
                yield message


def inspect_message(message_id: str, load: Callable[[Message], "Deferred[None]"]) -> "Deferred[MessageView | None]":
    """
    Fires with a message as the spool has it; None: the spool has it not.

    load: brings back the envelope, and the content where that is wanted (`Spool.load`).
    """
    message = Message(message_id, stored_mailbox(""), (), None, attempts=NOT_KNOWN)
    message.shrink()
    loaded = load(message)
    loaded.addCallbacks(lambda _: _view(message), lambda failure: failure.trap(KeyError) and None)
    return loaded  # type: ignore[return-value]  # what it fires with has changed


def _view(message: Message) -> MessageView:
    message.name_queue()
    return MessageView(
        id=message.id,
        queue=message.queue,
        sender=message.sender.email,
        recipient=tuple(one.email for one in message.recipients),
        meta=message.meta,
        due=message.due,
        num_attempts=message.attempts,
        last_reply=message.last_reply,
        scheduling=message.schedule,
        data=message.content,
    )
