"""Weighted round robin over the sources of a pool."""

from collections import Counter
from math import gcd

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PoolEntry
from kumotwist.egress.rotation import Rotation


def pool(*weights: int) -> tuple[PoolEntry, ...]:
    """Entries a, b, c … with these weights."""
    return tuple(PoolEntry(name=chr(ord("a") + n), weight=weight) for n, weight in enumerate(weights))


def choices(rotation: Rotation, entries: tuple[PoolEntry, ...], count: int) -> str:
    """The names of so many choices in a row, `-` for none."""
    chosen = (rotation.choose(entries) for _ in range(count))
    return "".join(entry.name if entry else "-" for entry in chosen)


class ModelRotation:
    """The model's algorithm word by word, to compare with."""

    def __init__(self) -> None:
        self.index = self.weight = 0

    def choose(self, entries: list[PoolEntry]) -> PoolEntry | None:
        if len(entries) < 2:
            return entries[0] if entries else None
        heaviest = max(entry.weight for entry in entries)
        divisor = gcd(*(entry.weight for entry in entries))
        while True:
            self.index = (self.index + 1) % len(entries)
            if self.index == 0:
                self.weight = max(0, self.weight - divisor)
                if self.weight == 0:
                    self.weight = heaviest
            if entries[self.index].weight >= self.weight:
                return entries[self.index]


class RotationTests(SynchronousTestCase):
    def test_the_order_is_the_models(self) -> None:
        for weights, expected in [
            ((), "---"),
            ((1,), "aaa"),
            ((0,), "---"),
            ((0, 0), "---"),
            ((0, 7, 0), "bbb"),
            ((1, 1), "bababa"),
            ((1, 1, 1), "bcabca"),
            ((7, 7, 7), "bcabca"),
            ((2, 1), "baabaab"),
            ((1, 2), "bbabbabb"),
            ((2, 0, 1), "caacaac"),
            ((5, 2, 3), "bcaaacabcabcaaac"),
        ]:
            self.assertEqual(choices(Rotation(), pool(*weights), len(expected)), expected, weights)

    def test_the_first_pass_leaves_the_first_entry_out(self) -> None:
        self.assertEqual(choices(Rotation(), pool(100, 1, 1), 5), "bcaaa")

    def test_shares_are_the_weights(self) -> None:
        self.assertEqual(Counter(choices(Rotation(), pool(5, 2, 3), 100)), {"a": 50, "b": 20, "c": 30})
        self.assertEqual(Counter(choices(Rotation(), pool(2, 1), 3001))["a"], 2000)
        many = Counter(choices(Rotation(), pool(1000, 10, 1), 10110))
        self.assertEqual({name: round(count / 10) for name, count in many.items()}, {"a": 1000, "b": 10, "c": 1})

    def test_one_candidate_leaves_the_rotation_as_it_is(self) -> None:
        rotation = Rotation()
        rotation.choose(pool(5, 2, 3))
        before = (rotation.index, rotation.weight)
        self.assertEqual(choices(rotation, pool(4), 3), "aaa")
        self.assertEqual((rotation.index, rotation.weight), before)

    def test_a_list_may_shrink_between_two_choices(self) -> None:
        entries = list(pool(3, 2, 1))
        rotation = Rotation()
        self.assertEqual(rotation.choose(entries), entries[1])
        del entries[1]
        self.assertEqual([rotation.choose(entries) for _ in range(4)], [entries[0], entries[0], entries[0], entries[1]])

    def test_a_heavy_source_that_leaves_costs_no_time(self) -> None:
        rotation = Rotation()
        self.assertEqual(choices(rotation, pool(10**12, 1, 1), 4), "bcaa")
        self.assertEqual(choices(rotation, pool(1, 1), 5), "ababa")

    @settings(deadline=None)
    @given(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=1, max_size=60))
    def test_every_series_of_choices_is_the_models(self, series: list[list[int]]) -> None:
        ours, model = Rotation(), ModelRotation()
        for weights in series:
            entries = pool(*weights)
            usable = [entry for entry in entries if entry.weight]
            for _ in range(4):
                self.assertEqual(ours.choose(entries), model.choose(usable))
                self.assertEqual((ours.index, ours.weight), (model.index, model.weight))
