"""Doubles for the mail log's tests: a journal in memory, a disk that fails or dies where it is told, and what is in the files."""

import errno
import os
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from kumotwist.config.server import LogSettings
from kumotwist.logs.files import Committed, LogFiles
from kumotwist.logs.read import LineStream
from kumotwist.logs.segment import Disk

OPERATIONS = (
    *("names", "is_live", "make_directory", "create", "reopen", "look", "read", "write", "truncate", "sync"),
    *("sync_directory", "still_named", "seal", "close", "remove"),
)


class Killed(BaseException):
    """The process dies here: nothing of ours runs any more."""


class Journal:
    """Committed records by number, until they are forgotten."""

    def __init__(self) -> None:
        self.kept: dict[int, bytes] = {}
        self.kinds: dict[int, str] = {}
        self.all: list[bytes] = []
        self.asked: list[int] = []

    def commit(self, number: int, kind: str = "Delivery", text: str = "") -> Committed:
        line = record(number, kind, text)
        self.kept[number] = line
        self.kinds[number] = kind
        self.all.append(line)
        return number, kind, line

    def forget(self, number: int) -> None:
        self.kept = {one: line for one, line in self.kept.items() if one > number}

    def after(self, number: int) -> Iterator[tuple[int, bytes]]:
        self.asked.append(number)
        return iter([(one, line) for one, line in sorted(self.kept.items()) if one > number])


def record(number: int, kind: str = "Delivery", text: str = "") -> bytes:
    return b'{"type":"%s","id":"%d","timestamp":%d,"text":"%s"}' % (kind.encode(), number, 1000 + number // 10, text.encode())


class FaultyDisk(Disk):
    """
    The real disk, counted.  Before each operation `before(name, path or fd)` is asked: it may raise.

    It remembers what would survive a power failure: `lose_power` cuts every file to what was synced.
    """

    def __init__(self, before: Callable[[str], None] = lambda name: None, earlier: "FaultyDisk | None" = None) -> None:
        """earlier: the double of an earlier run on the same disk, which knows what is synced."""
        self.before = before
        self.calls: list[str] = []
        self.torn_writes = 0.0  # the share of a write that is on disk when the process dies in it
        self._paths: dict[int, str] = {}
        self.synced: dict[str, int] = earlier.synced if earlier else {}
        self.named: set[str] = earlier.named if earlier else set()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in OPERATIONS:
            return found

        @wraps(found)
        def counted(*arguments: Any) -> Any:
            self.calls.append(name)
            try:
                self.before(name)
            except Killed:
                if name == "write" and self.torn_writes:
                    fd, octets = arguments
                    os.write(fd, octets[: int(len(octets) * self.torn_writes)])
                raise
            except OSError:
                if name == "close":  # a close that fails has closed the file all the same
                    found(*arguments)
                raise
            return found(*arguments)

        return counted

    def create(self, path: str) -> int:
        fd = super().create(path)
        self._paths[fd] = path
        self.synced[path] = 0
        return fd

    def reopen(self, path: str) -> int:
        fd = super().reopen(path)
        self._paths[fd] = path
        return fd

    def look(self, path: str) -> int:
        fd = super().look(path)
        self._paths[fd] = path
        return fd

    def truncate(self, fd: int, size: int) -> None:
        super().truncate(fd, size)
        path = self._paths[fd]
        self.synced[path] = min(size, self.synced.get(path, size))

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self.synced[self._paths[fd]] = os.fstat(fd).st_size

    def sync_directory(self, directory: str) -> None:
        super().sync_directory(directory)
        self.named.update(os.path.join(directory, name) for name in os.listdir(directory))

    def close(self, fd: int) -> None:
        super().close(fd)
        self._paths.pop(fd, None)

    def die(self) -> None:
        """What the kernel does for a killed process: close its files."""
        for fd in list(self._paths):
            os.close(fd)
        self._paths.clear()

    def lose_power(self, kept: float, filler: bytes = b"") -> None:
        """
        Only what was synced survives for sure; of the rest, the share `kept`.  filler: what stands in place of what is lost.

        A file whose name was never synced may be gone.
        """
        self.die()
        for path, synced in self.synced.items():
            if not os.path.exists(path):
                continue
            if path not in self.named and not kept:
                os.unlink(path)
                continue
            size = os.path.getsize(path)
            mode = os.stat(path).st_mode
            os.chmod(path, 0o640)
            end = synced + int((size - synced) * kept) if size > synced else size
            os.truncate(path, end)
            with open(path, "ab") as file:
                file.write(filler * (size - end))
            os.chmod(path, mode)


def failing(*names: str, code: int = errno.ENOSPC) -> Callable[[str], None]:
    """For `FaultyDisk.before`: these operations fail, all others work."""

    def before(name: str) -> None:
        if name in names:
            raise OSError(code, os.strerror(code))

    return before


def dying_at(count: int, disk: "list[FaultyDisk]") -> Callable[[str], None]:
    """For `FaultyDisk.before`: the process dies before the operation of this number, counted from 0."""

    def before(name: str) -> None:
        if len(disk[0].calls) > count:
            raise Killed(name)

    return before


def lines_in(directory: str) -> list[bytes]:
    """Every whole line of every segment, in the order of names."""
    return [line for name in segments_in(directory) for line in lines_of(os.path.join(directory, name))]


def lines_of(path: str) -> list[bytes]:
    with open(path, "rb") as file:
        return list(LineStream().feed(file.read()))


def segments_in(directory: str) -> list[str]:
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []


class Reports:
    """What an operator was told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str | None]] = []

    def __call__(self, where: str, fault: str | None) -> None:
        self.said.append((where, fault))

    @property
    def kinds(self) -> list[str]:
        return ["works" if fault is None else "fails" for _, fault in self.said]


class LogFilesForTest:
    """LogFiles with a journal, a clock that is set by hand, and a faulty disk."""

    def __init__(self, settings: LogSettings, journal: Journal | None = None, disk: FaultyDisk | None = None) -> None:
        self.now = 1000.0
        self.journal = journal or Journal()
        self.disk = disk or FaultyDisk()
        self.reports = Reports()
        self.files = LogFiles(settings, lambda: self.now, self.journal.after, self.reports, self.disk)
        self.number = max(self.journal.kept, default=0)

    def start(self) -> "LogFilesForTest":
        self.files.start(self.journal.after(0))
        self.files.tend()
        return self

    def write(self, count: int = 1, kind: str = "Delivery", text: str = "") -> None:
        batch = []
        for _ in range(count):
            self.number += 1
            batch.append(self.journal.commit(self.number, kind, text))
        self.files.write(batch)

    def tend(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.files.tend()
        self.journal.forget(self.files.durable)
