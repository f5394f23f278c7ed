"""
Sections `egress` and `shaping`, inline and in the layouts of the model's sources.toml and shaping.toml.

Files merge in order, what stands inline comes last: the parameters of a source or a rule key by key, later wins; a pool's
sources are joined, and one that is named again has its later weight at its first place.  (The model would count it twice.)
"""

from kumotwist.config.egress import (
    UNSPECIFIED,
    EgressPool,
    EgressSettings,
    EgressSource,
    PathSettings,
    PoolEntry,
    ShapingRule,
    ShapingSettings,
)
from kumotwist.config.faults import Place
from kumotwist.config.fields import nearest, shown
from kumotwist.config.kinds import kind_of
from kumotwist.config.placed import Entry, Placed, Table, Text
from kumotwist.config.read_listeners import read_domain_key
from kumotwist.config.reading import UNFIT, Reading, Settings, values_of


class EgressReading:
    """The section `egress` while it is read.  whole: nothing of it had to be left out, so a name that is missing is absent."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.whole = True
        self._sources: dict[str, Settings] = {}
        self._pools: dict[str, dict[str, tuple[Settings, Place]]] = {}

    def read(self, given: Placed) -> EgressSettings:
        section = self._reading.table(given, "egress")
        self.whole = is_mapping(given)
        for table in self._reading.included(section):
            if table is None:
                self.whole = False
            else:
                self._add(table, ("source", "pool"))
        self._add(section, ("files", "source", "pool"))
        self._check_entries()
        return self._settings()

    def _add(self, table: Table, known: tuple[str, ...]) -> None:
        for key, entry in table.entries.items():
            if key in ("source", "pool"):
                self.whole = self.whole and is_mapping(entry.value)
            elif key not in known:
                self._reading.unknown(key, entry, "egress", known)
        for name, entry, source in self._reading.tables(table, "source"):
            settings = self._reading.settings(EgressSource, source, f"source {shown(name)}")
            if self._is_ours(name, entry, "source"):
                self._sources.setdefault(name, {}).update(settings)
        for name, entry, pool in self._reading.tables(table, "pool"):
            if self._is_ours(name, entry, "pool"):
                self._add_pool(name, pool)

    def _is_ours(self, name: str, entry: Entry, what: str) -> bool:
        if name == UNSPECIFIED:
            self._reading.faults.note(entry.place, f'{what} "{UNSPECIFIED}" is built in, expected another name')
        return name != UNSPECIFIED

    def _add_pool(self, name: str, pool: Table) -> None:
        entries = self._pools.setdefault(name, {})
        for source, entry in pool.entries.items():
            table = self._reading.table(entry.value, source)
            settings = self._reading.settings(PoolEntry, table, f"pool {shown(name)}, source {shown(source)}")
            before = entries[source][0] if source in entries else {}
            entries[source] = ({**before, **settings}, entry.place)

    def _check_entries(self) -> None:
        if not self.whole:
            return
        for pool, entries in self._pools.items():
            for source, (_, place) in entries.items():
                if source not in self._sources and source != UNSPECIFIED:
                    meant = nearest(source, self._sources)
                    hint = f"did you mean {shown(meant)}?" if meant else "expected the name of a source"
                    self._reading.faults.note(place, f"pool {shown(pool)} names {shown(source)}, which is no source, {hint}")

    def _settings(self) -> EgressSettings:
        sources = {name: EgressSource(name=name, **values_of(settings)) for name, settings in self._sources.items()}
        pools = {
            name: EgressPool(
                name=name,
                entries=tuple(PoolEntry(name=source, **values_of(settings)) for source, (settings, _) in entries.items()),
            )
            for name, entries in self._pools.items()
        }
        sources[UNSPECIFIED] = EgressSource(name=UNSPECIFIED)
        pools[UNSPECIFIED] = EgressPool(name=UNSPECIFIED, entries=(PoolEntry(name=UNSPECIFIED),))
        return EgressSettings(source=sources, pool=pools)


def is_mapping(given: Placed) -> bool:
    """Whether names could be read here; null is a mapping without any."""
    return given.is_null if isinstance(given, Text) else isinstance(given, Table)


# --- shaping ---------------------------------------------------------------------------------------------------------

_RULE_KEYS = ("mx_rollup", "replace_base", "sources")
_SWITCH = kind_of(bool)
assert _SWITCH is not None


class _Block:
    """A rule while it is read: the parameters of one domain from all files."""

    __slots__ = ("mx_rollup", "options", "replace_base", "sources")

    def __init__(self) -> None:
        self.options: Settings = {}
        self.sources: dict[str, Settings] = {}
        self.mx_rollup = True
        self.replace_base = False

    def rule(self) -> ShapingRule:
        return ShapingRule(
            options=values_of(self.options),
            sources={name: values_of(settings) for name, settings in self.sources.items()},
            mx_rollup=self.mx_rollup,
            replace_base=self.replace_base,
        )


def read_shaping(reading: Reading, given: Placed) -> ShapingSettings:
    section = reading.table(given, "shaping")
    blocks: dict[str, _Block] = {}
    for table in reading.included(section):
        if table is not None:
            _add_rules(reading, table, blocks)
    for key, entry in section.entries.items():
        if key == "rules":
            _add_rules(reading, reading.table(entry.value, key), blocks)
        elif key != "files":
            reading.unknown(key, entry, "shaping", ("files", "rules"), "shaping")
    return ShapingSettings(rules={domain: block.rule() for domain, block in blocks.items()})


def _add_rules(reading: Reading, table: Table, blocks: dict[str, _Block]) -> None:
    for key, entry in table.entries.items():
        if key == "provider":
            reading.unknown(key, entry, "shaping", (), "shaping.rules")
            continue
        domain = key if key == "default" else read_domain_key(reading, key, entry, wildcards=False)
        block = reading.table(entry.value, key)
        if domain == "default":
            _refuse_in_default(reading, block)
        if domain:
            known = domain in blocks
            _merge(reading, block, blocks.setdefault(domain, _Block()), known=known, where=f"shaping rule {shown(key)}")


def _refuse_in_default(reading: Reading, block: Table) -> None:
    for key in _RULE_KEYS:
        if key in block.entries:
            reading.faults.note(
                block.entries[key].place, f"{key} means nothing in the default rule, expected it in a domain's rule"
            )


def _merge(reading: Reading, given: Table, block: _Block, *, known: bool, where: str) -> None:
    """A later block for the same domain: its parameters win; with replace_base what came before is forgotten."""
    replaces = _switch(reading, given, "replace_base", False)
    if known and replaces:
        block.options, block.sources = {}, {}
    if not known:
        # Whether `default` is forgotten is for the first block to say, as in the model.
        block.replace_base = replaces
    block.mx_rollup = _switch(reading, given, "mx_rollup", block.mx_rollup)
    block.options.update(reading.settings(PathSettings, given, where, leave=_RULE_KEYS, awaited=ShapingRule))
    for name, _, table in reading.tables(given, "sources"):
        settings = reading.settings(PathSettings, table, f"{where}, source {shown(name)}")
        block.sources.setdefault(name, {}).update(settings)


def _switch(reading: Reading, given: Table, key: str, otherwise: bool) -> bool:
    entry = given.entries.get(key)
    if entry is None or (isinstance(entry.value, Text) and entry.value.is_null):
        return otherwise
    assert _SWITCH is not None
    value = reading.scalar(_SWITCH, entry.value, key)
    return otherwise if value is UNFIT else bool(value)
