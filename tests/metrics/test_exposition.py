"""Metrics as text and JSON: what is told can be read back by the library that everybody reads it with."""

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.metrics.exposition import PORTION, as_json, as_text
from kumotwist.metrics.family import Family, Histogram, counter, counters, gauge, gauges, histogram, histograms


def read_back(families: Iterable[Family], prefix: str = "") -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = "".join(as_text(families, prefix))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def measured(*values: float) -> Histogram:
    made = Histogram((1.0, 2.0))
    for value in values:
        made.observe(value)
    return made


class TextTests(SynchronousTestCase):
    def test_numbers_with_and_without_labels(self) -> None:
        families = [
            counter("received_total", "so many", 7),
            gauge("usage", "in use", 0.5),
            gauges("by_queue", "each", ("queue",), [(("a@b",), 1), (("c@d",), 2)]),
            counters("by_both", "each", ("provider", "pool"), [(("p", "q"), 3)]),
        ]
        self.assertEqual(
            read_back(families),
            {
                ("received_total", ()): 7.0,
                ("usage", ()): 0.5,
                ("by_queue", (("queue", "a@b"),)): 1.0,
                ("by_queue", (("queue", "c@d"),)): 2.0,
                ("by_both_total", (("pool", "q"), ("provider", "p"))): 3.0,
            },
        )

    def test_a_histogram_counts_up_to_each_bound(self) -> None:
        found = read_back([histogram("latency", "took", measured(0.5, 1.0, 1.5, 9.0))])
        self.assertEqual(
            found,
            {
                ("latency_bucket", (("le", "1.0"),)): 2.0,
                ("latency_bucket", (("le", "2.0"),)): 3.0,
                ("latency_bucket", (("le", "+Inf"),)): 4.0,
                ("latency_sum", ()): 12.0,
                ("latency_count", ()): 4.0,
            },
        )

    def test_a_family_without_samples_is_not_told(self) -> None:
        self.assertEqual(list(as_text([gauges("none", "of them", ("queue",), [])])), [])

    def test_a_prefix_stands_before_each_name(self) -> None:
        self.assertEqual(read_back([gauge("usage", "in use", 1)], "mta1_"), {("mta1_usage", ()): 1.0})

    def test_many_samples_come_in_pieces(self) -> None:
        family = gauges("by_queue", "each", ("queue",), (((f"q{n}",), n) for n in range(2 * PORTION + 1)))
        self.assertEqual(len(list(as_text([family]))), 3)

    @given(st.text(max_size=30))
    def test_whatever_a_label_says_it_is_read_back(self, value: str) -> None:
        found: Any = read_back([gauges("g", "h", ("queue",), [((value,), 1)])])
        self.assertEqual(list(found), [("g", (("queue", value),))])


class JsonTests(SynchronousTestCase):
    def test_the_models_form(self) -> None:
        families = [
            counter("received", "so many", 7),
            gauges("by_queue", "each", ("queue",), [(("a@b",), 1), (("c@d",), 2)]),
            counters("by_both", "each", ("provider", "pool"), [(("p", "q"), 3)]),
            histograms("latency", "took", ("service",), [(("smtp",), measured(0.5, 1.5))]),
            gauges("none", "of them", ("queue",), []),
        ]
        self.assertEqual(
            as_json(families),
            {
                "received": {"help": "so many", "type": "counter", "value": 7},
                "by_queue": {"help": "each", "type": "gauge", "value": {"queue": {"a@b": 1, "c@d": 2}}},
                "by_both": {"help": "each", "type": "counter", "value": [{"provider": "p", "pool": "q", "@": 3}]},
                "latency": {
                    "help": "took",
                    "type": "histogram",
                    "value": {"service": {"smtp": {"count": 2, "sum": 2.0, "avg": 1.0, "bucket": [[1.0, 1], [2.0, 2]]}}},
                },
            },
        )
