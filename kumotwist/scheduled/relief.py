"""Where memory is used up: what waits lets go of what the spool has."""

from collections.abc import Iterable, Iterator

from kumotwist.custody import Custody
from kumotwist.mail.message import Message
from kumotwist.ready.service import ReadyQueues
from kumotwist.scheduled.portions import PORTION
from kumotwist.scheduled.service import Scheduler


def relieve(ready: ReadyQueues, scheduler: Scheduler, custody: Custody) -> Iterator[None]:
    """
    Shrink all that waits, as paths have it for messages that are ready; a yield after each portion.

    No message is looked at that was found in an earlier turn: a session may have it in hand by now.
    """
    for path in list(ready):
        for message in path.lanes.messages():
            custody.ease(message, path.path.settings)
        yield
    for queue in list(scheduler.queues.values()):
        _rest(queue.held, custody)
        yield
    looked_at = 0
    for bucket in scheduler.wheel.buckets():
        _rest(bucket, custody)
        looked_at += len(bucket)
        if looked_at > PORTION:
            looked_at = 0
            yield


def _rest(messages: Iterable[Message], custody: Custody) -> None:
    for message in messages:
        if message.resident:
            custody.rest(message)
