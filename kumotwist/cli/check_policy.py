"""A policy is loaded to see whether it can be: nothing answers it, nothing runs, and no time passes."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kumotwist.egress.path import Destination
from kumotwist.hooks.context import Services
from kumotwist.hooks.loading import load_policy
from kumotwist.hooks.policy import Policy
from kumotwist.mail.message import Message


class _Nobody:
    """A resolver that never answers."""

    def destination(self, domain: str) -> "Deferred[Destination]":
        return Deferred()


def load(files: tuple[str, ...], own_events: tuple[str, ...]) -> Policy:
    """Raises ConfigFaults.  own_events: events that only this configuration has."""
    clock = Clock()
    services = Services(clock=clock, resolver=_Nobody(), inject=_nowhere, message_id=lambda: 32 * "0")
    return load_policy(files, clock, services, own_events=own_events)


def _nowhere(message: Message) -> "Deferred[None]":
    return Deferred()
