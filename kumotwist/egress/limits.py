"""
How fast and how many at once: rates of messages and connections, and how many connections a ready queue is worth.

Pure: the time is handed in, nothing waits here.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from math import ceil, exp

from kumotwist.config.fields import Rate
from kumotwist.egress.sharing import SharedRate
from kumotwist.egress.turns import Turns

# A caller told to come back in w seconds comes at the float nearest to now + w, which may be a little before the moment
# meant (epoch seconds are 2.4e-7 apart); so much too early is in time.  What is spent does not change with it.
_IN_TIME = 1e-6


class RateLimit:
    """
    A rate in this process: GCRA, the generic cell rate algorithm, seen as a leaking bucket.

    Each spending fills the bucket by its quantity; it leaks `limit` in `period` seconds; what fits is admitted.  The
    bucket holds `limit`, or with `max_burst` one more than that (the model's count) but never more than `limit`.  The
    model keeps the instant at which the bucket is empty instead: the same sums, but with numbers so large that high
    rates lose digits, and a clock set back an hour would block an hour.
    """

    __slots__ = ("_at", "_fill", "_interval", "capacity", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        burst = rate.limit if rate.max_burst is None else rate.max_burst
        self.capacity = min(burst, rate.limit - 1) + 1
        self._interval = rate.period / rate.limit  # seconds in which one leaks
        self._fill = 0.0
        self._at = 0.0  # when _fill was so

    def spend(self, now: float, quantity: int = 1) -> float:
        """
        0.0 if so many are admitted now, and spent; else the exact seconds until they would be, and nothing is spent.

        A quantity above the capacity is admitted once the bucket is empty; what follows then waits the longer.
        """
        wait = self.wait(now, quantity)
        if wait == 0.0:
            self._fill = self._left(now) + quantity
            self._at = now
        return wait

    def wait(self, now: float, quantity: int = 1) -> float:
        """Seconds until so many would be admitted; 0.0: now.  Spends nothing."""
        wait = (self._left(now) + quantity - max(self.capacity, quantity)) * self._interval
        return wait if wait > _IN_TIME else 0.0

    def when_known(self, call: Callable[[], None]) -> None:
        """It always is: nobody is asked."""
        call()

    def _left(self, now: float) -> float:
        elapsed = now - self._at
        if elapsed < 0.0:
            # The clock was set back: what filled the bucket in a future that is gone counts from now.
            self._at = now
            return self._fill
        return max(0.0, self._fill - elapsed / self._interval)


class RateLimits:
    """Several rates that must all admit a thing; what one of them refuses is spent of none.  Each has a name for people."""

    __slots__ = ("_limits", "_named")

    def __init__(self, named: Sequence[tuple[str, SharedRate]]) -> None:
        self._named = tuple(named)
        self._limits = tuple(limit for _, limit in named)

    def spend_in_turn(self, turns: Turns, who: Hashable, now: float) -> float:
        """As `spend`, for rates that several share: they are served in the order in which they asked."""
        return turns.spend(self._limits, who, now)

    def spend(self, now: float) -> float:
        """0.0 if one is admitted by all, and spent; else the seconds until all would admit it, or NOT_KNOWN_YET."""
        wait = self.wait(now)
        if wait == 0.0:
            for limit in self._limits:
                limit.spend(now)
        return wait

    def wait(self, now: float, quantity: int = 1) -> float:
        """Seconds until all would admit so many; 0.0: now; NOT_KNOWN_YET.  Spends nothing."""
        longest = 0.0
        for limit in self._limits:
            wait = limit.wait(now, quantity)
            if wait > longest:
                longest = wait
        return longest

    @property
    def capacity(self) -> int:
        """So many are admitted at once from idle."""
        return min(limit.capacity for limit in self._limits)

    def binding(self, now: float) -> tuple[str, SharedRate]:
        """The one that has to be waited for longest, and what it is called."""
        return max(self._named, key=lambda named: named[1].wait(now))

    def when_known(self, now: float, call: Callable[[], None]) -> None:
        """Call this once, when the limit that is not known yet is."""
        self.binding(now)[1].when_known(call)

    def __iter__(self) -> Iterator[tuple[str, SharedRate]]:
        return iter(self._named)


def ideal_connections(ready: int, limit: int) -> int:
    """
    How many connections so many ready messages are worth: few messages few, many messages up to the limit.

    ready: messages that wait.  limit: the path's `connection_limit`.  The model's curve: it approaches the limit as the
    queue grows past some 100, and never exceeds one connection a message.
    """
    return min(ready, ceil(limit * (1.0 - exp(-0.023 * ready))))
