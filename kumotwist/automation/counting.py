"""How often a rule has fitted on a path lately: for triggers with a threshold."""

from collections import deque
from collections.abc import Iterable, Iterator
from hashlib import sha256

import msgspec
from msgspec import Struct

SHELF = "automation/count/"


class History(Struct, kw_only=True):
    """When one rule fitted on one path, the oldest first.  period: seconds for which that counts."""

    rule: str
    path: str
    period: float
    times: list[float]


class Counts:
    """
    Events of rules with a threshold, by rule and path.

    An event counts for the threshold's own period (the model counts over the rule's duration), and only as many of the latest
    are kept as the threshold needs.
    """

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], deque[float]] = {}
        self._periods: dict[tuple[str, str], float] = {}
        self._changed: set[tuple[str, str]] = set()

    def count(self, rule: str, path: str, *, limit: int, period: float, at: float) -> bool:
        """One more event.  Whether there were at least `limit` in the `period` that ends with it."""
        key = (rule, path)
        times = self._times.get(key)
        if times is None:
            times = self._times[key] = deque()
        times.append(at)
        while times and (len(times) > limit or times[0] <= at - period):
            times.popleft()
        self._periods[key] = period
        self._changed.add(key)
        return len(times) >= limit

    def prune(self, now: float) -> None:
        """Forget paths where nothing counts any more."""
        for key, times in list(self._times.items()):
            if not times or times[-1] <= now - self._periods[key]:
                del self._times[key], self._periods[key]
                self._changed.add(key)

    def __len__(self) -> int:
        return len(self._times)

    # Over restarts

    def take_changed(self) -> list[tuple[str, bytes | None]]:
        """What has changed since this was last asked, for the spool's shelf."""
        changed, self._changed = self._changed, set()
        return [(_key(rule, path), self._kept(rule, path)) for rule, path in sorted(changed)]

    def kept(self) -> list[tuple[str, bytes]]:
        """All of it, as the shelf would have it."""
        found = ((_key(rule, path), self._kept(rule, path)) for rule, path in sorted(self._times))
        return [(key, value) for key, value in found if value is not None]

    def _kept(self, rule: str, path: str) -> bytes | None:
        times = self._times.get((rule, path))
        if times is None:
            return None
        return msgspec.json.encode(History(rule=rule, path=path, period=self._periods[rule, path], times=list(times)))

    def load(self, shelved: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, str]]:
        """What the shelf has.  Answers the keys that hold no history, each with what is wrong."""
        for key, value in shelved:
            if key.startswith(SHELF):
                try:
                    found = msgspec.json.decode(value, type=History)
                except msgspec.DecodeError as fault:
                    yield key, str(fault)
                    continue
                self._times[found.rule, found.path] = deque(found.times)
                self._periods[found.rule, found.path] = found.period


def _key(rule: str, path: str) -> str:
    """Names of paths may be longer than keys of the shelf."""
    return f"{SHELF}{rule}/{sha256(path.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"
