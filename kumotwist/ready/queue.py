"""
The ready queue of one egress path: messages that are due, and the sessions that take them.

It is bounded by max_ready.  A scheduled queue whose message finds no room is told as soon as there is some.  Messages of
different scheduled queues lie in lanes that are served in turn, so a large queue never holds up a small one.  An idle
session waits here for the next message; the one that was used last is served first, so that needless ones run idle.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Rate, format_rate
from kumotwist.delivery.shown import Shown
from kumotwist.egress.limits import RateLimits, ideal_connections
from kumotwist.egress.path import EgressPath
from kumotwist.egress.sharing import NOT_KNOWN_YET, SharedLeases, SharedRates
from kumotwist.egress.turns import Turns
from kumotwist.mail.disposition import Attempt, Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Reply, reply
from kumotwist.ready.idle import IdleSessions
from kumotwist.ready.lanes import Lanes
from kumotwist.ready.orders import ReadySuspension
from kumotwist.ready.sessions import Sessions
from kumotwist.ready.states import States

LONGEST_REST = 86400.0  # seconds until a path looks again, where nobody knows how long it has to wait
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
        """A queue that was full, or suspended, has room again."""

    def kept_waiting(self, message: Message, reason: Reason, until: float, what_for: str) -> None:
        """The message stays ready and waits: a Delayed record says why; its envelope may be in the spool only."""

    def too_old(self, message: Message, until: float) -> bool:
        """Whether waiting until then is too long for it."""


def _any_number() -> int:
    return 1 << 30


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
        throttles: SharedRates,
        leases: SharedLeases,
        turns: Turns,
    ) -> None:
        """
        load: brings back a message's envelope and content from the spool.
        open_session: starts a delivery session with this queue as its supply; fires when it has ended.
        throttles, leases: where paths that name the same limits share them.  turns: who is next at a rate that they share.
        """
        self.path = path
        self.name = path.name
        self.suspension: ReadySuspension | None = None
        self.lanes = Lanes()
        self.in_hand: dict[Message, None] = {}  # what sessions have taken and not answered for
        self.sessions = Sessions()
        self.states = States(clock)
        self.idle_since = clock.seconds()
        self._clock = clock
        self._home = home
        self._load = load
        self._open_session = open_session
        self._idle = IdleSessions(clock)
        self._resting: IDelayedCall | None = None
        self._opening: IDelayedCall | None = None  # until the rate of connections admits another
        self._starting = 0  # sessions that have not asked for their connection yet
        self._told: Message | None = None  # the last whose wait was recorded
        self._in_line = False  # for a lease
        self._room_wanted = False
        self._telling_room = False
        self._stopped = False
        self.most_connections: Callable[[], int] = _any_number  # set where memory may be used up
        self._failures = 0
        self._ended: list[Deferred[None]] = []
        self._throttles = throttles
        self._leases = leases
        self._turns = turns
        self._apply(path.settings)

    def _apply(self, settings: PathSettings) -> None:
        self._refill_at = settings.max_ready - max(1, settings.max_ready // 4)
        self._connections = self._rates(f"{self.name}-connection-rate", "max_connection_rate", settings.max_connection_rate, {}, "")
        self._messages = self._rates(
            f"kumomta.max_message_rate.{self.name}",
            "max_message_rate",
            settings.max_message_rate,
            settings.additional_message_rate_throttles,
            "additional_message_rate_throttles",
        )
        self._selections = self._rates(
            f"kumomta.source_selection_rate.{self.name}",
            "source_selection_rate",
            settings.source_selection_rate,
            settings.additional_source_selection_rates,
            "additional_source_selection_rates",
        )
        self._shared = {f"kumomta.connection_limit.{self.name}": settings.connection_limit.limit} | {
            name: limit.limit for name, limit in settings.additional_connection_limits.items()
        }

    def _rates(self, name: str, option: str, own: Rate | None, additional: Mapping[str, Rate], where: str) -> RateLimits | None:
        """What must admit one of a kind, called as the operator configured it; None: nothing limits it."""
        named = [(f"{option} of {self.name}", name, own)] if own is not None else []
        named += [(f"{where} {key}", key, rate) for key, rate in additional.items()]
        limits = [(f"{what} ({format_rate(rate)})", self._throttles.get(key, rate)) for what, key, rate in named]
        return RateLimits(limits) if limits else None

    @property
    def rates(self) -> Mapping[str, RateLimits | None]:
        """What limits messages, connections and the choice of this path."""
        return {"message": self._messages, "connection": self._connections, "source_selection": self._selections}

    @property
    def limits(self) -> Mapping[str, int]:
        """How many connections at a time, by the name of the limit; this path's own is the first."""
        return self._shared

    # What scheduled queues use

    @property
    def size(self) -> int:
        return self.lanes.size

    def admit(self, message: Message) -> bool:
        """Take a message that is due; False if there is no room for it (its home is told when there is room)."""
        if self.full or self._room_wanted:
            self.sessions.turned_away += 1
            return False
        self.lanes.append(message)
        if self._selections is not None:
            self._selections.spend(self._clock.seconds())
        if self._resting is None:
            if self._idle:
                self._idle.serve(self.next_message)
            else:
                self._open_sessions()
        return True

    @property
    def full(self) -> bool:
        """It takes nothing now."""
        return self.lanes.size >= self.path.settings.max_ready or self._stopped or self.suspension is not None

    def want_room(self) -> None:
        """Somebody waits for room here: nobody overtakes them, and the home is told when there is some."""
        self._room_wanted = True
        self._tell_room_soon()

    def _tell_room_soon(self) -> None:
        if self._room_wanted and not self._telling_room and self.lanes.size <= self._refill_at and not self.full:
            self._telling_room = True
            self._clock.callLater(0, self._tell_room)

    def _tell_room(self) -> None:
        self._telling_room = self._room_wanted = False
        self._home.has_room(self)

    def selectable_in(self) -> float:
        """Seconds until this source may be chosen again for this site; 0.0: now; NOT_KNOWN_YET."""
        return self._selections.wait(self._clock.seconds()) if self._selections is not None else 0.0

    def when_selectable(self, call: Callable[[], None]) -> None:
        """Call this once, after NOT_KNOWN_YET, when that is known."""
        if self._selections is not None:
            self._selections.when_known(self._clock.seconds(), call)

    def reshape(self, path: EgressPath) -> None:
        """Settings of the path changed; limits that stay the same keep what they have counted."""
        self.path = path
        self._apply(path.settings)
        self._end_wait_to_open()
        if self._resting is not None:
            self._resting.cancel()
            self._wake()
        self._tell_room_soon()

    def give_all_back(self, reason: Reason) -> None:
        """Everything here is to choose its path anew."""
        for message in self._take_all():
            self._home.returned(message, reason, 0.0)

    # What operators use

    def suspend(self, order: ReadySuspension) -> None:
        """Send nothing until that ends; what is on the wire is finished, what is ready chooses its path anew."""
        self.suspension = order
        self._idle.release()
        self.give_all_back(Reason.READY_QUEUE_WAS_SUSPENDED)

    def resume(self) -> None:
        self.suspension = None
        self._tell_room_soon()

    def withdraw(self, queue_fits: Callable[[str], bool]) -> list[Message]:
        """Take out what comes from these scheduled queues."""
        taken = self.lanes.withdraw(queue_fits)
        self._tell_room_soon()
        return taken

    def return_old(self) -> None:
        """Give back what has grown too old, where nothing moves."""
        if self.lanes.size and (self._resting is not None or not self.sessions):
            now = self._clock.seconds()
            for message in self.lanes.take_if(lambda message: self._home.too_old(message, now)):
                self._home.returned(message, Reason.DUE_TIME_WAS_REACHED, 0.0)

    def count_of(self, queue: str) -> int:
        """How many messages of a scheduled queue are here."""
        return self.lanes.count_of(queue)

    @property
    def stopped(self) -> bool:
        """It takes no more: whoever still knows it asks for another."""
        return self._stopped

    @property
    def quiet(self) -> bool:
        """Nothing is here and nobody works for it."""
        return not self.lanes.size and not self.sessions

    def stop(self) -> "Deferred[None]":
        """Hand out no more; fires when the last session has ended."""
        self._stopped = True
        self._leave_line()
        self._end_wait_to_open()
        self._idle.release()
        if not self.sessions:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        return ended

    # What sessions use (delivery.supply.Supply)

    def next_message(self) -> Message | None:
        if not self.lanes.size or self._stopped or self._resting is not None:
            return None
        message = self.lanes.next()
        self.in_hand[message] = None
        if self._room_wanted:
            self._tell_room_soon()
        return message

    def message_or_none(self, patience: float) -> "Deferred[Message | None]":
        message = self.next_message()
        if message is not None or self._stopped or self._resting is not None:
            return succeed(message)
        return self._idle.wait(patience)

    def content(self, message: Message) -> "bytes | Deferred[bytes]":
        if message.content is not None:
            return message.content
        return self._load(message).addCallback(_content_of, message)

    def show(self, session: Shown) -> None:
        """A session that is being opened shows itself to operators."""
        self.sessions.show(session)

    def may_connect(self) -> float:
        wait = self._connections.spend(self._clock.seconds()) if self._connections is not None else 0.0
        if wait == 0.0 and self._starting:
            self._starting -= 1
            self._open_sessions_soon()
        return wait

    def may_send(self) -> float:
        limits = self._messages
        if limits is None:
            return 0.0
        if self.path.settings.additional_message_rate_throttles:
            return limits.spend_in_turn(self._turns, self.name, self._clock.seconds())
        return limits.spend(self._clock.seconds())

    def let_go(self, message: Message) -> None:
        """No session has the message in hand any more: somebody else answers for it now."""
        self.in_hand.pop(message, None)

    def settle(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        self.let_go(message)
        self.sessions.count(attempt, outcomes, message.through, self._clock.seconds())
        self._home.settled(message, attempt, outcomes)

    def give_back(self, message: Message, reason: Reason, delay: float = 0.0) -> None:
        self.let_go(message)
        limits = self._limits_behind(reason)
        now = self._clock.seconds()
        goes = delay <= 0.0 or self._stopped or self.suspension is not None
        if limits is None or goes or (delay != NOT_KNOWN_YET and self._home.too_old(message, now + delay)):
            self._home.returned(message, reason, delay)
        else:
            # It stays the next, so that the order is kept and nobody waits twice; `throttled` follows.
            self.lanes.put_first(message)
            self._tell_wait(message, reason, limits, delay)

    def _limits_behind(self, reason: Reason) -> RateLimits | None:
        if reason is Reason.MESSAGE_RATE_THROTTLE:
            return self._messages
        return self._connections if reason is Reason.CONNECTION_RATE_THROTTLE else None

    def _tell_wait(self, message: Message, reason: Reason, limits: RateLimits, delay: float) -> None:
        """One record for a message, when its wait for a limit begins."""
        if self._told is not message and delay != NOT_KNOWN_YET:
            self._told = message
            now = self._clock.seconds()
            self._home.kept_waiting(message, reason, now + delay, limits.binding(now)[0])

    def throttled(self, reason: Reason, delay: float) -> None:
        self.log.debug("{path} waits {delay} s: {reason}", path=self.name, delay=round(delay, 3), reason=reason.value)
        limits = self._limits_behind(reason)
        if reason is Reason.CONNECTION_RATE_THROTTLE and limits is not None:
            return  # what has a connection goes on; no other is opened until the rate admits it
        if delay == NOT_KNOWN_YET and limits is not None:
            limits.when_known(self._clock.seconds(), self._know)
        if self._resting is None or self._resting.getTime() > self._clock.seconds() + delay:
            self._rest(delay)  # the first of its sessions that may send is not to wait for the others

    @property
    def resting_until(self) -> float | None:
        """Epoch seconds until which nothing is handed out; None: it is."""
        return self._resting.getTime() if self._resting is not None else None

    def _know(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._wake()

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
            self.sessions.of_pool(message.through).note(verdict, len(message.recipients) or 1)
            self._home.disposed(message, attempt, verdict, reply)

    def connected(self) -> None:
        self._failures = 0
        self.sessions.connected += 1

    def connection_failed(self) -> None:
        before, self._failures = self._failures, self._failures + 1
        if before > self.path.settings.consecutive_connection_failures_before_delay:
            self.dispose_all(Verdict.POSTPONED, _BULK_DELAY, Reason.TOO_MANY_CONNECTION_FAILURES)

    # Sessions and rest

    def rest(self, delay: float) -> None:
        """Hand out nothing for so many seconds; sessions that wait are let go."""
        if self._resting is None or self._resting.getTime() < self._clock.seconds() + delay:
            self._rest(delay)

    def _rest(self, delay: float) -> None:
        if self._resting is not None:
            self._resting.cancel()
        self._resting = self._clock.callLater(min(delay, LONGEST_REST), self._wake)
        self._idle.release()

    def _wake(self) -> None:
        self._resting = None
        self._open_sessions()

    def _open_sessions(self) -> None:
        if self._resting is not None or self._stopped:
            self._leave_line()
            return
        wanted = min(ideal_connections(self.lanes.size, self.path.settings.connection_limit.limit), self.most_connections())
        while len(self.sessions) < wanted and self.lanes.size and self._resting is None and self._may_open():
            shared = self._shared
            if not self._leases.take(shared, self._open_sessions_soon):
                self._in_line = True
                self.states.limited(self._leases.short_of(shared))
                return
            self._starting += self._connections is not None
            session = self._open_session(self)
            self.sessions.add(session)
            session.addErrback(self._session_broke, session)
            session.addBoth(self._session_ended, session, shared)
        self._leave_line()

    def _leave_line(self) -> None:
        """No lease is wanted just now: those behind us are not to wait for us."""
        if self._in_line:
            self._in_line = False
            self.states.not_limited()
            self._leases.forget(self._open_sessions_soon)

    def _open_sessions_soon(self) -> None:
        # Not from here: a session that ends at once would call us again and again on one stack.
        self._clock.callLater(0, self._open_sessions)

    def _may_open(self) -> bool:
        """Whether the rate of connections admits another, beside those that are about to be made."""
        limits = self._connections
        if limits is None:
            return True
        if self._starting >= limits.capacity:
            return False  # one of those is admitted first
        now = self._clock.seconds()
        wait = limits.wait(now, self._starting + 1)
        if wait == 0.0:
            self.states.not_throttled()
            return True
        self.states.throttled(limits.binding(now)[0])
        if self._opening is None:
            if wait == NOT_KNOWN_YET:
                limits.when_known(now, self._open_sessions_soon)
            else:
                self._opening = self._clock.callLater(wait, self._open_when_admitted)
        first = self.lanes.first
        if first is not None and not self.sessions and wait >= self.path.settings.idle_timeout:
            self._tell_wait(first, Reason.CONNECTION_RATE_THROTTLE, limits, wait)
        return False

    def _open_when_admitted(self) -> None:
        self._opening = None
        self._open_sessions()

    def _end_wait_to_open(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None

    def _session_broke(self, failure: Failure, session: "Deferred[None]") -> None:
        if failure.check(CancelledError) and self.sessions.aborted(session):
            return
        self.log.failure("a delivery session of {path} broke", failure, path=self.name)
        self.rest(AFTER_A_FAULT)

    def _session_ended(self, _: object, session: "Deferred[None]", shared: Mapping[str, int]) -> None:
        self.sessions.discard(session)
        self._starting = max(0, self._starting - 1)
        self._leases.give_back(shared)
        self.idle_since = self._clock.seconds()
        if self._stopped and not self.sessions:
            ended, self._ended = self._ended, []
            for waiting in ended:
                waiting.callback(None)
        elif self.lanes.size:
            self._open_sessions_soon()

    def abort(self, session_id: str) -> bool:
        """End the session with that connection now; a message in flight waits again, uncounted.  False: there is none."""
        return self.sessions.abort(session_id)

    def _take_all(self) -> list[Message]:
        messages = self.lanes.take_all()
        self._tell_room_soon()
        return messages
