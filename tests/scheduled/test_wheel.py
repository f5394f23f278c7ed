"""The timer wheel: numbers in, things out."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.scheduled.wheel import TICK, Wheel


class WheelTests(SynchronousTestCase):
    def test_things_come_out_when_due_and_not_before(self) -> None:
        wheel: Wheel[str] = Wheel()
        wheel.insert(100.0, "a")
        wheel.insert(50.0, "b")
        wheel.insert(50.0, "c")
        self.assertEqual(list(wheel.due(49.9)), [])
        self.assertEqual(list(wheel.due(50.0)), ["b", "c"])
        self.assertEqual(wheel.next(), 100.0)
        self.assertEqual(list(wheel.due(1000.0)), ["a"])
        self.assertIsNone(wheel.next())

    def test_it_says_when_the_timer_must_be_set_earlier(self) -> None:
        wheel: Wheel[int] = Wheel()
        self.assertEqual([wheel.insert(due, 0) for due in (10.0, 20.0, 5.0, 5.0)], [True, False, True, False])

    @given(st.lists(st.floats(0, 1e6), max_size=50), st.lists(st.floats(0, 1e6), max_size=10))
    def test_nothing_early_nothing_late_nothing_lost(self, dues: list[float], looks: list[float]) -> None:
        wheel: Wheel[float] = Wheel()
        for due in dues:
            wheel.insert(due, due)
        out = []
        for now in sorted(looks):
            for due in wheel.due(now):
                self.assertLessEqual(due, now + 1e-4)
                out.append(due)
            waiting = set(dues) - set(out)
            self.assertFalse([due for due in waiting if due + TICK < now])
        self.assertEqual(len(out) + len(wheel), len(dues))
