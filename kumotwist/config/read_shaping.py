"""
Section `shaping`, inline and in the layout of the model's shaping.toml.

Files merge in order, what stands inline comes last: the parameters of a rule or a provider key by key, later wins; limits
by name, `sources` by source, `match` and `automation` one after the other.
"""

import os
import re
from collections.abc import Collection, Iterator
from typing import Any

from kumotwist.config.bounces import BUILTIN
from kumotwist.config.egress import PathSettings
from kumotwist.config.faults import Place
from kumotwist.config.fields import BadValue, Limit, Rate, shown
from kumotwist.config.kinds import Kind, kind_of
from kumotwist.config.log_hooks import HttpUrl
from kumotwist.config.placed import Entry, Placed, Table, Text, described
from kumotwist.config.read_automation import read_automation
from kumotwist.config.read_keys import CERTIFICATE, KEY, PAIR, check_both, check_fit, check_secret
from kumotwist.config.read_listeners import read_domain_key
from kumotwist.config.reading import UNFIT, Reading, Setting, Settings, values_of
from kumotwist.config.shaping import (
    JOINED,
    AutomationRule,
    Matcher,
    Provider,
    ProviderMatch,
    ShapingRule,
    ShapingSettings,
    Spot,
)

_SHIPPED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "egress")
_RULE_KEYS = ("mx_rollup", "replace_base", "sources", "automation")
_PROVIDER_KEYS = ("match", "replace_base", "sources", "automation")
_LIMITS = {"provider_connection_limit": kind_of(Limit), "provider_max_message_rate": kind_of(Rate)}
_PROVIDERS_OWN = ("match", *_LIMITS)
_SELECTION_RATE = "provider_source_selection_rate"

_SWITCH, _RATE = kind_of(bool), kind_of(Rate)


class _Block:
    """A rule or a provider while it is read: what all files say of it."""

    __slots__ = ("automation", "limits", "match", "mx_rollup", "options", "owns", "rates", "replace_base", "sources")

    def __init__(self) -> None:
        self.mx_rollup = True
        self.replace_base = False
        self.options: Settings = {}
        self.sources: dict[str, Settings] = {}
        self.automation: list[tuple[AutomationRule, Place]] = []
        self.match: list[ProviderMatch] = []
        self.limits: dict[str, Any] = {}  # of a provider: its fields connection_limit and max_message_rate
        self.rates: dict[str, Any] = {}  # of a provider, by source
        self.owns: dict[tuple[str, str], Place] = {}  # source and parameter that only providers have → where it stands

    def forget(self) -> None:
        """A later block replaces what earlier ones said."""
        said: tuple[dict[Any, Any] | list[Any], ...] = (
            *(self.options, self.sources, self.automation),
            *(self.match, self.limits, self.rates, self.owns),
        )
        for one in said:
            one.clear()

    def _sources(self) -> dict[str, dict[str, Any]]:
        return {name: values_of(settings) for name, settings in self.sources.items()}

    def rule(self) -> ShapingRule:
        return ShapingRule(
            options=values_of(self.options),
            sources=self._sources(),
            mx_rollup=self.mx_rollup,
            replace_base=self.replace_base,
            automation=tuple(rule for rule, _ in self.automation),
        )

    def provider(self, name: str) -> Provider:
        return Provider(
            name=name,
            match=tuple(dict.fromkeys(self.match)),
            options=values_of(self.options),
            sources=self._sources(),
            source_selection_rates=self.rates,
            automation=tuple(rule for rule, _ in self.automation),
            **self.limits,
        )

    def places(self, kind: str, name: str) -> Iterator[tuple[Spot, str]]:
        """Where each thing that it says stands."""
        for source, settings in (("", self.options), *self.sources.items()):
            for parameter, setting in settings.items():
                yield (kind, name, source, parameter), _shown_place(setting.place)
        for (source, parameter), place in self.owns.items():
            yield (kind, name, source, parameter), _shown_place(place)
        for number, (_, place) in enumerate(self.automation):
            yield (kind, name, "automation", str(number)), _shown_place(place)


def _shown_place(place: Place) -> str:
    return f"{place.file}:{place.line}"


def read_shaping(reading: Reading, given: Placed) -> ShapingSettings:
    section = reading.table(given, "shaping")
    found = _ShapingReading(reading)
    for table in _included(reading, section):
        found.add(table)
    for key, entry in section.entries.items():
        if key == "rules":
            found.add(reading.table(entry.value, key))
        elif key == "automation":
            found.switch_automation(section)
        elif key in ("publish", "subscribe"):
            found.daemons[key] = reading.value(tuple[HttpUrl, ...], entry.value, key)
        elif key != "files":
            reading.unknown(key, entry, "shaping", ("automation", "files", "publish", "rules", "subscribe"), "shaping")
    return found.settings()


def builtin_files() -> dict[str, str]:
    """The shaping files that come with us: `builtin:NAME` → file."""
    return {f"{BUILTIN}providers": os.path.join(_SHIPPED, "providers.toml")}


def _included(reading: Reading, section: Table) -> Iterator[Table]:
    """The tables of `files`, in order; those that cannot be understood are left out."""
    entry = section.entries.get("files")
    for name in reading.items(entry.value, "files") if entry is not None else ():
        file = _file(reading, name)
        document = reading.document(file, name.place) if file is not None else None
        if document is not None:
            yield reading.table(document, os.path.basename(file or ""))


def _file(reading: Reading, name: Placed) -> str | None:
    """Where a file lies that `files` names; None, and a fault, if that is no name."""
    if not isinstance(name, Text) or not name.text.startswith(BUILTIN):
        return reading.file_name(name)
    known = builtin_files()
    if name.text not in known:
        reading.note(name, "files", f"{shown(name.text)} does not come with this version, expected {', '.join(known)}")
        return None
    return known[name.text]


class _ShapingReading:
    """The rules and providers while they are read."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._rules: dict[str, _Block] = {}
        self._providers: dict[str, _Block] = {}
        self.automation = True
        self.daemons: dict[str, Any] = {}

    def switch_automation(self, section: Table) -> None:
        self.automation = self._switch(section, "automation", True)

    def settings(self) -> ShapingSettings:
        return ShapingSettings(
            rules={domain: block.rule() for domain, block in self._rules.items()},
            provider={name: block.provider(name) for name, block in self._providers.items()},
            automation=self.automation,
            places=dict(self._places()),
            **{key: urls for key, urls in self.daemons.items() if urls is not UNFIT},
        )

    def _places(self) -> Iterator[tuple[Spot, str]]:
        for kind, blocks in (("rule", self._rules), ("provider", self._providers)):
            for name, block in blocks.items():
                yield from block.places(kind, name)

    def add(self, table: Table) -> None:
        """One file, or what stands in line."""
        seen: dict[str, str] = {}
        for key, entry in table.entries.items():
            if key == "provider":
                self._add_providers(entry)
            else:
                self._add_rule(key, entry, self._reading.table(entry.value, key), seen)

    # --- rules -----------------------------------------------------------------------------------------------------

    def _add_rule(self, key: str, entry: Entry, given: Table, seen: dict[str, str]) -> None:
        where = f"shaping rule {shown(key)}"
        if key == "default":
            self._refuse(given, ("mx_rollup", "replace_base", "sources"), "in the default rule, expected it in a domain's rule")
        self._refuse(given, _PROVIDERS_OWN, 'in a rule, expected it in provider."NAME"')
        domain = self._domain(key, entry, seen)
        known = domain in self._rules
        block = self._rules.setdefault(domain, _Block()) if domain else _Block()
        self._begin(given, block, known=known)
        block.mx_rollup = self._switch(given, "mx_rollup", block.mx_rollup)
        if block.mx_rollup and domain and "://" in domain:
            self._reading.faults.note(entry.place, f"{shown(key)} has no MX, expected mx_rollup: false in its rule")
        self._add_options(given, block, where, (*_RULE_KEYS, *_PROVIDERS_OWN))
        for _, _, table in self._reading.tables(given, "sources"):
            self._refuse(table, (_SELECTION_RATE,), 'in a rule, expected it in provider."NAME".sources')

    def _domain(self, key: str, entry: Entry, seen: dict[str, str]) -> str | None:
        """As it is looked up.  Queues of webhooks have the names of URLs, which are no domains."""
        if key == "default":
            return key
        return key.lower() if "://" in key else read_domain_key(self._reading, key, entry, seen, wildcards=False)

    def _refuse(self, given: Table, keys: Collection[str], why: str) -> None:
        for key in keys:
            if key in given.entries:
                self._reading.faults.note(given.entries[key].place, f"{key} means nothing {why}")

    def _begin(self, given: Table, block: _Block, *, known: bool) -> None:
        """With replace_base what came before is forgotten."""
        replaces = self._switch(given, "replace_base", False)
        if known and replaces:
            block.forget()
        if not known:
            # Whether `default` is forgotten is for the first block to say, as in the model.
            block.replace_base = replaces

    def _switch(self, given: Table, key: str, otherwise: bool) -> bool:
        entry = given.entries.get(key)
        if entry is None or (isinstance(entry.value, Text) and entry.value.is_null):
            return otherwise
        assert _SWITCH is not None
        value = self._reading.scalar(_SWITCH, entry.value, key)
        return otherwise if value is UNFIT else bool(value)

    def _add_options(self, given: Table, block: _Block, where: str, leave: tuple[str, ...]) -> None:
        """What rules and providers have in common."""
        _lay(block.options, self._path(given, where, leave))
        entry = given.entries.get("automation")
        if entry is not None:
            block.automation += read_automation(self._reading, entry.value)
        for name, _, table in self._reading.tables(given, "sources"):
            source = f"{where}, source {shown(name)}"
            _lay(block.sources.setdefault(name, {}), self._path(table, source, (_SELECTION_RATE,)))

    def _path(self, given: Table, where: str, leave: tuple[str, ...]) -> Settings:
        """The parameters of a path that stand in a table."""
        settings = self._reading.settings(PathSettings, given, where, leave=leave)
        named = {name: entry.place for name in PAIR if (entry := self._reading.entry(given, name, PathSettings)) is not None}
        check_both(self._reading, named)
        check_fit(self._reading, settings.get(CERTIFICATE), settings.get(KEY))
        check_secret(self._reading, settings.get("smtp_auth_plain_password"), "smtp_auth_plain_password")
        return settings

    # --- providers -------------------------------------------------------------------------------------------------

    def _add_providers(self, entry: Entry) -> None:
        if self._reading.is_awaited("provider", "shaping.rules"):
            self._reading.unknown("provider", entry, "shaping", (), "shaping.rules")
            return
        for name, inner in self._reading.table(entry.value, "provider").entries.items():
            self._add_provider(name, self._reading.table(inner.value, name))

    def _add_provider(self, name: str, given: Table) -> None:
        where = f"provider {shown(name)}"
        known = name in self._providers
        block = self._providers.setdefault(name, _Block())
        self._begin(given, block, known=known)
        if "match" in given.entries:
            block.match += self._matches(given.entries["match"].value)
        for key, kind in _LIMITS.items():
            self._own(given, key, kind, block.limits, key.removeprefix("provider_"))
            _note_place(block, given, "", key)
        self._refuse(given, ("mx_rollup",), "in a provider, expected it in a domain's rule")
        self._add_options(given, block, where, (*_PROVIDER_KEYS, *_LIMITS, "mx_rollup"))
        for source, _, table in self._reading.tables(given, "sources"):
            self._own(table, _SELECTION_RATE, _RATE, block.rates, source)
            _note_place(block, table, source, _SELECTION_RATE)

    def _own(self, given: Table, key: str, kind: Kind | None, into: dict[str, Any], name: str) -> None:
        """A parameter that only providers have; null takes back what an earlier file said."""
        entry = given.entries.get(key)
        if entry is None:
            return
        if isinstance(entry.value, Text) and entry.value.is_null:
            into.pop(name, None)
            return
        assert kind is not None
        value = self._reading.scalar(kind, entry.value, key)
        if value is not UNFIT:
            into[name] = value

    def _matches(self, given: Placed) -> list[ProviderMatch]:
        found = []
        for item in self._reading.items(given, "match"):
            if not isinstance(item, Table) or len(item.entries) != 1:
                what = f"{len(item.entries)} keys in one mapping" if isinstance(item, Table) else described(item)
                self._reading.note(item, "match", f"{what}, expected {_MATCH}")
                continue
            ((key, entry),) = item.entries.items()
            if key not in _MATCHERS:
                self._reading.unknown(key, entry, "match", _MATCHERS)
                continue
            text = self._reading.scalar(_SUFFIX, entry.value, key)
            if text is not UNFIT:
                found.append(ProviderMatch(_MATCHERS[key], text))
        return found


_MATCH = '{MXSuffix: ".mx.example.com"}, {DomainSuffix: ".example.com"} or {HostName: mx.example.com}'
_MATCHERS = {member.value: member for member in Matcher}
_ENDING = re.compile(r"[a-z0-9_.-]+")


def _suffix(given: Text) -> str:
    """The end of a name, or a whole one.  A dot at its end would fit nothing, so it means nothing."""
    text = given.text.lower().rstrip(".")
    if not _ENDING.fullmatch(text):
        raise BadValue(f"{shown(given.text)} is no end of a name")
    return text


_SUFFIX = Kind("a name, or the end of one, such as .mx.example.com", _suffix)


def _note_place(block: _Block, given: Table, source: str, key: str) -> None:
    entry = given.entries.get(key)
    if entry is not None:
        block.owns[source, key] = entry.place


def _lay(over: Settings, settings: Settings) -> None:
    """Lay parameters of a path over others, as `config.compose` does."""
    for name, setting in settings.items():
        if name in JOINED and name in over and over[name].value:
            setting = Setting({**over[name].value, **setting.value}, setting.place)
        over[name] = setting
