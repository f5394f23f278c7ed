"""Rates, and the number of connections that a ready queue is worth."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.fields import Rate
from kumotwist.egress.limits import RateLimit, ideal_connections

NOW = 1_792_000_000.25


def admitted_at_once(rate: Rate) -> int:
    """How many are admitted from idle."""
    limit = RateLimit(rate)
    count = 0
    while limit.spend(NOW) == 0.0:
        count += 1
    return count


class RateLimitTests(SynchronousTestCase):
    def test_from_idle_the_capacity_is_admitted_at_once(self) -> None:
        for rate, capacity in [
            (Rate(6, 60.0), 6),
            (Rate(6, 60.0, max_burst=1), 2),
            (Rate(6, 60.0, max_burst=5), 6),
            (Rate(6, 60.0, max_burst=100), 6),
            (Rate(6, 60.0, max_burst=0), 1),
            (Rate(1, 60.0), 1),
            (Rate(1, 60.0, max_burst=9), 1),
            (Rate(10_000, 86400.0), 10_000),
        ]:
            self.assertEqual(admitted_at_once(rate), capacity, rate)

    def test_then_one_each_interval(self) -> None:
        limit = RateLimit(Rate(6, 60.0))
        for _ in range(6):
            self.assertEqual(limit.spend(NOW), 0.0)
        self.assertAlmostEqual(limit.spend(NOW), 10.0)
        self.assertAlmostEqual(limit.spend(NOW + 4.0), 6.0)
        self.assertEqual(limit.spend(NOW + 10.0), 0.0)
        self.assertAlmostEqual(limit.spend(NOW + 10.0), 10.0)

    def test_a_refusal_spends_nothing(self) -> None:
        limit = RateLimit(Rate(1, 10.0))
        limit.spend(NOW)
        for _ in range(100):
            self.assertAlmostEqual(limit.spend(NOW + 5.0), 5.0)
        self.assertEqual(limit.spend(NOW + 10.0), 0.0)

    def test_asking_spends_nothing(self) -> None:
        limit = RateLimit(Rate(1, 10.0))
        self.assertEqual([limit.wait(NOW) for _ in range(5)], [0.0] * 5)
        limit.spend(NOW)
        self.assertAlmostEqual(limit.wait(NOW + 1.0), 9.0)

    def test_the_wait_is_exact_and_whoever_keeps_it_is_admitted(self) -> None:
        for count, period in [(1, 60.0), (7, 60.0), (100, 1.0), (1000, 3600.0), (9_999, 1.0), (3, 86400.0)]:
            limit = RateLimit(Rate(count, period, max_burst=1))
            now = NOW
            for _ in range(500):
                wait = limit.spend(now)
                if wait:
                    self.assertLessEqual(wait, period / count + 1e-6)
                    now += wait
                    self.assertEqual(limit.spend(now), 0.0)
            self.assertTrue(0.99 < (now - NOW) / (499 * period / count) < 1.01, (count, period))

    def test_high_rates_keep_their_measure(self) -> None:
        limit = RateLimit(Rate(1_000_000, 1.0, max_burst=100))
        admitted = sum(limit.spend(NOW + tick / 1000) == 0.0 for tick in range(1000) for _ in range(200))
        self.assertTrue(99_000 <= admitted <= 102_200, admitted)

    def test_a_quantity_counts_as_often_as_it_says(self) -> None:
        limit = RateLimit(Rate(10, 10.0))
        self.assertEqual(limit.spend(NOW, 7), 0.0)
        self.assertAlmostEqual(limit.spend(NOW, 5), 2.0)
        self.assertEqual(limit.spend(NOW, 3), 0.0)
        self.assertAlmostEqual(limit.wait(NOW), 1.0)

    def test_more_than_the_capacity_passes_from_idle_and_is_paid_for(self) -> None:
        limit = RateLimit(Rate(10, 10.0))
        self.assertEqual(limit.spend(NOW, 30), 0.0)
        self.assertAlmostEqual(limit.spend(NOW), 21.0)
        self.assertAlmostEqual(limit.spend(NOW + 21.0, 30), 9.0)

    def test_a_clock_set_back_does_not_block(self) -> None:
        limit = RateLimit(Rate(2, 10.0))
        limit.spend(NOW)
        limit.spend(NOW)
        self.assertAlmostEqual(limit.spend(NOW - 3600.0), 5.0)
        self.assertEqual(limit.spend(NOW - 3595.0), 0.0)

    def test_the_rate_can_be_told_from_another(self) -> None:
        rate = Rate(2, 10.0)
        self.assertEqual(RateLimit(rate).rate, rate)

    @settings(deadline=None)
    @given(
        st.integers(1, 50),
        st.floats(0.1, 1000.0),
        st.none() | st.integers(0, 60),
        st.lists(st.floats(0.0, 500.0), max_size=60),
    )
    def test_never_more_than_the_capacity_and_the_rate_since(
        self, count: int, period: float, burst: int | None, pauses: list[float]
    ) -> None:
        rate = Rate(count, period, max_burst=burst)
        capacity, limit = admitted_at_once(rate), RateLimit(rate)
        now, admitted = NOW, 0
        for pause in pauses:
            now += pause
            admitted += limit.spend(now) == 0.0
        self.assertLessEqual(admitted, capacity + (now - NOW) * count / period + 1e-3)


class IdealConnectionsTests(SynchronousTestCase):
    def test_the_number_grows_with_the_queue_up_to_the_limit(self) -> None:
        for ready, connections in [
            (0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (10, 7), (20, 12), (32, 17), (64, 25), (128, 31), (256, 32),
            (10_000_000, 32),
        ]:  # fmt: skip
            self.assertEqual(ideal_connections(ready, 32), connections, ready)

    @settings(deadline=None)
    @given(st.integers(0, 5000), st.integers(0, 5000))
    def test_neither_the_limit_nor_one_a_message_is_exceeded(self, ready: int, limit: int) -> None:
        connections = ideal_connections(ready, limit)
        self.assertTrue(0 <= connections <= min(ready, limit))
        self.assertEqual(connections > 0, ready > 0 and limit > 0)
