"""
Placed values → settings, by the annotations of the Structs: a new parameter is one line in its Struct.

Whatever does not fit is noted with its place and left out, so that one reading finds every fault.
"""

import errno
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from kumotwist.config.awaited import AWAITED
from kumotwist.config.faults import Broken, FaultList, Noted, Place
from kumotwist.config.fields import BadValue, Networks, nearest, parse_networks, shown, shown_file
from kumotwist.config.forms import form_of
from kumotwist.config.kinds import Kind, kind_of
from kumotwist.config.placed import Entry, Items, Placed, Table, Text, described, has_controls
from kumotwist.config.placed_json import read_json
from kumotwist.config.placed_toml import read_toml
from kumotwist.config.placed_yaml import read_yaml

S = TypeVar("S", bound=Struct)

LARGEST_FILE = 64 * 1024 * 1024  # octets
_MOST_LISTED = 20  # keys in one fault

_READERS: Mapping[str, Callable[[str, str, FaultList], Placed | None]] = {
    ".yaml": read_yaml,
    ".yml": read_yaml,
    ".toml": read_toml,
    ".json": read_json,
}


class Unfit:
    """Stands where a value would, had it been one: its fault is noted."""


UNFIT = Unfit()


class Field(Struct, frozen=True):
    """One parameter of a Struct.  wanted: its annotation; kind: how its scalar is read, None where it is no scalar."""

    name: str
    wanted: Any
    kind: Kind | None
    default: Any


class Setting(Struct, frozen=True):
    """A parameter that a file names: its value, and where that stands."""

    value: Any
    place: Place


Settings = dict[str, Setting]


@cache
def fields_of(cls: type[Struct]) -> Mapping[str, Field]:
    """The parameters of a Struct, by the key that names them in files."""
    fields = {}
    for field in msgspec.structs.fields(cls):
        default = (
            field.default_factory() if field.default is NODEFAULT and field.default_factory is not NODEFAULT else field.default
        )
        wanted = _without_none(field.type)
        key = _key(wanted)
        fields[field.name if key is None else key] = Field(field.name, wanted, kind_of(wanted), default)
    fields.pop("", None)
    return fields


def _without_none(wanted: Any) -> Any:
    if get_origin(wanted) in (Union, UnionType):
        return next(choice for choice in get_args(wanted) if choice is not type(None))
    return wanted


def _key(wanted: Any) -> str | None:
    if get_origin(wanted) is not Annotated:
        return None
    meta = get_args(wanted)[1]
    return (meta.extra or {}).get("key") if isinstance(meta, Meta) else None


class Reading:
    """One reading of a configuration with all its files."""

    def __init__(self) -> None:
        self.faults = FaultList()
        self.policy_is_whole = True  # every one of its files is there
        self.asked: list[tuple[Place, str, str]] = []  # see asks_policy

    # --- files -----------------------------------------------------------------------------------------------------

    def document(self, file: str, named: Place | None = None) -> Placed | None:
        """
        What a file holds; None if it holds nothing or cannot be understood.

        named: where it was asked for, which is where a file that cannot be read is a fault.
        """
        try:
            return self._document(file)
        except OSError as fault:
            what = f"cannot be read: {os.strerror(fault.errno) if fault.errno else fault}"
            self.faults.note(named or Place(file, 1, 1), f"{shown_file(file)} {what}" if named else what)
        except Broken as fault:
            self.faults.note(fault.place, fault.what)
        return None

    def _document(self, file: str) -> Placed | None:
        if file not in self.faults.files:
            self.faults.files.append(file)
        with open(file, "rb") as stream:
            octets = stream.read(LARGEST_FILE + 1)
        if len(octets) > LARGEST_FILE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        try:
            text = octets.decode("utf-8-sig")
        except UnicodeDecodeError as fault:
            before = octets[: fault.start].decode("utf-8-sig", "replace")
            place = Place(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
            raise Broken(place, f"octet 0x{octets[fault.start]:02x} is not UTF-8") from None
        return _READERS.get(os.path.splitext(file)[1].lower(), read_yaml)(file, text, self.faults)

    def included(self, section: Table) -> Iterator[Table | None]:
        """The tables of a section's `files`, in order; None for one that cannot be understood."""
        entry = section.entries.get("files")
        if entry is None:
            return
        for name in self.items(entry.value, "files"):
            file = self.file_name(name)
            if file is None:
                yield None
                continue
            before = len(self.faults)
            document = self.document(file, name.place)
            if document is not None:
                yield self.table(document, os.path.basename(file))
            elif len(self.faults) > before:
                yield None

    def file_name(self, name: Placed) -> str | None:
        """As it is opened and shown: relative to the file that names it."""
        if not isinstance(name, Text) or name.is_null or has_controls(name.text) or not name.text:
            self.note(name, "files", f"{described(name)}, expected the name of a file")
            return None
        if re.match(r"https?://", name.text):
            self.faults.note(name.place, f"files: {shown(name.text)}: reading files over HTTP is not implemented yet")
            return None
        if os.path.splitext(name.text)[1].lower() not in _READERS:
            self.note(name, "files", f"{shown(name.text)} has an unknown ending, expected one of {', '.join(_READERS)}")
            return None
        return os.path.normpath(os.path.join(os.path.dirname(name.place.file), name.text))

    # --- faults ----------------------------------------------------------------------------------------------------

    def note(self, at: Placed | Entry, name: str, what: str) -> None:
        self.faults.note(at.place, f"{name}: {what}")

    def asks_policy(self, at: Placed, name: str, event: str) -> None:
        """The value of a parameter is left to the policy's handlers for an event; whether there are any is not known here."""
        self.asked.append((at.place, name, event))

    @staticmethod
    def is_awaited(key: str, whose: Any) -> bool:
        """Whether a parameter is known and not there yet."""
        return key in AWAITED.get(whose, ())

    def entry(self, table: Table, key: str, whose: Any) -> Entry | None:
        """What stands under a key that the caller reads himself; None if it is not there, or awaited and so refused."""
        return None if self.is_awaited(key, whose) else table.entries.get(key)

    def unknown(self, key: str, entry: Entry, where: str, known: Collection[str], awaited: Any = None) -> None:
        """A key that nobody asked for: awaited, mistyped, or neither."""
        if self.is_awaited(key, awaited):
            self.faults.note(entry.place, f"{key} is not implemented yet")
            return
        names = sorted({name for name in known if not self.is_awaited(name, awaited)})
        meant = nearest(key, names)
        one = "one of " if len(names) > 1 else ""
        expected = f"{one}{', '.join(names)}" if len(names) <= _MOST_LISTED else "one of its parameters"
        hint = f"did you mean {shown(meant)}?" if meant else f"expected {expected}"
        self.faults.note(entry.place, f"unknown key {shown(key)} in {where}, {hint}")

    # --- shapes ----------------------------------------------------------------------------------------------------

    def table(self, given: Placed, name: str) -> Table:
        """The mapping that was wanted here; an empty one for null, and for anything else, which is a fault."""
        if isinstance(given, Table):
            return given
        if not (isinstance(given, Text) and given.is_null):
            self.note(given, name, f"{described(given)}, expected a mapping")
        return Table({}, given.place)

    def items(self, given: Placed, name: str) -> tuple[Placed, ...]:
        """The list that was wanted here; an empty one for null, and for anything else, which is a fault."""
        if isinstance(given, Items):
            return given.items
        if not (isinstance(given, Text) and given.is_null):
            meant = f", did you mean [{given.text}]?" if isinstance(given, Text) and given.text.isprintable() else ""
            self.note(given, name, f"{described(given)}, expected a list{meant}")
        return ()

    def tables(self, table: Table, key: str) -> Iterator[tuple[str, Entry, Table]]:
        """The mappings by name that stand under a key; a name with nothing beside it has an empty one."""
        entry = table.entries.get(key)
        if entry is not None:
            for name, inner in self.table(entry.value, key).entries.items():
                yield name, inner, self.table(inner.value, name)

    # --- values ----------------------------------------------------------------------------------------------------

    def settings(
        self, cls: type[Struct], table: Table, where: str, *, leave: Collection[str] = (), awaited: Any = None
    ) -> Settings:
        """
        The parameters of a Struct that a table names, by field name.  null is the parameter's default, said explicitly.

        leave: keys that the caller reads himself.  awaited: whose table of awaited parameters counts; default: cls.
        """
        fields = fields_of(cls)
        found: Settings = {}
        for key, entry in table.entries.items():
            if self.is_awaited(key, awaited or cls):
                self.unknown(key, entry, where, (), awaited or cls)
                continue
            if key in leave:
                continue
            field = fields.get(key)
            if field is None:
                self.unknown(key, entry, where, [*fields, *leave], awaited or cls)
                continue
            value = self._field(field, entry.value, key)
            if value is not UNFIT:
                found[field.name] = Setting(value, entry.value.place)
        return found

    def _field(self, field: Field, given: Placed, key: str) -> Any:
        if isinstance(given, Text) and given.is_null:
            return UNFIT if field.default is NODEFAULT else field.default
        return self.scalar(field.kind, given, key) if field.kind else self.value(field.wanted, given, key)

    def struct(self, cls: type[S], given: Placed, where: str, *, leave: Collection[str] = ()) -> S:
        """A whole Struct; what is faulty or not named has its default."""
        return cls(**values_of(self.settings(cls, self.table(given, where), where, leave=leave)))

    def whole(self, cls: type[S], given: Placed, where: str) -> S | Unfit:
        """A whole Struct that has parameters without a default; UNFIT where one of those is missing or faulty."""
        table = self.table(given, where)
        settings = self.settings(cls, table, where)
        needed = {key: field for key, field in fields_of(cls).items() if field.default is NODEFAULT}
        if isinstance(given, Table):
            for key in needed:
                if key not in table.entries:
                    self.note(table, where, f"{key} is missing")
        if any(field.name not in settings for field in needed.values()):
            return UNFIT
        return cls(**values_of(settings))

    def scalar(self, kind: Kind, given: Placed, name: str) -> Any:
        """One value of that kind, or UNFIT."""
        if not isinstance(given, Text) or given.is_null:
            self.note(given, name, f"{described(given)}, expected {kind.expected}")
            return UNFIT
        try:
            return kind.read(given)
        except BadValue as fault:
            meant = f", did you mean {fault.meant}?" if fault.meant else ""
            self.note(given, name, f"{fault.wrong}, expected {kind.expected}{meant}")
            return UNFIT

    def value(self, wanted: Any, given: Placed, name: str) -> Any:
        """What an annotation wants, or UNFIT; of a list or a mapping, what fits in it."""
        origin, arguments = get_origin(wanted), get_args(wanted)
        form = form_of(wanted)
        if form is not None:
            try:
                return form(self, given, name)
            except Noted:
                return UNFIT
        kind = kind_of(wanted)
        if kind is not None:
            return self.scalar(kind, given, name)
        if wanted is Networks:
            return self._networks(given, name)
        if wanted is object or wanted is Any:
            return self.free(given, name)
        if origin is tuple:
            found = [self.value(arguments[0], item, name) for item in self.items(given, name)]
            return tuple(value for value in found if value is not UNFIT)
        if origin is not None and issubclass_of(origin, Mapping):
            return self._mapping(arguments, given, name)
        assert issubclass_of(wanted, Struct), wanted
        needed = any(field.default is NODEFAULT for field in fields_of(wanted).values())
        return self.whole(wanted, given, name) if needed else self.struct(wanted, given, name)

    def _mapping(self, arguments: tuple[Any, ...], given: Placed, name: str) -> dict[str, Any]:
        key_kind = kind_of(arguments[0])
        assert key_kind is not None, arguments
        made = {}
        for key, entry in self.table(given, name).entries.items():
            read = self.scalar(key_kind, Text(key, entry.place), name)
            value = self.value(arguments[1], entry.value, key)
            if read is not UNFIT and value is not UNFIT:
                made[read] = value
        return made

    def _networks(self, given: Placed, name: str) -> Networks:
        kind = Kind("an address or a network such as 10.0.0.0/8", lambda text: parse_networks(text.text))
        found = [self.scalar(kind, item, name) for item in self.items(given, name)]
        return Networks(tuple(network for networks in found if networks is not UNFIT for network in networks))

    def free(self, given: Placed, name: str) -> Any:
        """Any value that JSON has too, with the scalars of YAML 1.2's core schema: no `on`, no `25:30`."""
        if isinstance(given, Items):
            return [self.free(item, name) for item in given.items]
        if isinstance(given, Table):
            return {key: self.free(entry.value, key) for key, entry in given.entries.items()}
        if has_controls(given.text):
            self.note(given, name, f"{shown(given.text)} has control characters, expected a text")
        if given.is_null:
            return None
        return _core(given.text) if given.plain else given.text


_CORE_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_CORE_WHOLE = re.compile(r"[-+]?[0-9]{1,18}\Z")
_CORE_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,2})?\Z")


def _core(text: str) -> bool | int | float | str:
    if text in _CORE_WORDS:
        return _CORE_WORDS[text]
    if _CORE_WHOLE.match(text):
        return int(text)
    return float(text) if _CORE_FLOAT.match(text) else text


def issubclass_of(wanted: Any, base: type) -> bool:
    """issubclass for what may be no class."""
    return isinstance(wanted, type) and issubclass(wanted, base)


def values_of(settings: Settings) -> dict[str, Any]:
    """The values alone."""
    return {name: setting.value for name, setting in settings.items()}
