"""
What a policy finds around it while it runs: the clock, the resolver, the way to inject a message.

The services are set around the loading of a policy and around each call of a handler, never kept in a module: a policy of
yesterday's configuration that still waits for something goes on with its own.  A coroutine keeps them over its awaits, since
Twisted runs each of its steps in the context that it began in; a callback that a handler adds to a Deferred itself has none.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from msgspec import Struct, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kumotwist.egress.path import Destination
from kumotwist.egress.throttles import Throttles
from kumotwist.mail.message import Message


class Destinations(Protocol):
    """Where a domain's mail goes; the resolver."""

    def destination(self, domain: str) -> "Destination | Deferred[Destination]": ...


class Services(Struct, frozen=True, kw_only=True):
    """
    What one loaded policy may use.

    inject: takes a message into custody and its queue, fires once it is durable.  message_id: a new one.
    epoch: the number of the configuration that the policy belongs to.
    files: what the policy has read; it grows while the policy runs, and a change of any of them is a change of the
    configuration.  caches: what the policy has memoized, by name; gone with the policy, so a new epoch begins without.
    """

    clock: IReactorTime
    resolver: Destinations
    inject: "Callable[[Message], Deferred[None]]"
    message_id: Callable[[], str]
    epoch: int = 0
    throttles: Throttles = field(default_factory=Throttles)
    files: set[str] = field(default_factory=set)
    caches: dict[str, Any] = field(default_factory=dict)


class NoPolicyRuns(RuntimeError):
    """Something of `kumo` was used where no policy runs: not while one loads, and not in a handler."""


SERVICES: ContextVar[Services | None] = ContextVar("kumotwist policy services", default=None)


def services(what: str) -> Services:
    """The services of the policy that runs now; what: who asks.  Raises NoPolicyRuns."""
    found = SERVICES.get()
    if found is None:
        raise NoPolicyRuns(
            f"{what} is there for a policy: while it loads, in its handlers, and in what they await (not in a callback that "
            "is added to a Deferred; write `async def` and await it)"
        )
    return found


@contextmanager
def entered(given: Services | None) -> Iterator[None]:
    """These services are the policy's, inside."""
    token = SERVICES.set(given)
    try:
        yield
    finally:
        SERVICES.reset(token)
