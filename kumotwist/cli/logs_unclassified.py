"""Responses that no rule of the bounce classifier fits, gathered from log records: what new rules are to be written for."""

import re

from msgspec import Struct

from kumotwist.bounces.classifier import UNCATEGORIZED
from kumotwist.logs.read import Entry

CLASSIFIED = frozenset({"Bounce", "TransientFailure", "Expiration", "AdminBounce", "OOB", "Feedback", "Rejection"})
_MOST_KINDS = 100_000  # of responses that are told apart; those that come beyond are counted together

# What differs from reply to reply of one kind: addresses, ids, numbers.
_VARIES = re.compile(
    r"<[^<>\s]*@[^<>\s]*>|\S+@\S+|\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b|\b(?=\w*[0-9])(?=\w*[a-zA-Z])\w{8,}\b|\b[0-9]{4,}\b"
)


class Kind(Struct):
    """Responses that differ only in what varies.  example: the first of them."""

    example: str
    count: int = 0


class Unclassified:
    """Counts them."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}
        self.others = 0  # responses of kinds that came when there were too many already

    def note(self, entry: Entry) -> None:
        """Count a record, if it is one of a response that has no class."""
        if entry.type not in CLASSIFIED or entry.bounce_classification != UNCATEGORIZED:
            return
        line = entry.response.single_line
        form = _VARIES.sub("#", line)
        kind = self._kinds.get(form)
        if kind is None:
            if len(self._kinds) >= _MOST_KINDS:
                self.others += 1
                return
            kind = self._kinds[form] = Kind(line)
        kind.count += 1

    def kinds(self) -> list[Kind]:
        """The most frequent first."""
        return sorted(self._kinds.values(), key=lambda kind: (-kind.count, kind.example))
