"""Which records somebody wants to see: a decision about one record."""

from datetime import datetime
from fnmatch import fnmatchcase

from msgspec import Struct

from kumotwist.logs.read import Entry


class Selection(Struct, frozen=True, kw_only=True):
    """
    All that is given must fit; empty is not given.

    Texts are shell patterns (`*`, `?`, `[a-z]`), and what is equal fits in any case.

    types: names of record types.  recipient, sender: an address, or a domain where there is no `@`; case is ignored; `<>` is
    the null sender.  queue, site: names.  id: a message's, or of what a report is about.  since, until: epoch seconds, the event at
    `since` is in, the one at `until` is not.
    """

    types: frozenset[str] = frozenset()
    recipient: str = ""
    sender: str = ""
    queue: str = ""
    site: str = ""
    id: str = ""
    since: float | None = None
    until: float | None = None

    def wants(self, entry: Entry) -> bool:
        """Whether a record fits."""
        return (
            (not self.types or entry.type in self.types)
            and (self.since is None or event_seconds(entry) >= self.since)
            and (self.until is None or event_seconds(entry) < self.until)
            and (not self.id or _fits(entry.id, self.id) or self._is_about(entry))
            and (not self.sender or _address_fits(entry.sender, self.sender))
            and (not self.recipient or any(_address_fits(one, self.recipient) for one in entry.recipients))
            and (not self.queue or _fits(entry.queue, self.queue))
            and (not self.site or _fits(entry.site, self.site))
        )

    def _is_about(self, entry: Entry) -> bool:
        """Whether a report that came in later, a message of its own, is about the message with that id."""
        about = entry.meta.original_id
        return isinstance(about, str) and _fits(about, self.id)


def event_seconds(entry: Entry) -> float:
    """When it happened, epoch seconds; the whole second only, where the exact time cannot be read."""
    try:
        moment = datetime.fromisoformat(entry.event_time)
    except ValueError:
        return float(entry.timestamp)
    return moment.timestamp() if moment.tzinfo else float(entry.timestamp)


def _fits(text: str, pattern: str) -> bool:
    # Names of ready queues hold ?, ( and | themselves, so equality comes first.
    return text == pattern or fnmatchcase(text, pattern)


def _address_fits(address: str, pattern: str) -> bool:
    address, pattern = address.lower(), pattern.lower()
    if pattern == "<>":
        return not address
    return _fits(address, pattern) if "@" in pattern else _fits(address.rpartition("@")[2], pattern)
