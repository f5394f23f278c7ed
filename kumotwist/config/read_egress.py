"""
Section `egress`, inline and in the layout of the model's sources.toml.

Files merge in order, what stands inline comes last: the parameters of a source key by key, later wins; a pool's sources
are joined, and one that is named again has its later weight at its first place.  (The model would count it twice.)
"""

from kumotwist.config.egress import (
    UNSPECIFIED,
    EgressPool,
    EgressSettings,
    EgressSource,
    PoolEntry,
)
from kumotwist.config.faults import Place
from kumotwist.config.fields import nearest, shown
from kumotwist.config.placed import Entry, Placed, Table, Text
from kumotwist.config.read_keys import check_secret
from kumotwist.config.reading import Reading, Settings, values_of


class EgressReading:
    """The section `egress` while it is read.  whole: nothing of it had to be left out, so a name that is missing is absent."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.whole = True
        self._sources: dict[str, Settings] = {}
        self._named: dict[str, set[str]] = {}  # what is named for each source, faulty or not
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
        for name, settings in self._sources.items():
            self._check_proxies(settings, self._named[name])
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
                self._named.setdefault(name, set()).update(source.entries)
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
                    what = f"pool {shown(pool)} names {shown(source)}, which is no source, {hint}"
                    self._reading.faults.note(place, what, unless="get_egress_source")

    def _check_proxies(self, settings: Settings, named: set[str]) -> None:
        """A proxy is used only where it is named in full: half of one would send from elsewhere than was meant."""
        for one, other in _GO_TOGETHER:
            for name, missing in ((one, other), (other, one)):
                faulty = missing in named and missing not in settings
                if _is_set(settings, name) and not _is_set(settings, missing) and not faulty:
                    self._reading.faults.note(settings[name].place, f"{name} without {missing}, expected both or neither")
        check_secret(self._reading, settings.get("socks5_proxy_password"), "socks5_proxy_password")

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


_GO_TOGETHER = (
    ("ha_proxy_server", "ha_proxy_source_address"),
    ("socks5_proxy_server", "socks5_proxy_source_address"),
    ("socks5_proxy_username", "socks5_proxy_password"),
)


def _is_set(settings: Settings, name: str) -> bool:
    return name in settings and settings[name].value is not None


def is_mapping(given: Placed) -> bool:
    """Whether names could be read here; null is a mapping without any."""
    return given.is_null if isinstance(given, Text) else isinstance(given, Table)
