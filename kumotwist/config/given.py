"""
Settings that a Python policy gives as plain values: strings, numbers, lists, mappings → the same Structs that files become.

What holds for a parameter in a file holds here, since both are read by the same readers; a fault names the key, what it is
and what was expected.  Beyond what a file can say, addresses, enumerations, paths and time spans may be Python's own.
"""

import math
import os
from collections.abc import Mapping, Sequence, Set
from datetime import timedelta
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, TypeVar

from msgspec import Struct

from kumotwist.config.bounces import BounceClassifierSettings
from kumotwist.config.dkim import DkimSigner, is_under
from kumotwist.config.egress import EgressPool, EgressSource, PathSettings, PoolEntry
from kumotwist.config.faults import Broken, Place
from kumotwist.config.fields import Limit, Rate, format_duration, format_rate
from kumotwist.config.http import HttpListenerSettings
from kumotwist.config.kinds import kind_of
from kumotwist.config.listeners import ListenerDomain, ListenerSettings
from kumotwist.config.log_hooks import PolicyHook
from kumotwist.config.placed import Items, Placed, Table, Text, check_depth, table
from kumotwist.config.protocol import read_protocol
from kumotwist.config.queues import QueueSettings
from kumotwist.config.read_bounces import read_bounce_classifier
from kumotwist.config.read_http import read_http_listeners
from kumotwist.config.read_listeners import read_listeners
from kumotwist.config.reading import UNFIT, Reading, Setting, Settings, fields_of, values_of

S = TypeVar("S", bound=Struct)

_NOWHERE = Place("policy", 1, 0)
_NULL_TEXT = "null"
_NAME = kind_of(str)
assert _NAME is not None


class BadParameters(ValueError):
    """Parameters that are not what was wanted.  of: whose they are (`make_egress_path`); wrong: all that is wrong, each a text."""

    def __init__(self, of: str, wrong: Sequence[str]) -> None:
        super().__init__(f"{of}: {'; '.join(wrong)}")
        self.of = of
        self.wrong = tuple(wrong)


def placed(given: object, reading: Reading, place: Place = _NOWHERE, level: int = 1) -> Placed:
    """
    A plain Python value as if a file said it; what no file could say is noted as a fault and becomes null.

    place: where relative file names start from, and where all faults are.  Raises Broken where it is nested too deep.
    """
    if given is None:
        return Text(_NULL_TEXT, place, plain=True)
    if isinstance(given, bool):
        return Text("true" if given else "false", place, plain=True)
    if isinstance(given, str) and not isinstance(given, Enum):
        return Text(given, place)
    if isinstance(given, Mapping):
        check_depth(level, place)
        pairs = [(_key(key, reading, place), placed(value, reading, place, level + 1)) for key, value in given.items()]
        return table(pairs, place, reading.faults)
    if isinstance(given, Sequence | Set) and not isinstance(given, bytes | bytearray):
        check_depth(level, place)
        return Items(tuple(placed(item, reading, place, level + 1) for item in given), place)
    text, plain = _scalar(given)
    if text is None:
        reading.faults.note(place, f"a value of type {type(given).__name__}, expected a text, a number, a list or a mapping")
        return Text(_NULL_TEXT, place, plain=True)
    return Text(text, place, plain)


def _scalar(given: object) -> tuple[str | None, bool]:
    """The text of a scalar, and whether it stands without quotes; None for what is no scalar."""
    if isinstance(given, Enum):
        return (str(given.value), False) if isinstance(given.value, str) else (None, False)
    if isinstance(given, int):
        return str(given), True
    if isinstance(given, float):
        return _decimal(given), True
    if isinstance(given, timedelta):
        return _decimal(given.total_seconds()), True
    if isinstance(given, IPv4Address | IPv6Address | IPv4Network | IPv6Network):
        return str(given), False
    if isinstance(given, Rate):
        return format_rate(given), False
    if isinstance(given, Limit):
        return f"{'local:' if given.local else ''}{given.limit}", True
    if isinstance(given, os.PathLike):
        path = os.fspath(given)
        return (path, False) if isinstance(path, str) else (None, False)
    return None, False


def _decimal(number: float) -> str:
    """Without an exponent, which no setting has."""
    if not math.isfinite(number):
        return repr(number)
    return f"{number:.12f}".rstrip("0").rstrip(".")


def _key(key: object, reading: Reading, place: Place) -> Placed:
    if isinstance(key, str):
        return Text(key, place)
    if isinstance(key, IPv4Address | IPv6Address | IPv4Network | IPv6Network):
        return Text(str(key), place)
    reading.faults.note(place, f"{key!r} as a key, expected a text")
    return Text(repr(key), place)


class GivenParameters:
    """The parameters of one call while they are read.  of: the function's name; file: the policy file that calls it."""

    def __init__(self, of: str, given: Mapping[str, object], file: str = _NOWHERE.file) -> None:
        self._of = of
        self._reading = Reading()
        self._place = Place(file, 1, 0)
        try:
            root = placed(given, self._reading, self._place)
        except Broken as fault:
            raise BadParameters(of, [fault.what]) from None
        assert isinstance(root, Table)
        self._table = root

    def check(self) -> None:
        """Raises BadParameters if anything was wrong so far."""
        if self._reading.faults:
            raise BadParameters(self._of, [fault.what for fault in self._reading.faults.in_order()])

    def settings(self, cls: type[Struct], *, leave: Sequence[str] = ()) -> Settings:
        """The parameters of a Struct that were given."""
        for key, field in fields_of(cls).items():
            if field.kind is _NAME and key in self._table.entries:
                self._check_text(self._table.entries[key].value, key)
        return self._reading.settings(cls, self._table, "the parameters", leave=leave)

    def named(self, cls: type[Struct]) -> dict[str, Any]:
        """The same as plain values.  Raises BadParameters."""
        values = values_of(self.settings(cls))
        self.check()
        return values

    def struct(self, cls: type[S]) -> S:
        """A whole Struct.  Raises BadParameters."""
        return cls(**self.named(cls))

    def source(self) -> EgressSource:
        return EgressSource(**self._with_name(EgressSource))

    def pool(self) -> EgressPool:
        name = self._name(self._table, "name")
        entries = self._table.entries.get("entries")
        found = [] if entries is None else self._entries(entries.value)
        ttl = values_of(self.settings(EgressPool, leave=("name", "entries")))
        self.check()
        return EgressPool(name=name, entries=tuple(found), **ttl)

    def _entries(self, given: Placed) -> list[PoolEntry]:
        found = []
        for item in self._reading.items(given, "entries"):
            entry = self._reading.table(item, "entries")
            name = self._name(entry, "entries: name")
            weight = self._reading.settings(PoolEntry, entry, f'the entry of "{name}"', leave=("name",))
            found.append(PoolEntry(name=name, **values_of(weight)))
        return found

    def path(self) -> PathSettings:
        return self.struct(PathSettings)

    def queue(self) -> QueueSettings:
        settings = self.settings(QueueSettings, leave=("protocol",))
        protocol = self._table.entries.get("protocol")
        if protocol is not None:
            for name, value in read_protocol(self._reading, protocol.value).items():
                settings[name] = Setting(value, protocol.value.place)
        self.check()
        made = QueueSettings(**values_of(settings))
        most = made.max_retry_interval
        if most is not None and most < made.retry_interval:
            shorter = f"{format_duration(most)} is shorter than retry_interval {format_duration(made.retry_interval)}"
            raise BadParameters(self._of, [f"max_retry_interval: {shorter}, expected it as long or longer"])
        return made

    def bounce_classifier(self) -> BounceClassifierSettings:
        """With the rules of all files that it names.  Raises BadParameters."""
        made = read_bounce_classifier(self._reading, self._table)
        self.check()
        return made

    @property
    def files(self) -> list[str]:
        """What was read for them."""
        return self._reading.faults.files

    def policy_hook(self) -> PolicyHook:
        """Raises BadParameters."""
        settings = self.settings(PolicyHook)
        if "name" not in settings:
            self._name(self._table, "name")
        self.check()
        return PolicyHook(**values_of(settings))

    def dkim_signer(self) -> DkimSigner:
        """Raises BadParameters."""
        made = self._reading.whole(DkimSigner, self._table, "the signer")
        self.check()
        if not isinstance(made, DkimSigner):  # null is no fault where a parameter has a default, and these have none
            raise BadParameters(self._of, ["None for domain, selector, headers or key, expected all four"])
        if not any(name.lower() == "from" for name in made.headers):
            raise BadParameters(self._of, ["headers: From is not among them, and no signature counts without it"])
        if made.agent_user_identifier is not None and not is_under(made.agent_user_identifier, made.domain):
            raise BadParameters(self._of, [f"agent_user_identifier: {made.agent_user_identifier} is not under {made.domain}"])
        return made

    def listener_domain(self) -> ListenerDomain:
        return self.struct(ListenerDomain)

    def listener(self) -> ListenerSettings:
        """A listener as a file would have it, certificates included.  Raises BadParameters."""
        listeners = read_listeners(self._reading, Items((self._table,), self._place))
        self.check()
        return listeners[0]

    def http_listener(self) -> HttpListenerSettings:
        """A listener as a file would have it, certificates included.  Raises BadParameters."""
        listeners = read_http_listeners(self._reading, Items((self._table,), self._place))
        self.check()
        return listeners[0]

    def _with_name(self, cls: type[Struct]) -> dict[str, Any]:
        """The parameters of a Struct that has its name among them, where a file has it as the key above."""
        values = {"name": self._name(self._table, "name"), **values_of(self.settings(cls, leave=("name",)))}
        self.check()
        return values

    def _check_text(self, given: Placed, name: str) -> None:
        """In a file a text may look like a number or a switch; here whoever wrote one meant one."""
        if isinstance(given, Text) and given.plain and not given.is_null:
            self._reading.note(given, name, f"{given.text}, expected a text")

    def _name(self, table: Table, where: str) -> str:
        """The name that must stand in a table; a placeholder, and a fault, where none does."""
        entry = table.entries.get("name")
        if entry is None:
            self._reading.faults.note(table.place, f"{where} is missing, expected a text")
            return ""
        assert _NAME is not None
        self._check_text(entry.value, where)
        value = self._reading.scalar(_NAME, entry.value, where)
        return "" if value is UNFIT else str(value)
