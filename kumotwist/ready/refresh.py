"""When what was answered for each of many names is to be asked for again: one timer for all."""

from collections.abc import Callable
from heapq import heappop, heappush

from twisted.internet.interfaces import IDelayedCall, IReactorTime

SHORTEST = 1.0  # seconds: a policy that wants to be asked all the time is asked so often


class Refresh:
    """Names, and when each is due; a name that is put in again is due then only."""

    def __init__(self, clock: IReactorTime, ask: Callable[[str], None]) -> None:
        """ask: called with each name that is due; it is then forgotten."""
        self._clock = clock
        self._ask = ask
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._timer: IDelayedCall | None = None

    def after(self, name: str, seconds: float) -> None:
        """Ask again in so many seconds, instead of when it would have been."""
        due = self._clock.seconds() + max(seconds, SHORTEST)
        self._due[name] = due
        heappush(self._heap, (due, name))
        if self._heap[0][1] == name:
            self._set_timer()

    def forget(self, name: str) -> None:
        self._due.pop(name, None)

    def stop(self) -> None:
        self._due.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._timer = self._clock.callLater(max(0.0, self._heap[0][0] - self._clock.seconds()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        while self._heap and self._heap[0][0] <= now:
            due, name = heappop(self._heap)
            if self._due.get(name) == due:
                del self._due[name]
                self._ask(name)
        self._set_timer()
