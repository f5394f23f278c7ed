"""
Mail from one node to another over HTTP: sent away, called back, and taken from others.

A message is durable here, with the id that it had there, before the other node hears that we have it.  The same id again gets
the same answer, for as long as the other node may reasonably not have heard it: so a crash of either neither loses nor
doubles anything.
"""

import gzip
import zlib
from io import BytesIO
from typing import Any

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from kumotwist.api.endpoint import Call, Endpoint, Problem
from kumotwist.api.forms import reason_of
from kumotwist.api.orders import Done, criteria_of
from kumotwist.api.stages import Stages
from kumotwist.config.fields import BadValue
from kumotwist.config.xfer import parse_target
from kumotwist.egress.transfer import REMEMBERED, XFER, Transferred, bring_back, send_away, unpacked, xfer_queue
from kumotwist.mail.address import stored_mailbox
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import another_of
from kumotwist.mail.reply import Refusal, reply
from kumotwist.scheduled.orders import Criteria, Rebinding

REMEMBERED_FOR = 30 * 86400.0  # seconds that we know what we took: longer than any node is down whose mail still counts
LARGEST = 256 * 1024 * 1024  # octets of a message, unpacked
_LARGE = 256 * 1024  # octets that a thread unpacks, so that others need not wait
_SHELF = "xfer/in/"
_SWEEP = 3600.0
_HEX = frozenset("0123456789abcdef")
_TAG = "xfer"


class XferV1Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which mail goes to the node at `target`.  No criteria: all of it."""

    target: str
    reason: str
    campaign: str | None = None
    tenant: str | None = None
    domain: str | None = None
    routing_domain: str | None = None
    queue_names: tuple[str, ...] = ()


class XferCancelV1Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """queue_name: of the queue for the other node, `URL.xfer.kumomta.internal`."""

    queue_name: str
    reason: str


class XferResponseV1(Struct, frozen=True):
    """The id that the message has here."""

    id: str


class Taken(Struct, frozen=True):
    """What lies on the shelf about a message of another node.  until: epoch seconds."""

    id: str
    until: float


class Transfers:
    """Sending away, calling back, taking in."""

    log = Logger()

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._node = stages.node_id
        self._coming: set[str] = set()  # ids of messages that are being taken in
        self._sweeping: IDelayedCall | None = None

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                method="POST",
                path="/api/admin/xfer/v1",
                summary="Send mail that waits to another node",
                tag=_TAG,
                asks=XferV1Request,
                answers=Done,
                run=self._send_away,
            ),
            Endpoint(
                method="POST",
                path="/api/admin/xfer/cancel/v1",
                summary="Call back what has not left for another node yet",
                tag=_TAG,
                asks=XferCancelV1Request,
                answers=Done,
                run=self._call_back,
                refusals={404: "nothing is on its way there"},
            ),
            Endpoint(
                method="POST",
                path="/api/xfer/inject/v1",
                summary="Take a message from another node; between nodes only",
                tag=_TAG,
                answers=XferResponseV1,
                run=self._take,
                accepts="text/plain",
                body_limit=LARGEST,
            ),
        )

    # Away

    def _send_away(self, call: Call, asked: XferV1Request) -> Done:
        try:
            target = parse_target(asked.target)
        except BadValue as fault:
            raise Problem(422, f"Error: target: {fault}") from None
        criteria = criteria_of(asked)
        self._move(criteria, asked.reason, lambda message: send_away(message, target), but=xfer_queue(target))
        return Done()

    def _call_back(self, call: Call, asked: XferCancelV1Request) -> Done:
        if not asked.queue_name.endswith(XFER):
            raise Problem(400, f"{asked.queue_name[:200]!r} is no queue for another node")
        if asked.queue_name not in self._stages.scheduler.queues:
            raise Problem(404, f"there is no queue {asked.queue_name[:200]!r}")
        self._move(Criteria(queue_names=(asked.queue_name,)), asked.reason, _back)
        return Done()

    def _move(self, criteria: Criteria, reason: str, change: Any, but: str = "") -> None:
        """It goes on by itself.  but: what is in this queue already stays as it is."""
        stages = self._stages

        def changed(message: Message) -> None:
            if message.queue != but:
                change(message)

        moved = stages.administration.move(Rebinding(criteria=criteria, reason=reason_of(reason), change=changed))
        moved.addCallbacks(
            lambda count: self.log.info("{count} messages moved: {reason}", count=count, reason=reason_of(reason)),
            lambda failure: self.log.failure("moving messages broke off", failure),
        )

    # In

    async def _take(self, call: Call) -> XferResponseV1:
        large = len(call.body) > _LARGE
        told, content = await self._stages.in_thread(self._read, call.body) if large else self._read(call.body)
        if told.node == self._node:
            raise Problem(400, "this is the node that it comes from")
        if told.id in self._coming:
            raise Problem(503, "it is being taken in just now", {"Retry-After": "5"})
        closed = self._stages.custody.closed_for()
        if closed is not None:
            raise Problem(503, closed, {"Retry-After": "30"})
        self._coming.add(told.id)
        try:
            known = await self._known(told.id)
            return XferResponseV1(known if known is not None else await self._keep(call, told, content))
        finally:
            self._coming.discard(told.id)

    def _read(self, body: bytes) -> tuple[Transferred, bytes]:
        """Raises Problem."""
        try:
            octets = _inflated(body)
            told, content = unpacked(octets)
        except (OSError, EOFError, zlib.error, msgspec.MsgspecError, ValueError, RecursionError) as fault:
            raise Problem(400, f"this is no message of another node: {fault}") from None
        if len(told.id) != 32 or not _HEX.issuperset(told.id) or not told.recipients:
            raise Problem(400, "this is no message of another node")
        return told, content

    async def _known(self, theirs: str) -> str | None:
        """Our id of a message that we have taken before."""
        found = await self._stages.in_thread(self._stages.spool.shelved, _SHELF + theirs)
        return msgspec.json.decode(found[0][1], type=Taken).id if found else None

    async def _keep(self, call: Call, told: Transferred, content: bytes) -> str:
        """Make it ours.  Raises Problem: nothing of it is kept then."""
        # Crash before the change is on disk: they send it again, and we do not know it.
        # Crash after: they send it again, and the shelf, which is in the same change, has our id of it.
        message = self._message(call, told, content)
        until = self._stages.now() + REMEMBERED_FOR
        taken = [(_SHELF + told.id, msgspec.json.encode(Taken(message.id, until)))]
        answer = reply(f"250 xfer from {told.node} id={told.id}")
        try:
            await self._stages.custody.take_over(message, answer, taken)
        except Refusal as refusal:
            raise Problem(503, refusal.reply.text, {"Retry-After": "30"}) from None
        return message.id

    def _message(self, call: Call, told: Transferred, content: bytes) -> Message:
        meta = dict(told.meta)
        message = Message(
            another_of(told.id, self._stages.randbits),
            stored_mailbox(told.sender),
            tuple(stored_mailbox(one) for one in told.recipients),
            content,
            meta,
            last_reply=told.last_reply,
            log_headers=told.log_headers,
        )
        try:
            bring_back(message)
            message.name_queue()
        except (msgspec.ValidationError, ValueError) as fault:
            raise Problem(400, f"where it belongs cannot be read: {fault}") from None
        meta |= {"xfer_from": call.peer, "xfer_via": call.local, "xfer_prior_id": told.id, "xfer_prior_node": told.node}
        if call.auth.identities:
            meta["xfer_auth"] = ", ".join(one.identity for one in call.auth.identities)
        return message

    # The shelf

    def start(self) -> None:
        self._sweeping = self._stages.reactor.callLater(_SWEEP, self._sweep)

    def stop(self) -> None:
        if self._sweeping is not None and self._sweeping.active():
            self._sweeping.cancel()

    def _sweep(self) -> None:
        """Forget what nobody will ask about any more."""
        self._sweeping = self._stages.reactor.callLater(_SWEEP, self._sweep)
        looked: Deferred[Any] = self._stages.in_thread(_stale, self._stages.spool, self._stages.now())
        looked.addCallback(lambda stale: self._stages.custody.shelve(stale) if stale else None)
        looked.addErrback(lambda failure: self.log.failure("what was taken from other nodes stays known", failure))


def _stale(spool: Any, now: float) -> list[tuple[str, None]]:
    """Blocks."""
    return [(key, None) for key, value in spool.shelved(_SHELF) if msgspec.json.decode(value, type=Taken).until < now]


def _back(message: Message) -> None:
    if REMEMBERED in message.meta:
        bring_back(message)


def _inflated(body: bytes) -> bytes:
    """Raises EOFError, OSError, zlib.error; Problem where it is too large."""
    with gzip.GzipFile(fileobj=BytesIO(body)) as packed:
        octets = packed.read(LARGEST + 1)
    if len(octets) > LARGEST:
        raise Problem(413, "the message is too large")
    return octets
