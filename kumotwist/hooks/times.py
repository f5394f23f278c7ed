"""How long handlers take, by event: from being asked to their answer, and how much of that nobody else had the reactor."""

from collections.abc import Iterator
from typing import Any

from kumotwist.metrics.family import QUICK, Family, Histogram, counters, histograms


class EventTimes:
    """One event.  started: handlers asked.  busy: seconds of the reactor's time.  latency: until the answer."""

    __slots__ = ("busy", "latency", "started")

    def __init__(self) -> None:
        self.started = 0
        self.busy = 0.0
        self.latency = Histogram(QUICK)

    def waited(self, answer: Any, began: float, now: float) -> Any:
        """The same answer, which has come now."""
        self.latency.observe(now - began)
        return answer


class Times:
    """All events that were asked for."""

    def __init__(self) -> None:
        self._by_event: dict[str, EventTimes] = {}

    def of(self, event: str) -> EventTimes:
        found = self._by_event.get(event)
        if found is None:
            found = self._by_event[event] = EventTimes()
        return found

    def measures(self) -> Iterator[Family]:
        label = ("event",)
        one = self._by_event
        yield counters("lua_event_started", "handlers asked", label, [((event,), of.started) for event, of in one.items()])
        told = [((event,), of.latency) for event, of in one.items()]
        yield histograms("lua_event_latency", "seconds until a handler answered", label, told)
        busy = [((event,), of.busy) for event, of in one.items()]
        yield counters("hook_busy_seconds_total", "seconds that handlers kept the reactor to themselves", label, busy)
