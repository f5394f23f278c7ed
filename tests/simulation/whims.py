"""What the policy of a history does when it is asked: it answers, raises, takes its time, or never answers."""

from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from kumotwist.mail.reply import refuse
from tests.simulation.timeline import Timeline

LONG = 7200.0  # seconds


class Whims:
    """odd: the share of questions that are not simply answered."""

    def __init__(self, timeline: Timeline, chance: Random) -> None:
        self._timeline = timeline
        self._chance = chance
        self.odd = 0.0
        self.hangs = True

    def act(self, may_refuse: bool) -> Any:
        """None: all is well; a Deferred to wait for; or it raises."""
        chance = self._chance
        if chance.random() >= self.odd:
            return None
        way = chance.choice(["raise", "slow", "long", "never", "refuse", "fail"])
        if way == "refuse" and may_refuse:
            raise refuse(chance.choice(["451 4.7.1 not now", "550 5.7.1 not here"]), "a whim")
        if way in ("raise", "refuse"):
            raise RuntimeError("a whim")
        waiting: Deferred[None] = Deferred()
        if way == "fail":
            self._timeline.after(1.0, self._fail, waiting)
        elif way != "never" or not self.hangs:
            self._timeline.after(chance.uniform(0.01, 5.0) if way == "slow" else LONG, self._fire, waiting)
        return waiting

    def _fire(self, waiting: "Deferred[None]") -> None:
        if not waiting.called:
            waiting.callback(None)

    def _fail(self, waiting: "Deferred[None]") -> None:
        if not waiting.called:
            waiting.errback(RuntimeError("a whim, later"))


now: Whims  # of the history that runs
