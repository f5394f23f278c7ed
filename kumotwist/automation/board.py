"""
What a shared automation daemon has concluded from the log records of many nodes, for all of them to hear.

The board decides and remembers; it does nothing to queues itself.  What it says has the model's names and fields.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from kumotwist.automation.counting import Counts
from kumotwist.automation.effects import Seen, criteria_of
from kumotwist.automation.rules import Layer, Rule
from kumotwist.config.shaping import Action, AutomationAction
from kumotwist.logs.record import rfc3339

_LONGEST_REASON = 400  # characters
_HARDLY = 1.0  # seconds that a conclusion must last longer, to be told again

_SUSPENDS = frozenset({AutomationAction.SUSPEND_TENANT, AutomationAction.SUSPEND_CAMPAIGN})
_SETS = frozenset({AutomationAction.SET_CONFIG, AutomationAction.SET_DOMAIN_CONFIG})
_OF_TENANT = _SUSPENDS | {AutomationAction.BOUNCE_TENANT, AutomationAction.BOUNCE_CAMPAIGN}


class Conclusion(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One thing that stands until it expires (epoch seconds).

    kind: the tag of its event, or `Override`.  facts: the event's fields, or the override's.
    """

    kind: str
    rule_hash: str
    reason: str
    expires: float
    facts: dict[str, Any]

    @property
    def subject(self) -> bytes:
        return msgspec.json.encode((self.kind, self.rule_hash, {key: one for key, one in self.facts.items() if key != "value"}))

    def event(self) -> dict[str, Any]:
        """As subscribers hear it."""
        fields = {"rule_hash": self.rule_hash, **self.facts, "reason": self.reason, "expires": rfc3339(self.expires)}
        return {self.kind: fields}


class _State(Struct, frozen=True, kw_only=True):
    """What is kept over restarts.  counts: as for the spool's shelf."""

    conclusions: list[Conclusion]
    counts: list[tuple[str, str]]


class Board:
    """shown: a path's parameter, by name, and its value as TOML.  heard: responses that were looked at."""

    def __init__(self, shown: Callable[[str, Any], str]) -> None:
        self._shown = shown
        self._counts = Counts()
        self._standing: dict[bytes, Conclusion] = {}
        self.heard = 0

    def conclude(self, rule: Rule, seen: Seen, now: float) -> list[Conclusion]:
        """What is new since a response has fitted a rule, or lasts longer."""
        threshold = rule.said.trigger
        where = seen.path or str(seen.queue)
        if threshold is not None and not self._counts.count(
            rule.id, where, limit=threshold.limit, period=threshold.period, at=seen.at
        ):
            return []
        expires = seen.at + rule.said.duration
        if expires <= now:
            return []
        reason = f"{rule.shown}: {seen.line}"[:_LONGEST_REASON]
        found = []
        for action in rule.said.action:
            said = self._said(rule, action, seen)
            if said is not None:
                one = Conclusion(kind=said[0], rule_hash=rule.id, reason=reason, expires=expires, facts=said[1])
                before = self._standing.get(one.subject)
                if before is None or before.expires + min(_HARDLY, rule.said.duration / 10) < expires:
                    self._standing[one.subject] = one
                    found.append(one)
        return found

    def _said(self, rule: Rule, action: Action, seen: Seen) -> tuple[str, dict[str, Any]] | None:
        """The kind and the facts; None where the action has nothing to be about."""
        if action.kind is AutomationAction.SUSPEND or action.kind in _SETS:
            if not seen.path:
                return None
            if action.kind is AutomationAction.SUSPEND:
                return "ReadyQSuspension", {"site_name": seen.path, "source": seen.source}  # the model's name for it
            rolled_up = action.kind is AutomationAction.SET_CONFIG and rule.layer is not Layer.DOMAIN
            return "Override", {
                "domain": seen.domain,
                "source": seen.source,
                "mx_rollup": rolled_up,
                "name": action.name,
                "value": self._shown(action.name, action.value),
            }
        if action.kind in _OF_TENANT and not seen.queue.tenant:
            return None
        criteria = criteria_of(action.kind, seen.queue)
        facts = {"tenant": criteria.tenant, "domain": criteria.domain, "campaign": criteria.campaign}
        return "SchedQSuspension" if action.kind in _SUSPENDS else "SchedQBounce", facts

    # What stands

    def standing(self, now: float) -> list[Conclusion]:
        """All that has not expired, the first to expire first."""
        self._standing = {key: one for key, one in self._standing.items() if one.expires > now}
        return sorted(self._standing.values(), key=lambda one: one.expires)

    def events(self, now: float) -> Iterator[dict[str, Any]]:
        """What stands, without the overrides, which are asked for apart."""
        return (one.event() for one in self.standing(now) if one.kind != "Override")

    def overlay(self, now: float) -> str:
        """The overrides in the layout of shaping files."""
        found = [one for one in self.standing(now) if one.kind == "Override"]
        lines = ["# Made by automation; changes with each request.", f"# Number of entries: {len(found)}"]
        by_domain: dict[tuple[str, bool], dict[str, dict[str, Conclusion]]] = {}
        for one in found:  # the last to expire wins
            facts = one.facts
            sources = by_domain.setdefault((facts["domain"], facts["mx_rollup"]), {})
            sources.setdefault(facts["source"], {})[facts["name"]] = one
        for domain, rolled_up in sorted(by_domain, key=lambda key: (key[0], not key[1])):
            if not rolled_up and (domain, True) in by_domain:
                continue  # one table a domain: what is for the site is for the domain, too
            lines += ["", f"[{_quoted(domain)}]", f"mx_rollup = {'true' if rolled_up else 'false'}"]
            merged = by_domain[domain, rolled_up]
            if rolled_up:
                for source, said in by_domain.get((domain, False), {}).items():
                    merged.setdefault(source, {}).update(said)
            for source, said in sorted(merged.items()):
                lines.append(f"[{_quoted(domain)}.sources.{_quoted(source)}]")
                for name, one in sorted(said.items()):
                    lines += [f"# reason: {_on_a_line(one.reason)}", f"# expires: {rfc3339(one.expires)}"]
                    lines.append(f"{name} = {one.facts['value']}")
        return "\n".join(lines) + "\n"

    # Over restarts

    def state(self, now: float) -> bytes:
        self._counts.prune(now)
        counts = [(key, value.decode()) for key, value in self._counts.kept()]
        return msgspec.json.encode(_State(conclusions=self.standing(now), counts=counts))

    def restore(self, state: bytes) -> None:
        """Raises msgspec.DecodeError for what is no state of ours."""
        found = msgspec.json.decode(state, type=_State)
        self._standing = {one.subject: one for one in found.conclusions}
        for _ in self._counts.load([(key, value.encode()) for key, value in found.counts]):
            pass  # what is no history counts nothing


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _on_a_line(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)
