"""
Whose turn it is at a rate that several paths share: in the order in which they asked, each when it was told to come.

Without it the one whose timer is served first would get every place that frees, and the others none.
"""

from collections.abc import Hashable, Sequence

from kumotwist.egress.sharing import NOT_KNOWN_YET, SharedRate

GRACE = 0.05  # seconds after which whoever was told to come, and did not, has lost its turn

_Line = list[tuple[Hashable, float]]  # who, and when it was told to come, epoch seconds


class Turns:
    """The lines at all shared rates of this process."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[SharedRate, _Line] = {}

    def spend(self, limits: Sequence[SharedRate], who: Hashable, now: float) -> float:
        """As SharedRate.spend, of all the limits or of none; whoever is refused comes again after so many seconds."""
        until = now
        for limit in limits:
            when = self._when(limit, who, now)
            if when == NOT_KNOWN_YET:
                return NOT_KNOWN_YET
            until = max(until, when)
        if until > now:
            return until - now
        for limit in limits:
            limit.spend(now)
            line = self._lines.get(limit)
            if line is not None:
                place = _place(line, who)
                if place is not None:
                    del line[place]
                if not line:
                    del self._lines[limit]
        return 0.0

    def _when(self, limit: SharedRate, who: Hashable, now: float) -> float:
        """When it is its turn at one limit; it stands in line there, if that is not now."""
        wait = limit.wait(now)
        line = self._lines.get(limit)
        if line is None:
            if wait == 0.0 or wait == NOT_KNOWN_YET:
                return now + wait
            self._lines[limit] = [(who, now + wait)]
            return now + wait
        while line and line[0][1] + GRACE < now:
            del line[0]
        place = _place(line, who)
        if place == 0 or not line:
            if wait == 0.0 or wait == NOT_KNOWN_YET:
                return now + wait
            line[:1] = [(who, now + wait)]
            return now + wait
        interval = limit.rate.period / limit.rate.limit
        if place is None:
            line.append((who, max(now + wait, line[-1][1] + interval)))
        else:
            line[place] = (who, max(now + wait, line[place - 1][1] + interval))
        return line[-1 if place is None else place][1]


def _place(line: _Line, who: Hashable) -> int | None:
    """Where it stands; None: nowhere.  It stands in a line once, however many sessions it has."""
    return next((n for n, (waiting, _) in enumerate(line) if waiting == who), None)
