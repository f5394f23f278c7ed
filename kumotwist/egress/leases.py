"""
Limits on how many at a time, shared by name: connections of several paths that count together.

Whoever wants to open a connection takes a lease of each of its limits, all or none, and gives them back when it is closed.
Who gets none is called when one of them is free again; those that wait are called in the order in which they asked.
"""

from collections.abc import Callable, Mapping


class Leases:
    """All shared limits of this process."""

    __slots__ = ("_held", "_waiting")

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._waiting: dict[str, dict[Callable[[], None], None]] = {}

    def take(self, limits: Mapping[str, int], call_again: Callable[[], None]) -> bool:
        """One lease of each limit; False if one of them is at its limit: then call_again is called once when it has room."""
        for name, most in limits.items():
            if self._held.get(name, 0) >= most:
                self._waiting.setdefault(name, {})[call_again] = None
                return False
        for name in limits:
            self._held[name] = self._held.get(name, 0) + 1
        return True

    def give_back(self, limits: Mapping[str, int]) -> None:
        """The leases that were taken with these limits."""
        for name in limits:
            left = self._held[name] - 1
            if left:
                self._held[name] = left
            else:
                del self._held[name]
        for name in limits:
            # All of them: the first may not need it any more, and those that get none wait again, in the same order.
            for call_again in self._waiting.pop(name, ()):
                call_again()

    def forget(self, call_again: Callable[[], None]) -> None:
        """Nobody wants to be called any more."""
        for name in list(self._waiting):
            self._waiting[name].pop(call_again, None)
            if not self._waiting[name]:
                del self._waiting[name]

    def held(self, name: str) -> int:
        return self._held.get(name, 0)
