"""What was in the spool when the server started: read through in a thread, handed to the queues in portions."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.mail.message import Message
from kumotwist.spool.change import decode_message

MOST_ADMITTED = 500  # stored messages handed over in one turn of the reactor

_log = Logger()


def enumerate_spool(envelopes: Iterator[tuple[str, bytes]], admit: Callable[[list[Message]], object]) -> int:
    """
    Read every stored message as the queues keep it while it waits; returns how many there were.  Blocks; for a thread.

    admit: gets them in portions, oldest first; called on this thread.
    """
    names: dict[str, str] = {}
    whole = 0
    while batch := list(islice(envelopes, MOST_ADMITTED)):
        messages = [message for one in batch if (message := _shrunk(*one, names)) is not None]
        whole += len(messages)
        admit(messages)
    return whole


def _shrunk(message_id: str, envelope: bytes, names: dict[str, str]) -> Message | None:
    """The message without what only the spool need keep; None if it cannot be understood, and then it stays where it is."""
    try:
        message = decode_message(message_id, envelope)
        message.name_queue()
    except ValueError as fault:
        _log.error("message {id} in the spool cannot be read and stays there: {fault}", id=message_id, fault=fault)
        return None
    message.queue = names.setdefault(message.queue, message.queue)  # one string for all messages of a queue
    message.shrink()
    return message


def take_up(
    envelopes: Iterator[tuple[str, bytes]], admit: Callable[[list[Message]], object], in_thread: "Callable[..., Deferred[Any]]"
) -> "Deferred[int | None]":
    """`enumerate_spool` in a thread.  Fires with how many there were; None: the spool could not be read through."""
    done = in_thread(enumerate_spool, envelopes, admit)
    return done.addCallbacks(_ended, _failed)


def _ended(count: int) -> int:
    if count:
        _log.info("{count} messages were in the spool", count=count)
    return count


def _failed(failure: Failure) -> None:
    _log.failure("the spool could not be read through; what is in it waits for the next start", failure)
