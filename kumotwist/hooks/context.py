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

from kumotwist.authentication.lookups import Lookups
from kumotwist.config.fields import Rate
from kumotwist.egress.path import Destination
from kumotwist.egress.throttles import Throttles
from kumotwist.hooks.signing import Signing
from kumotwist.mail.message import Message


class Destinations(Protocol):
    """Where a domain's mail goes; the resolver."""

    def destination(self, domain: str) -> "Destination | Deferred[Destination]": ...


class Suppressing(Protocol):
    """The suppression list, as a policy uses it.  All raise ValueError for what is no address or domain."""

    def why(self, recipient: str, tenant: str | None) -> str | None:
        """Why a recipient gets no mail of this tenant; None: there is no reason, or the tenant is not known."""

    def forbid(self, subject: str, domain: bool, tenant: str | None, reason: str, lasts: float | None) -> "Deferred[None]":
        """It gets no mail any more.  lasts: seconds.  Fires once that is on disk."""

    def allow(self, subject: str, domain: bool, tenant: str | None) -> "Deferred[bool]":
        """It gets mail again.  Fires once that is on disk, with whether it was on the list."""


class Services(Struct, frozen=True, kw_only=True):
    """
    What one loaded policy may use.

    signing: what signs messages.  lookups: the DNS as checks of mail ask it.  None: a policy that is only looked at.
    draw: uniform in [0, 1).
    inject: takes a message into custody and its queue, fires once it is durable.  message_id: a new one.
    epoch: the number of the configuration that the policy belongs to.
    files: what the policy has read; it grows while the policy runs, and a change of any of them is a change of the
    configuration.  caches: what the policy has memoized, by name; gone with the policy, so a new epoch begins without.
    suppression: the list of those who get no mail, once the server has started.
    injection_rate: recipients that HTTP injection may take in a time; empty: as many as come.
    """

    clock: IReactorTime
    resolver: Destinations
    inject: "Callable[[Message], Deferred[None]]"
    message_id: Callable[[], str]
    epoch: int = 0
    throttles: Throttles = field(default_factory=Throttles)
    signing: Signing | None = None
    lookups: Lookups | None = None
    draw: Callable[[], float] = lambda: 0.0
    suppression: Callable[[], Suppressing | None] = lambda: None
    files: set[str] = field(default_factory=set)
    caches: dict[str, Any] = field(default_factory=dict)
    injection_rate: list[Rate] = field(default_factory=list)


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
