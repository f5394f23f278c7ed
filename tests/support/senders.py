"""A delivery session that sends what its supply has, as `delivery.session` would, but over no wire: it takes its time."""

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater

from kumotwist.mail.disposition import Attempt, Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Reply, reply
from kumotwist.ready.queue import ReadyQueue

TAKEN = reply("250 2.0.0 taken", ".")
Answer = Callable[[Message], tuple[Verdict, Reply]]


class Sender:
    """
    latency: seconds from a message to its reply.  connecting: seconds until there is a connection.

    connected, sent: when it connected, and when it sent each message.
    """

    def __init__(
        self, supply: ReadyQueue, clock: Clock, name: str, latency: float, connecting: float, alive: bool, answer: Answer | None
    ) -> None:
        self.supply = supply
        self.session_id = name
        self.phase_name = "Starting"
        self.detail: str | None = None
        self.began = self.phase_began = clock.seconds()
        self.connected: float | None = None
        self.ended: float | None = None
        self.sent: list[tuple[float, Message]] = []
        self._clock = clock
        self._latency = latency
        self._connecting = connecting
        self._alive = alive
        self._answer = answer

    @classmethod
    def start(
        cls,
        supply: ReadyQueue,
        clock: Clock,
        others: "list[Sender]",
        *,
        latency: float = 0.0,
        connecting: float = 0.0,
        alive: bool = True,
        answer: Answer | None = None,
    ) -> "Deferred[None]":
        """others: where it is put.  alive: whether connections come about.  answer: what becomes of a message; else all go."""
        sender = cls(supply, clock, f"s-{len(others)}", latency, connecting, alive, answer)
        others.append(sender)
        supply.show(sender)
        return Deferred.fromCoroutine(sender.run())

    def run(self) -> "Coroutine[Any, Any, None]":
        return self._run()

    async def _run(self) -> None:
        message = self.supply.next_message()
        try:
            while message is not None:
                if self.connected is None and not await self._connect(message):
                    return
                if not await self._throttle(self.supply.may_send, message, Reason.MESSAGE_RATE_THROTTLE):
                    return
                sent = message
                self._turn_to("DeliveringMessage")
                self.sent.append((self._clock.seconds(), message))
                if self._latency:
                    await deferLater(self._clock, self._latency)
                message = None
                self._settle(sent, *(self._answer(sent) if self._answer is not None else (Verdict.DELIVERED, TAKEN)))
                if len(self.sent) < self.supply.path.settings.max_deliveries_per_connection:
                    message = self.supply.next_message()
                    if message is None:
                        self._turn_to("Idle")
                        message = await self.supply.message_or_none(self.supply.path.settings.idle_timeout)
        except CancelledError:
            if message is not None:
                self.supply.give_back(message, Reason.DISPATCHER_DROP)
            raise
        finally:
            self.ended = self._clock.seconds()

    async def _connect(self, message: Message) -> bool:
        if not await self._throttle(self.supply.may_connect, message, Reason.CONNECTION_RATE_THROTTLE):
            return False
        self._turn_to("AttemptingConnection")
        self.connected = self._clock.seconds()
        if self._connecting:
            await deferLater(self._clock, self._connecting)
        if self._alive:
            self.supply.connected()
            return True
        self._settle(message, Verdict.POSTPONED, reply("400 KumoMTA internal: failed to connect to any candidate hosts"))
        self.supply.connection_failed()
        return False

    async def _throttle(self, spend: Callable[[], float], message: Message, reason: Reason) -> bool:
        while (delay := spend()) > 0.0:
            if delay >= self.supply.path.settings.idle_timeout:
                self.supply.give_back(message, reason, delay)
                self.supply.throttled(reason, delay)
                return False
            await deferLater(self._clock, delay)
        return True

    def _settle(self, message: Message, verdict: Verdict, answer: Reply) -> None:
        content = self.supply.content(message)
        assert not isinstance(content, Deferred) or content.called
        attempt = Attempt(
            site=self.supply.name, egress_source=self.supply.path.source.name, delivery_protocol="ESMTP", session_id=self.session_id
        )
        self.supply.settle(message, attempt, [Outcome(verdict, message.recipients, answer)])

    def _turn_to(self, phase: str) -> None:
        self.phase_name, self.phase_began = phase, self._clock.seconds()
