"""
The ready queue of one egress path: messages that are due, and the sessions that take them.

It is bounded by max_ready.  A scheduled queue whose message finds no room is told as soon as there is some.  Messages of
different scheduled queues lie in lanes that are served in turn, so a large queue never holds up a small one.  An idle
session waits here for the next message; the one that was used last is served first, so that needless ones run idle.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Rate
from kumotwist.egress.leases import Leases
from kumotwist.egress.limits import RateLimits, ideal_connections
from kumotwist.egress.path import EgressPath
from kumotwist.egress.throttles import Throttles
from kumotwist.mail.disposition import Attempt, Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Reply, reply

AFTER_A_FAULT = 1.0  # seconds a path rests when a session of it ended by an error of ours

_BULK_DELAY = reply(
    "451 4.4.1 bulk delay of ready queue: too many successive connection failures "
    "where there was no answer from any hosts listed in MX"
)


class Home(Protocol):
    """Where the messages of ready queues come from and go back to: the scheduled queues."""

    def settled(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        """An attempt ended."""

    def disposed(self, message: Message, attempt: Attempt, verdict: Verdict, answer: Reply) -> None:
        """The message was not tried and gets this outcome all the same; its envelope may be in the spool only."""

    def returned(self, message: Message, reason: Reason, delay: float) -> None:
        """The message was not tried and waits `delay` seconds, uncounted."""

    def has_room(self, ready: "ReadyQueue") -> None:
        """A queue that was full has room again."""


def _content_of(_: None, message: Message) -> bytes:
    assert message.content is not None  # it was just loaded
    return message.content


class ReadyQueue:
    """The Supply of its path's delivery sessions; see delivery.supply for what these expect."""

    log = Logger()

    def __init__(
        self,
        path: EgressPath,
        clock: IReactorTime,
        home: Home,
        load: Callable[[Message], "Deferred[None]"],
        open_session: Callable[["ReadyQueue"], "Deferred[None]"],
        throttles: Throttles,
        leases: Leases,
    ) -> None:
        """
        load: brings back a message's envelope and content from the spool.
        open_session: starts a delivery session with this queue as its supply; fires when it has ended.
        throttles, leases: where paths that name the same limits share them.
        """
        self.path = path
        self.name = path.name
        self.size = 0
        self.idle_since = clock.seconds()
        self._clock = clock
        self._home = home
        self._load = load
        self._open_session = open_session
        self._lanes: dict[str, deque[Message]] = {}
        self._turns: deque[str] = deque()
        self._sessions: set[Deferred[None]] = set()
        self._idle: dict[Deferred[Message | None], float] = {}  # waiting sessions and until when, the longest waiting first
        self._idle_timer: IDelayedCall | None = None
        self._resting: IDelayedCall | None = None
        self._full = False
        self._stopped = False
        self._failures = 0
        self._ended: list[Deferred[None]] = []
        self._throttles = throttles
        self._leases = leases
        self._apply(path.settings)

    def _apply(self, settings: PathSettings) -> None:
        self._refill_at = settings.max_ready - max(1, settings.max_ready // 4)
        self._connections = self._rates(f"{self.name}-connection-rate", settings.max_connection_rate, {})
        self._messages = self._rates(
            f"kumomta.max_message_rate.{self.name}", settings.max_message_rate, settings.additional_message_rate_throttles
        )
        self._selections = self._rates(
            f"kumomta.source_selection_rate.{self.name}",
            settings.source_selection_rate,
            settings.additional_source_selection_rates,
        )
        self._shared = {name: limit.limit for name, limit in settings.additional_connection_limits.items()}

    def _rates(self, name: str, own: Rate | None, additional: Mapping[str, Rate]) -> RateLimits | None:
        """What must admit one of a kind; None: nothing limits it."""
        named = ({name: own} if own is not None else {}) | dict(additional)
        return RateLimits([self._throttles.get(key, rate) for key, rate in named.items()]) if named else None

    # What scheduled queues use

    def admit(self, message: Message) -> bool:
        """Take a message that is due; False if there is no room for it (its home is told when there is room)."""
        if self.size >= self.path.settings.max_ready or self._stopped:
            self._full = True
            return False
        lane = self._lanes.get(message.queue)
        if lane is None:
            lane = self._lanes[message.queue] = deque()
            self._turns.append(message.queue)
        lane.append(message)
        self.size += 1
        if self._selections is not None:
            self._selections.spend(self._clock.seconds())
        if self._resting is None:
            if self._idle:
                self._serve_idle()
            else:
                self._open_sessions()
        return True

    def selectable_in(self) -> float:
        """Seconds until this source may be chosen again for this site; 0.0: now."""
        return self._selections.wait(self._clock.seconds()) if self._selections is not None else 0.0

    def reshape(self, path: EgressPath) -> None:
        """Settings of the path changed; limits that stay the same keep what they have counted."""
        self.path = path
        self._apply(path.settings)

    def give_all_back(self, reason: Reason) -> None:
        """Everything here is to choose its path anew."""
        for message in self._take_all():
            self._home.returned(message, reason, 0.0)

    @property
    def stopped(self) -> bool:
        """It takes no more: whoever still knows it asks for another."""
        return self._stopped

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    @property
    def quiet(self) -> bool:
        """Nothing is here and nobody works for it."""
        return not self.size and not self._sessions

    def stop(self) -> "Deferred[None]":
        """Hand out no more; fires when the last session has ended."""
        self._stopped = True
        self._leases.forget(self._open_sessions_soon)
        self._release_idle()
        if not self._sessions:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        return ended

    # What sessions use (delivery.supply.Supply)

    def next_message(self) -> Message | None:
        if not self.size or self._stopped or self._resting is not None:
            return None
        turn = self._turns.popleft()
        lane = self._lanes[turn]
        message = lane.popleft()
        if lane:
            self._turns.append(turn)
        else:
            del self._lanes[turn]
        self.size -= 1
        if self._full and self.size <= self._refill_at:
            self._full = False
            self._clock.callLater(0, self._home.has_room, self)
        return message

    def message_or_none(self, patience: float) -> "Deferred[Message | None]":
        message = self.next_message()
        if message is not None or self._stopped or self._resting is not None:
            return succeed(message)
        waiting: Deferred[Message | None] = Deferred(self._forget_idle)
        self._idle[waiting] = self._clock.seconds() + patience
        if self._idle_timer is None:
            self._idle_timer = self._clock.callLater(patience, self._end_patience)
        return waiting

    def content(self, message: Message) -> "bytes | Deferred[bytes]":
        if message.content is not None:
            return message.content
        return self._load(message).addCallback(_content_of, message)

    def may_connect(self) -> float:
        return self._connections.spend(self._clock.seconds()) if self._connections is not None else 0.0

    def may_send(self) -> float:
        return self._messages.spend(self._clock.seconds()) if self._messages is not None else 0.0

    def settle(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        self._home.settled(message, attempt, outcomes)

    def give_back(self, message: Message, reason: Reason, delay: float = 0.0) -> None:
        self._home.returned(message, reason, delay)

    def throttled(self, reason: Reason, delay: float) -> None:
        self.log.info("{path} waits {delay} s: {reason}", path=self.name, delay=round(delay, 3), reason=reason.value)
        self.rest(delay)

    def dispose_all(self, verdict: Verdict, reply: Reply, reason: Reason) -> None:
        self.log.info(
            "{path}: {count} messages {verdict}: {reply}",
            path=self.name,
            count=self.size,
            verdict=verdict.value,
            reply=reply.single_line,
            reason=reason.value,
        )
        attempt = Attempt(site=self.name, egress_source=self.path.source.name)
        for message in self._take_all():
            self._home.disposed(message, attempt, verdict, reply)

    def connected(self) -> None:
        self._failures = 0

    def connection_failed(self) -> None:
        before, self._failures = self._failures, self._failures + 1
        if before > self.path.settings.consecutive_connection_failures_before_delay:
            self.dispose_all(Verdict.POSTPONED, _BULK_DELAY, Reason.TOO_MANY_CONNECTION_FAILURES)

    # Sessions and rest

    def rest(self, delay: float) -> None:
        """Hand out nothing for so many seconds; sessions that wait are let go."""
        if self._resting is not None:
            self._resting.cancel()
        self._resting = self._clock.callLater(delay, self._wake)
        self._release_idle()

    def _wake(self) -> None:
        self._resting = None
        self._open_sessions()

    def _open_sessions(self) -> None:
        if self._resting is not None or self._stopped:
            return
        wanted = ideal_connections(self.size, self.path.settings.connection_limit.limit)
        while len(self._sessions) < wanted and self.size and self._resting is None:
            shared = self._shared
            if shared and not self._leases.take(shared, self._open_sessions_soon):
                return
            session = self._open_session(self)
            self._sessions.add(session)
            session.addErrback(self._session_broke)
            session.addBoth(self._session_ended, session, shared)

    def _open_sessions_soon(self) -> None:
        # Not from here: a session that ends at once would call us again and again on one stack.
        self._clock.callLater(0, self._open_sessions)

    def _session_broke(self, failure: Failure) -> None:
        self.log.failure("a delivery session of {path} broke", failure, path=self.name)
        self.rest(AFTER_A_FAULT)

    def _session_ended(self, _: object, session: "Deferred[None]", shared: Mapping[str, int]) -> None:
        self._sessions.discard(session)
        if shared:
            self._leases.give_back(shared)
        self.idle_since = self._clock.seconds()
        if self._stopped and not self._sessions:
            ended, self._ended = self._ended, []
            for waiting in ended:
                waiting.callback(None)
        elif self.size:
            self._open_sessions_soon()

    def _serve_idle(self) -> None:
        waiting, _ = self._idle.popitem()
        waiting.callback(self.next_message())

    def _forget_idle(self, waiting: "Deferred[Message | None]") -> None:
        self._idle.pop(waiting, None)

    def _release_idle(self) -> None:
        idle, self._idle = list(self._idle), {}
        for waiting in idle:
            waiting.callback(None)

    def _end_patience(self) -> None:
        self._idle_timer = None
        now = self._clock.seconds()
        patient = [waiting for waiting, until in self._idle.items() if until <= now]
        for waiting in patient:
            if self._idle.pop(waiting, None) is not None:
                waiting.callback(None)
        if self._idle and self._idle_timer is None:
            self._idle_timer = self._clock.callLater(min(self._idle.values()) - now, self._end_patience)

    def _take_all(self) -> list[Message]:
        messages = [message for lane in self._lanes.values() for message in lane]
        self._lanes.clear()
        self._turns.clear()
        self.size = 0
        if self._full:
            self._full = False
            self._clock.callLater(0, self._home.has_room, self)
        return messages
