"""
`GET /metrics` and `/metrics.json`: what all stages have counted, told when somebody asks.

Every stage counts in plain attributes where it works, and names them in a `measures()`.  The text is written in portions,
between which the reactor does other things; nothing is kept from one time to the next.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kumotwist.api.endpoint import TAKEN_OVER, Call, Endpoint, Plain
from kumotwist.metrics.exposition import CONTENT_TYPE, as_json, as_text
from kumotwist.metrics.family import Family, counter, counters, gauge

MOST_SAMPLES = 50_000  # of one metric: who has more queues than that sees these, and how many were left out


Measures = Callable[[], Iterable[Family | None]]  # None: the reactor may have a turn


class MetricsQuery(Struct, frozen=True, kw_only=True):
    """prefix: put before each name."""

    prefix: str = ""


class Metrics:
    """All that is measured."""

    log = Logger()

    def __init__(self, clock: IReactorTime, measured: Sequence[Measures]) -> None:
        """measured: one for each stage."""
        self._clock = clock
        self._measured = measured

    async def families(self) -> Iterator[Family]:
        """
        Everything, each metric once: what several stages have to say of one is joined.

        A stage that fails to answer is left out and logged.
        """
        found: dict[str, list[Family]] = {}
        for measures in self._measured:
            try:
                for family in measures():
                    if family is None:
                        await self._next_turn()
                    else:
                        found.setdefault(family.name, []).append(family)
            except Exception:  # noqa: BLE001  a fault of ours in one stage must not hide the others
                self.log.failure("some metrics could not be told")
        return self._joined(found)

    def _joined(self, found: Mapping[str, Sequence[Family]]) -> Iterator[Family]:
        left_out = [0]
        for those in found.values():
            yield replace(those[0], samples=_bounded(those, left_out))
        yield gauge("metrics_samples_left_out", "queues and others that are not shown, since there are too many", left_out[0])

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint(
                method="GET",
                path="/metrics",
                summary="What the server has counted, as Prometheus reads it",
                tag="metrics",
                query=MetricsQuery,
                content_type="text/plain",
                run=self._text,
            ),
            Endpoint(
                method="GET",
                path="/metrics.json",
                summary="What the server has counted, by name",
                tag="metrics",
                query=MetricsQuery,
                answers=dict[str, Any],
                run=self._json,
            ),
        )

    async def _json(self, call: Call, asked: MetricsQuery) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for family in await self.families():
            told.update(as_json([family], asked.prefix))
            await self._next_turn()
        return told

    async def _text(self, call: Call, asked: MetricsQuery) -> Plain:
        """The connection is ours from the first portion on."""
        request = call.request
        if request is None or call.method == "HEAD":
            return Plain("".join(as_text(await self.families(), asked.prefix)).encode("utf-8", "replace"), CONTENT_TYPE)
        gone: list[bool] = []
        request.notifyFinish().addBoth(lambda _: gone.append(True))
        request.setHeader("Content-Type", CONTENT_TYPE)
        request.setHeader("Server", "KumoTwist")
        pull = _Pulled(request)
        families = await self.families()
        for portion in as_text(families, asked.prefix):
            request.write(portion.encode("utf-8", "replace"))
            await self._next_turn()
            await pull.wanted()
            if gone:
                return TAKEN_OVER
        pull.end()
        request.finish()
        return TAKEN_OVER

    def _next_turn(self) -> "Deferred[None]":
        turn: Deferred[None] = Deferred()
        self._clock.callLater(0, turn.callback, None)
        return turn


def _bounded(families: Sequence[Family], left_out: list[int]) -> Iterable[tuple[tuple[str, ...], Any]]:
    """The samples of all of them, unless there are too many."""
    samples = [one for family in families for one in family.samples] if len(families) > 1 else list(families[0].samples)
    left_out[0] += max(0, len(samples) - MOST_SAMPLES)
    return samples[:MOST_SAMPLES]


class _Pulled:
    """A client that reads as fast as it can: what it has not read is not piled up."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._paused: Deferred[None] | None = None
        request.registerProducer(self, True)
        request.notifyFinish().addBoth(lambda _: self.resumeProducing())

    def pauseProducing(self) -> None:
        if self._paused is None:
            self._paused = Deferred()

    def resumeProducing(self) -> None:
        paused, self._paused = self._paused, None
        if paused is not None:
            paused.callback(None)

    def stopProducing(self) -> None:
        self.resumeProducing()

    def wanted(self) -> "Deferred[None]":
        """Fires when there is room for more."""
        if self._paused is not None:
            return self._paused
        there_is: Deferred[None] = Deferred()
        there_is.callback(None)
        return there_is

    def end(self) -> None:
        self._request.unregisterProducer()


# What belongs to no stage


class ProcessTimes:
    """What of the processors this process takes.  The share is that since it was asked for last."""

    def __init__(self, clock: IReactorTime, times: Callable[[], Any] = os.times) -> None:
        self._seconds = clock.seconds
        self._times = times
        self._last = (self._seconds(), self._busy())

    def _busy(self) -> float:
        times = self._times()
        return float(times.user + times.system)

    def measures(self) -> Iterator[Family]:
        now, busy = self._seconds(), self._busy()
        (then, before), self._last = self._last, (now, busy)
        share = 100 * (busy - before) / (now - then) if now > then else 0.0
        yield counter("process_cpu_seconds_total", "seconds of processors that the server has taken", busy)
        yield gauge("process_cpu_usage_sum", "of 100 for each processor, since it was asked for last", share)
        what = "of 100 for all processors, since it was asked for last"
        yield gauge("process_cpu_usage_normalized", what, share / (os.cpu_count() or 1))


def http(received: int) -> Iterator[Family]:
    """Mail by HTTP.  received: messages."""
    yield counters("total_messages_received", "messages accepted", ("service",), [(("http_listener",), received)])
