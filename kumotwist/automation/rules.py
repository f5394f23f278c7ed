"""
The rules of automation that are about a destination, and which of them a response fits.

In the model's order: those of `default`, of the providers, of the rules for the site, of the domain's own rule
(mx_rollup: false).  All that fit act.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from hashlib import sha256

from msgspec import Struct

from kumotwist.automation.matching import Patterns
from kumotwist.config.compose import is_of_provider
from kumotwist.config.shaping import AutomationRule, ShapingSettings


class Layer(IntEnum):
    """Where a rule stands; what a later one sets wins."""

    DEFAULT = 0
    PROVIDER = 1
    SITE = 2
    DOMAIN = 3


class Rule(Struct, frozen=True, kw_only=True):
    """
    A rule with its standing.

    id: the same for the same words in the same block, in every process and after every restart.  whose: the block's name.
    order: its place among all rules.  place: `file:line`.
    """

    id: str
    layer: Layer
    whose: str
    order: int
    said: AutomationRule
    place: str = ""

    @property
    def shown(self) -> str:
        """For people."""
        return f"rule {self.id} of {self.whose}" + (f" ({self.place})" if self.place else "")


class Scope:
    """The rules of one block, ready to be asked."""

    __slots__ = ("_owners", "_patterns", "heeds_internal", "rules")

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._owners = [rule for rule in self.rules for _ in rule.said.regex]
        self._patterns = Patterns([pattern for rule in self.rules for pattern in rule.said.regex])
        self.heeds_internal = any(rule.said.match_internal for rule in self.rules)

    def fitting(self, line: str, *, internal: bool) -> list[Rule]:
        """
        Those that a response on one line fits, in their order.

        internal: it is our own, so that only rules with match_internal are about it.
        """
        if internal and not self.heeds_internal:
            return []
        found = self._patterns.found_in(line)
        if not found:
            return []
        rules = {rule.id: rule for rule in map(self._owners.__getitem__, sorted(found))}
        return [rule for rule in rules.values() if rule.said.match_internal or not internal]


class RuleBook:
    """
    All rules of a configuration.

    rules: by id.  idle: names of providers that have rules and nothing that they are known by, so that none can ever fit.
    """

    def __init__(self, shaping: ShapingSettings) -> None:
        self._shaping = shaping
        self.rules: dict[str, Rule] = {}
        self._default = self._scope("rule", "default", Layer.DEFAULT, _automation(shaping, "default"))
        self._providers = {
            name: scope
            for name, provider in shaping.provider.items()
            if (scope := self._scope("provider", name, Layer.PROVIDER, provider.automation)) is not None
        }
        self._domains = {
            name: scope
            for name, rule in shaping.rules.items()
            if name != "default"
            and (scope := self._scope("rule", name, Layer.SITE if rule.mx_rollup else Layer.DOMAIN, rule.automation)) is not None
        }
        self.idle = [name for name in self._providers if not shaping.provider[name].match]

    def __bool__(self) -> bool:
        return bool(self.rules)

    def scopes(
        self, rollup: Mapping[str, str], *, domains: Iterable[str], site: str, mx_hosts: tuple[str, ...]
    ) -> tuple[Scope, ...]:
        """
        Those about a destination.

        domains: the recipient's, and that whose receivers get its mail, if that is another; in lower case.
        rollup, site, mx_hosts: as `config.compose.path_settings` has them.
        """
        domains = tuple(domains)
        found = [self._default] if self._default is not None else []
        for name, scope in self._providers.items():
            if is_of_provider(self._shaping.provider[name], domains[-1], mx_hosts):
                found.append(scope)
        found += self._site_scopes(rollup, domains, site)
        found += [self._domains[one] for one in domains if one in self._domains and not self._shaping.rules[one].mx_rollup]
        return tuple(found)

    def _site_scopes(self, rollup: Mapping[str, str], domains: tuple[str, ...], site: str) -> Iterator[Scope]:
        """As `config.compose` finds the rules of a site."""
        for name, scope in self._domains.items():
            if self._shaping.rules[name].mx_rollup:
                known = rollup.get(name)
                if known == site if known is not None else name in domains:
                    yield scope

    def _scope(self, kind: str, name: str, layer: Layer, automation: Iterable[AutomationRule]) -> Scope | None:
        rules = []
        for number, said in enumerate(automation):
            rule = Rule(
                id=_id_of(kind, name, said),
                layer=layer,
                whose=f"provider {name}" if kind == "provider" else name,
                order=len(self.rules),
                said=said,
                place=self._shaping.places.get((kind, name, "automation", str(number)), ""),
            )
            if rule.id not in self.rules:  # said twice in the same words, it is still one
                self.rules[rule.id] = rule
                rules.append(rule)
        return Scope(rules) if rules else None


def _automation(shaping: ShapingSettings, name: str) -> tuple[AutomationRule, ...]:
    rule = shaping.rules.get(name)
    return rule.automation if rule is not None else ()


def _id_of(kind: str, name: str, said: AutomationRule) -> str:
    return sha256(repr((kind, name, said)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
