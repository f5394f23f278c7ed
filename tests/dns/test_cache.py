"""What is remembered, and for how long."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.dns.cache import Cache


class CacheTests(SynchronousTestCase):
    def test_a_value_holds_until_its_moment_and_not_at_it(self) -> None:
        cache: Cache[str] = Cache(8)
        cache.keep("a", "x", 100.0)
        self.assertEqual([cache.get("a", now) for now in (0.0, 99.9, 100.0, 101.0)], ["x", "x", None, None])
        self.assertIsNone(cache.get("b", 0.0))

    def test_an_expired_value_is_still_known_to_have_been(self) -> None:
        cache: Cache[str] = Cache(8)
        cache.keep("a", "x", 100.0)
        self.assertIsNone(cache.get("a", 200.0))
        self.assertIn("a", cache)
        self.assertNotIn("b", cache)

    def test_those_learnt_longest_ago_leave_first(self) -> None:
        cache: Cache[int] = Cache(3)
        for n, name in enumerate("abcad"):
            cache.keep(name, n, 100.0)
            cache.get("b", 0.0)
        self.assertEqual({name: cache.get(name, 0.0) for name in "abcd"}, {"a": 3, "b": None, "c": 2, "d": 4})
        self.assertEqual(len(cache), 3)

    def test_learning_a_name_anew_costs_no_other_its_place(self) -> None:
        cache: Cache[int] = Cache(3)
        for n, name in enumerate("abcb"):
            cache.keep(name, n, 100.0)
        self.assertEqual([cache.get(name, 0.0) for name in "abc"], [0, 3, 2])

    def test_a_name_can_be_forgotten_and_everything_too(self) -> None:
        cache: Cache[int] = Cache(3)
        cache.keep("a", 1, 100.0)
        cache.keep("b", 2, 100.0)
        cache.forget("a")
        cache.forget("never known")
        self.assertEqual((cache.get("a", 0.0), cache.get("b", 0.0)), (None, 2))
        cache.clear()
        self.assertEqual(len(cache), 0)
