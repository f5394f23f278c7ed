"""
How limits are shared: the one interface to rates and leases, whoever keeps them.

`egress.throttles` and `egress.leases` keep them in this process, and answer at once.  What keeps them elsewhere, for several
nodes together, need not know its answer when it is asked: it says so, and calls when it does.  Everybody who keeps to a
limit is written for both.
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import Protocol

from kumotwist.config.fields import Rate

# The wait of a rate that has to ask first: whoever gets this is called by `when_known`, and asks again.
NOT_KNOWN_YET = inf


class SharedRate(Protocol):
    """
    One rate, shared by all that have it.

    What was admitted has to be spent before anything else happens: `wait` and, where it is 0.0, `spend` on the same turn.
    """

    @property
    def rate(self) -> Rate: ...

    @property
    def capacity(self) -> int:
        """So many are admitted at once from idle."""

    def wait(self, now: float, quantity: int = 1) -> float:
        """Seconds until so many would be admitted; 0.0: now; NOT_KNOWN_YET: that is being asked.  Spends nothing."""

    def spend(self, now: float, quantity: int = 1) -> float:
        """The same, and where it is 0.0 so many are spent."""

    def when_known(self, call: Callable[[], None]) -> None:
        """Call this once, after NOT_KNOWN_YET, when `wait` has another answer."""


class SharedRates(Protocol):
    """All rates, by name."""

    def get(self, name: str, rate: Rate) -> SharedRate:
        """The rate of that name; another measure under the same name is another rate."""


class SharedLeases(Protocol):
    """Limits on how many at a time, by name."""

    def take(self, limits: Mapping[str, int], call_again: Callable[[], None]) -> bool:
        """
        One lease of each limit, all or none; False: not now.

        Then call_again is called once, when it is worth asking again: one may be free, or an answer has come.
        """

    def give_back(self, limits: Mapping[str, int]) -> None:
        """The leases that were taken with these limits."""

    def forget(self, call_again: Callable[[], None]) -> None:
        """Nobody wants to be called any more."""

    def short_of(self, limits: Mapping[str, int]) -> str | None:
        """The first of these limits that has no lease left, as far as is known; None: all have."""
