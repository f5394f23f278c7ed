"""
The records of the mail log from a cursor on: what a hook reads.  Everything here blocks and belongs to one thread at a time.

A cursor says for each series of segments (one directory, one suffix) how many lines of which segment are done with.  Lines
are counted, not octets, since segments are compressed.  Records may be read before their segment is on disk: after a crash
the journal brings the same lines again, in another segment perhaps, and a hook then sees them twice, never not at all.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b

import msgspec
from msgspec import Struct

from kumotwist.logs.read import LineStream
from kumotwist.logs.segment import is_finished, opened_at, suffix_of

_CHUNK = 65536
_ID_OCTETS = 16

Complain = Callable[[str], None]


class Place(Struct, frozen=True, array_like=True):
    """lines: how many of the segment's lines are done with."""

    segment: str
    lines: int


Cursor = Mapping[str, Place]  # by the series' name

_encode_cursor = msgspec.json.Encoder().encode
_decode_cursor = msgspec.json.Decoder(dict[str, Place]).decode


def stored_cursor(cursor: Cursor) -> bytes:
    return _encode_cursor(cursor)


def restored_cursor(octets: bytes) -> Cursor:
    """Raises msgspec.DecodeError, and its ValidationError, where the octets are none of ours."""
    return _decode_cursor(octets)


class _Kind(Struct, frozen=True):
    type: str


_decode_kind = msgspec.json.Decoder(_Kind).decode


class Record(Struct, frozen=True, gc=False):
    """One record of the log.  line: its JSON object; id: the same whenever the same record is read again, 32 hex digits."""

    kind: str
    line: bytes

    @property
    def id(self) -> str:
        return blake2b(self.line, digest_size=_ID_OCTETS).hexdigest()

    @property
    def marked(self) -> bytes:
        """The line with `record_id` in it, by which a receiver knows a record that it has already."""
        return b'%b,"record_id":"%b"}' % (self.line[:-1], self.id.encode())


class LogSource:
    """Each record of some log directories once, in order within a series.  `cursor` stands behind the last one given."""

    def __init__(self, directories: Iterable[str], cursor: Cursor, wanted: frozenset[str], complain: Complain) -> None:
        """wanted: record types; empty: all.  complain: called with what cannot be read, once each time."""
        self._directories = tuple(dict.fromkeys(map(os.path.abspath, directories)))
        self._series = {name: _Series(name, place) for name, place in cursor.items()}
        self._wanted = wanted
        self._complain = complain

    @property
    def cursor(self) -> Cursor:
        return {name: series.place for name, series in self._series.items() if series.place is not None}

    def read(self, most: int) -> list[Record]:
        """The next records, as many as there are and at most so many."""
        found: list[Record] = []
        for series, segments in self._known():
            try:
                for line in series.lines(segments, self._complain):
                    record = self._record(line)
                    if record is not None:
                        found.append(record)
                        if len(found) >= most:
                            return found
            except OSError as fault:
                self._complain(f"{series.name}: {fault.strerror or fault}")
        return found

    def go_to_end(self) -> None:
        """Pass over everything that is there now."""
        for series, segments in self._known():
            for _ in series.lines(segments, self._complain):
                pass

    def unread(self) -> int:
        """Octets of segments that are not done with, as they lie on the disk."""
        return sum(series.octets_from_here(segments) for series, segments in self._known())

    def close(self) -> None:
        for series in self._series.values():
            series.close()

    def _record(self, line: bytes) -> Record | None:
        try:
            kind = _decode_kind(line).type
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # written by a template: a text for people
        return Record(kind, line) if not self._wanted or kind in self._wanted else None

    def _known(self) -> Iterator[tuple["_Series", list[str]]]:
        """Every series with its segments in order."""
        for directory in self._directories:
            for suffix, segments in sorted(_segments(directory).items()):
                name = os.path.join(directory, f"*{suffix}")
                series = self._series.get(name)
                if series is None:
                    series = self._series[name] = _Series(name, None)
                yield series, segments


def _segments(directory: str) -> dict[str, list[str]]:
    """The segments of a directory by suffix, oldest first."""
    found: dict[str, list[str]] = {}
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return found  # it may come, or come back
    for name in names:
        if opened_at(name) is not None:
            found.setdefault(suffix_of(name), []).append(name)
    return found


class _Series:
    """How far one series has been read.  place: None before its first segment."""

    __slots__ = ("_directory", "_fd", "_ready", "_stream", "name", "place")

    def __init__(self, name: str, place: Place | None) -> None:
        self.name = name
        self.place = place
        self._directory = os.path.dirname(name)
        self._fd = -1
        self._stream = LineStream()
        self._ready: deque[bytes] = deque()

    def lines(self, segments: list[str], complain: Complain) -> Iterator[bytes]:
        """What has come since; `place` counts each line as it is given.  Raises OSError."""
        while self._enter(segments, complain):
            assert self.place is not None
            over = self._over(segments)  # asked first: what was written before the end is then read below
            for line in self._to_end():
                self.place = Place(self.place.segment, self.place.lines + 1)
                yield line
            if self._stream.fault:
                complain(f"{self.place.segment}: damaged, and read no further: {self._stream.fault}")
            elif not over:
                return
            later = [name for name in segments if name > self.place.segment]
            if not later:
                return
            self.close()
            self.place = Place(later[0], 0)

    def octets_from_here(self, segments: list[str]) -> int:
        here = self.place.segment if self.place is not None else ""
        size = 0
        for name in segments:
            if name >= here:
                with suppress(OSError):
                    size += os.stat(os.path.join(self._directory, name)).st_size
        if self._fd >= 0:
            size -= os.lseek(self._fd, 0, os.SEEK_CUR)
        return max(0, size)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._ready.clear()

    def _enter(self, segments: list[str], complain: Complain) -> bool:
        """Have the segment of our place open, at our place; False if there is none."""
        if self._fd >= 0:
            return True
        if self.place is None:
            self.place = Place(segments[0], 0)
        elif self.place.segment not in segments:
            later = [name for name in segments if name > self.place.segment]
            if not later:
                return False
            complain(f"{self.place.segment} was removed; what was not read of it is not sent")
            self.place = Place(later[0], 0)
        self._fd = os.open(os.path.join(self._directory, self.place.segment), os.O_RDONLY | os.O_CLOEXEC)
        self._stream = LineStream()
        skipped = 0
        while skipped < self.place.lines and self._fill():
            while self._ready and skipped < self.place.lines:
                self._ready.popleft()
                skipped += 1
        return True

    def _to_end(self) -> Iterator[bytes]:
        while self._ready or self._fill():
            while self._ready:
                yield self._ready.popleft()

    def _fill(self) -> bool:
        """Read on until there is a line; False at the end of the file."""
        while not self._stream.fault and (chunk := os.read(self._fd, _CHUNK)):
            self._ready.extend(self._stream.feed(chunk))
            if self._ready:
                return True
        return False

    def _over(self, segments: list[str]) -> bool:
        """Whether nobody writes to our segment any more."""
        assert self.place is not None
        status = os.fstat(self._fd)
        return is_finished(status.st_mode) or status.st_nlink == 0 or segments[-1] > self.place.segment
