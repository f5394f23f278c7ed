"""
Which source of a pool comes next: weighted round robin, one rotation for each scheduled queue.

The picture is a bar for each entry, as high as its weight, and a water level that sinks by the weights' greatest common
divisor with each pass: an entry is chosen in every pass in which it stands above the water.  Weights 5/2/3 over ten
choices give 5, 2 and 3, spread out.  As in the model the first pass runs with the water at 0, so that it begins with the
second entry and leaves the first out once; and an index and a level found for a longer list go on with a shorter one.
"""

from collections.abc import Sequence
from math import gcd

from kumotwist.config.egress import PoolEntry


class Rotation:
    """
    Where the choice among a pool's entries stands.

    index, weight: the entry chosen last, and the level of its pass.
    """

    __slots__ = ("_divisor", "_given", "_heaviest", "_usable", "index", "weight")

    def __init__(self) -> None:
        self.index = 0
        self.weight = 0
        self._given: Sequence[PoolEntry] | None = None
        self._usable: Sequence[PoolEntry] = ()
        self._heaviest = 0
        self._divisor = 0

    def choose(self, entries: Sequence[PoolEntry]) -> PoolEntry | None:
        """The next of the entries that can be used now, in the pool's order; those of weight 0 never.  None: there is none."""
        if entries is not self._given:
            self._study(entries)
        usable = self._usable
        count = len(usable)
        if count < 2:
            return usable[0] if usable else None
        while True:
            self.index = (self.index + 1) % count
            if self.index == 0:
                self._sink()
            entry = usable[self.index]
            if entry.weight >= self.weight:
                return entry

    def _sink(self) -> None:
        level = self.weight - self._divisor
        if level > self._heaviest:
            # A heavier entry has left: the passes until the level reaches someone choose nobody, so they are skipped.
            level -= -(-(level - self._heaviest) // self._divisor) * self._divisor
        self.weight = level if level > 0 else self._heaviest

    def _study(self, entries: Sequence[PoolEntry]) -> None:
        self._usable = [entry for entry in entries if entry.weight > 0]
        weights = [entry.weight for entry in self._usable]
        self._heaviest = max(weights, default=0)
        self._divisor = gcd(*weights)
        # A tuple stays as it is and need not be studied again; a list may be shortened between two choices.
        self._given = entries if isinstance(entries, tuple) else None
