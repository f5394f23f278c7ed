"""Turns at a rate that several share: in the order in which they asked, nothing exceeded, nobody waited for for ever."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.fields import Rate
from kumotwist.egress.limits import RateLimit
from kumotwist.egress.turns import GRACE, Turns

NOW = 1_700_000_000.0


class TurnTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.turns = Turns()
        self.limit = RateLimit(Rate(1, 10.0))

    def ask(self, who: str, after: float) -> float:
        return round(self.turns.spend([self.limit], who, NOW + after), 3)

    def test_who_asked_first_is_first_and_each_is_told_its_own_time(self) -> None:
        self.assertEqual([self.ask(who, 0.0) for who in "abcd"], [0.0, 10.0, 20.0, 30.0])
        self.assertEqual([self.ask("d", 10.0), self.ask("b", 10.0)], [20.0, 0.0])

    def test_whoever_was_served_goes_to_the_end(self) -> None:
        for who in "aaab":  # the first of a's sessions sends, two others have to wait, for the same moment
            self.ask(who, 0.0)
        self.assertEqual(self.ask("a", 10.0), 0.0)
        self.assertEqual(self.ask("a", 10.0), 20.0)
        self.assertEqual([self.ask("b", 20.0), self.ask("a", 30.0)], [0.0, 0.0])

    def test_who_does_not_come_loses_its_turn(self) -> None:
        for who in "abc":
            self.ask(who, 0.0)
        self.assertEqual(self.ask("d", 10.0 + 2 * GRACE), 20.0 - 2 * GRACE)
        self.assertEqual(self.ask("c", 20.0), 0.0)

    def test_alone_it_is_the_rate_itself(self) -> None:
        alone = RateLimit(Rate(3, 10.0))
        limit = RateLimit(Rate(3, 10.0))
        for step in range(60):
            now = NOW + step * 0.7
            self.assertAlmostEqual(self.turns.spend([limit], "a", now), alone.spend(now), 5)

    def test_what_one_limit_refuses_is_spent_of_none(self) -> None:
        other = RateLimit(Rate(100, 1.0))
        self.turns.spend([self.limit, other], "a", NOW)
        for _ in range(200):
            self.assertGreater(self.turns.spend([self.limit, other], "a", NOW + 1.0), 0.0)
        self.assertEqual(other.wait(NOW + 1.0, 100), 0.0)

    @given(st.lists(st.sampled_from("abcd"), min_size=4, max_size=12), st.integers(1, 5))
    def test_those_that_come_when_they_are_told_are_served_in_order_and_within_the_rate(self, who: list[str], burst: int) -> None:
        turns, limit = Turns(), RateLimit(Rate(5, 5.0, max_burst=burst - 1))
        coming = [(0.0, n, name) for n, name in enumerate(who)]
        served: list[tuple[float, str]] = []
        while coming:
            coming.sort()
            when, n, name = coming.pop(0)
            wait = turns.spend([limit], name, NOW + when)
            if wait == 0.0:
                served.append((when, name))
            else:
                coming.append((when + wait, n, name))
        self.assertEqual(sorted(name for _, name in served), sorted(who))
        # Nobody is served a second time while somebody who waits has not been served since.
        waiting = [name for _, name in served[burst:]]
        for n in range(len(waiting) - 1):
            self.assertFalse(waiting[n] == waiting[n + 1] and len(set(waiting[n:])) > 1, served)
        for n in range(burst, len(served)):
            self.assertGreaterEqual(served[n][0] - served[n - burst][0], 1.0 - 1e-3)
