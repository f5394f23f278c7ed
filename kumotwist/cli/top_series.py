"""What `top` remembers of the metrics: one value a line and moment, and how events spread over a histogram's buckets.  Pure."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from msgspec import Struct

from kumotwist.cli.shown_metrics import Metrics

MOMENTS = 4096  # that are remembered
_INCOMING = ("esmtp_listener", "http_listener")


class Line(Struct, frozen=True):
    """One series.  rate: the metric counts up, and what it counts in a second is shown."""

    label: str
    of: Callable[[Metrics], float]
    rate: bool = False
    octets: bool = False


class Moment(Struct, frozen=True):
    """
    One look at the server.  values: by label; empty where it did not answer.

    events: new events by histogram, in each of its buckets, the smallest first and what is beyond the largest last.
    """

    values: Mapping[str, float]
    events: Mapping[str, tuple[float, ...]] = {}


class Sums(Struct, frozen=True):
    """A histogram as it was read.  bounds: of the buckets; counts: one more."""

    count: float
    total: float
    bounds: tuple[float, ...]
    counts: tuple[float, ...]


def in_all(name: str, services: Iterable[str] | None = None, without: Iterable[str] = ()) -> Callable[[Metrics], float]:
    """The sum over protocols; what a single queue or listener has stands in the same family, with a colon in its name."""

    def total(metrics: Metrics) -> float:
        found = metrics.by(name, "service")
        wanted = [one for one in found if ":" not in one] if services is None else services
        return sum(found.get(one, 0.0) for one in wanted if one not in without)

    return total


def alone(name: str) -> Callable[[Metrics], float]:
    return lambda metrics: metrics.number(name)


LINES = (
    Line("Delivered/s", in_all("total_messages_delivered"), rate=True),
    Line("Received/s", in_all("total_messages_received", _INCOMING), rate=True),
    Line("Transfail/s", in_all("total_messages_transfail"), rate=True),
    Line("Permfail/s", in_all("total_messages_fail"), rate=True),
    Line("Scheduled", alone("scheduled_count_total")),
    Line("Ready", in_all("ready_count")),
    Line("Messages", alone("message_count")),
    Line("Resident", alone("message_data_resident_count")),
    Line("Memory", alone("memory_usage"), octets=True),
    Line("Conn Out", in_all("connection_count", without=_INCOMING)),
    Line("Conn In", in_all("connection_count", _INCOMING)),
    Line("Rejections/s", in_all("smtp_server_rejections", ("total",)), rate=True),
)
_OCTETS = {line.label for line in LINES if line.octets}


class History:
    """What was seen since `top` was started.  bounds: of each histogram's buckets, in seconds mostly."""

    def __init__(self) -> None:
        self.moments: deque[Moment] = deque(maxlen=MOMENTS)
        self.labels: list[str] = [line.label for line in LINES]
        self.bounds: dict[str, tuple[float, ...]] = {}
        self._at: float | None = None
        self._counted: dict[str, float] = {}
        self._sums: dict[str, Sums] = {}

    def missed(self) -> None:
        """The server did not answer."""
        self.moments.append(Moment({}))

    def add(self, at: float, metrics: Metrics) -> None:
        """at: seconds on a clock that does not jump."""
        elapsed = None if self._at is None or at <= self._at else at - self._at
        self._at = at
        values = dict(self._plain(metrics, elapsed))
        values |= busy(metrics)
        events: dict[str, tuple[float, ...]] = {}
        for name, told in metrics.histograms():
            sums = read_sums(told)
            before = self._sums.get(name)
            self._sums[name] = sums
            self.bounds[name] = sums.bounds
            if elapsed is not None and before is not None and before.bounds == sums.bounds:
                events[name] = tuple(grown(old, new) for old, new in zip(before.counts, sums.counts, strict=True))
                count, total = grown(before.count, sums.count), grown(before.total, sums.total)
                values[f"{name} /s"] = count / elapsed
                values[f"{name} avg ms"] = 1000 * total / count if count else 0.0
        self.labels += [label for label in values if label not in set(self.labels)]
        self.moments.append(Moment(values, events))

    def _plain(self, metrics: Metrics, elapsed: float | None) -> Iterator[tuple[str, float]]:
        for line in LINES:
            value = line.of(metrics)
            if not line.rate:
                yield line.label, value
                continue
            before = self._counted.get(line.label)
            self._counted[line.label] = value
            if before is not None and elapsed is not None:
                yield line.label, grown(before, value) / elapsed

    def series(self, label: str) -> list[float | None]:
        """A line's values, the oldest first; None: not known."""
        return [moment.values.get(label) for moment in self.moments]

    def heat(self, name: str) -> list[tuple[float, ...] | None]:
        """A histogram's new events, the oldest first; None: not known."""
        return [moment.events.get(name) for moment in self.moments]


def grown(before: float, now: float) -> float:
    """What a counter counted in between; one that went back began anew, since the server did."""
    return now - before if now >= before else now


def busy(metrics: Metrics) -> dict[str, float]:
    """The share of each thread pool that is at work, in percent."""
    parked = metrics.by("thread_pool_parked", "pool")
    return {
        f"{pool} busy %": 100 * (1 - min(parked.get(pool, 0.0), size) / size)
        for pool, size in sorted(metrics.by("thread_pool_size", "pool").items())
        if size
    }


def read_sums(told: Mapping[str, Any]) -> Sums:
    """A histogram of `/metrics.json`, whose buckets are cumulative."""
    buckets = [(float(bound), float(count)) for bound, count in told.get("bucket", ()) if bound not in ("+Inf", None)]
    count = float(told.get("count", 0))
    cumulative = [0.0, *(number for _, number in buckets), count]
    return Sums(
        count, float(told.get("sum", 0)), tuple(bound for bound, _ in buckets), tuple(b - a for a, b in pairwise(cumulative))
    )


def in_words(label: str, value: float | None) -> str:
    """A value in at most eight characters."""
    if value is None:
        return "-"
    if label in _OCTETS:
        return octets(value)
    if label.endswith(" avg ms"):
        return f"{value:,.1f}ms"
    if label.endswith("%"):
        return f"{value:.0f}%"
    return f"{value:,.1f}" if value < 10 and value != int(value) else short(value)


def short(number: float) -> str:
    """`999,999`, then `1.2M`."""
    for size, letter in ((1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:,.1f}{letter}"
    return f"{number:,.0f}"


def octets(number: float) -> str:
    for size, unit in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if number >= size:
            return f"{number / size:,.1f}{unit}"
    return f"{number:,.0f}B"
