"""
Delivery by the policy: an object that it makes takes messages, and what it returns or raises is what became of them.

The object stands where the connection stands elsewhere: made by the constructor that the queue names, kept for message after
message, closed at the end.  It has `send(message)` or, for batches, `send_batch(messages)`, and perhaps `close()`; each may be
a function, an `async def`, or return a Deferred.
"""

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from kumotwist.config.queues import PolicyDelivery
from kumotwist.delivery.hand_over import CannotOpen, Taken, broken
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.policy import HookFailed, Policy
from kumotwist.mail.disposition import Outcome, Peer, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import parse_queue_name
from kumotwist.mail.reply import Refusal, Reply

PROTOCOL = "Lua"  # as the model's records call it, so that what reads them goes on to work
_LONGEST_TEXT = 2000  # characters of what the policy says of a delivery


class ByPolicy:
    """A `delivery.hand_over.Taker`: one object of the policy."""

    def __init__(self, policy: Policy, given: PolicyDelivery) -> None:
        self.protocol = PROTOCOL
        self.name = given.constructor
        self.peer: Peer | None = Peer(f"{PROTOCOL} via {given.constructor}", "0.0.0.0")
        self.most, self.least, self.patience = given.batch_size, given.min_batch_size, given.max_batch_latency
        self._policy = policy
        self._object: Any = None

    async def open(self, message: Message) -> None:
        """Have the policy make the object, for the queue of this message and all others that go the same way."""
        name = parse_queue_name(message.queue)
        try:
            made = self._policy.first(self.name, name.domain, name.tenant, name.campaign)
            self._object = await self._theirs(made) if isinstance(made, Deferred) else made
        except Refusal as refusal:
            raise CannotOpen(refusal.reply.single_line) from None
        except HookFailed as fault:
            raise CannotOpen(fault.why) from None
        if self._object is None:
            raise CannotOpen(f"nobody answers {self.name}")

    async def take(self, messages: Sequence[Message]) -> Taken:
        recipients = [message.recipients for message in messages]
        verdict, answer, goes_on = await self._said_of([PolicyMessage(message) for message in messages])
        for message, before in zip(messages, recipients, strict=True):
            message.recipients = before  # what the object does with its view is no news of the message
        return Taken([(Outcome(verdict, to, answer),) for to in recipients], goes_on)

    async def _said_of(self, views: list[PolicyMessage]) -> tuple[Verdict, Reply, bool]:
        """What became of all of them, and whether the object may have more."""
        try:
            said = self._call(views)
            answer = await self._theirs(said) if isinstance(said, Deferred) else said
        except Refusal as refusal:
            told = refusal.reply
            return Verdict.POSTPONED if told.code < 500 else Verdict.BOUNCED, told, told.code != 421
        except HookFailed as fault:
            return Verdict.POSTPONED, broken(fault.why), False
        if not isinstance(answer, str):
            # Nothing returned is what is left of a call that nobody awaited: that it went well is not known.
            return Verdict.POSTPONED, broken(f"{self.name} must return a text, not {type(answer).__name__}"), False
        return Verdict.DELIVERED, Reply(200, None, answer[:_LONGEST_TEXT]), True

    def _call(self, views: list[PolicyMessage]) -> Any:
        """Raises (or fails with) HookFailed and Refusal."""
        send, send_batch = getattr(self._object, "send", None), getattr(self._object, "send_batch", None)
        if send_batch is not None and (self.most > 1 or send is None):
            return self._policy.run(self.name, send_batch, views)
        if send is None or self.most > 1:
            raise HookFailed(self.name, f"what {self.name} made has no method {'send_batch' if self.most > 1 else 'send'}")
        return self._policy.run(self.name, send, views[0])

    async def _theirs(self, coming: "Deferred[Any]") -> Any:
        """What the policy's Deferred fires with.  Where it was cancelled there, by a timeout as a rule, that is a failure."""
        by_us = False

        def cancel(_: object) -> None:
            nonlocal by_us
            by_us = True
            coming.cancel()

        ours: Deferred[Any] = Deferred(cancel)
        coming.addBoth(ours.callback)
        try:
            return await ours
        except CancelledError:
            if by_us:
                raise
            raise HookFailed(self.name, "it took too long, and was cancelled") from None

    def close(self) -> "Deferred[None] | None":
        thing, self._object = self._object, None
        close = getattr(thing, "close", None)
        if close is None:
            return None
        try:
            closing = self._policy.run(self.name, close)
        except (HookFailed, Refusal):
            return None  # what broke is in the log
        return closing.addErrback(lambda failure: failure.trap(HookFailed, Refusal)) if isinstance(closing, Deferred) else None
