"""
Notices a session that does not get on: one timer that looks now and then whether anything is different.

Every wait of a session has an end of its own; what the watchdog finds is what nobody foresaw.  It costs a message nothing.
"""

from collections.abc import Callable
from enum import Enum

from twisted.internet.interfaces import IDelayedCall

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import format_duration
from kumotwist.delivery.wire import Reactor
from kumotwist.mail.reply import EnhancedCode, Reply

_LOOKS = 10  # so often in the time after which a session counts as stuck
_SHORTEST = 1.0  # seconds: nothing that is done over a network is stuck before


class Phase(Enum):
    """What a session is doing, as the model names it."""

    STARTING = "Starting"
    ATTEMPTING_CONNECTION = "AttemptingConnection"
    CONNECTION_RATE_THROTTLED = "ConnectionRateThrottled"
    MESSAGE_RATE_THROTTLED = "MessageRateThrottled"
    DELIVERING_MESSAGE = "DeliveringMessage"
    IDLE = "Idle"
    ACCUMULATING_BATCH = "AccumulatingBatch"
    CLOSING = "Closing"


# Waiting is what is done there, for a time that the path sets.
UNTROUBLED = frozenset({Phase.IDLE, Phase.ACCUMULATING_BATCH, Phase.CONNECTION_RATE_THROTTLED, Phase.MESSAGE_RATE_THROTTLED})


def watchdog_patience(settings: PathSettings) -> float:
    """Seconds without any progress after which a session is ended."""
    if settings.dispatcher_progress_watchdog_timeout is not None:
        return settings.dispatcher_progress_watchdog_timeout
    longest = max(settings.mail_from_timeout, settings.rcpt_to_timeout, settings.data_timeout, settings.data_dot_timeout)
    return max(2 * longest, 60.0)


def stuck_reply(phase: Phase, detail: str, session: str, age: float, seconds: float) -> Reply:
    """What is told of a session that made no progress for so many seconds; age: since it began.  In the model's words."""
    text = (
        f"dispatcher watchdog aborted task; phase={phase.value} detail={detail or 'none'} session={session} "
        f"age={format_duration(age)} time_in_phase={format_duration(seconds)}"
    )
    return Reply(451, EnhancedCode(4, 4, 1), text)


class Watchdog:
    """Looks at one session."""

    __slots__ = ("_patience", "_reactor", "_seen", "_since", "_stuck", "_tick", "_timer", "_where")

    def __init__(self, reactor: Reactor, patience: float, where: Callable[[], object], stuck: Callable[[float], None]) -> None:
        """where: equal as long as there is no progress.  stuck: called once, with the seconds since there was some."""
        self._reactor = reactor
        self._patience = max(patience, _SHORTEST)
        self._tick = max(patience / _LOOKS, _SHORTEST)
        self._where = where
        self._stuck = stuck
        self._seen: object = None
        self._since = 0.0
        self._timer: IDelayedCall | None = reactor.callLater(self._tick, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now, seen = self._reactor.seconds(), self._where()
        if seen != self._seen:
            self._seen, self._since = seen, now
        elif now - self._since >= self._patience:
            self._stuck(now - self._since)
            return
        self._timer = self._reactor.callLater(self._tick, self._look)
