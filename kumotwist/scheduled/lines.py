"""
Lines of scheduled queues: for room in a ready queue, for a rate that several queues share.

Who comes first is served first, one message, and goes to the end of the line if it has more: so what frees is shared fairly
among those that wait, and nobody who comes later overtakes them.  A rate has one alarm, however many queues wait for it.
"""

from collections.abc import Callable, Iterator

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from kumotwist.egress.sharing import NOT_KNOWN_YET, SharedRate
from kumotwist.mail.reason import Reason
from kumotwist.ready.queue import ReadyQueue
from kumotwist.scheduled.queue import ScheduledQueue

Line = dict[ScheduledQueue, None]

FOR_A_PATH = (Reason.READY_QUEUE_WAS_FULL, Reason.READY_QUEUE_WAS_SUSPENDED)


class Lines:
    """Who waits for what."""

    def __init__(self, clock: IReactorTime, promote_one: Callable[[ScheduledQueue], bool]) -> None:
        """promote_one: moves one message of a queue that is not blocked; True if the queue could go on at once."""
        self._clock = clock
        self._promote_one = promote_one
        self._for_rates: dict[SharedRate, Line] = {}
        self._for_room: dict[ReadyQueue, Line] = {}
        self._alarms: dict[SharedRate, IDelayedCall] = {}
        self._asking: set[SharedRate] = set()
        self._turn: ScheduledQueue | None = None  # whose turn it is just now
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True
        for alarm in self._alarms.values():
            if alarm.active():
                alarm.cancel()
        self._alarms.clear()

    # Rates

    def wait(self, limit: SharedRate, queue: ScheduledQueue, now: float) -> float:
        """Seconds until the rate admits a message of this queue; 0.0: now, and it is its turn; NOT_KNOWN_YET."""
        wait = limit.wait(now)
        if self._turn is queue or not self._for_rates:
            return wait
        line = self._for_rates.get(limit)
        if not line or queue in line:
            return wait
        return max(wait, _EARLIEST) + len(line) * limit.rate.period / limit.rate.limit

    def join_for_rate(self, limit: SharedRate, queue: ScheduledQueue) -> None:
        """It is served, and no longer blocked, when the rate admits a message and nobody stands before it."""
        self._for_rates.setdefault(limit, {})[queue] = None
        self._watch(limit)

    def _watch(self, limit: SharedRate) -> None:
        """Have the line served when the rate frees."""
        if limit in self._alarms or limit in self._asking or self._stopped:
            return
        wait = limit.wait(self._clock.seconds())
        if wait == NOT_KNOWN_YET:
            self._asking.add(limit)
            limit.when_known(lambda: self._known(limit))
        else:
            self._alarms[limit] = self._clock.callLater(wait, self._serve, limit)

    def _known(self, limit: SharedRate) -> None:
        self._asking.discard(limit)
        self._watch(limit)

    def _serve(self, limit: SharedRate) -> None:
        self._alarms.pop(limit, None)
        line = self._for_rates.get(limit)
        while line and limit.wait(self._clock.seconds()) == 0.0:
            self._serve_first(line, (Reason.MESSAGE_RATE_THROTTLE,))
        if line:
            self._watch(limit)
        else:
            self._for_rates.pop(limit, None)

    def _serve_first(self, line: Line, causes: tuple[Reason, ...]) -> None:
        queue = next(iter(line))
        del line[queue]
        if queue.blocked not in causes:
            return
        cause, queue.blocked = queue.blocked, None
        self._turn = queue
        try:
            more = self._promote_one(queue)
        finally:
            self._turn = None
        if more:
            queue.blocked = cause
            line[queue] = None

    # Room

    def join_for_room(self, ready: ReadyQueue, queue: ScheduledQueue) -> None:
        """It is served, and no longer blocked, when there is room and nobody stands before it."""
        self._for_room.setdefault(ready, {})[queue] = None
        ready.want_room()

    def for_room(self) -> Iterator[ScheduledQueue]:
        """All that wait for room somewhere."""
        for line in self._for_room.values():
            yield from line

    def has_room(self, ready: ReadyQueue) -> None:
        """Serve those that wait for room there, until there is none."""
        line = self._for_room.get(ready)
        while line and not ready.full and not self._stopped:
            self._serve_first(line, FOR_A_PATH)
        if line:
            ready.want_room()
        else:
            self._for_room.pop(ready, None)


_EARLIEST = 1e-3  # seconds: who stands in a line waits, even where the rate is free at this very moment
