"""
A timer wheel: things that wait for a moment, by the million, with one timer for all.

Moments are rounded up to a tick; what falls into one tick lies in one bucket, and a heap knows which bucket is next.
Putting in costs a dictionary look-up; taking out costs nothing per thing that is not due.
"""

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from math import ceil
from typing import Generic, TypeVar

Waiting = TypeVar("Waiting")

TICK = 0.1  # seconds: how late something may come, at most


class Wheel(Generic[Waiting]):
    """Things and when they are due."""

    __slots__ = ("_buckets", "_ticks")

    def __init__(self) -> None:
        self._buckets: dict[int, list[Waiting]] = {}
        self._ticks: list[int] = []

    def insert(self, due: float, thing: Waiting) -> bool:
        """Have it come out at `due`, epoch seconds, or up to a tick later; True if nothing comes out earlier."""
        tick = ceil(due / TICK)
        bucket = self._buckets.get(tick)
        if bucket is not None:
            bucket.append(thing)
            return False
        self._buckets[tick] = [thing]
        heappush(self._ticks, tick)
        return self._ticks[0] == tick

    def due(self, now: float) -> Iterator[Waiting]:
        """Take out everything whose time has come, the earliest first."""
        last = int(now / TICK + 1e-6)
        while self._ticks and self._ticks[0] <= last:
            yield from self._buckets.pop(heappop(self._ticks))

    def withdraw(self, fits: Callable[[Waiting], bool]) -> Iterator[list[Waiting]]:
        """Take out what fits before it is due, a bucket at a time: other things may come and go in between."""
        for tick in list(self._buckets):
            bucket = self._buckets.get(tick)
            if bucket is None:
                continue
            taken = [thing for thing in bucket if fits(thing)]
            if taken:
                # The bucket stays where it is, though it may be empty: the timer may be set for it.
                bucket[:] = [thing for thing in bucket if not fits(thing)]
            yield taken

    def buckets(self) -> Iterator[Sequence[Waiting]]:
        """Everything that waits, a bucket at a time; other things may come and go in between."""
        for tick in list(self._buckets):
            yield tuple(self._buckets.get(tick, ()))

    def next(self) -> float | None:
        """When something comes out next; None if the wheel is empty."""
        return self._ticks[0] * TICK if self._ticks else None

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))
