"""What was learnt about names, until it expires."""

from typing import Generic, TypeVar

V = TypeVar("V")


class Cache(Generic[V]):
    """
    Values by name, each until its moment; where there are too many, those learnt longest ago leave first.

    Not those used longest ago: a hit then stays a look into a dictionary and a comparison, and a name in use is learnt
    anew whenever it expires.  An expired value is never handed out, whatever the DNS says now: a host that gave up a
    domain's mail may well answer 550 to it, and then a stale answer loses what waiting would have kept.
    """

    __slots__ = ("_capacity", "_kept")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: dict[str, tuple[float, V]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, name: str) -> bool:
        """Whether there is a value at all, expired or not."""
        return name in self._kept

    def get(self, name: str, now: float) -> V | None:
        """The value, if it has not expired."""
        kept = self._kept.get(name)
        return kept[1] if kept is not None and kept[0] > now else None

    def keep(self, name: str, value: V, until: float) -> None:
        """until: epoch seconds."""
        self._kept.pop(name, None)
        if len(self._kept) >= self._capacity:
            del self._kept[next(iter(self._kept))]
        self._kept[name] = (until, value)

    def forget(self, name: str) -> None:
        self._kept.pop(name, None)

    def clear(self) -> None:
        self._kept.clear()
