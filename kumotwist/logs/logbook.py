"""The mail log behind the journal: begun with what its files lack, begun anew when the configuration changes."""

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from kumotwist.config.server import LogSettings
from kumotwist.logs.segment import Disk
from kumotwist.logs.service import MailLog
from kumotwist.spool.service import Spool
from kumotwist.spool.threads import REAL, Threads


class Logbook:
    """
    Hands records that are durable in the spool's journal on to the files.

    mail_log: what writes these; None while it is exchanged for another, and then records wait in the journal.
    """

    def __init__(
        self, clock: IReactorTime, call_from_thread: Callable[..., Any], disk: Disk | None = None, threads: Threads = REAL
    ) -> None:
        self._clock = clock
        self._call_from_thread = call_from_thread
        self._disk = disk
        self._threads = threads
        self._told = 0  # the number of the last record that came
        self._spool: Spool
        self._settings: LogSettings
        self._ended = False
        self._exchange: Deferred[None] = succeed(None)  # fires when the last one that was exchanged has ended
        self.mail_log: MailLog | None = None

    def start(self, settings: LogSettings, spool: Spool, newest: int) -> None:
        """newest: the number of the journal's last record."""
        self._spool = spool
        self._told = max(self._told, newest)
        self._settings = settings
        self._begin()

    def change(self, settings: LogSettings) -> None:
        """Records of the meantime stay in the journal, where the new files find them."""
        self._settings = settings
        old, self.mail_log = self.mail_log, None
        if old is not None:
            self._exchange = old.stop().addCallback(lambda _: self._begin())

    async def stop(self) -> None:
        """Write what is waiting; returns when it is on disk, or when the disk has refused."""
        self._ended = True
        if self.mail_log is not None:
            await self.mail_log.stop()
        else:
            await self._exchange

    def committed(self, first: int, records: Sequence[tuple[str, bytes]]) -> None:
        """Records are durable; first: the number of the first of them."""
        self._told = first + len(records) - 1
        if self.mail_log is None:
            return
        append = self.mail_log.append
        for sequence, (record_type, line) in enumerate(records, first):
            append(sequence, record_type, line)

    def _begin(self) -> None:
        """Start the files on the journal as it is: they may lack what it has."""
        if self._ended:
            return  # what they lack waits in the journal for the next start
        upto = self._told
        self.mail_log = MailLog(
            self._settings,
            self._clock,
            call_from_thread=self._call_from_thread,
            forget=self._spool.forget_records,
            reread=self._spool.records,
            disk=self._disk,
            threads=self._threads,
        )
        self.mail_log.start(takewhile(lambda entry: entry[0] <= upto, self._spool.records(0)))
