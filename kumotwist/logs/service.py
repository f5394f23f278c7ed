"""
The mail log as the server sees it: records go in as they are committed, a thread of its own writes them to their files.

Compressing, writing and syncing block, so they happen on the thread `mail log`.  It shares with the reactor's thread a
deque, two events, and numbers that only one side sets.  Nothing here can lose a record: each is in the journal, and stays
there until the thread has said how far the files are on disk.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.server import LogSettings
from kumotwist.logs.files import Committed, LogFiles, Reread
from kumotwist.logs.segment import Disk
from kumotwist.metrics.family import Family, counters, gauge
from kumotwist.spool.threads import REAL, Threads

GATHER = 0.1  # seconds that a batch is gathered
MANY = 2_000  # records that are not kept waiting any longer


class MailLog:
    """
    Takes records on the reactor's thread and never blocks or raises there.

    A directory that cannot be written holds up nothing: its records stay in the journal and are written when it can.
    """

    log = Logger()

    def __init__(
        self,
        settings: LogSettings,
        clock: IReactorTime,
        *,
        call_from_thread: Callable[..., Any],
        forget: Callable[[int], None],
        reread: Reread,
        disk: Disk | None = None,
        threads: Threads = REAL,
    ) -> None:
        """
        call_from_thread: the only thing of the reactor's that our thread calls, besides reading `clock.seconds`.
        forget: called on the reactor's thread; the journal may drop all records up to this sequence number.
        reread: called and iterated on our thread; what the journal has after a sequence number, in order.
        """
        self._call_from_thread = call_from_thread
        self._forget = forget
        self._seconds = clock.seconds
        self._files = LogFiles(settings, clock.seconds, reread, self._report, disk, self._complain)
        self._most_waiting = settings.back_pressure
        self._leftovers: Iterable[tuple[int, bytes]] = ()
        self._make_thread = threads.thread
        self._thread: Any = None
        self._waiting: deque[Committed] = deque()
        self._wake = threads.event()  # the thread sleeps until there is something
        self._hurry = threads.event()  # … and then waits a moment for more, unless there is much already
        self._asleep = False
        self._full = 0  # records that found no room, and are taken from the journal
        self._name = (f"dir-{settings.log_dir}",)
        self._missed = 0  # the highest sequence number that found no room
        self._last = 0
        self._stopping = False
        self._stopped: list[Deferred[None]] = []
        self._forgotten = 0

    @property
    def healthy(self) -> bool:
        """Whether every directory can be written, as far as is known."""
        return self._files.healthy

    @property
    def lag(self) -> int:
        """How many sequence numbers were committed whose records are not yet on disk in their files."""
        return self._files.lag(max(self._last, self._files.seen))

    def measures(self) -> Iterator[Family]:
        """For the metrics."""
        what = "records that found the log's buffer full, and are written later"
        yield counters("log_submit_full", what, ("logger",), [(self._name, self._full)])
        yield gauge("log_lag", "records that are in the journal and not yet in the log's files", self.lag)
        yield gauge("log_healthy", "1 if every log directory can be written", int(self.healthy))

    def start(self, leftovers: Iterable[tuple[int, bytes]]) -> None:
        """Start the thread.  leftovers: (sequence number, line), what the journal has, in order; iterated on the thread."""
        assert self._thread is None, "started twice"
        self._leftovers = leftovers
        self._thread = self._make_thread(target=self._run, name="mail log", daemon=True)
        self._thread.start()

    def append(self, sequence: int, record_type: str, line: bytes) -> None:
        """A record was committed; line: without its newline.  Sequence numbers only grow."""
        waiting = self._waiting
        count = len(waiting)
        if count < self._most_waiting:
            waiting.append((sequence, record_type, line))
        else:
            self._missed = sequence
            self._full += 1
        self._last = sequence
        if self._asleep:
            self._asleep = False
            self._wake.set()
        elif count == MANY:
            self._hurry.set()

    def stop(self) -> "Deferred[None]":
        """Write what is waiting and finish the segments; fires when the thread has ended, also where the disk refused."""
        if self._thread is None:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stopped.append(stopped)
        self._stopping = True
        self._hurry.set()
        self._wake.set()
        return stopped

    def _ended(self) -> None:
        if self._thread is not None:
            self._thread.join()  # it has nothing left to do but to return
            self._thread = None
        waiters, self._stopped = self._stopped, []
        for stopped in waiters:
            stopped.callback(None)

    # From here on: the thread.

    def _run(self) -> None:
        try:
            self._files.start(self._leftovers)
            self._leftovers = ()
            while True:
                stopping = self._stopping  # read first: what was appended before it was set is then written below
                self._step(stopping)
                if stopping:
                    return
                self._wait()
        finally:
            self._call_from_thread(self._ended)

    def _step(self, last: bool) -> None:
        try:
            self._drain()
            self._files.tend()
            if last:
                self._files.close()
        except Exception:  # noqa: BLE001 - a fault of ours must not end the thread: all is done again from the journal
            self._call_from_thread(self._unforeseen, Failure())
            self._files.abandon()
        if self._files.durable > self._forgotten:
            self._forgotten = self._files.durable
            self._call_from_thread(self._forget, self._forgotten)

    def _drain(self) -> None:
        """Hand over all that waits; if some found no room, all of it is taken from the journal instead."""
        waiting = self._waiting
        batch = [waiting.popleft() for _ in range(len(waiting))]
        missed = self._missed  # read after the batch: if a later record is in the batch, the one without room is known
        if missed > self._files.seen:
            self._files.fall_behind()
            self._files.missed(max(missed, batch[-1][0] if batch else 0))
        elif batch:
            self._files.write(batch)

    def _wait(self) -> None:
        """Until there is something to do; then a moment more, so that a batch comes together."""
        self._asleep = True
        if not self._waiting and not self._stopping:
            due = self._files.next_due()
            self._wake.wait(None if due is None else max(0.0, due - self._seconds()))
        self._asleep = False
        self._wake.clear()
        if not self._stopping:
            self._hurry.wait(GATHER)
        self._hurry.clear()

    def _report(self, where: str, fault: str | None) -> None:
        self._call_from_thread(self._say, where, fault)

    def _complain(self, fault: str) -> None:
        self._call_from_thread(self._warn, fault)

    # Called back on the reactor's thread.

    def _warn(self, fault: str) -> None:
        self.log.error("mail log: {fault}", fault=fault)

    def _say(self, where: str, fault: str | None) -> None:
        if fault is None:
            self.log.info("mail log {where}: is written again", where=where)
        else:
            self.log.error("mail log {where}: {fault}; its records wait in the journal", where=where, fault=fault)

    def _unforeseen(self, failure: Failure) -> None:
        self.log.failure("mail log: a fault of ours; everything is written again from the journal", failure)
