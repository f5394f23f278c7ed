"""
Metrics as values: families of samples, made when somebody asks.

A stage counts in plain attributes where it works, which costs nothing, and says what they are when it is asked.  Only what is
a distribution is kept as such: `Histogram`.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from enum import Enum

from msgspec import Struct

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # the model's buckets
QUICK = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, *SECONDS)  # for what takes no time, usually

PAUSE_AFTER = 1000  # queues that are looked at in one turn of the reactor


class Kind(Enum):
    """As Prometheus names them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Histogram:
    """How often something took how long.  counts: for each bound, and one for what is beyond the last."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        """bounds: the upper ends of the buckets, rising."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)


Labels = tuple[str, ...]
Sample = tuple[Labels, float]


class Family(Struct, frozen=True):
    """
    One metric with all its samples.

    labels: their names; each sample has as many values.  samples: a number each; in a histogram, a Histogram each.  They are
    gone through once.
    """

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    samples: Iterable[tuple[Labels, float | Histogram]] = ()


def counter(name: str, help: str, value: float) -> Family:
    return Family(name, Kind.COUNTER, help, (), [((), value)])


def gauge(name: str, help: str, value: float) -> Family:
    return Family(name, Kind.GAUGE, help, (), [((), value)])


def counters(name: str, help: str, labels: Labels, samples: Iterable[Sample]) -> Family:
    return Family(name, Kind.COUNTER, help, labels, samples)


def gauges(name: str, help: str, labels: Labels, samples: Iterable[Sample]) -> Family:
    return Family(name, Kind.GAUGE, help, labels, samples)


def histogram(name: str, help: str, one: Histogram) -> Family:
    return Family(name, Kind.HISTOGRAM, help, (), [((), one)])


def histograms(name: str, help: str, labels: Labels, samples: Iterable[tuple[Labels, Histogram]]) -> Family:
    return Family(name, Kind.HISTOGRAM, help, labels, samples)
