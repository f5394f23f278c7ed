"""
One segment of the mail log: its name, the file while it is written, and the file operations underneath.

A segment holds whole lines only, plain or as one zstd frame.  While it is written its bytes always end a block behind a
newline, so that a reader of the live file sees whole lines.  It is finished when its write permission is gone.
"""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from datetime import UTC, datetime

import zstandard

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878 section 3.1.1
PLAIN = -1  # in place of a compression level: not compressed
LAST_BLOCK = b"\x01\x00\x00"  # RFC 8878 section 3.1.1.2: an empty raw block that ends its frame

_STAMP = len("YYYYMMDD-HHMMSS.fffffffff")
_WRITE_BITS = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def segment_name(nanoseconds: int, suffix: str = "") -> str:
    """The name of a segment that was opened so many nanoseconds after the epoch."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%d-%H%M%S}.{rest:09d}{suffix}"


def opened_at(name: str) -> int | None:
    """When the segment of this name was opened, nanoseconds since the epoch; None: it is no segment's name."""
    stamp = name[:_STAMP]
    if len(stamp) < _STAMP or stamp[15] != "." or not (stamp[16:].isascii() and stamp[16:].isdigit()):
        return None
    try:
        moment = datetime.strptime(stamp[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * 1_000_000_000 + int(stamp[16:])


def suffix_of(name: str) -> str:
    """What stands behind the time in a segment's name."""
    return name[_STAMP:]


def is_finished(mode: int) -> bool:
    """Whether a file of this mode is a segment that nobody writes any more."""
    return not mode & _WRITE_BITS


class Disk:
    """
    The file operations of the mail log, each of which a test can make fail.  All raise OSError.

    File descriptors are exclusive: `create` and `reopen` take a lock on the file, so that one process never repairs
    what another one still writes.
    """

    def names(self, directory: str) -> list[str]:
        """The names in a directory, sorted; none where there is no such directory."""
        try:
            return sorted(os.listdir(directory))
        except FileNotFoundError:
            return []

    def is_live(self, path: str) -> bool:
        """Whether this is a file that was not marked as finished."""
        mode = os.stat(path).st_mode
        return stat.S_ISREG(mode) and not is_finished(mode)

    def make_directory(self, directory: str) -> None:
        os.makedirs(directory, mode=0o755, exist_ok=True)

    def create(self, path: str) -> int:
        """A new file for writing; FileExistsError where there is one."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            os.fchmod(fd, 0o640)  # a daemon's umask would hide it from the group that reads logs
            _lock(fd)
        except OSError:
            os.close(fd)
            raise
        return fd

    def reopen(self, path: str) -> int:
        """An existing file for repair; BlockingIOError where a living process writes it."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _lock(fd)
        except OSError:
            os.close(fd)
            raise
        return fd

    def look(self, path: str) -> int:
        """An existing file for reading only."""
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, fd: int, size: int) -> bytes:
        return os.read(fd, size)

    def write(self, fd: int, octets: bytes | memoryview) -> int:
        return os.write(fd, octets)

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file off at `size` and stand there."""
        os.ftruncate(fd, size)
        os.lseek(fd, size, os.SEEK_SET)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def sync_directory(self, directory: str) -> None:
        """Make the names in a directory durable."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def still_named(self, fd: int) -> bool:
        """False when somebody removed the open file."""
        return os.fstat(fd).st_nlink > 0

    def seal(self, fd: int) -> None:
        """Take the write permission away: the segment is finished."""
        os.fchmod(fd, stat.S_IMODE(os.fstat(fd).st_mode) & ~_WRITE_BITS)

    def close(self, fd: int) -> None:
        os.close(fd)

    def remove(self, path: str) -> None:
        os.unlink(path)


def _lock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        # Some network file systems have no locks; there the lock is only a second belt, so do without.
        if fault.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise


def write_all(disk: Disk, fd: int, octets: bytes) -> None:
    """Write every octet, however little the system takes at a time."""
    written = disk.write(fd, octets)
    while written < len(octets):
        written += disk.write(fd, memoryview(octets)[written:])


class Segment:
    """
    The segment that is being written.

    size: uncompressed octets so far.  durable: the length of the file that is known to be on disk, always a block's end
    behind a newline.  opened: epoch seconds.  After any OSError only `abandon` may be called.
    """

    __slots__ = ("_compress", "_directory", "_disk", "_fd", "_length", "_named", "durable", "opened", "path", "size")

    def __init__(self, disk: Disk, directory: str, name: str, *, level: int, opened: float) -> None:
        """level: of zstd, 0 being zstd's own default; PLAIN: not compressed.  FileExistsError: the name is taken."""
        self.path = os.path.join(directory, name)
        self.opened = opened
        self.size = 0
        self.durable = 0
        self._length = 0
        self._disk = disk
        self._directory = directory
        self._named = False  # whether the directory's entry is known to be on disk
        self._compress = None if level == PLAIN else zstandard.ZstdCompressor(level=level).compressobj()
        try:
            self._fd = disk.create(self.path)
        except FileNotFoundError:
            disk.make_directory(directory)
            self._fd = disk.create(self.path)

    def write(self, lines: bytes) -> None:
        """Append whole lines, each with its newline, and make them visible to readers."""
        octets = lines
        if self._compress is not None:
            octets = self._compress.compress(lines) + self._compress.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        self._put(octets)
        self.size += len(lines)

    def sync(self) -> None:
        """Wait until all that was written is on disk.  FileNotFoundError: the file was removed behind our back."""
        if not self._named:
            self._disk.sync_directory(self._directory)
            self._named = True
        self._disk.sync(self._fd)
        if not self._disk.still_named(self._fd):
            raise FileNotFoundError(errno.ENOENT, "the segment was removed while it was written", self.path)
        self.durable = self._length

    def end(self) -> None:
        """Complete the zstd frame and wait until everything is on disk."""
        if self._compress is not None:
            self._put(self._compress.flush())
        self.sync()

    def seal(self) -> None:
        """Mark the segment as finished and close it; only after `end`."""
        self._disk.seal(self._fd)
        self._disk.close(self._fd)

    def abandon(self) -> None:
        """Close the file as it is: what lies behind `durable` is not to be trusted."""
        with suppress(OSError):
            self._disk.close(self._fd)

    def _put(self, octets: bytes) -> None:
        write_all(self._disk, self._fd, octets)
        self._length += len(octets)
