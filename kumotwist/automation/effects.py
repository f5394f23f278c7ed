"""
What rules do: ready queues, scheduled queues and paths change for a time, each time with a line in the operator's log.

An effect that stands already is never shortened, by a late response or by a rule beside an operator's own order; and one that
would last hardly longer is left alone, so that a flood of responses writes an order a second and no more.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.automation.overrides import Override, Overrides
from kumotwist.automation.rules import Layer, Rule
from kumotwist.config.fields import format_duration
from kumotwist.config.shaping import Action, AutomationAction
from kumotwist.logs.record import rfc3339
from kumotwist.mail.queue_name import QueueName
from kumotwist.ready.service import ReadyQueues
from kumotwist.ready.standing import Standing
from kumotwist.scheduled.administration import Administration
from kumotwist.scheduled.orders import Criteria, criteria_text

_HARDLY = 1.0  # seconds that an effect must last longer, to be renewed; a tenth of what it lasts, if that is less
_LONGEST_REASON = 400  # characters

_SUSPENDING = frozenset({AutomationAction.SUSPEND_TENANT, AutomationAction.SUSPEND_CAMPAIGN})
_BOUNCING = frozenset({AutomationAction.BOUNCE, AutomationAction.BOUNCE_TENANT, AutomationAction.BOUNCE_CAMPAIGN})
_OF_TENANT = _SUSPENDING | {AutomationAction.BOUNCE_TENANT, AutomationAction.BOUNCE_CAMPAIGN}
_OF_CAMPAIGN = frozenset({AutomationAction.SUSPEND_CAMPAIGN, AutomationAction.BOUNCE_CAMPAIGN})


class Seen(Struct, frozen=True, kw_only=True):
    """
    A response, and what it was about.

    line: the response on one line.  domain: the first recipient's.  queue: the message's.  path: the ready queue's name, empty
    where the message was on none; source, site: its parts.  at: epoch seconds.  internal: no peer said it, but we.
    """

    line: str
    domain: str
    queue: QueueName
    path: str
    source: str
    at: float
    site: str = ""
    internal: bool = False


class Effects:
    """The actions of rules.  done: how many effects were begun or renewed since the start, by action."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        new_id: Callable[[], str],
        ready: ReadyQueues,
        administration: Administration,
        overrides: Overrides,
    ) -> None:
        self._clock = clock
        self._new_id = new_id
        self._ready = ready
        self._administration = administration
        self._overrides = overrides
        self.done: dict[str, int] = {}

    def act(self, rule: Rule, seen: Seen) -> None:
        """All that a rule says, as it fits a response."""
        expires = seen.at + rule.said.duration
        if expires <= self._clock.seconds():
            return
        reason = f"automation: {rule.shown}: {seen.line}"[:_LONGEST_REASON]
        for number, action in enumerate(rule.said.action):
            self._act(rule, number, action, seen, reason, expires)

    def _act(self, rule: Rule, number: int, action: Action, seen: Seen, reason: str, expires: float) -> None:
        if action.kind in _OF_TENANT and not seen.queue.tenant:
            self._not_done(rule, action, seen, "the message has no tenant")
        elif action.kind in _SUSPENDING or action.kind in _BOUNCING:
            criteria = criteria_of(action.kind, seen.queue)
            if action.kind in _SUSPENDING:
                self.suspend_queues(criteria, reason, expires, action.kind.value)
            else:
                self.bounce_queues(criteria, reason, expires, action.kind.value)
        elif not seen.path:
            self._not_done(rule, action, seen, "the message was on no path")
        elif action.kind is AutomationAction.SUSPEND:
            self.suspend_path(seen.path, reason, expires)
        else:
            self._set(rule, number, action, seen, reason, expires)

    # What other nodes' responses may lead to, too.  reason: for people.  expires: epoch seconds.

    def suspend_path(self, path: str, reason: str, expires: float) -> None:
        if self._worth(self._ready.orders, path, expires):
            self._keep(self._ready.suspend(path, reason, expires=expires))
            self._done("Suspend", path, reason, expires)

    def suspend_queues(self, criteria: Criteria, reason: str, expires: float, kind: str = "SuspendTenant") -> None:
        if self._worth(self._administration.orders.suspending, criteria, expires):
            self._keep(self._administration.suspend(criteria, reason, expires=expires))
            self._done(kind, criteria_text(criteria), reason, expires)

    def bounce_queues(self, criteria: Criteria, reason: str, expires: float, kind: str = "Bounce") -> None:
        if self._worth(self._administration.orders.bouncing, criteria, expires):
            self._keep(self._administration.bounce(criteria, reason, expires=expires))
            self._done(kind, criteria_text(criteria), reason, expires)

    def _set(self, rule: Rule, number: int, action: Action, seen: Seen, reason: str, expires: float) -> None:
        of_domain = action.kind is AutomationAction.SET_DOMAIN_CONFIG or rule.layer is Layer.DOMAIN
        override = Override(
            id=self._new_id(),
            rule=rule.id,
            action=number,
            path=seen.path,
            source=seen.source,
            site=seen.site,
            domain=seen.queue.routed_to.lower() if of_domain else "",
            reason=reason,
            set_at=seen.at,
            expires=expires,
        )
        if self._worth(self._overrides.standing, override.subject, expires):
            self._keep(self._overrides.standing.add(override))
            where = f"{action.name} of {seen.path}" + (f" for {override.domain}" if of_domain else "")
            self._done(action.kind.value, f"{where} to {action.value}", reason, expires)

    def _worth(self, standing: Standing[Any], subject: Any, expires: float) -> bool:
        """Whether there is nothing like it yet, or it ends sooner."""
        left = expires - self._clock.seconds()
        there = standing.about(subject)
        return left > 0 and (there is None or expires > there.expires + min(_HARDLY, left / 10))

    def _done(self, kind: str, what: str, reason: str, expires: float) -> None:
        self.done[kind] = self.done.get(kind, 0) + 1
        self.log.info(
            "{action}: {what}, for {duration} until {until}: {reason}",
            action=kind,
            what=what,
            duration=format_duration(round(expires - self._clock.seconds())),
            until=rfc3339(expires),
            reason=reason,
        )

    def _not_done(self, rule: Rule, action: Action, seen: Seen, why: str) -> None:
        self.log.warn(
            "{action} of automation {rule} does nothing for {queue}: {why}",
            action=action.kind.value,
            rule=rule.shown,
            queue=str(seen.queue),
            why=why,
        )

    def _keep(self, kept: "Deferred[Any]") -> None:
        kept.addErrback(self._not_kept)

    def _not_kept(self, failure: Failure) -> None:
        self.log.failure("an effect of automation stands, but could not be put on the spool's shelf", failure)


def criteria_of(kind: AutomationAction, queue: QueueName) -> Criteria:
    """Which queues an action is about, as it fits mail of this one."""
    return Criteria(
        domain=queue.domain,
        tenant=queue.tenant if kind in _OF_TENANT else None,
        campaign=queue.campaign if kind in _OF_CAMPAIGN else None,
    )
