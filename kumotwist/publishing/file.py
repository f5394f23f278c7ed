"""`kind: file`: a record a line, appended and synced before the hook goes on."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from kumotwist.config.log_hooks import FileHook
from kumotwist.publishing.source import Record
from kumotwist.publishing.target import NotTaken


class RecordFile:
    """A Target.  The file is opened for each batch, so one that was moved away (to rotate it) is made anew."""

    def __init__(self, hook: FileHook, in_thread: "Callable[..., Deferred[Any]]") -> None:
        self._path = hook.path
        self._in_thread = in_thread

    async def send(self, records: Sequence[Record]) -> None:
        try:
            await self._in_thread(append, self._path, b"".join(record.marked + b"\n" for record in records))
        except OSError as fault:
            raise NotTaken(f"{self._path}: {fault.strerror or fault}") from None

    async def close(self) -> None:
        """Nothing is kept open."""


def append(path: str, lines: bytes) -> None:
    """All of the lines at the end of the file, on disk; or none of them.  Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        before = os.fstat(fd).st_size
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(fd, rest) :]
            os.fdatasync(fd)
        except OSError:
            os.ftruncate(fd, before)
            raise
    finally:
        os.close(fd)
