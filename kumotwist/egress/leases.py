"""
Limits on how many at a time, shared by name: connections of several paths that count together.

Whoever wants to open a connection takes a lease of each of its limits, all or none, and gives them back when it is closed.
Who gets none stands in line at the limit that refused it, and is called when it is its turn; it leaves the line by taking
what it wants, or by `forget`.  Nobody overtakes those that stand there.
"""

from collections.abc import Callable, Mapping
from itertools import islice


class Leases:
    """All shared limits of this process."""

    __slots__ = ("_free", "_held", "_waiting")

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._waiting: dict[str, dict[Callable[[], None], None]] = {}
        self._free: dict[str, int] = {}  # leases that nobody has, where somebody waits

    def take(self, limits: Mapping[str, int], call_again: Callable[[], None]) -> bool:
        """One lease of each limit; False if one of them has none for us: then call_again is called when it is our turn."""
        for name, most in limits.items():
            line = self._waiting.get(name)
            free = most - self._held.get(name, 0)
            if free <= 0 or (line is not None and _ahead(line, call_again) >= free):
                self._free[name] = free
                self._leave(call_again, name)
                self._waiting.setdefault(name, {}).setdefault(call_again)
                return False
        for name in limits:
            self._held[name] = self._held.get(name, 0) + 1
            line = self._waiting.get(name)
            if line is not None:
                self._free[name] -= 1
                self._remove(name, line, call_again)
        return True

    def give_back(self, limits: Mapping[str, int]) -> None:
        """The leases that were taken with these limits."""
        for name in limits:
            left = self._held[name] - 1
            if left:
                self._held[name] = left
            else:
                del self._held[name]
            if name in self._waiting:
                self._free[name] += 1
        for name in limits:
            self._call(name)

    def forget(self, call_again: Callable[[], None]) -> None:
        """It does not want any more: those behind it are called."""
        self._leave(call_again, None)

    def _leave(self, call_again: Callable[[], None], but: str | None) -> None:
        for name, line in list(self._waiting.items()):
            if name != but and call_again in line:
                self._remove(name, line, call_again)
                self._call(name)

    def _remove(self, name: str, line: dict[Callable[[], None], None], call_again: Callable[[], None]) -> None:
        line.pop(call_again, None)
        if not line:
            del self._waiting[name], self._free[name]

    def _call(self, name: str) -> None:
        """Those whose turn it is: as many as there are leases."""
        line = self._waiting.get(name)
        if line is not None and self._free[name] > 0:
            for call_again in list(islice(line, self._free[name])):
                call_again()

    def short_of(self, limits: Mapping[str, int]) -> str | None:
        """The first of these limits that has no lease left; None: all have."""
        return next((name for name, most in limits.items() if self._held.get(name, 0) >= most), None)

    def held(self, name: str) -> int:
        return self._held.get(name, 0)


def _ahead(line: Mapping[Callable[[], None], None], call_again: Callable[[], None]) -> int:
    """How many stand before it, or would."""
    for n, waiting in enumerate(line):
        if waiting == call_again:
            return n
    return len(line)
