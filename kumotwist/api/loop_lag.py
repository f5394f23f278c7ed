"""
How late the reactor's loop is: by how much a timer comes after its time.

While it is late, nobody gets an answer.  It is measured only while somebody looks at the metrics, and for some time after.
"""

from collections.abc import Iterator

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from kumotwist.metrics.family import SECONDS, Family, Histogram, gauge, histogram

LOOK_AGAIN = 0.2  # seconds
_LOOKED_AT = 600.0  # seconds for which it is measured after somebody asked
_BOUNDS = (0.001, 0.0025, *SECONDS)


class LoopLag:
    """Begins to measure when it is asked for the first time."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._lags = Histogram(_BOUNDS)
        self._worst = 0.0
        self._until = 0.0
        self._timer: IDelayedCall | None = None

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def measures(self) -> Iterator[Family]:
        """For the metrics."""
        self._until = self._clock.seconds() + _LOOKED_AT
        if self._timer is None:
            self._wait()
        worst, self._worst = self._worst, 0.0
        yield histogram("loop_lag_seconds", "seconds by which a timer came late", self._lags)
        yield gauge("loop_lag_worst_seconds", "the worst of these since it was asked for last", worst)

    def _wait(self) -> None:
        self._timer = self._clock.callLater(LOOK_AGAIN, self._look, self._clock.seconds() + LOOK_AGAIN)

    def _look(self, due: float) -> None:
        self._timer = None
        now = self._clock.seconds()
        lag = max(0.0, now - due)
        self._lags.observe(lag)
        self._worst = max(self._worst, lag)
        if now < self._until:
            self._wait()
