"""
The segments of one directory and suffix, one after another, at most one of them open.

What a series knows about itself are two sequence numbers: up to which it was given its records, and up to which these are
on disk for good.  Whatever goes wrong in between, it goes back to the second and is given the rest again.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import dropwhile

from kumotwist.config.server import LogSettings
from kumotwist.logs.read import LineStream
from kumotwist.logs.repair import finish
from kumotwist.logs.segment import PLAIN, Disk, Segment, opened_at, segment_name, suffix_of

# One zstd block holds at most 128 KiB, so what is written at a time is kept below: then every block ends behind a newline.
CHUNK = 100_000
Shown = Callable[[bytes], bytes]
_CLOCK_STEP = 60.0  # seconds by which clocks are allowed to have been set back
_READ = 65536


class Series:
    """
    given: every record of this series up to this sequence number was handed to it.  durable: … is on disk.
    behind: it missed records, which are in the journal; it gets nothing but from there until it has caught up.
    unsure: segments of an earlier run may hold records that the journal still has.
    failed_at: epoch seconds of the failure after which nothing was tried yet; None: it works, as far as is known.
    troubled: the operator was told that it fails, and not yet that it works again.
    header: what each segment begins with, with its last newline; empty: nothing.
    """

    __slots__ = (
        "_disk", "_earlier", "_last_name", "_level", "_most_seconds", "_most_size", "_next_earlier", "_segment",
        "_shown", "_torn", "behind", "directory", "durable", "failed_at", "given", "header", "suffix", "troubled",
        "unsure", "unsynced",
    )  # fmt: skip

    def __init__(self, directory: str, suffix: str, settings: LogSettings, disk: Disk, shown: Shown | None = None) -> None:
        """shown: what a record looks like here; None: as it is."""
        self.header = b""
        self._shown = shown
        self.suffix = suffix
        self.given = self.durable = 0
        self.behind = self.unsure = True
        self.failed_at: float | None = None
        self.troubled = False
        self.unsynced = False
        self.directory = directory
        self._disk = disk
        self._level = PLAIN if settings.compression == "none" else settings.compression_level
        self._most_size = settings.max_file_size
        self._most_seconds = settings.max_segment_duration
        self._segment: Segment | None = None
        self._last_name = 0  # nanoseconds; names only grow, also when the clock is set back
        self._torn: tuple[str, int] | None = None  # a segment that we had to abandon, and how much of it is good
        self._earlier: Iterator[bytes] | None = None
        self._next_earlier: bytes | None = None

    @property
    def name(self) -> str:
        """For messages: where the segments are."""
        return os.path.join(self.directory, f"*{self.suffix}")

    @property
    def path(self) -> str | None:
        """The segment that is being written."""
        return self._segment.path if self._segment else None

    def open_until(self) -> float | None:
        """When the open segment is to be closed, epoch seconds; None: nothing is open, or for no time at all."""
        if self._segment is None or self._most_seconds is None:
            return None
        return self._segment.opened + self._most_seconds

    def write(self, share: Iterable[tuple[int, bytes]], now: float) -> None:
        """Write records, (sequence number, line), in order; those that it was already given are passed over."""
        lines: list[bytes] = []
        size, given = 0, self.given
        room = self._room()
        for sequence, line in share:
            if sequence <= given:
                continue
            shown = line if self._shown is None else self._shown(line)
            lines.append(shown)
            given = sequence
            size += len(shown) + 1
            if size >= room:
                self._put(lines, given, now)
                lines, size, room = [], 0, self._room()
        if lines:
            self._put(lines, given, now)

    def _room(self) -> int:
        return min(CHUNK, self._most_size - (self._segment.size if self._segment else 0))

    def _put(self, lines: list[bytes], sequence: int, now: float) -> None:
        if self._segment is None:
            self._segment = self._open(now)
            if self.header:
                self._segment.write(self.header)
        self.unsynced = True
        self._segment.write(b"\n".join(lines) + b"\n")
        self.given = sequence
        if self._segment.size >= self._most_size:
            self.close()

    def _open(self, now: float) -> Segment:
        self._last_name = max(self._last_name + 1, int(now * 1e9))
        while True:
            name = segment_name(self._last_name, self.suffix)
            try:
                return Segment(self._disk, self.directory, name, level=self._level, opened=now)
            except FileExistsError:
                self._last_name += 1

    def give_up_to(self, sequence: int) -> None:
        """There is nothing more for this series up to this sequence number."""
        self.given = max(self.given, sequence)
        if not self.unsynced:
            self.durable = self.given

    def sync(self) -> None:
        """Wait until everything that was given is on disk."""
        if self._segment is not None and self.unsynced:
            self._segment.sync()
        self._all_durable()

    def close(self) -> None:
        """Finish the open segment."""
        if self._segment is not None:
            self._segment.end()
            self._all_durable()
            self._segment.seal()
            self._segment = None

    def _all_durable(self) -> None:
        self.unsynced = False
        self.durable = self.given

    def fail(self, now: float) -> None:
        """An operation failed: what is not known to be on disk counts as not written."""
        if self._segment is not None:
            self._segment.abandon()
            self._torn = self._segment.path, self._segment.durable
            self._segment = None
        self._earlier = None
        self.unsynced = False
        self.given = self.durable
        self.behind = True
        self.failed_at = now

    def mend(self) -> None:
        """After `fail`: bring the abandoned segment in order.  Raises OSError."""
        if self._torn is not None:
            path, good = self._torn
            finish(self._disk, path, good)
            self._torn = None
        self.failed_at = None

    # After a crash the journal may still have records that are in the segments already, since it forgets a little after they
    # were synced.  Both are in the same order.  So the first record that the journal has for this series is looked for in the
    # segments that can hold it; if it is there, the lines behind it are compared one by one with the records that follow.

    def unwritten(self, share: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        """Of the records that the journal had at start-up, those that no segment holds.  Raises OSError while iterated."""
        for sequence, line in share:
            if sequence <= self.given:
                continue
            # A template may have made several lines of a record.
            first, *further = [line] if self._shown is None else self._shown(line).split(b"\n")
            if self._earlier is None:
                self._earlier = dropwhile(first.__ne__, self._lines_since(line))
                self._next_earlier = next(self._earlier, None)
            whole = first == self._next_earlier
            if whole:
                for other in further:
                    whole = whole and next(self._earlier, None) == other
                self._next_earlier = next(self._earlier, None)
            if not whole:
                yield sequence, line

    def _lines_since(self, record: bytes) -> Iterator[bytes]:
        for name in self._names_since(event_second(record)):
            try:
                fd = self._disk.look(os.path.join(self.directory, name))
            except (PermissionError, FileNotFoundError):
                continue  # somebody else's, or removed since: what it held may be repeated
            try:
                yield from self._behind_header(self._lines_of(fd))
            finally:
                self._disk.close(fd)

    def _lines_of(self, fd: int) -> Iterator[bytes]:
        stream = LineStream()
        while chunk := self._disk.read(fd, _READ):
            yield from stream.feed(chunk)

    def _behind_header(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """The lines of a segment without those that it begins with."""
        for expected in self.header.split(b"\n")[:-1]:
            found = next(lines, None)
            if found is None:
                return
            if found != expected:  # written when there was another header, or none
                yield found
                break
        yield from lines

    def _names_since(self, second: float) -> list[str]:
        """Segments that were not yet finished then: without those whose successor was opened before."""
        bound = int((second - _CLOCK_STEP) * 1e9)
        names = [name for name in self._disk.names(self.directory) if self._is_ours(name)]
        last_before = max((at for at, name in enumerate(names) if (opened_at(name) or 0) < bound), default=0)
        return names[last_before:]

    def _is_ours(self, name: str) -> bool:
        return suffix_of(name) == self.suffix and opened_at(name) is not None

    def start_after(self, names: list[str]) -> None:
        """Names of segments that exist: ours are to come behind them."""
        self._last_name = max((opened_at(name) or 0 for name in names if self._is_ours(name)), default=self._last_name)


def event_second(record: bytes) -> float:
    """When the event of an encoded record happened, epoch seconds; 0 where it does not say."""
    # The key cannot stand inside a text before it: there its quotes would be escaped.
    _, _, rest = record.partition(b'"timestamp":')
    digits = rest[:20].partition(b",")[0].partition(b"}")[0].strip()
    return float(digits) if digits.isdigit() else 0.0


def record_type(record: bytes) -> str:
    """The type of an encoded record, which is its first field; empty where it does not begin so."""
    lead = b'{"type":"'
    return record[len(lead) : record.find(b'"', len(lead))].decode("utf-8", "replace") if record.startswith(lead) else ""
