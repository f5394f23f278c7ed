"""
A delivery session without a host: messages are handed over to somebody here, who says what became of them.

To the ready queue it is a session like any other, with its rates and limits; see `delivery.session` for those to hosts.  Who
takes the messages is a Taker: an object of the policy, or a maildir.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from kumotwist.delivery.in_hand import DROPPED_REST, UNREADABLE_REST
from kumotwist.delivery.means import Dropped
from kumotwist.delivery.session import REASONS
from kumotwist.delivery.shown import Showing
from kumotwist.delivery.stop import Stop, Stopped, shutdown_grace
from kumotwist.delivery.supply import Supply
from kumotwist.delivery.watchdog import UNTROUBLED, Phase, Watchdog, stuck_reply, watchdog_patience
from kumotwist.delivery.wire import Reactor
from kumotwist.mail.disposition import Attempt, Outcome, Peer, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import INTERNAL, Reply

T = TypeVar("T")

_LONGEST_TEXT = 2000  # characters of what is told of an attempt
_UNKNOWN = "it is not known whether the message was delivered; it will be sent again"


class CannotOpen(Exception):
    """Nothing can be handed over now; the argument says why."""


class Taken(Struct, frozen=True):
    """What became of messages: for each, in their order, its outcomes.  goes_on: more may be handed over."""

    outcomes: Sequence[Sequence[Outcome]]
    goes_on: bool = True


class Taker(Protocol):
    """
    Who takes the messages of one session.

    protocol, peer, name: as records and the log name them.  most, least, patience: messages that are handed over at once, as
    many as are waited for, and for how many seconds.
    """

    protocol: str
    peer: Peer | None
    name: str
    most: int
    least: int
    patience: float

    async def open(self, message: Message) -> None:
        """Be ready for messages such as this one.  Raises CannotOpen."""

    async def take(self, messages: Sequence[Message]) -> Taken:
        """These messages, which are whole in memory.  Raises nothing but what is a bug of ours."""

    def close(self) -> "Deferred[None] | None":
        """There will be no more.  It does not fail, and may be called again."""


class Around(Struct, frozen=True, kw_only=True):
    """What a session has around it; see `delivery.session.deliver`."""

    reactor: Reactor
    draw: Callable[[], float]
    session_id: Callable[[], str]
    stop: Stop
    dropped: Dropped | None = None


async def hand_over(supply: Supply, taker: Taker, around: Around) -> None:
    """
    Hand over what the supply has until it has no more, the session has served its time, or we are told to stop.

    Every message is answered for, on every way out.
    """
    if not around.stop.given:
        await _Session(supply, taker, around).live()


class _Session(Showing):
    """The messages in hand, and how far they got."""

    log = Logger()

    def __init__(self, supply: Supply, taker: Taker, around: Around) -> None:
        self._supply = supply
        self._taker = taker
        self._around = around
        self._path = supply.path
        self._settings = supply.path.settings
        self._held: list[Message] = []
        self._tried = 0
        self._handed_over = False  # what is in hand is with the taker just now
        self._phase = Phase.STARTING
        self._waiting_for: Deferred[object] | None = None  # what a stop interrupts
        self._grace: IDelayedCall | None = None
        self._began = around.reactor.seconds()
        self._session_id = around.session_id()
        self._stuck: Reply | None = None
        self._running: Deferred[None] | None = None

    async def live(self) -> None:
        around = self._around
        self._supply.show(self)
        around.stop.listen(self._hear_stop)
        watchdog = Watchdog(around.reactor, watchdog_patience(self._settings), self._where, self._end_stuck)
        self._running = Deferred.fromCoroutine(self._run())
        try:
            await self._running
        except CancelledError:
            if self._stuck is None and not around.stop.given:
                raise
        finally:
            watchdog.stop()
            around.stop.forget(self._hear_stop)
            self._let_go()

    def _now(self) -> float:
        return self._around.reactor.seconds()

    async def _run(self) -> None:
        try:
            goes_on = self._take() and await self._open()
            while goes_on:
                goes_on = (
                    await self._fill()
                    and await self._throttle(self._supply.may_send, Phase.MESSAGE_RATE_THROTTLED)
                    and await self._hand_over()
                    and await self._take_next()
                )
        except Stopped:
            self._give_back(Reason.DISPATCHER_DROP)
        self._phase = Phase.CLOSING
        if (closing := self._taker.close()) is not None:
            await closing

    # Messages

    def _take(self) -> bool:
        message = self._supply.next_message()
        if message is not None:
            self._held.append(message)
        return message is not None

    async def _take_next(self) -> bool:
        """Have another message, if there is to be one."""
        if self._around.stop.given or self._tried >= self._settings.max_deliveries_per_connection:
            return False
        return self._take() or await self._wait_for_one(self._settings.idle_timeout, Phase.IDLE)

    async def _wait_for_one(self, patience: float, phase: Phase) -> bool:
        self._phase = phase
        message = await self._wait(self._supply.message_or_none(patience))
        if message is not None:
            self._held.append(message)
        return message is not None

    async def _fill(self) -> bool:
        """A batch of what there is; where that is too little, with what comes soon.  All of it is in memory then."""
        while True:
            await self._gather()
            for message in list(self._held):
                await self._load(message)
            if self._held:
                return True
            if not self._take():
                return False

    async def _gather(self) -> None:
        taker, seconds = self._taker, self._around.reactor.seconds
        room = max(1, self._settings.max_deliveries_per_connection - self._tried)
        while len(self._held) < min(taker.most, room) and self._take():
            pass
        until = seconds() + min(taker.patience, self._settings.idle_timeout)
        while len(self._held) < min(taker.least, room) and (left := until - seconds()) > 0.0:
            if not await self._wait_for_one(left, Phase.ACCUMULATING_BATCH):
                break

    async def _load(self, message: Message) -> None:
        """Have the content; a message that cannot be read is answered for."""
        try:
            content = self._supply.content(message)
            if isinstance(content, Deferred):
                await self._wait(content)
        except (CancelledError, Stopped):
            raise
        except Exception as fault:  # noqa: BLE001 whatever storage fails with costs this message an attempt, and nothing else
            self.log.failure("{path}: content of {message} cannot be read", path=self._path.name, message=message.id)
            self._held.remove(message)
            if message.envelope_loaded:
                answer = broken(f"{type(fault).__name__}: {fault}")
                self._supply.settle(message, self._no_attempt, (Outcome(Verdict.POSTPONED, message.recipients, answer),))
            else:
                self._supply.give_back(message, Reason.DISPATCHER_DROP, UNREADABLE_REST)

    # The taker

    async def _open(self) -> bool:
        """Have the taker ready; if it cannot be, the message in hand has been tried in vain."""
        if not await self._throttle(self._supply.may_connect, Phase.CONNECTION_RATE_THROTTLED):
            return False
        await self._load(self._held[0])
        if not self._held:
            return False
        self._phase = Phase.ATTEMPTING_CONNECTION
        try:
            await self._wait(Deferred.fromCoroutine(self._taker.open(self._held[0])))
        except CannotOpen as fault:
            answer = Reply(400, None, f"{INTERNAL}failed to connect to any candidate hosts: {fault}"[:_LONGEST_TEXT])
            self._settle_all(answer, self._no_attempt)
            self._supply.connection_failed()
            return False
        self._supply.connected()
        return True

    async def _hand_over(self) -> bool:
        """Hand over what is in hand; whether more may follow."""
        self._phase = Phase.DELIVERING_MESSAGE
        self._tried += len(self._held)
        self._handed_over = True
        try:
            taken = await self._taker.take(self._held)
        except CancelledError:
            raise
        except Exception as fault:
            # Our own bug, which the owner of the session gets to see.  The messages count an attempt: they may be the cause.
            self._handed_over = False
            self._settle_all(broken(f"{type(fault).__name__}: {fault}"), self._attempt)
            raise
        self._handed_over = False
        held, self._held = self._held, []
        for message, outcomes in zip(held, taken.outcomes, strict=True):
            self._supply.settle(message, self._attempt, outcomes)
        return taken.goes_on

    # Answers

    def _settle_all(self, answer: Reply, attempt: Attempt) -> None:
        """They are to be tried again, all for the same reason."""
        held, self._held = self._held, []
        for message in held:
            self._supply.settle(message, attempt, (Outcome(Verdict.POSTPONED, message.recipients, answer),))

    @property
    def _no_attempt(self) -> Attempt:
        return Attempt(
            site=self._path.name,
            egress_source=self._path.source.name,
            delivery_protocol=self._taker.protocol,
            provider_name=self._settings.provider_name,
        )

    @property
    def _attempt(self) -> Attempt:
        return Attempt(
            site=self._path.name,
            egress_source=self._path.source.name,
            peer=self._taker.peer,
            delivery_protocol=self._taker.protocol,
            provider_name=self._settings.provider_name,
            session_id=self._session_id,
        )

    def _give_back(self, reason: Reason, delay: float = 0.0) -> None:
        held, self._held = self._held, []
        for message in held:
            self._supply.give_back(message, reason, delay)

    def _let_go(self) -> None:
        """On every way out: nothing stays in hand, nothing stays open."""
        around = self._around
        if self._grace is not None and self._grace.active():
            self._grace.cancel()
        if self._stuck is not None and around.dropped is not None:
            held, self._held = self._held, []
            rest = around.draw() * DROPPED_REST
            for message in held:
                around.dropped(message, self._stuck, rest)
        elif self._handed_over:
            self._settle_all(Reply(400, None, f"{INTERNAL}the session was ended: {_UNKNOWN}"), self._attempt)
        self._give_back(Reason.DISPATCHER_DROP)
        self._taker.close()

    # Waiting, and the end of it

    async def _throttle(self, spend: Callable[[], float], phase: Phase) -> bool:
        """Wait here for a limit that frees soon; else everything on this path waits where it came from."""
        if self._around.stop.given:
            raise Stopped
        while (delay := spend()) > 0.0:
            if delay >= self._settings.idle_timeout:
                self._give_back(REASONS[phase], delay)
                self._supply.throttled(REASONS[phase], delay)
                return False
            self._phase = phase
            await self._wait(self._sleep(delay))
        return True

    def _sleep(self, seconds: float) -> "Deferred[None]":
        slept: Deferred[None] = Deferred(lambda _: timer.cancel())
        timer = self._around.reactor.callLater(seconds, slept.callback, None)
        return slept

    async def _wait(self, coming: "Deferred[T]") -> T:
        """For what a stop may interrupt."""
        self._waiting_for = coming  # type: ignore[assignment]  # what it fires with does not matter there
        try:
            return await coming
        except CancelledError:
            if self._around.stop.given:
                raise Stopped from None
            raise
        finally:
            self._waiting_for = None

    def _hear_stop(self) -> None:
        """Between messages: end.  With some handed over: there is some time left to finish."""
        if self._waiting_for is not None:
            self._waiting_for.cancel()
        elif self._running is not None:
            self._grace = self._around.reactor.callLater(shutdown_grace(self._settings), self._running.cancel)

    @property
    def detail(self) -> str:
        return self._taker.name

    def _where(self) -> object:
        """What changes whenever the session gets on."""
        return object() if self._phase in UNTROUBLED else (self._phase, self._tried, self._waiting_for)

    def _end_stuck(self, seconds: float) -> None:
        age = self._around.reactor.seconds() - self._began
        self._stuck = stuck_reply(self._phase, self._taker.name, self._session_id, age, seconds)
        self.log.warn("{path}: {text}", path=self._path.name, text=self._stuck.text)
        if self._running is not None:
            self._running.cancel()


def broken(why: str) -> Reply:
    """What a message is told that was handed over in vain."""
    return Reply(400, None, f"{INTERNAL}error in deliver_message: {why}"[:_LONGEST_TEXT])
