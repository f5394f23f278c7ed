"""
What a load found out: how many messages were taken, with which replies, how fast.  Pure but for the lines of `--ids`.

Latency is from the moment a message's MAIL command was sent to the reply to its final dot, in seconds.
"""

from array import array
from collections import Counter
from typing import IO, Any

import msgspec
from msgspec import Struct

from kumotwist.cli.traffic_mail import Letter


class AcceptedLine(Struct, kw_only=True):
    """A line of `--ids`.  attempts: above 1 where an earlier transmission ended without a reply, so it may be there twice."""

    id: str
    recipient: str
    reply: str
    attempts: int
    time: float


class Percentiles(Struct, frozen=True):
    """Seconds within which that share of the messages was taken."""

    p50: float
    p90: float
    p99: float
    max: float


def percentiles(latencies: "array[float]") -> Percentiles | None:
    """None where nothing was measured."""
    if not latencies:
        return None
    ordered = sorted(latencies)
    last = len(ordered) - 1
    return Percentiles(*(ordered[round(last * share)] for share in (0.5, 0.9, 0.99, 1.0)))


class Results:
    """
    The books of a run.

    sent: messages of which the transmission began.  accepted: answered 2xx.  refused: answered otherwise.
    lost: the connection ended before the answer, and they were not sent again.  resent: transmissions after the first.
    replies: by code.  faults: why connections ended or could not be made, with how often.
    """

    def __init__(self, lines: IO[bytes] | None = None) -> None:
        self.accepted = 0
        self.refused = 0
        self.lost = 0
        self.resent = 0
        self.unsent = 0
        self.octets = 0
        self.connections = 0
        self.replies: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.latencies = array("d")
        self._lines = lines
        self._waiting: list[bytes] = []
        self._encode = msgspec.json.Encoder().encode

    def taken(self, letter: Letter, reply: bytes, now: float) -> None:
        """The message is the server's."""
        self.accepted += 1
        self.octets += len(letter.content) - 3
        self.latencies.append(now - letter.began)
        self.replies[reply[:3].decode("ascii", "replace")] += 1
        if self._lines is not None:
            line = AcceptedLine(
                id=letter.id.decode(),
                recipient=letter.recipient.decode(),
                reply=reply.decode("utf-8", "replace"),
                attempts=letter.attempts,
                time=now,
            )
            self._waiting.append(self._encode(line))

    def not_taken(self, reply: bytes) -> None:
        """The server would not have the message."""
        self.refused += 1
        self.replies[reply[:3].decode("ascii", "replace")] += 1

    def flush(self) -> None:
        """Write the lines of `--ids` that have gathered."""
        if self._lines is not None and self._waiting:
            self._lines.write(b"\n".join(self._waiting) + b"\n")
            self._lines.flush()
            self._waiting.clear()

    @property
    def all_taken(self) -> bool:
        return self.accepted > 0 and not (self.refused or self.lost or self.unsent)

    def as_json(self, elapsed: float) -> dict[str, Any]:
        """elapsed: seconds of the run."""
        return {
            "accepted": self.accepted,
            "refused": self.refused,
            "lost": self.lost,
            "unsent": self.unsent,
            "resent": self.resent,
            "octets": self.octets,
            "connections": self.connections,
            "seconds": round(elapsed, 6),
            "rate": round(self.accepted / elapsed, 3) if elapsed > 0 else 0.0,
            "latency": percentiles(self.latencies),
            "replies": dict(sorted(self.replies.items())),
            "faults": dict(self.faults),
        }
