"""
Message ids: 32 hex digits of a version 1 UUID (RFC 9562 section 5.1), so that the time of reception is in the id.

The same form as the model's, so ids, ages and tools carry over.  One source of ids for a process: the ticks never repeat.
"""

from collections.abc import Callable

_TICKS_PER_SECOND = 10_000_000  # of 100 ns
_GREGORIAN_OFFSET = 0x01B21DD213814000  # ticks from 1582-10-15 to 1970-01-01


class MessageIds:
    """Makes ids that are unique in this process and, by the random node, among processes."""

    __slots__ = ("_last", "_seconds", "_tail")

    def __init__(self, seconds: Callable[[], float], randbits: Callable[[int], int]) -> None:
        """seconds: epoch seconds.  randbits: that many random bits, for clock sequence and node."""
        self._seconds = seconds
        self._last = 0
        node = randbits(48) | 1 << 40  # the multicast bit: not a network card's address
        self._tail = f"{0x8000 | randbits(14):04x}{node:012x}"

    def next(self) -> str:
        ticks = int(self._seconds() * _TICKS_PER_SECOND) + _GREGORIAN_OFFSET
        if ticks <= self._last:
            ticks = self._last + 1
        self._last = ticks
        return f"{ticks & 0xFFFFFFFF:08x}{ticks >> 32 & 0xFFFF:04x}{0x1000 | ticks >> 48:04x}{self._tail}"


def created(message_id: str) -> float:
    """When the message of this id was received, in epoch seconds."""
    ticks = int(message_id[13:16] + message_id[8:12] + message_id[:8], 16)
    return (ticks - _GREGORIAN_OFFSET) / _TICKS_PER_SECOND


def another_of(message_id: str, randbits: Callable[[int], int]) -> str:
    """An id of the same moment, for a message that another node has received then."""
    return f"{message_id[:16]}{0x8000 | randbits(14):04x}{randbits(48) | 1 << 40:012x}"
