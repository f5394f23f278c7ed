"""What a delivery session shows of itself to operators."""

from abc import abstractmethod
from typing import Protocol

from kumotwist.delivery.watchdog import Phase


class Shown(Protocol):
    """A session that can be looked at while it runs."""

    @property
    def session_id(self) -> str:
        """Of its connection: the last one; `none` before the first."""

    @property
    def phase_name(self) -> str:
        """What it is doing, as the model names it."""

    @property
    def detail(self) -> str | None:
        """What it is doing more exactly."""

    @property
    def began(self) -> float:
        """Epoch seconds."""

    @property
    def phase_began(self) -> float:
        """Epoch seconds."""


class Showing:
    """
    What makes a session one that can be looked at.

    It notes what it is doing by setting `_phase`; that costs it one look at the clock.
    """

    _session_id: str
    _began: float
    _doing = Phase.STARTING
    _doing_since: float | None = None

    @abstractmethod
    def _now(self) -> float:
        """Epoch seconds."""

    @property
    def _phase(self) -> Phase:
        return self._doing

    @_phase.setter
    def _phase(self, phase: Phase) -> None:
        self._doing = phase
        self._doing_since = self._now()

    @property
    def session_id(self) -> str:
        return self._session_id

    @property
    def phase_name(self) -> str:
        return self._doing.value

    @property
    def detail(self) -> str | None:
        return None

    @property
    def began(self) -> float:
        return self._began

    @property
    def phase_began(self) -> float:
        return self._began if self._doing_since is None else self._doing_since
