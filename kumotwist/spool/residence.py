"""
Which messages keep their envelope and content in memory while they wait.  All of them are in the spool as well.

A fresh message usually leaves within milliseconds, so reading it back would be waste; but a site that stands still must
not fill the memory.  Beyond the limit messages wait without their content, and it is read back when their turn comes.
"""

from kumotwist.mail.message import Message

OVERHEAD = 1500  # octets that envelope and objects take beside the content, roughly


class Residence:
    """Counts what waiting messages hold in memory, and makes room by letting go of what the spool has."""

    __slots__ = ("_limit", "held")

    def __init__(self, limit: int) -> None:
        """limit: octets."""
        self._limit = limit
        self.held = 0

    def lodge(self, message: Message) -> None:
        """A message that is whole in memory begins to wait: it stays whole if there is room."""
        needed = message.size + OVERHEAD
        if self.held + needed > self._limit:
            message.shrink()
        else:
            self.held += needed
            message.resident = needed

    def leave(self, message: Message) -> None:
        """The message has ended, or waits for long from now on: what it held is free."""
        self.held -= message.resident
        message.resident = 0
