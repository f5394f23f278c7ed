"""What takes records: the one thing that each kind of hook does in its own way."""

from collections.abc import Sequence
from typing import Protocol

from kumotwist.publishing.source import Record


class NotTaken(Exception):
    """The target did not take the records now; the same ones are sent again.  The argument says why, without secrets."""


class PartlyTaken(NotTaken):
    """The first `taken` records of a batch were taken, the others were not."""

    def __init__(self, taken: int, why: str) -> None:
        super().__init__(why)
        self.taken = taken


class NeverTaken(Exception):
    """
    The target will not take the records however often they are sent.  The argument says why, without secrets.

    Several are then sent one by one, and one alone is given up.
    """


class Target(Protocol):
    """Where a hook sends to."""

    async def send(self, records: Sequence[Record]) -> None:
        """Returns once all are the target's.  Raises NotTaken and NeverTaken."""

    async def close(self) -> None:
        """Let go of connections; nothing is sent any more."""
