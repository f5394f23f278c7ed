"""
The mail log's files: which record goes to which segments, when these are synced and closed, and what the journal may forget.

Everything here is synchronous and belongs to one thread (see `service`); time is asked for, never waited for.

A record comes twice, if need be: as it is committed, and from the journal.  A series that works takes the first; one that
failed, missed something, or has just been started is *behind* and takes the second, in slices, so that a long absence of
one directory holds up neither the other directories nor memory.  Both ways lead past the sequence number up to which the
series was given its records, so none is written twice.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, takewhile

import zstandard

from kumotwist.config.server import LogSettings, RecordSettings
from kumotwist.logs.form import Forms
from kumotwist.logs.repair import finish
from kumotwist.logs.segment import Disk, opened_at
from kumotwist.logs.series import Series, record_type

SYNC = 1.0  # seconds between two syncs of the same files
RETRY = 5.0  # seconds after a failure
SLICE = 5_000  # records read back from the journal at a time

ANY = "Any"  # the key in `per_record` for all types that have none of their own

Committed = tuple[int, str, bytes]  # sequence number, record type, line
Reread = Callable[[int], Iterable[tuple[int, bytes]]]  # what the journal has after a sequence number, in order
Report = Callable[[str, str | None], None]  # which files; what is wrong with them, None: they work again


class LogFiles:
    """
    All series of the mail log.

    seen: the highest sequence number that was handed over or read back.
    durable: every record up to this sequence number is on disk in its segment; the journal may forget them.
    """

    def __init__(
        self,
        settings: LogSettings,
        seconds: Callable[[], float],
        reread: Reread,
        report: Report,
        disk: Disk | None = None,
        complain: Callable[[str], None] = lambda _: None,
    ) -> None:
        """
        seconds: epoch seconds.  report: called at each change for the worse or the better, never twice for the same.
        complain: what is wrong with a template.
        """
        self.seen = 0
        self._oldest = 0  # the first sequence number of all; 0: there was none yet
        self.durable = 0
        self._settings = settings
        self._seconds = seconds
        self._reread = reread
        self._report = report
        self._disk = disk or Disk()
        self._series: dict[tuple[str, str], Series] = {}
        self._routes: dict[str, Series | None] = {}
        self._forms = Forms(settings.per_record, complain)
        self._unrepaired: set[str] = set()
        self._synced_at = float("-inf")
        # The pass through the journal that is under way: what is still to come, for whom, and how far it got.
        self._source: Iterator[tuple[int, bytes]] | None = None
        self._catching_up: tuple[Series, ...] = ()
        self._position = 0
        for kind in (ANY, *settings.per_record):
            self._route(kind)

    @property
    def healthy(self) -> bool:
        """Whether all files can be written, as far as is known."""
        return not any(series.troubled for series in self._series.values())

    def lag(self, newest: int) -> int:
        """How many sequence numbers lie between what is durable and `newest`."""
        return max(0, newest - max(self.durable, self._oldest - 1)) if self._oldest else 0

    @property
    def busy(self) -> bool:
        """Whether there is more to be read back from the journal right now."""
        return any(series.behind and series.failed_at is None for series in self._series.values())

    def start(self, leftovers: Iterable[tuple[int, bytes]]) -> None:
        """Begin with what the journal still has; `write` and `tend` do the work."""
        self._source = iter(leftovers)
        self._catching_up = tuple(self._series.values())

    def write(self, batch: Sequence[Committed]) -> None:
        """Write records that were just committed, in order of their sequence numbers."""
        shares: dict[Series, list[tuple[int, bytes]]] = {}
        route = self._routes
        for sequence, kind, line in batch:
            series = route[kind] if kind in route else self._route(kind)
            if series is not None and not series.behind:
                shares.setdefault(series, []).append((sequence, line))
        now = self._seconds()
        for series, share in shares.items():
            self._try(series, series.write, share, now)
        self._oldest = self._oldest or batch[0][0]
        self.missed(batch[-1][0])
        for series in self._series.values():
            if not series.behind:
                series.give_up_to(self.seen)

    def missed(self, sequence: int) -> None:
        """Records up to this sequence number were committed; who is behind finds them in the journal."""
        self.seen = max(self.seen, sequence)

    def fall_behind(self) -> None:
        """Records were not handed over: take them from the journal."""
        for series in self._series.values():
            series.behind = True

    def tend(self) -> None:
        """What time demands: try again after a failure, catch up by one slice, close segments, sync."""
        now = self._seconds()
        for series in self._series.values():
            if series.failed_at is not None and _passed(series.failed_at, RETRY, now):
                self._try(series, series.mend)
        self._catch_up()
        for series in self._series.values():
            until = series.open_until()
            if until is not None and now >= until:
                self._try(series, series.close)
        if _passed(self._synced_at, SYNC, now):
            for series in self._series.values():
                if series.unsynced:
                    self._try(series, series.sync)
            self._synced_at = now
            self._take_stock()

    def next_due(self) -> float | None:
        """When `tend` is to be called next, epoch seconds; None: not before something was written."""
        if self.busy:
            return self._seconds()
        due = [until for series in self._series.values() if (until := series.open_until()) is not None]
        due += [series.failed_at + RETRY for series in self._series.values() if series.failed_at is not None]
        if any(series.unsynced for series in self._series.values()) or self.durable < self._durable_now():
            due.append(self._synced_at + SYNC)
        return min(due, default=None)

    def close(self) -> None:
        """Catch up as far as the disk allows, and finish all segments."""
        for series in self._series.values():
            if series.failed_at is not None:
                self._try(series, series.mend)
        while self.busy:
            self._catch_up()
        for series in self._series.values():
            if series.failed_at is None:
                self._try(series, series.close)
        self._take_stock()

    def abandon(self) -> None:
        """Something unforeseen happened in the middle of our work: begin again from what is known to be on disk."""
        self._source = None
        for series in self._series.values():
            self._failed(series, "something unforeseen")

    def _route(self, kind: str) -> Series | None:
        """The series for a type of record, None: it is not logged.  A type with an entry of its own has nothing from `Any`."""
        per_record = self._settings.per_record
        chosen = per_record.get(kind) or per_record.get(ANY) or RecordSettings()
        series = None
        if chosen.enable:
            directory = os.path.normpath(chosen.log_dir or self._settings.log_dir)
            series = self._series.get((directory, chosen.suffix))
            if series is None:
                shown = self._shown if self._forms.any else None
                series = Series(directory, chosen.suffix, self._settings, self._disk, shown)
                self._series[directory, chosen.suffix] = series
                self._unrepaired.add(directory)
            if chosen.segment_header and not series.header:  # types that share files share their beginning
                series.header = chosen.segment_header.removesuffix("\n").encode("utf-8", "replace") + b"\n"
        self._routes[kind] = series
        return series

    def _shown(self, line: bytes) -> bytes:
        return self._forms.shown(record_type(line), line)

    def _catch_up(self) -> None:
        """Give one slice of the journal to the series that are behind."""
        fresh = False
        while self.busy:
            if self._source is None:
                fresh = True
                self._catching_up = tuple(series for series in self._series.values() if series.behind and series.failed_at is None)
                self._position = min(series.given for series in self._catching_up)
            records = self._next_slice()
            self._give(records)
            if len(records) == SLICE:
                return
            self._source = None
            # What was committed since an older pass began is not in it.  A fresh one has all that we have seen.
            if fresh or self.seen <= self._position:
                self._caught_up()

    def _next_slice(self) -> list[tuple[int, bytes]]:
        try:
            if self._source is None:
                self._source = self._journal()
            records = list(islice(self._source, SLICE))
        except Exception as fault:  # noqa: BLE001 - whatever the journal raises is its own; the records are safe in it
            for series in self._catching_up:
                self._failed(series, f"the journal cannot be read: {fault}")
            return []
        if records:
            self._position = records[-1][0]
            self._oldest = min(self._oldest or records[0][0], records[0][0])
        return records

    def _journal(self) -> Iterator[tuple[int, bytes]]:
        """
        The journal behind our position, as far as we know it to be committed.

        What is younger will still be handed over; the spool may be in the middle of writing it.  Only after a start there
        are records that nobody hands over.
        """
        records = iter(self._reread(self._position))
        if any(series.unsure for series in self._catching_up):
            return records
        return takewhile(lambda record: record[0] <= self.seen, records)

    def _give(self, records: Iterable[tuple[int, bytes]]) -> None:
        shares: dict[Series, list[tuple[int, bytes]]] = {series: [] for series in self._catching_up}
        for sequence, line in records:
            kind = record_type(line)
            series = self._routes[kind] if kind in self._routes else self._route(kind)
            if series in shares:
                shares[series].append((sequence, line))
        for series, share in shares.items():
            self._try(series, self._take, series, share)

    def _take(self, series: Series, share: list[tuple[int, bytes]]) -> None:
        if series.directory in self._unrepaired:
            self._repair(series.directory)
        series.write(series.unwritten(share) if series.unsure else share, self._seconds())
        series.give_up_to(self._position)

    def _caught_up(self) -> None:
        self.missed(self._position)
        for series in self._catching_up:
            series.give_up_to(self.seen)
            series.behind = series.unsure = False
        self._catching_up = ()

    def _repair(self, directory: str) -> None:
        """Finish what an earlier run left open, whatever its suffix."""
        names = [name for name in self._disk.names(directory) if opened_at(name) is not None]
        for name in names:
            path = os.path.join(directory, name)
            try:
                if self._disk.is_live(path):
                    finish(self._disk, path)
            except FileNotFoundError:
                continue
            except PermissionError as fault:  # somebody else's: what it holds may be repeated
                self._report(path, f"left as it is: {fault}")
        if names:
            self._disk.sync_directory(directory)
        for series in self._series.values():
            if series.directory == directory:
                series.start_after(names)
        self._unrepaired.discard(directory)

    def _try(self, series: Series, act: Callable[..., None], *arguments: object) -> None:
        try:
            act(*arguments)
        except (OSError, zstandard.ZstdError) as fault:
            self._failed(series, str(fault))

    def _failed(self, series: Series, why: str) -> None:
        series.fail(self._seconds())
        self._catching_up = tuple(other for other in self._catching_up if other is not series)
        if not series.troubled:
            series.troubled = True
            self._report(series.name, why)

    def _take_stock(self) -> None:
        """After a sync: how far everything is durable, and who is well again."""
        self.durable = self._durable_now()
        for series in self._series.values():
            if series.troubled and not series.behind:
                series.troubled = False
                self._report(series.name, None)

    def _durable_now(self) -> int:
        return max(self.durable, min((series.durable for series in self._series.values()), default=self.seen))


def _passed(since: float, span: float, now: float) -> bool:
    """Whether so many seconds have passed; also when the clock was set back behind `since`."""
    return not 0 <= now - since < span
