"""Leases: all or none, given back, and served in turn."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.egress.leases import Leases


class LeaseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.leases = Leases()
        self.called: list[str] = []

    def test_so_many_and_no_more(self) -> None:
        self.assertEqual([self.leases.take({"a": 2}, self.fail) for _ in range(3)], [True, True, False])
        self.assertEqual(self.leases.held("a"), 2)

    def test_all_or_none(self) -> None:
        self.assertTrue(self.leases.take({"b": 1}, self.fail))
        self.assertFalse(self.leases.take({"a": 1, "b": 1}, self.fail))
        self.assertEqual(self.leases.held("a"), 0)

    def test_those_that_wait_are_called_in_turn_and_nobody_overtakes_them(self) -> None:
        self.leases.take({"a": 1}, self.fail)
        waiters = [lambda n=n: self.called.append(n) for n in "xyz"]
        for waiter in waiters:
            self.assertFalse(self.leases.take({"a": 1}, waiter))
        self.leases.give_back({"a": 1})
        self.assertEqual(self.called, ["x"])
        self.assertFalse(self.leases.take({"a": 1}, lambda: None))
        self.assertFalse(self.leases.take({"a": 1}, waiters[1]))
        self.assertTrue(self.leases.take({"a": 1}, waiters[0]))
        self.leases.give_back({"a": 1})
        self.assertEqual(self.called, ["x", "y"])

    def test_who_does_not_want_any_more_lets_the_next_have_its_turn(self) -> None:
        self.leases.take({"a": 1}, self.fail)
        waiters = [lambda n=n: self.called.append(n) for n in "xyz"]
        for waiter in waiters:
            self.leases.take({"a": 1}, waiter)
        self.leases.give_back({"a": 1})
        self.leases.forget(waiters[0])
        self.assertEqual(self.called, ["x", "y"])

    def test_who_is_refused_by_another_limit_does_not_hold_up_the_line(self) -> None:
        self.leases.take({"a": 1}, self.fail)
        self.leases.take({"b": 1}, self.fail)
        both, only = (lambda: self.called.append("both")), (lambda: self.called.append("only"))
        self.leases.take({"a": 1, "b": 1}, both)
        self.leases.take({"a": 1}, only)
        self.leases.give_back({"a": 1})
        self.assertEqual(self.called, ["both"])
        self.assertFalse(self.leases.take({"a": 1, "b": 1}, both))
        self.assertEqual(self.called, ["both", "only"])
        self.assertTrue(self.leases.take({"a": 1}, only))
        self.assertEqual(self.leases.short_of({"a": 1, "c": 1}), "a")
        self.assertIsNone(self.leases.short_of({"c": 1}))

    def test_who_was_forgotten_is_not_called(self) -> None:
        self.leases.take({"a": 1}, self.fail)
        gone = lambda: self.called.append("gone")  # noqa: E731
        self.leases.take({"a": 1}, gone)
        self.leases.forget(gone)
        self.leases.give_back({"a": 1})
        self.assertEqual(self.called, [])

    def test_a_lowered_limit_holds_for_newcomers(self) -> None:
        for _ in range(3):
            self.leases.take({"a": 3}, self.fail)
        self.leases.give_back({"a": 3})
        self.assertFalse(self.leases.take({"a": 2}, lambda: None))
