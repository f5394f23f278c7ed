"""The delivery sessions of one ready queue, as far as an operator can see: what each is doing, and what it has done."""

from collections.abc import Iterator, Sequence

from msgspec import Struct
from twisted.internet.defer import Deferred

from kumotwist.delivery.shown import Shown
from kumotwist.mail.disposition import Attempt, Outcome, Verdict


class Counts(Struct):
    """Outcomes by verdict, a recipient each."""

    delivered: int = 0
    transfailed: int = 0
    failed: int = 0

    def count(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            number = len(outcome.recipients)
            if outcome.verdict is Verdict.DELIVERED:
                self.delivered += number
            elif outcome.verdict is Verdict.POSTPONED:
                self.transfailed += number
            else:
                self.failed += number


class SessionView(Struct, frozen=True, kw_only=True):
    """One session.  Instants are epoch seconds, `overall_rate_per_sec` counts deliveries since it began."""

    session_id: str
    started_at: float
    age: float
    phase: str
    detail: str | None
    time_in_current_phase: float
    messages_delivered: int
    messages_transfailed: int
    messages_failed: int
    delivered_this_connection: int
    overall_rate_per_sec: float


class _Session(Struct):
    """One that runs.  here: what it has done on the connection that it has now."""

    shown: Shown | None
    counts: Counts
    connection: str
    here: Counts
    aborted: bool = False


class Sessions:
    """Those that run."""

    __slots__ = ("_at", "_coming", "_running", "total")

    def __init__(self) -> None:
        self._running: dict[Deferred[None], _Session] = {}
        self._at: dict[str, _Session] = {}  # by connection
        self._coming: Shown | None = None
        self.total = Counts()

    def show(self, session: Shown) -> None:
        """A session that is being opened shows itself, before `add`."""
        self._coming = session

    def add(self, session: "Deferred[None]") -> None:
        shown, self._coming = self._coming, None
        self._running[session] = _Session(shown, Counts(), "", Counts())

    def discard(self, session: "Deferred[None]") -> bool:
        """It has ended; whether that was because it was aborted."""
        gone = self._running.pop(session, None)
        if gone is not None:
            self._at.pop(gone.connection, None)
        return gone is not None and gone.aborted

    def count(self, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        """An attempt of one of them has ended."""
        self.total.count(outcomes)
        connection = attempt.session_id
        if connection is None:
            return
        session = self._at.get(connection) or self._find(connection)
        if session is not None:
            session.counts.count(outcomes)
            session.here.count(outcomes)

    def _find(self, connection: str) -> _Session | None:
        """Whose connection it is; it is another one than that before."""
        for session in self._running.values():
            if session.shown is not None and session.shown.session_id == connection:
                self._at.pop(session.connection, None)
                session.connection, session.here = connection, Counts()
                self._at[connection] = session
                return session
        return None

    def abort(self, session_id: str) -> bool:
        """End the session with that connection at once; False: there is none."""
        for deferred, session in list(self._running.items()):
            if session.shown is not None and session.shown.session_id == session_id:
                session.aborted = True
                deferred.cancel()
                return True
        return False

    def aborted(self, session: "Deferred[None]") -> bool:
        found = self._running.get(session)
        return found is not None and found.aborted

    def views(self, now: float) -> Iterator[SessionView]:
        for session in self._running.values():
            shown = session.shown
            if shown is None:
                continue
            age = max(now - shown.began, 0.0)
            counts = session.counts
            yield SessionView(
                session_id=shown.session_id,
                started_at=shown.began,
                age=age,
                phase=shown.phase_name,
                detail=shown.detail,
                time_in_current_phase=now - shown.phase_began,
                messages_delivered=counts.delivered,
                messages_transfailed=counts.transfailed,
                messages_failed=counts.failed,
                delivered_this_connection=session.here.delivered if session.connection == shown.session_id else 0,
                overall_rate_per_sec=counts.delivered / age if age else 0.0,
            )

    def __len__(self) -> int:
        return len(self._running)

    def __bool__(self) -> bool:
        return bool(self._running)
