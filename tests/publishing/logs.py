"""A mail log for hooks to read, written as the server writes it, and records to put there."""

import json
from typing import Any

from kumotwist.logs.segment import PLAIN, Disk, Segment, segment_name


def record(n: int, kind: str = "Delivery", **more: Any) -> bytes:
    """A record with a number of its own."""
    return json.dumps({"type": kind, "id": f"{n:032x}", "n": n, **more}, separators=(",", ":")).encode()


class WrittenLog:
    """Segments of one directory, written line by line."""

    def __init__(self, directory: str, *, level: int = PLAIN, suffix: str = "") -> None:
        self.directory = directory
        self._level = level
        self._suffix = suffix
        self._opened = 1_700_000_000_000_000_000
        self._segment: Segment | None = None

    def write(self, *lines: bytes) -> None:
        if self._segment is None:
            self._opened += 1_000_000_000
            self._segment = Segment(
                Disk(), self.directory, segment_name(self._opened, self._suffix), level=self._level, opened=self._opened / 1e9
            )
        self._segment.write(b"".join(line + b"\n" for line in lines))

    def finish(self) -> None:
        assert self._segment is not None
        self._segment.end()
        self._segment.seal()
        self._segment = None

    def abandon(self) -> None:
        """As a crash leaves it: not marked as finished."""
        assert self._segment is not None
        self._segment.abandon()
        self._segment = None
