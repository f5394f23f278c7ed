"""
Values that may stand in more than one form, as a text or as a mapping: key sources and triggers.

What is a scalar and nothing else is a kind (`config.kinds`).  An annotation names its form in `extra["form"]`.
"""

import os
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Protocol, get_args, get_origin

from msgspec import Meta

from kumotwist.config.faults import Noted
from kumotwist.config.fields import BadValue, Rate, parse_rate, shown
from kumotwist.config.keys import KeyData, KeyEvent
from kumotwist.config.kinds import Kind
from kumotwist.config.placed import Entry, Placed, Table, Text, described, has_controls


class Reading(Protocol):
    """What a form needs of the reading that it is part of (`config.reading.Reading`)."""

    def note(self, at: Placed | Entry, name: str, what: str) -> None: ...

    def asks_policy(self, at: Placed, name: str, event: str) -> None: ...

    def is_awaited(self, key: str, whose: Any) -> bool: ...

    def unknown(self, key: str, entry: Entry, where: str, known: Collection[str], awaited: Any = None) -> None: ...

    def items(self, given: Placed, name: str) -> tuple[Placed, ...]: ...

    def scalar(self, kind: Kind, given: Placed, name: str) -> Any: ...

    def free(self, given: Placed, name: str) -> Any: ...


Form = Callable[[Reading, Placed, str], Any]  # raises Noted where nothing can be read


def form_of(wanted: Any) -> Form | None:
    """The form that an annotation asks for; None where it asks for none."""
    if get_origin(wanted) is not Annotated:
        return None
    meta = next((given for given in get_args(wanted)[1:] if isinstance(given, Meta)), Meta())
    return _FORMS.get((meta.extra or {}).get("form", ""))


# --- key sources -----------------------------------------------------------------------------------------------------

_SOURCES = "the name of a file, {key_data: ...} or {event_name: ..., event_args: [...]}"
_SOURCE_KEYS = ("key_data", "event_name", "event_args", "environment")


def _key_source(reading: Reading, given: Placed, name: str) -> str | KeyData | KeyEvent:
    if isinstance(given, Text) and not given.is_null:
        return _file(reading, given, name)
    if not isinstance(given, Table):
        reading.note(given, name, f"{described(given)}, expected {_SOURCES}")
        raise Noted
    known = [key for key in given.entries if key in _SOURCE_KEYS and not reading.is_awaited(key, "key source")]
    for key, entry in given.entries.items():
        if key not in known:
            reading.unknown(key, entry, name, _SOURCE_KEYS, "key source")
    if len(known) < len(given.entries):
        raise Noted
    if known == ["key_data"]:
        return _key_data(reading, given.entries["key_data"].value, name)
    if known == ["environment"]:
        return _from_environment(reading, given.entries["environment"].value, name)
    if "event_name" in known and not {"key_data", "environment"} & set(known):
        return _key_event(reading, given, name)
    reading.note(given, name, f"{' and '.join(known) or 'nothing'} in it, expected {_SOURCES}")
    raise Noted


def _file(reading: Reading, given: Text, name: str) -> str:
    # What stands here instead of a file may be the secret itself, so it is not shown.
    if not given.text or has_controls(given.text):
        reading.note(given, name, f"a text that is no name of a file, expected {_SOURCES}")
        raise Noted
    return os.path.abspath(os.path.join(os.path.dirname(given.place.file), given.text))


def _key_data(reading: Reading, given: Placed, name: str) -> KeyData:
    if not isinstance(given, Text) or given.is_null or not given.text:
        reading.note(given, name, f"{described(given) if not isinstance(given, Text) else 'nothing'} as key_data, expected a text")
        raise Noted
    return KeyData(given.text.encode("utf-8", "surrogatepass"))


def _from_environment(reading: Reading, given: Placed, name: str) -> KeyData:
    """What a variable of the environment holds; the process has one environment, so it is read once."""
    if not isinstance(given, Text) or given.is_null or not given.text:
        reading.note(given, name, f"{described(given)} as environment, expected the name of a variable")
        raise Noted
    value = os.environ.get(given.text)
    if not value:
        reading.note(given, name, f"the environment has no {shown(given.text)}, expected a variable that is set")
        raise Noted
    return KeyData(value.encode("utf-8", "surrogateescape"))


def _key_event(reading: Reading, given: Table, name: str) -> KeyEvent:
    event = given.entries["event_name"].value
    read = reading.scalar(_EVENT, event, "event_name")
    arguments: list[Any] = []
    if "event_args" in given.entries:
        for item in reading.items(given.entries["event_args"].value, "event_args"):
            if not isinstance(item, Text):
                reading.note(item, "event_args", f"{described(item)}, expected a text, a number, a switch or null")
                raise Noted
            arguments.append(reading.free(item, "event_args"))
    if not isinstance(read, str):
        raise Noted
    reading.asks_policy(event, name, read)
    return KeyEvent(read, tuple(arguments))


def _event_name(given: Text) -> str:
    if not given.text or has_controls(given.text):
        raise BadValue(f"{shown(given.text)} is no name of an event")
    return given.text


_EVENT = Kind("the name of an event of the policy", _event_name)


# --- triggers --------------------------------------------------------------------------------------------------------

_TRIGGERS = 'Immediate or {Threshold: "5/hr"}'


def _trigger(reading: Reading, given: Placed, name: str) -> Rate | None:
    if isinstance(given, Text) and given.text == "Immediate":
        return None
    if not isinstance(given, Table):
        reading.note(given, name, f"{described(given)}, expected {_TRIGGERS}")
        raise Noted
    for key, entry in given.entries.items():
        if key != "Threshold":
            reading.unknown(key, entry, name, ("Threshold",))
    if set(given.entries) != {"Threshold"}:
        if not given.entries:
            reading.note(given, name, f"an empty mapping, expected {_TRIGGERS}")
        raise Noted
    found = reading.scalar(_THRESHOLD, given.entries["Threshold"].value, "Threshold")
    if not isinstance(found, Rate):
        raise Noted
    return found


def _threshold(given: Text) -> Rate:
    rate = parse_rate(given.text)
    if rate.local or rate.max_burst is not None:
        raise BadValue(f"{shown(given.text)} is more than a number and a period")
    return rate


_THRESHOLD = Kind("so many in a period, such as 5/hr", _threshold)

_FORMS: Mapping[str, Form] = {"key_source": _key_source, "trigger": _trigger}
