"""
Which messages keep their envelope and content in memory while they wait.  All of them are in the spool as well.

A fresh message usually leaves within milliseconds, so reading it back would be waste; but a site that stands still must
not fill the memory.  Beyond the limit messages wait without their content, and it is read back when their turn comes.
What a queue or a path would rather keep, or let go of earlier, it says as `Shrinking`; the limit holds all the same.
"""

from collections.abc import Iterator
from enum import Enum

from kumotwist.config.queues import Shrinking
from kumotwist.mail.message import Message
from kumotwist.metrics.family import Family, gauge

OVERHEAD = 1500  # octets that envelope and objects take beside the content, roughly
LOW, NONE = 0.8, 0.95  # shares of the limit from which on memory counts as low, and as used up


class Memory(Enum):
    """How much there is for messages that wait."""

    ENOUGH = "enough"
    LOW = "low"
    NONE = "none"


class Residence:
    """Counts what waiting messages hold in memory, and makes room by letting go of what the spool has."""

    __slots__ = ("_limit", "contents", "envelopes", "held", "server")

    def __init__(self, limit: int) -> None:
        """limit: octets."""
        self._limit = limit
        self.held = 0
        self.contents = self.envelopes = 0  # messages with their content in memory; with their envelope
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
        if self.server is Memory.NONE:
            message.shrink()
        else:
            self._keep(message)

    def _keep(self, message: Message) -> None:
        needed = (message.size or 1) + OVERHEAD
        if self.held + needed > self._limit:
            message.shrink()
        else:
            self.held += needed
            message.resident = needed
            self.contents += 1
            self.envelopes += 1

    def leave(self, message: Message) -> None:
        """The message has ended, or waits for long from now on: what it held is free."""
        if message.resident:
            self.contents -= message.resident != OVERHEAD
            self.envelopes -= 1
        self.held -= message.resident
        message.resident = 0

    def reduce(self, message: Message, to: Shrinking) -> None:
        """Let go of as much of a message that waits as that says; of more, where there is no room for the rest."""
        self.leave(message)
        if to is Shrinking.NO_SHRINK and message.content is not None and message.envelope_loaded:
            self._keep(message)
        elif to is not Shrinking.SHRINK_DATA_AND_META and message.envelope_loaded and self.held + OVERHEAD <= self._limit:
            message.content = None
            self.held += OVERHEAD
            message.resident = OVERHEAD
            self.envelopes += 1
        else:
            message.shrink()

    def measures(self) -> Iterator[Family]:
        """For the metrics."""
        yield gauge("message_data_resident_count", "messages that wait with their content in memory", self.contents)
        yield gauge("message_meta_resident_count", "messages that wait with their envelope in memory", self.envelopes)
        yield gauge("message_resident_bytes", "octets that messages which wait hold in memory, roughly", self.held)
