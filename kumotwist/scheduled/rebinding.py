"""
Telling messages that wait where they belong: their metadata are changed, by data or by the policy, and their queue with them.

A message that is in another queue then, or is to be flushed, is due at once; it waits again once the spool has the change.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kumotwist.custody import Custody
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.policy import Policy
from kumotwist.logs.record import RecordType
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Refusal, reply
from kumotwist.scheduled.envelopes import Envelopes
from kumotwist.scheduled.orders import Rebinding
from kumotwist.scheduled.policy import ask
from kumotwist.scheduled.portions import in_portions

REBIND = "rebind_message"


class Belongs(Protocol):
    """What is needed of the scheduler."""

    @property
    def envelopes(self) -> Envelopes: ...

    @property
    def policy(self) -> Policy: ...

    def admit(self, message: Message, reason: Reason) -> None:
        """It waits until its due time, or not at all."""


class Rebinder:
    """Binds messages to queues anew."""

    log = Logger()

    def __init__(self, clock: IReactorTime, custody: Custody, scheduler: Belongs) -> None:
        self._clock = clock
        self._custody = custody
        self._scheduler = scheduler

    def rebind(self, rebinding: Rebinding, waiting: Iterator[Sequence[Message]]) -> "Deferred[int]":
        """waiting: the messages, taken out of where they waited, a portion at a time.  Fires with how many there were."""
        counted: list[int] = []

        def portions() -> "Iterator[Deferred[Any] | None]":
            for some in waiting:
                counted.append(len(some))
                yield DeferredList([self._rebind(message, rebinding) for message in some]) if some else None

        return in_portions(self._clock, portions(), "binding messages anew").addCallback(lambda _: sum(counted))

    def _rebind(self, message: Message, rebinding: Rebinding) -> "Deferred[None]":
        """Fires once the message waits again."""
        done: Deferred[None] = Deferred()
        self._scheduler.envelopes.of(message, self._read, rebinding, done, otherwise=done)
        return done

    def _read(self, message: Message, rebinding: Rebinding, done: "Deferred[None]") -> None:
        before = (message.queue, dict(message.meta))
        policy = self._scheduler.policy
        if rebinding.change is not None:
            rebinding.change(message)
            self._bind(message, rebinding, before, None, done)
        elif not rebinding.trigger_rebind_event:
            message.meta.update(rebinding.data)
            self._bind(message, rebinding, before, None, done)
        elif REBIND not in policy:
            self._bind(message, rebinding, before, None, done)
        else:
            view, data = PolicyMessage(message), dict(rebinding.data)
            ask(
                lambda: policy.in_time(REBIND, policy.each(REBIND, view, data)),
                lambda _, refusal: self._bind(message, rebinding, before, refusal, done),
            )

    def _bind(
        self,
        message: Message,
        rebinding: Rebinding,
        before: tuple[str, Mapping[str, Any]],
        refusal: Refusal | None,
        done: "Deferred[None]",
    ) -> None:
        """before: its queue and metadata as they were.  refusal: the policy refuses it, which changes nothing."""
        old, meta = before
        try:
            if refusal is not None:
                raise ValueError(f"the policy refused: {refusal}")
            message.name_queue()
        except ValueError as fault:
            self.log.error("{id} stays in {queue}: {fault}", id=message.id, queue=old, fault=fault)
            message.meta = dict(meta)
            message.name_queue()
        if rebinding.change is None and (message.queue != old or rebinding.always_flush):
            now = self._clock.seconds()
            message.due = message.schedule.adjust(now) if message.schedule is not None else now
        told = []
        if message.queue != old and not rebinding.suppress_logging:
            answer = reply(f"250 Rebound from {old} to {message.queue}: {rebinding.reason}")
            told.append((RecordType.ADMIN_REBIND, answer, message.recipients))
        stored = self._custody.settle(message, told, keep=True)
        stored.addCallback(lambda _: self._scheduler.admit(message, Reason.ADMIN_REBIND))
        stored.addErrback(lambda failure: self.log.failure("{id} could not wait again", failure, id=message.id))
        stored.addCallback(done.callback)
