"""Long work on queues, a portion at a time: mail goes on being received and sent in between."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

PORTION = 500  # messages looked at, or moved, in one turn of the reactor

Thing = TypeVar("Thing")

_log = Logger()


def portions_of(things: Sequence[Thing]) -> Iterator[Sequence[Thing]]:
    """The things, so many at a time."""
    for n in range(0, len(things), PORTION):
        yield things[n : n + PORTION]


def in_portions(clock: IReactorTime, work: "Iterator[Deferred[Any] | None]", what: str) -> "Deferred[None]":
    """
    Do the work from one yield to the next in a turn of the reactor each; a Deferred that it yields is waited for.

    Fires when it is done.  What breaks is logged, with what was being done, and ends it.
    """
    done = Deferred.fromCoroutine(_run(clock, work))
    done.addErrback(lambda failure: _log.failure("failed while {what}", failure, what=what))
    return done


async def _run(clock: IReactorTime, work: "Iterator[Deferred[Any] | None]") -> None:
    for portion in work:
        if portion is not None:
            await portion
        await deferLater(clock, 0)
