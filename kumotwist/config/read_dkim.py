"""
Section `dkim`, inline and in the layout of the model's dkim_data.toml.

Files merge in order, what stands inline comes last: parameter by parameter, later wins.  Keys are not read here: where one is
missing or broken, `on_key_failure` says what becomes of the mail.
"""

from msgspec import Struct

from kumotwist.config.dkim import DkimBase, DkimDomain, DkimSettings, DkimSignature, is_under
from kumotwist.config.faults import Place
from kumotwist.config.fields import nearest, shown
from kumotwist.config.placed import Items, Placed, Table
from kumotwist.config.read_listeners import read_domain_key
from kumotwist.config.reading import Reading, Setting, Settings, values_of

_SECTIONS = ("base", "domain", "signature")


class DkimReading:
    """The section `dkim` while it is read.  whole: nothing of it had to be left out."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._whole = True
        self._base: Settings = {}
        self._domains: dict[str, tuple[Settings, Place]] = {}
        self._signatures: dict[str, tuple[Settings, Place]] = {}

    def read(self, given: Placed) -> DkimSettings:
        section = self._reading.table(given, "dkim")
        for table in self._reading.included(section):
            if table is None:
                self._whole = False
            else:
                self._add(table, _SECTIONS)
        self._add(section, ("files", *_SECTIONS))
        if self._whole:
            self._check_names()
        for name, (settings, place) in self._domains.items():
            self._check_entry(settings, place, f"domain {shown(name)}", None if "*" in name else name)
        for name, (settings, place) in self._signatures.items():
            if "domain" not in settings:
                self._reading.faults.note(place, f"signature {shown(name)}: domain is missing")
                continue
            self._check_entry(settings, place, f"signature {shown(name)}", settings["domain"].value)
        return DkimSettings(
            base=DkimBase(**values_of(self._base)),
            domain={name: DkimDomain(**values_of(settings)) for name, (settings, _) in self._domains.items()},
            signature={name: DkimSignature(**values_of(settings)) for name, (settings, _) in self._signatures.items()},
        )

    def _add(self, table: Table, known: tuple[str, ...]) -> None:
        reading = self._reading
        for key, entry in table.entries.items():
            if key not in known:
                reading.unknown(key, entry, "dkim", known)
        if "base" in table.entries:
            base = reading.table(table.entries["base"].value, "base")
            self._base.update(self._settings(DkimBase, base, "base"))
        seen: dict[str, str] = {}
        for name, entry, inner in reading.tables(table, "domain"):
            domain = "*" if name == "*" else read_domain_key(reading, name, entry, seen)
            settings = self._settings(DkimDomain, inner, f"domain {shown(name)}")
            if domain:
                self._merge(self._domains, domain, settings, entry.place)
        for name, entry, inner in reading.tables(table, "signature"):
            self._merge(self._signatures, name, self._settings(DkimSignature, inner, f"signature {shown(name)}"), entry.place)

    def _settings(self, cls: type[Struct], table: Table, where: str) -> Settings:
        """The parameters of an entry, its list of headers checked where it stands."""
        settings = self._reading.settings(cls, table, where)
        if "selector" in table.entries and "selector" not in settings:
            settings["selector"] = Setting("faulty", table.entries["selector"].place)  # so that it is not missed, too
        headers = settings.get("headers")
        if headers is not None and not any(name.lower() == "from" for name in headers.value):
            given = table.entries["headers"].value
            if not isinstance(given, Items) or all(getattr(item, "text", "").lower() != "from" for item in given.items):
                self._reading.faults.note(headers.place, "headers: From is not among them, and no signature counts without it")
        return settings

    @staticmethod
    def _merge(into: dict[str, tuple[Settings, Place]], name: str, settings: Settings, place: Place) -> None:
        before = into[name][0] if name in into else {}
        into[name] = ({**before, **settings}, place)

    def _check_names(self) -> None:
        """Each additional signature is there."""
        names = self._base.get("additional_signatures")
        for name in names.value if names is not None else ():
            if name not in self._signatures:
                meant = nearest(name, self._signatures)
                hint = f"did you mean {shown(meant)}?" if meant else "expected the name of a signature"
                self._reading.faults.note(names.place, f"additional_signatures names {shown(name)}, which is none, {hint}")  # type: ignore[union-attr]  # it was looked at above

    def _check_entry(self, settings: Settings, place: Place, where: str, domain: str | None) -> None:
        """domain: the signing domain; None where it is that of each message."""
        if self._whole and _value(settings, "selector") is None and _value(self._base, "selector") is None:
            self._reading.faults.note(place, f"{where} has no selector, expected one here or in base")
        if _value(settings, "filename") is not None and _value(settings, "key") is not None:
            self._reading.faults.note(settings["key"].place, f"{where}: key beside filename, expected one of them")
        identity = _value(settings, "agent_user_identifier")
        if isinstance(identity, str) and domain is not None and not is_under(identity, domain):
            what = f"agent_user_identifier: {shown(identity)} is not under {domain}, expected that domain or one below it"
            self._reading.faults.note(settings["agent_user_identifier"].place, what)


def _value(settings: Settings, name: str) -> object | None:
    return settings[name].value if name in settings else None


def read_dkim(reading: Reading, given: Placed) -> DkimSettings:
    """The section with all its files."""
    return DkimReading(reading).read(given)
