"""
The envelopes of messages that wait: only the spool has them, and they are read back when something is to be told or decided.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.mail.message import Message


class Envelopes:
    """Brings back the sender, recipients and metadata of a message that was shrunk."""

    log = Logger()

    __slots__ = ("_load", "_put_off")

    def __init__(self, load: Callable[[Message], "Deferred[None]"], put_off: Callable[[Message], None]) -> None:
        """load: from the spool.  put_off: has a message wait that cannot be read just now."""
        self._load = load
        self._put_off = put_off

    def of(
        self, message: Message, then: Callable[..., None], *arguments: object, otherwise: "Deferred[None] | None" = None
    ) -> None:
        """
        Call then(message, ...) once its sender, recipients and metadata are in memory.

        otherwise: fires where it cannot be read, and has been put off.
        """
        if message.envelope_loaded:
            then(message, *arguments)
            return
        loaded = self._load(message)
        loaded.addCallbacks(lambda _: then(message, *arguments), self._unreadable, errbackArgs=(message, otherwise))
        loaded.addErrback(self._report, f"going on with message {message.id}")

    def _unreadable(self, failure: Failure, message: Message, otherwise: "Deferred[None] | None") -> None:
        """The spool did not give the message's envelope: try again later, unless it says that it has none."""
        if failure.check(KeyError):
            self.log.critical("message {id} of {queue} is not in the spool any more", id=message.id, queue=message.queue)
        else:
            self.log.failure("message {id} cannot be read; trying again", failure, id=message.id)
            self._put_off(message)
        if otherwise is not None:
            otherwise.callback(None)

    def _report(self, failure: Failure, what: str) -> None:
        self.log.failure("failed while {what}", failure, what=what)
