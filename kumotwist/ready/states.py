"""What keeps a ready queue from opening the connections that its messages are worth, as operators are shown it."""

from collections.abc import Mapping

from msgspec import Struct
from twisted.internet.interfaces import IReactorTime

CONNECTION_LIMITED = "connection_limited"
CONNECTION_RATE_THROTTLED = "connection_rate_throttled"


class State(Struct, frozen=True):
    """context: the limit.  since: epoch seconds."""

    context: str
    since: float


class States:
    """Those of one ready queue."""

    __slots__ = ("_clock", "_now")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._now: dict[str, State] = {}

    def limited(self, limit: str | None) -> None:
        """There is no lease of that limit."""
        self._note(CONNECTION_LIMITED, f"no lease of {limit}" if limit else "no lease")

    def not_limited(self) -> None:
        self._now.pop(CONNECTION_LIMITED, None)

    def throttled(self, rate: str) -> None:
        self._note(CONNECTION_RATE_THROTTLED, rate)

    def not_throttled(self) -> None:
        self._now.pop(CONNECTION_RATE_THROTTLED, None)

    def _note(self, state: str, context: str) -> None:
        known = self._now.get(state)
        if known is None or known.context != context:
            self._now[state] = State(context, self._clock.seconds() if known is None else known.since)

    @property
    def now(self) -> Mapping[str, State]:
        return dict(self._now)
