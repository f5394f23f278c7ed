"""
Whether a policy can be loaded, and its handlers of `init` run: what the server does first.

Nobody answers it here and no time passes: an `init` that waits for something is followed up to there.
"""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from kumotwist.config.faults import ConfigFaults, Fault
from kumotwist.config.read import Examined, unanswered
from kumotwist.egress.path import Destination
from kumotwist.hooks.context import Services
from kumotwist.hooks.initial import Definitions, run_init
from kumotwist.hooks.loading import load_policy
from kumotwist.mail.message import Message

_MOST_WAITS = 1000


class _Nobody:
    """A resolver that never answers."""

    def destination(self, domain: str) -> "Deferred[Destination]":
        return Deferred()


def _nowhere(message: Message) -> "Deferred[None]":
    return Deferred()


def policy_faults(found: Examined) -> tuple[Fault, ...]:
    """What is wrong with the policy of a configuration; if it loads, with what it does and what it leaves undone."""
    services = Services(clock=Clock(), resolver=_Nobody(), inject=_nowhere, message_id=lambda: 32 * "0")
    try:
        policy = load_policy(found.policy, services.clock, services, own_events=found.own_events)
    except ConfigFaults as faults:
        return faults.faults
    return (*unanswered(found.doubts, policy), *_of_init(run_init(policy, found.config)))


def _of_init(running: "Deferred[Definitions]") -> tuple[Fault, ...]:
    """What the handlers do wrong before they wait for anything; a wait ends at once, in CancelledError."""
    broken: list[Failure] = []
    running.addErrback(broken.append)
    for _ in range(_MOST_WAITS):
        if not running.called:
            running.cancel()
    for failure in broken:
        if not isinstance(failure.value, ConfigFaults):
            failure.raiseException()
        return tuple(fault for fault in failure.value.faults if not fault.what.startswith(CancelledError.__name__))
    return ()
