"""
Which messages keep their envelope and content in memory while they wait.  All of them are in the spool as well.

A fresh message usually leaves within milliseconds, so reading it back would be waste; but a site that stands still must
not fill the memory.  Beyond the limit messages wait without their content, and it is read back when their turn comes.
What a queue or a path would rather keep, or let go of earlier, it says as `Shrinking`; the limit holds all the same.
"""

from enum import Enum

from kumotwist.config.queues import Shrinking
from kumotwist.mail.message import Message

OVERHEAD = 1500  # octets that envelope and objects take beside the content, roughly
LOW, NONE = 0.8, 0.95  # shares of the limit from which on memory counts as low, and as used up


class Memory(Enum):
    """How much there is for messages that wait."""

    ENOUGH = "enough"
    LOW = "low"
    NONE = "none"


class Residence:
    """Counts what waiting messages hold in memory, and makes room by letting go of what the spool has."""

    __slots__ = ("_limit", "held", "server")

    def __init__(self, limit: int) -> None:
        """limit: octets."""
        self._limit = limit
        self.held = 0
        self.server = Memory.ENOUGH  # how much the server has as a whole; where that is less, it counts

    def bound(self, limit: int) -> None:
        """Another limit; what is held beyond it leaves when its turn comes."""
        self._limit = limit

    @property
    def memory(self) -> Memory:
        if self.server is not Memory.ENOUGH:
            own = self._own()
            return own if own is Memory.NONE else self.server
        return self._own()

    def _own(self) -> Memory:
        if self.held < self._limit * LOW:
            return Memory.ENOUGH
        return Memory.LOW if self.held < self._limit * NONE else Memory.NONE

    def lodge(self, message: Message) -> None:
        """A message that is whole in memory begins to wait: it stays whole if there is room."""
        needed = message.size + OVERHEAD
        if self.held + needed > self._limit or self.server is Memory.NONE:
            message.shrink()
        else:
            self.held += needed
            message.resident = needed

    def leave(self, message: Message) -> None:
        """The message has ended, or waits for long from now on: what it held is free."""
        self.held -= message.resident
        message.resident = 0

    def reduce(self, message: Message, to: Shrinking) -> None:
        """Let go of as much of a message that waits as that says; of more, where there is no room for the rest."""
        self.leave(message)
        if to is Shrinking.NO_SHRINK and message.content is not None and message.envelope_loaded:
            self.lodge(message)
        elif to is not Shrinking.SHRINK_DATA_AND_META and message.envelope_loaded and self.held + OVERHEAD <= self._limit:
            message.content = None
            self.held += OVERHEAD
            message.resident = OVERHEAD
        else:
            message.shrink()
