"""Sessions that keep their connection and wait for another message; the one that was used last is served first."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from kumotwist.mail.message import Message


class IdleSessions:
    """Those of one ready queue."""

    __slots__ = ("_clock", "_timer", "_waiting")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: dict[Deferred[Message | None], float] = {}  # and until when; the longest waiting first
        self._timer: IDelayedCall | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def wait(self, patience: float) -> "Deferred[Message | None]":
        """Fires with a message, or with None after so many seconds or when it is released."""
        waiting: Deferred[Message | None] = Deferred(self._forget)
        self._waiting[waiting] = self._clock.seconds() + patience
        if self._timer is None:
            self._timer = self._clock.callLater(patience, self._end_patience)
        return waiting

    def serve(self, next_message: Callable[[], Message | None]) -> None:
        """Give one of them a message; there must be one that waits."""
        waiting, _ = self._waiting.popitem()
        waiting.callback(next_message())

    def release(self) -> None:
        """There will be no message: let all of them go."""
        idle, self._waiting = list(self._waiting), {}
        for waiting in idle:
            waiting.callback(None)

    def _forget(self, waiting: "Deferred[Message | None]") -> None:
        self._waiting.pop(waiting, None)

    def _end_patience(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        patient = [waiting for waiting, until in self._waiting.items() if until <= now]
        for waiting in patient:
            if self._waiting.pop(waiting, None) is not None:
                waiting.callback(None)
        if self._waiting and self._timer is None:
            self._timer = self._clock.callLater(min(self._waiting.values()) - now, self._end_patience)
