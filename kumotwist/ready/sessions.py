"""The delivery sessions of one ready queue, as far as an operator can see: what each is doing, and what it has done."""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from twisted.internet.defer import Deferred

from kumotwist.delivery.shown import Shown
from kumotwist.delivery.watchdog import Phase
from kumotwist.mail.disposition import Attempt, Outcome, Verdict
from kumotwist.metrics.family import Histogram

_DELIVERING = Phase.DELIVERING_MESSAGE.value


class Counts(Struct):
    """Outcomes by verdict, a recipient each."""

    delivered: int = 0
    transfailed: int = 0
    failed: int = 0

    def count(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self.note(outcome.verdict, len(outcome.recipients))

    def note(self, verdict: Verdict, number: int) -> None:
        """So many recipients had that."""
        if verdict in (Verdict.DELIVERED, Verdict.TRANSFERRED):
            self.delivered += number
        elif verdict is Verdict.POSTPONED:
            self.transfailed += number
        else:
            self.failed += number

    def add(self, other: "Counts") -> None:
        self.delivered += other.delivered
        self.transfailed += other.transfailed
        self.failed += other.failed


def total_of(counts: Iterable[Counts]) -> Counts:
    """All of them together."""
    total = Counts()
    for one in counts:
        total.add(one)
    return total


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
    """
    Those that run.

    by_pool: outcomes, by the egress pool that the messages went through.  connected: sessions that were established, ever.
    turned_away: messages that found their queue full.  latency: of sending; may be one that several queues share.
    service, label: what metrics call the protocol, and the queue.
    """

    __slots__ = ("_at", "_coming", "_running", "by_pool", "connected", "label", "latency", "service", "turned_away")

    def __init__(self) -> None:
        self._running: dict[Deferred[None], _Session] = {}
        self._at: dict[str, _Session] = {}  # by connection
        self._coming: Shown | None = None
        self.by_pool: dict[str, Counts] = {}
        self.connected = 0
        self.turned_away = 0
        self.latency = Histogram()
        self.service = ""
        self.label = ("",)

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

    @property
    def total(self) -> Counts:
        """Outcomes, whatever the pool."""
        return total_of(self.by_pool.values())

    @property
    def latest_pool(self) -> str:
        """The pool that was new here last; empty: none is known."""
        return next(reversed(self.by_pool), "")

    def of_pool(self, pool: str | None) -> Counts:
        """What went through a pool; None: through none that is known."""
        name = pool or ""
        counts = self.by_pool.get(name)
        if counts is None:
            counts = self.by_pool[name] = Counts()
        return counts

    def count(self, attempt: Attempt, outcomes: Sequence[Outcome], pool: str | None, now: float) -> None:
        """An attempt of one of them has ended, with a message that went through that pool."""
        self.of_pool(pool).count(outcomes)
        connection = attempt.session_id
        if connection is None:
            return
        session = self._at.get(connection) or self._find(connection)
        if session is not None:
            session.counts.count(outcomes)
            session.here.count(outcomes)
            if session.shown is not None and session.shown.phase_name == _DELIVERING:
                self.latency.observe(now - session.shown.phase_began)

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
