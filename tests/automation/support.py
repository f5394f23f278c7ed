"""A house whose shaping reacts, and what its rules are written in."""

import itertools
from typing import Any

from kumotwist.automation.service import Automation
from kumotwist.config.compose import path_settings
from kumotwist.config.egress import PathSettings
from kumotwist.config.queues import MxHost
from kumotwist.config.shaping import Action, AutomationAction, AutomationRule, ShapingRule, ShapingSettings
from kumotwist.egress.path import Destination
from kumotwist.mail.disposition import Verdict
from kumotwist.mail.reply import Reply, reply
from tests.support.house import Directed, House
from tests.support.memory import MemoryStore


def action(kind: AutomationAction = AutomationAction.SUSPEND, name: str = "", value: object = None) -> Action:
    return Action(kind=kind, name=name, value=value)


def rule(regex: str | tuple[str, ...] = "slow down", *actions: Action, duration: float = 600.0, **more: Any) -> AutomationRule:
    regexes = (regex,) if isinstance(regex, str) else regex
    return AutomationRule(regex=regexes, action=actions or (action(),), duration=duration, **more)


def of_default(*rules: AutomationRule, **more: Any) -> ShapingSettings:
    return ShapingSettings(rules={"default": ShapingRule(automation=rules)}, **more)


class ReactingDirected(Directed):
    """Paths as the house's shaping has them."""

    def _configured_path(self, domain: str, source: str, destination: Destination) -> PathSettings:
        house = self._house
        assert isinstance(house, ReactingHouse)
        hosts = tuple(host.name for group in destination.groups for host in group) if destination.is_mx else ()
        return path_settings(house.shaping, house.sites, domain=domain, source=source, site=destination.site, mx_hosts=hosts)


class ReactingHouse(House):
    """A house with automation, joined as the composition root joins it."""

    def __init__(self, shaping: ShapingSettings, *, store: MemoryStore | None = None, **more: Any) -> None:
        self.shaping = shaping
        self.sites: dict[str, str] = {}
        super().__init__(store=store, **more)
        ids = itertools.count(1)
        self.automation = Automation(
            self.clock,
            self.custody.shelve,
            lambda: f"effect-{self.clock.seconds():.3f}-{next(ids)}",
            self.ready,
            self.scheduler.administration,
            lambda: self.sites,
        )
        self.hold(shaping)
        self.automation.load(self.spool.store.shelved("automation/"))

    def hold(self, shaping: ShapingSettings) -> None:
        """Another configuration, as a reload has it."""
        self.shaping = shaping
        self.custody.tell_failures(self.automation.hear if self.automation.configure(shaping) else None)
        self.directions = ReactingDirected(self)
        self.directions._over_path = self.automation.overrides.over
        self.ready.direct(self.directions)
        self.scheduler.direct(self.directions)

    def domain_at(self, domain: str, *hosts: str, site: str = "") -> None:
        """The domain's mail goes to these hosts."""
        self.destinations.answers[domain] = Destination(
            domain=domain,
            site=site or hosts[0],
            groups=tuple((MxHost(name=host, label=host),) for host in hosts),
            is_mx=True,
            expires=1e12,
        )

    def answered(self, text: str, to: str = "bob@example.org", verdict: Verdict = Verdict.POSTPONED, **meta: Any) -> None:
        """A message to that recipient is answered so."""
        self.take(to, **meta)
        self.run(0)
        self.answer(reply(text), verdict)

    def answer(self, answer: Reply, verdict: Verdict = Verdict.POSTPONED) -> None:
        session = next(one for one in reversed(self.sessions) if one.supply.size)
        session.answer(verdict, answer)
        self.run(0)

    def suspended(self) -> list[tuple[str, float]]:
        """Ready queues that are, and for how many seconds from now."""
        return [(one.order.name, one.remaining) for one in self.ready.suspensions()]
