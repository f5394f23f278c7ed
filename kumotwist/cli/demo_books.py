"""
The demo's books: what the mail log says about each message, and whether it fits what the load and the sites say.

Pure: lines of the log in, counts out.
"""

from collections import Counter, deque
from collections.abc import Iterable

import msgspec
from msgspec import Struct

FINAL = frozenset({"Delivery", "Bounce", "Expiration", "AdminBounce"})
COUNTED = ("Reception", "Delivery", "TransientFailure", "Bounce", "Expiration")


class _Line(Struct):
    """What the demo looks at in a record."""

    type: str
    id: str = ""
    recipient: str | list[str] = ""
    egress_source: str | None = None


_decode = msgspec.json.Decoder(_Line).decode


class Books:
    """
    by_site: (recipient domain, record type) → records.  by_source: egress source → delivery attempts.
    open: id → domain of each message without a final record.  faults: what must not be in a log.
    """

    def __init__(self) -> None:
        self.by_site: Counter[tuple[str, str]] = Counter()
        self.by_source: Counter[str] = Counter()
        self.open: dict[str, str] = {}
        self.faults: list[str] = []
        self._ended: set[str] = set()

    def read(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            self.note(_decode(line))

    def note(self, record: _Line) -> None:
        recipient = record.recipient if isinstance(record.recipient, str) else record.recipient[0]
        domain = recipient.rpartition("@")[2]
        self.by_site[domain, record.type] += 1
        if record.egress_source and record.type in ("Delivery", "TransientFailure", "Bounce"):
            self.by_source[record.egress_source] += 1
        if record.type == "Reception":
            self.open[record.id] = domain
        elif record.type in FINAL:
            if record.id in self._ended:
                self.faults.append(f"message {record.id} has two final records")
            elif self.open.pop(record.id, None) is None:
                self.faults.append(f"message {record.id} has a {record.type} and no Reception before it")
            self._ended.add(record.id)
        elif record.type in ("TransientFailure", "Delayed") and record.id not in self.open:
            self.faults.append(f"message {record.id} has a {record.type} and is not in any queue")

    def total(self, record_type: str) -> int:
        return sum(number for (_, one), number in self.by_site.items() if one == record_type)

    def queued(self, domain: str) -> int:
        """Messages of a site that wait."""
        return sum(one == domain for one in self.open.values())


class Witnesses(Struct, frozen=True, kw_only=True):
    """What the others say.  accepted: 250s that the load got.  taken, refused: recipients at the sites."""

    accepted: int
    taken: int
    refused: int


def discrepancies(books: Books, witnesses: Witnesses) -> list[str]:
    """Where log, load and sites do not agree; empty when all is well."""
    found = list(books.faults[:10])
    for said, what, logged in (
        (witnesses.accepted, "accepted by the server, says the load", books.total("Reception")),
        (witnesses.taken, "accepted by the sites, say they", books.total("Delivery")),
        (witnesses.refused, "refused by the sites, say they", books.total("Bounce")),
    ):
        if said != logged:
            found.append(f"{said:,} messages {what}; the log has {logged:,}")
    ended = sum(books.total(one) for one in FINAL)
    if books.total("Reception") != ended + len(books.open):
        found.append(f"{books.total('Reception'):,} received, but {ended:,} ended and {len(books.open):,} in queues")
    return found


class Pace:
    """Messages a second over the last few seconds."""

    def __init__(self, window: float = 3.0) -> None:
        self._window = window
        self._points: deque[tuple[float, int]] = deque()

    def rate(self, now: float, count: int) -> float:
        """count: messages so far."""
        points = self._points
        points.append((now, count))
        while len(points) > 2 and points[1][0] <= now - self._window:
            points.popleft()
        elapsed = now - points[0][0]
        return (count - points[0][1]) / elapsed if elapsed > 0 else 0.0
