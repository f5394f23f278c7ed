"""
Parameters of egress paths that rules have set, for a time: SetConfig and SetDomainConfig.

An override lies over all that configuration and policy say.  It names the rule and not the value: the value is what the rule
says now, and a rule that is configured no more sets nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.interfaces import IReactorTime

from kumotwist.automation.rules import Rule
from kumotwist.config.egress import PathSettings
from kumotwist.config.shaping import JOINED
from kumotwist.ready.standing import Shelve, Standing

SHELF = "automation/override/"


class Override(Struct, frozen=True, kw_only=True):
    """
    What an action of a rule has set on a path.

    rule: its id.  action: the number of the action in it.  path: the ready queue's name.  domain: it holds only where that is
    the domain whose settings count for the path; empty: whatever the domain.  set_at, expires: epoch seconds.
    """

    id: str
    rule: str
    action: int
    path: str
    source: str
    site: str
    domain: str
    reason: str
    set_at: float
    expires: float

    @property
    def subject(self) -> tuple[str, int, str, str]:
        return self.rule, self.action, self.path, self.domain


class InForce(Struct, frozen=True, kw_only=True):
    """One parameter that an override sets, and which rule that is."""

    name: str
    value: Any
    override: Override
    rule: Rule


class Overrides:
    """Those in force, ready to be asked by source and site."""

    def __init__(self, clock: IReactorTime, shelve: Shelve, changed: Callable[[str], None]) -> None:
        """changed: told the name of each ready queue whose parameters may be others from now on."""
        self._changed = changed
        self._rules: dict[str, Rule] = {}
        self._by_path: dict[tuple[str, str], list[Override]] = {}
        self.standing = Standing(clock, shelve, SHELF, Override, self._begin, self._end)

    def configure(self, rules: dict[str, Rule]) -> None:
        """By id, those that are configured now."""
        self._rules = rules

    def load(self, shelved: Iterable[tuple[str, bytes]]) -> None:
        self.standing.load(shelved)

    def over(self, settings: PathSettings, source: str, site: str, domain: str) -> PathSettings:
        """The settings of a path with what rules have set there."""
        if (source, site) not in self._by_path:
            return settings
        said: dict[str, Any] = {}
        for one in self.in_force(source, site, domain):
            before = said.get(one.name, getattr(settings, one.name))
            said[one.name] = {**before, **one.value} if one.name in JOINED else one.value
        return replace(settings, **said) if said else settings

    def in_force(self, source: str, site: str, domain: str) -> Iterator[InForce]:
        """What rules have set on a path; later wins."""
        found = [
            (rule, one)
            for one in self._by_path.get((source, site), ())
            if one.domain in ("", domain.lower()) and (rule := self._rules.get(one.rule)) is not None
        ]
        # The domain's own word wins, then what the site said last.
        found.sort(key=lambda pair: (bool(pair[1].domain), pair[0].layer, pair[1].set_at, pair[0].order, pair[1].action))
        for rule, one in found:
            if one.action < len(rule.said.action):
                action = rule.said.action[one.action]
                yield InForce(name=action.name, value=action.value, override=one, rule=rule)

    def __iter__(self) -> Iterator[Override]:
        return iter(self.standing)

    def _begin(self, override: Override) -> None:
        self._by_path.setdefault((override.source, override.site), []).append(override)
        self._changed(override.path)

    def _end(self, override: Override) -> None:
        key = (override.source, override.site)
        left = [one for one in self._by_path[key] if one.id != override.id]
        if left:
            self._by_path[key] = left
        else:
            del self._by_path[key]
        self._changed(override.path)
