"""Two disks: the spool's, as a Store, and the log's, as files.  They are slow, full, broken, and forget what was not synced."""

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random

from kumotwist.logs.read import LineStream
from kumotwist.logs.segment import Disk, is_finished
from kumotwist.spool.change import Change
from kumotwist.spool.space import Room
from tests.simulation.ledger import Ledger
from tests.simulation.timeline import Strands

GIB = 1 << 30


class Trouble:
    """What is wrong with a disk just now.  slow: seconds that a sync takes at most.  full: less than the minimum is left."""

    def __init__(self) -> None:
        self.failing: int | None = None  # an errno
        self.slow = 0.005
        self.full = False

    def end(self) -> None:
        self.failing, self.slow, self.full = None, 0.005, False

    def meet(self) -> None:
        """Raises OSError while there is any."""
        if self.failing is not None:
            raise OSError(self.failing, os.strerror(self.failing))

    def measure(self, path: str) -> tuple[Room, Room]:
        free = GIB // 100 if self.full else GIB // 2
        return Room(free, GIB), Room(free, GIB)


class Kept:
    """What the spool's disk has.  journal: lines by number.  forgotten: up to this number, but not synced."""

    def __init__(self) -> None:
        self.messages: dict[str, tuple[bytes, bytes]] = {}
        self.journal: dict[int, bytes] = {}
        self.shelf: dict[str, bytes] = {}
        self.forgotten = 0


class SimulatedStore:
    """A Store over `Kept`, for one process.  A write counts once its sync has ended; a crash in it may go either way."""

    def __init__(self, kept: Kept, ledger: Ledger, strands: Strands, chance: Random, trouble: Trouble) -> None:
        self._kept = kept
        self._ledger = ledger
        self._strands = strands
        self._chance = chance
        self._trouble = trouble
        self._syncing: tuple[Sequence[Change], int] | None = None
        self.at_sync: Callable[[], object] = lambda: None

    def write(self, changes: Sequence[Change], first_sequence: int) -> None:
        self._trouble.meet()
        self._syncing = (changes, first_sequence)
        self.at_sync()
        self._strands.sleep(self._chance.random() * self._trouble.slow)
        if self._trouble.failing is not None:
            self._syncing = None
            self._trouble.meet()
        self._apply()
        self.at_sync()

    def _apply(self) -> None:
        assert self._syncing is not None
        (changes, sequence), self._syncing = self._syncing, None
        kept = self._kept
        for change in changes:
            for message_id, envelope, content in change.puts:
                known = kept.messages.get(message_id)
                kept.messages[message_id] = (envelope, known[1] if content is None and known else content or b"")
            for message_id in change.removals:
                kept.messages.pop(message_id, None)
            for _, line in change.records:
                assert sequence not in kept.journal or sequence <= kept.forgotten, "a number was given twice"
                kept.journal[sequence] = line
                sequence += 1
            for key, value in change.shelved:
                if value is None:
                    kept.shelf.pop(key, None)
                else:
                    kept.shelf[key] = value
            self._ledger.write(change)

    def crash(self, power: bool) -> None:
        """The process is gone, and with `power` all that was not synced."""
        if self._syncing is not None and self._chance.random() < 0.5:
            self._apply()
        kept = self._kept
        if not power or self._chance.random() < 0.5:
            kept.journal = {number: line for number, line in kept.journal.items() if number > kept.forgotten}
        kept.forgotten = 0

    def load(self, message_ids: Sequence[str], contents: bool) -> list[tuple[bytes, bytes | None] | None]:
        self._strands.sleep(self._chance.random() * 0.002)
        self._trouble.meet()
        found = [self._kept.messages.get(message_id) for message_id in message_ids]
        return [None if one is None else (one[0], one[1] if contents else None) for one in found]

    def envelopes(self) -> Iterator[tuple[str, bytes]]:
        names = sorted(self._kept.messages, key=lambda name: name[12:16] + name[8:12] + name[:8])
        return iter([(name, self._kept.messages[name][0]) for name in names])

    def shelved(self, prefix: str) -> list[tuple[str, bytes]]:
        return sorted((key, value) for key, value in self._kept.shelf.items() if key.startswith(prefix))

    def records(self, after: int) -> Iterator[tuple[int, bytes]]:
        after = max(after, self._kept.forgotten)
        return iter(sorted((number, line) for number, line in self._kept.journal.items() if number > after))

    def last_sequence(self) -> int:
        return max((number for number in self._kept.journal if number > self._kept.forgotten), default=0)

    def forget_records(self, upto: int) -> None:
        self._trouble.meet()
        self._kept.forgotten = max(self._kept.forgotten, upto)

    def close(self) -> None:
        kept = self._kept
        kept.journal = {number: line for number, line in kept.journal.items() if number > kept.forgotten}
        kept.forgotten = 0


class File:
    """durable: so much of it is on disk for good.  named: and its name, too."""

    def __init__(self) -> None:
        self.octets = bytearray()
        self.durable = 0
        self.named = False
        self.mode = 0o640
        self.lock: object = None


class Files:
    """What the log's disk has, by path."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}

    def crash(self, power: bool, chance: Random) -> None:
        """What was not synced is there in part, or as zeros, or not at all."""
        for path, file in list(self.files.items()):
            file.lock = None
            if not power:
                continue
            if not file.named and chance.random() < 0.5:
                del self.files[path]
                continue
            lost = len(file.octets) - file.durable
            if lost:
                kept = file.durable + chance.randrange(lost + 1)
                zeros = chance.randrange(len(file.octets) - kept + 1) if chance.random() < 0.3 else 0
                file.octets[kept:] = bytes(zeros)
            file.durable, file.named = len(file.octets), True

    def lines(self) -> Counter[bytes]:
        """All lines of all files."""
        found: Counter[bytes] = Counter()
        for file in self.files.values():
            found.update(LineStream().feed(bytes(file.octets)))
        return found


class SimulatedDisk(Disk):
    """The log's file operations, for one process."""

    def __init__(self, files: Files, strands: Strands, chance: Random, trouble: Trouble) -> None:
        self._files = files
        self._strands = strands
        self._chance = chance
        self._trouble = trouble
        self._open: dict[int, tuple[str, File, int]] = {}
        self._next = 3

    def _meet(self) -> None:
        self._trouble.meet()

    def names(self, directory: str) -> list[str]:
        self._meet()
        return sorted(os.path.basename(path) for path in self._files.files if os.path.dirname(path) == directory)

    def is_live(self, path: str) -> bool:
        self._meet()
        return not is_finished(self._file(path).mode)

    def _file(self, path: str) -> File:
        try:
            return self._files.files[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None

    def make_directory(self, directory: str) -> None:
        self._meet()

    def create(self, path: str) -> int:
        self._meet()
        if path in self._files.files:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        file = self._files.files[path] = File()
        return self._opened(path, file, True)

    def reopen(self, path: str) -> int:
        self._meet()
        return self._opened(path, self._file(path), True)

    def look(self, path: str) -> int:
        self._meet()
        return self._opened(path, self._file(path), False)

    def _opened(self, path: str, file: File, locked: bool) -> int:
        if locked:
            if file.lock is not None:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
            file.lock = self
        self._next += 1
        self._open[self._next] = (path, file, 0)
        return self._next

    def read(self, fd: int, size: int) -> bytes:
        self._meet()
        path, file, at = self._open[fd]
        octets = bytes(file.octets[at : at + size])
        self._open[fd] = (path, file, at + len(octets))
        return octets

    def write(self, fd: int, octets: bytes | memoryview) -> int:
        self._meet()
        path, file, at = self._open[fd]
        count = len(octets)
        if count > 1 and self._chance.random() < 0.05:
            count = self._chance.randrange(1, count)
        at = len(file.octets) if at == 0 else at
        file.octets[at : at + count] = bytes(octets[:count])
        self._open[fd] = (path, file, at + count)
        return count

    def truncate(self, fd: int, size: int) -> None:
        self._meet()
        path, file, _ = self._open[fd]
        del file.octets[size:]
        file.durable = min(file.durable, size)
        self._open[fd] = (path, file, size)

    def sync(self, fd: int) -> None:
        self._meet()
        _, file, _ = self._open[fd]
        self._strands.sleep(self._chance.random() * self._trouble.slow)
        self._meet()
        file.durable = len(file.octets)

    def sync_directory(self, directory: str) -> None:
        self._meet()
        for path, file in self._files.files.items():
            if os.path.dirname(path) == directory:
                file.named = True

    def still_named(self, fd: int) -> bool:
        path, file, _ = self._open[fd]
        return self._files.files.get(path) is file

    def seal(self, fd: int) -> None:
        self._meet()
        self._open[fd][1].mode = 0o440

    def close(self, fd: int) -> None:
        file = self._open.pop(fd)[1]
        if file.lock is self and not any(other[1] is file for other in self._open.values()):
            file.lock = None

    def remove(self, path: str) -> None:
        self._meet()
        self._file(path)
        del self._files.files[path]
