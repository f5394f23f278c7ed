"""
Reading the mail log: whole lines of segments, plain or compressed, finished, torn, or being written at this moment.

`LogReader` gives each line once, in the order of the segments' names; asked again, it gives what has come since.  Memory
is bounded by a block of a segment and the longest line.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec
import zstandard
from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from kumotwist.logs.segment import ZSTD_MAGIC, is_finished, opened_at, suffix_of

LONGEST_LINE = 64 << 20  # octets; what is longer is no record
POLL = 0.5  # seconds between two looks for something new
_CHUNK = 65536
# A zstd block of 4 octets can stand for 128 KiB, so compressed text goes in by small pieces.
_PIECE = 1024
_CLOCK_STEP = 60.0  # seconds by which clocks are allowed to have been set back

Complain = Callable[[str, str], None]  # path, what is wrong with it


class LineStream:
    """
    Octets of one segment → its whole lines without newlines; octets that are missing at the end are no fault.

    fault: why nothing more can be read, once that is so: the segment is damaged.  The last lines before the damage (what
    lies within a kilobyte of compressed text) may be lost with it.
    """

    __slots__ = ("_decode", "_head", "_length", "_parts", "fault")

    def __init__(self) -> None:
        self.fault = ""
        self._head = b""
        self._decode: Callable[[bytes], bytes] | None = None
        self._parts: list[bytes] = []
        self._length = 0

    @property
    def mid_line(self) -> bool:
        """Whether the octets so far end in the middle of a line."""
        return bool(self._parts or self._head)

    def feed(self, octets: bytes) -> Iterator[bytes]:
        """The lines that are complete with these octets."""
        if self._decode is None:
            octets = self._head + octets
            if len(octets) < len(ZSTD_MAGIC) and ZSTD_MAGIC.startswith(octets):
                self._head = octets
                return
            self._head = b""
            self._decode = _zstd() if octets.startswith(ZSTD_MAGIC) else _plain
        step = len(octets) if self._decode is _plain else _PIECE
        for at in range(0, len(octets), step or 1):
            if self.fault:
                return
            yield from self._lines(octets[at : at + step])

    def _lines(self, piece: bytes) -> list[bytes]:
        assert self._decode is not None
        try:
            text = self._decode(piece)
        except zstandard.ZstdError as fault:
            self.fault = str(fault)
            return []
        whole, newline, rest = text.rpartition(b"\n")
        lines: list[bytes] = []
        if newline:
            lines = b"".join((*self._parts, whole)).split(b"\n")
            self._parts, self._length = [], 0
        if rest:
            self._parts.append(rest)
            self._length += len(rest)
            if self._length > LONGEST_LINE:
                self.fault = f"a line of more than {LONGEST_LINE} octets"
        return lines


def _plain(octets: bytes) -> bytes:
    return octets


def _zstd() -> Callable[[bytes], bytes]:
    return zstandard.ZstdDecompressor().decompressobj(read_across_frames=True).decompress


class _Reading:
    """A segment that is open for reading."""

    __slots__ = ("_fd", "path", "stream")

    def __init__(self, path: str) -> None:
        self.path = path
        self.stream = LineStream()
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def lines(self) -> Iterator[bytes]:
        """What has come since the last time, up to the present end of the file."""
        while not self.stream.fault and (chunk := os.read(self._fd, _CHUNK)):
            yield from self.stream.feed(chunk)

    @property
    def over(self) -> bool:
        """Nobody will write to it any more: it is finished, or was removed."""
        status = os.fstat(self._fd)
        return is_finished(status.st_mode) or status.st_nlink == 0

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._fd)


class LogReader:
    """The lines of a log directory, or of a single segment, each given once."""

    def __init__(self, place: str, *, since: float | None = None, complain: Complain = lambda path, fault: None) -> None:
        """
        since: epoch seconds; segments that were finished before then may be passed over (lines are not looked at).
        complain: called once for each segment that cannot be read to its end; the others are read all the same.
        """
        self._place = place
        self._since = since
        self._complain = complain
        self._open: dict[str, _Reading] = {}
        self._read: set[str] = set()

    def lines(self) -> Iterator[bytes]:
        """Each whole line that was not given before."""
        paths = self._paths()
        self._read &= set(paths)
        gone = self._open.keys() - set(paths)
        for path in (*sorted(gone), *paths):
            if path not in self._read:
                yield from self._new_lines(path)

    def close(self) -> None:
        for reading in self._open.values():
            reading.close()
        self._open.clear()

    def _paths(self) -> list[str]:
        try:
            names = os.listdir(self._place)
        except NotADirectoryError:
            return [self._place]
        except FileNotFoundError:
            return []  # it may come, or come back
        chosen = _since([name for name in names if opened_at(name) is not None], self._since)
        return [os.path.join(self._place, name) for name in chosen]

    def _new_lines(self, path: str) -> Iterator[bytes]:
        try:
            reading = self._open.get(path) or _Reading(path)
        except FileNotFoundError:
            return  # removed since we looked
        except OSError as fault:
            self._read.add(path)
            self._complain(path, fault.strerror or str(fault))
            return
        self._open[path] = reading
        try:
            over = reading.over  # asked first: whatever was written before it was sealed is then read below
            yield from reading.lines()
            broken = reading.stream.fault
        except OSError as fault:
            over, broken = True, fault.strerror or str(fault)
        if over and not broken and reading.stream.mid_line:
            broken = "it ends in the middle of a line"
        if over or broken:
            reading.close()
            del self._open[path]
            self._read.add(path)
            if broken:
                self._complain(path, broken)


def _since(names: list[str], since: float | None) -> list[str]:
    """
    In order; without those whose successor of the same suffix was opened before `since`: they were finished before.

    There is no such shortcut for the other end: after a disk was full, old records stand in young segments.
    """
    ordered = sorted(names)
    if since is None:
        return ordered
    bound = int((since - _CLOCK_STEP) * 1e9)
    chosen: list[str] = []
    successors: dict[str, int] = {}
    for name in reversed(ordered):
        if successors.get(suffix_of(name), bound) >= bound:
            chosen.append(name)
        successors[suffix_of(name)] = opened_at(name) or 0
    return chosen[::-1]


class Answer(Struct, frozen=True, gc=False):
    """`response` of a record, as far as a person wants to see it."""

    code: int = 0
    enhanced_code: dict[str, int] | None = None
    content: str = ""
    command: str | None = None

    @property
    def single_line(self) -> str:
        """`CODE [C.S.D ]text`."""
        code = self.enhanced_code
        lead = f"{code.get('class', 0)}.{code.get('subject', 0)}.{code.get('detail', 0)} " if code else ""
        return f"{self.code} {lead}{self.content}".rstrip()


class Meta(Struct, frozen=True, gc=False):
    """What a report's metadata say of the message that it is about; of any kind, since metadata are."""

    original_id: object = None


class Entry(Struct, frozen=True):
    """What is looked at in a record; other fields, also unknown ones, are passed over."""

    type: str
    id: str = ""
    sender: str = ""
    recipient: str | list[str] = ""
    queue: str = ""
    site: str = ""
    response: Answer = Answer()
    timestamp: int = 0
    event_time: str = ""
    bounce_classification: str = ""
    meta: Meta = Meta()

    @property
    def recipients(self) -> list[str]:
        """All of them, whichever way the record writes them."""
        return [self.recipient] if isinstance(self.recipient, str) else self.recipient


_decode_entry = msgspec.json.Decoder(Entry).decode


def read_entry(line: bytes) -> Entry | None:
    """The record on a line; None if there is none."""
    try:
        return _decode_entry(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def follow(show: Callable[[], None], clock: IReactorTime) -> tuple[LoopingCall, "Deferred[LoopingCall]"]:
    """Call `show` now and then; the Deferred fires after the loop's `stop`, and fails with what `show` raised."""
    loop = LoopingCall(show)
    loop.clock = clock
    return loop, loop.start(POLL)
