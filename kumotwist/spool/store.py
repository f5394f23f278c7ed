"""
What a kind of spool must do.  All calls block and are made from the spool's own threads, never from the reactor's.

`rocks` and `directory` are the kinds; one contract test runs on both.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from kumotwist.spool.change import Change


class SpoolUnusable(Exception):
    """The spool cannot be opened, for the operator to mend; the argument names the path and the remedy."""


class Store(Protocol):
    """A durable map of messages, and the journal of records beside it."""

    def write(self, changes: Sequence[Change], first_sequence: int) -> None:
        """
        Make all of the changes durable, in order; on return they survive a loss of power (if the spool flushes).

        Records get numbers from first_sequence on.  Raises OSError (or what the store's library raises): then some of the
        changes may be there and some not, each whole; writing the same changes again is harmless.
        """

    def load(self, message_ids: Sequence[str], contents: bool) -> list[tuple[bytes, bytes | None] | None]:
        """(envelope, content or None) of each message; None where it is not there."""

    def envelopes(self) -> Iterator[tuple[str, bytes]]:
        """(message id, envelope) of every message in the store at the time of the call, oldest first."""

    def shelved(self, prefix: str) -> list[tuple[str, bytes]]:
        """(key, value) of everything on the shelf whose key begins so, by key."""

    def records(self, after: int) -> Iterator[tuple[int, bytes]]:
        """(number, line) of the journal's records with numbers above `after`, in order."""

    def last_sequence(self) -> int:
        """The number of the journal's newest record; 0 if it is empty."""

    def forget_records(self, upto: int) -> None:
        """Drop the records numbered up to and including this one: the log's files have them.  Need not be durable."""

    def close(self) -> None: ...


@runtime_checkable
class Compacts(Protocol):
    """A store that keeps the room of what has gone until it is compacted."""

    def compact(self) -> None: ...


def record_lines(changes: Iterable[Change]) -> Iterator[bytes]:
    """The lines of all changes, in the order in which they are numbered."""
    for change in changes:
        for _, line in change.records:
            yield line
