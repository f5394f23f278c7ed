"""
A load: so many connections at a time, each taking the next message from one source until there are no more.

With `retry` a message whose connection ended before its answer goes back and is sent again, and a server that is
away is tried until it has been away too long.  Machinery: the clock and the way to connect are given.
"""

from collections import deque
from collections.abc import Callable, Sequence

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from kumotwist.cli.traffic_http import HttpTrafficWire
from kumotwist.cli.traffic_mail import Letter, Mailing
from kumotwist.cli.traffic_results import Results
from kumotwist.cli.traffic_wire import TrafficWire

FIRST_PAUSE = 0.1  # seconds before a server that is away is tried again; doubles
LONGEST_PAUSE = 1.0
PATIENCE = 60.0  # seconds without any connection after which a server is given up
WATCH_INTERVAL = 1.0


class LoadPlan(Struct, frozen=True, kw_only=True):
    """
    messages: how many in all, None: as many as `duration` seconds allow.  timeout: seconds a message may take.
    local_addresses: bound to in turn by the connections; empty: the kernel chooses.
    """

    concurrency: int = 10
    messages: int | None = None
    duration: float | None = None
    messages_per_connection: int = 1000
    pipelining: bool = True
    retry: bool = False
    timeout: float = 60.0
    ehlo: str = "localhost"
    local_addresses: Sequence[str] = ()
    http_host: str | None = None  # what the Host field says; None: SMTP is spoken


Connect = Callable[[ClientFactory, str | None], object]  # the factory's one connection, from that local address


class Load:
    """start() fires with None when all is answered, or nothing more can be."""

    def __init__(self, plan: LoadPlan, mailing: Mailing, results: Results, clock: IReactorTime, connect: Connect) -> None:
        self.plan = plan
        self.mailing = mailing
        self.results = results
        self.clock = clock
        self.connect = connect
        self.last_connected = 0.0
        self.began = 0.0
        self.ended = 0.0
        self._issued = 0
        self._stopping = False
        self.abandoned = False
        self._again: deque[Letter] = deque()
        self._lanes: list[LoadLane] = []
        self._done: Deferred[None] = Deferred()
        self._watch: IDelayedCall | None = None
        self._alarm: IDelayedCall | None = None

    def start(self) -> "Deferred[None]":
        plan = self.plan
        self.began = self.last_connected = self.clock.seconds()
        if plan.duration is not None:
            self._alarm = self.clock.callLater(plan.duration, self.stop)
        self._watch = self.clock.callLater(WATCH_INTERVAL, self._look_after)
        count = plan.concurrency if plan.messages is None else min(plan.concurrency, plan.messages)
        addresses = plan.local_addresses or (None,)
        self._lanes = [LoadLane(self, addresses[number % len(addresses)]) for number in range(count)]
        for lane in list(self._lanes):
            lane.open()
        return self._done

    def stop(self, abandon: bool = False) -> None:
        """Begin no more messages; those in hand are still answered.  abandon: and nothing is sent again."""
        self._stopping = True
        self.abandoned = self.abandoned or abandon
        for lane in list(self._lanes):
            lane.hurry()

    @property
    def more(self) -> bool:
        """Whether there is anything left to send."""
        if self._again and not self.abandoned:
            return True
        return not self._stopping and (self.plan.messages is None or self._issued < self.plan.messages)

    def next_letter(self) -> Letter | None:
        if not self.more:
            return None
        if self._again:
            self.results.resent += 1
            return self._again.popleft()
        self._issued += 1
        return self.mailing.letter(self._issued)

    def send_again(self, letter: Letter) -> None:
        self._again.append(letter)

    def lane_finished(self, lane: "LoadLane") -> None:
        self._lanes.remove(lane)
        if not self._lanes:
            self.conclude()
            self._done.callback(None)

    def conclude(self) -> None:
        """Close the books, also on a run that was broken off."""
        if self.ended:
            return
        self.ended = self.clock.seconds()
        for call in (self._watch, self._alarm):
            if call is not None and call.active():
                call.cancel()
        self.results.unsent = 0 if self.plan.messages is None else self.plan.messages - self._issued
        self.results.lost += len(self._again)

    def _look_after(self) -> None:
        """End what a server leaves without an answer for too long."""
        self._watch = self.clock.callLater(WATCH_INTERVAL, self._look_after)
        too_old = self.clock.seconds() - self.plan.timeout
        for lane in list(self._lanes):
            lane.end_if_older(too_old)


class LoadLane:
    """One connection after the other, until nothing is left to send."""

    def __init__(self, load: Load, local_address: str | None) -> None:
        self._load = load
        self._local_address = local_address
        self._wire: TrafficWire | HttpTrafficWire | None = None
        self._opened = 0.0
        self._pause = FIRST_PAUSE
        self._waiting: IDelayedCall | None = None

    def open(self) -> None:
        self._waiting = None
        self._opened = self._load.clock.seconds()
        self._load.connect(LaneFactory(self), self._local_address)

    def wire(self) -> "TrafficWire | HttpTrafficWire":
        """A connection was made."""
        load = self._load
        load.results.connections += 1
        plan = load.plan
        if plan.http_host is not None:
            self._wire = HttpTrafficWire(
                self,
                load.clock.seconds,
                sender=load.mailing.sender,
                host=plan.http_host.encode(),
                most=plan.messages_per_connection,
            )
            return self._wire
        self._wire = TrafficWire(
            self,
            load.clock.seconds,
            sender=load.mailing.sender,
            ehlo=plan.ehlo.encode(),
            pipelining=plan.pipelining,
            most=plan.messages_per_connection,
        )
        return self._wire

    def next_letter(self) -> Letter | None:
        return self._load.next_letter()

    def answered(self, letter: Letter, reply: bytes) -> None:
        results = self._load.results
        if reply[:1] == b"2":
            results.taken(letter, reply, self._load.clock.seconds())
        else:
            results.not_taken(reply)

    def ended(self, letter: Letter | None, greeted: bool, why: str) -> None:
        load = self._load
        self._wire = None
        if why:
            load.results.faults["interrupted" if load.abandoned else why] += 1
        if letter is not None:
            if load.plan.retry:
                load.send_again(letter)
            elif why.startswith("421"):
                load.results.not_taken(why.encode())
            else:
                load.results.lost += 1
        if greeted:
            load.last_connected = load.clock.seconds()
            self._pause = FIRST_PAUSE
        self._go_on(failed=not greeted)

    def not_connected(self, why: str) -> None:
        self._load.results.faults[why] += 1
        self._go_on(failed=True)

    def hurry(self) -> None:
        """Nothing new is sent: do not wait in vain for a server that is away."""
        if self._waiting is not None and not self._load.more:
            self._waiting.cancel()
            self._waiting = None
            self._load.lane_finished(self)

    def end_if_older(self, instant: float) -> None:
        """Give up a connection that waits for an answer since before that instant."""
        wire = self._wire
        if wire is not None and (wire.letter.began if wire.letter else self._opened) < instant:
            wire.give_up("no answer in time")

    def _go_on(self, failed: bool) -> None:
        """Open another connection if there is something to send and a server to send it to."""
        load = self._load
        if not load.more:
            load.lane_finished(self)
        elif not failed:
            self.open()
        elif load.plan.retry and load.clock.seconds() - load.last_connected < PATIENCE:
            self._waiting = load.clock.callLater(self._pause, self.open)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        else:
            load.lane_finished(self)


class LaneFactory(ClientFactory):
    """One connection of a lane."""

    noisy = False

    def __init__(self, lane: LoadLane) -> None:
        self._lane = lane

    def buildProtocol(self, addr: IAddress | None) -> "TrafficWire | HttpTrafficWire":
        return self._lane.wire()

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self._lane.not_connected(reason.getErrorMessage())
