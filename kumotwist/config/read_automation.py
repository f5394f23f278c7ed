"""The `automation` of a shaping rule or a provider: what its responses are to lead to.  Read and checked."""

import re
import warnings
from typing import Any

from kumotwist.config.egress import PathSettings, Trigger
from kumotwist.config.faults import Place
from kumotwist.config.fields import BadValue, Duration, nearest, shown
from kumotwist.config.kinds import Kind, kind_of
from kumotwist.config.placed import Items, Placed, Table, Text, described, has_controls
from kumotwist.config.reading import UNFIT, Reading, fields_of
from kumotwist.config.shaping import Action, AutomationAction, AutomationRule

_KEYS = ("regex", "action", "trigger", "duration", "match_internal")
_DURATION, _SWITCH = kind_of(Duration), kind_of(bool)
assert _DURATION is not None
assert _SWITCH is not None


def read_automation(reading: Reading, given: Placed) -> list[tuple[AutomationRule, Place]]:
    """The rules in their order, each with its place; one that is faulty is left out."""
    found = []
    for item in reading.items(given, "automation"):
        rule = _rule(reading, reading.table(item, "automation")) if isinstance(item, Table) else None
        if rule is not None:
            found.append((rule, item.place))
        elif not isinstance(item, Table):
            reading.note(item, "automation", f"{described(item)}, expected a mapping with {', '.join(_KEYS)}")
    return found


def _rule(reading: Reading, table: Table) -> AutomationRule | None:
    before = len(reading.faults)
    values: dict[str, Any] = {}
    for key, entry in table.entries.items():
        if key == "regex":
            values[key] = _patterns(reading, entry.value)
        elif key == "action":
            values[key] = _actions(reading, entry.value)
        elif key == "trigger":
            values[key] = reading.value(Trigger, entry.value, key)
        elif key == "duration":
            values[key] = reading.scalar(_DURATION, entry.value, key)  # type: ignore[arg-type]  # asserted above
        elif key == "match_internal":
            values[key] = reading.scalar(_SWITCH, entry.value, key)  # type: ignore[arg-type]
        else:
            reading.unknown(key, entry, "automation", _KEYS)
    for key in ("regex", "action", "duration"):
        if key not in table.entries:
            reading.note(table, "automation", f"{key} is missing")
    return AutomationRule(**values) if len(reading.faults) == before else None


def _several(given: Placed) -> tuple[Placed, ...]:
    """One, or a list of them."""
    return given.items if isinstance(given, Items) else (given,)


# --- patterns --------------------------------------------------------------------------------------------------------


def _patterns(reading: Reading, given: Placed) -> tuple[str, ...]:
    found = [reading.scalar(_PATTERN, item, "regex") for item in _several(given)]
    if not found:
        reading.note(given, "regex", f"an empty list, expected {_PATTERN.expected}")
    return tuple(pattern for pattern in found if pattern is not UNFIT)


def _pattern(given: Text) -> str:
    if has_controls(given.text):
        raise BadValue(f"{shown(given.text)} has control characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what some later Python will understand otherwise
            re.compile(given.text)
    except re.error as fault:
        at = "" if fault.pos is None else f" at character {fault.pos + 1}"
        raise BadValue(f"{shown(given.text)} is not a pattern: {fault.msg}{at}") from None
    except (RecursionError, OverflowError):
        raise BadValue(f"{shown(given.text)} is too much of a pattern") from None
    return given.text


_PATTERN = Kind("a regular expression that Python's re understands", _pattern)

# --- actions ---------------------------------------------------------------------------------------------------------

_ACTIONS = {member.value: member for member in AutomationAction}
_SETTING = (AutomationAction.SET_CONFIG, AutomationAction.SET_DOMAIN_CONFIG)
_PLAIN = ", ".join(name for name, member in _ACTIONS.items() if member not in _SETTING)
_EXPECTED = f"{_PLAIN}, or {{SetConfig: {{name: connection_limit, value: 1}}}}"


def _actions(reading: Reading, given: Placed) -> tuple[Action, ...]:
    found = [_action(reading, item) for item in _several(given)]
    if not found:
        reading.note(given, "action", f"an empty list, expected {_EXPECTED}")
    return tuple(action for action in found if action is not None)


def _action(reading: Reading, given: Placed) -> Action | None:
    if isinstance(given, Text) and not given.is_null:
        kind = _ACTIONS.get(given.text)
        if kind is not None and kind not in _SETTING:
            return Action(kind=kind)
        meant = nearest(given.text, _ACTIONS)
        hint = f", did you mean {shown(meant)}?" if meant and kind is None else ""
        reading.note(given, "action", f"{shown(given.text)}{'' if kind else ' is not known'}, expected {_EXPECTED}{hint}")
        return None
    if not isinstance(given, Table) or len(given.entries) != 1:
        reading.note(given, "action", f"{described(given)}, expected {_EXPECTED}")
        return None
    ((key, entry),) = given.entries.items()
    kind = _ACTIONS.get(key)
    if kind is None or kind not in _SETTING:
        reading.unknown(key, entry, "action", tuple(member.value for member in _SETTING))
        return None
    if not isinstance(entry.value, Table):
        reading.note(entry.value, key, f"{described(entry.value)}, expected {{name: connection_limit, value: 1}}")
        return None
    return _set_config(reading, kind, entry.value)


def _set_config(reading: Reading, kind: AutomationAction, table: Table) -> Action | None:
    """The value is read as that parameter of a path would be."""
    for key, entry in table.entries.items():
        if key not in ("name", "value"):
            reading.unknown(key, entry, kind.value, ("name", "value"))
    for key in ("name", "value"):
        if key not in table.entries:
            reading.note(table, kind.value, f"{key} is missing")
            return None
    name, value = table.entries["name"].value, table.entries["value"]
    if not isinstance(name, Text) or name.is_null:
        reading.note(name, "name", f"{described(name)}, expected a parameter of an egress path")
        return None
    settings = reading.settings(PathSettings, Table({name.text: value}, name.place), kind.value)
    field = fields_of(PathSettings).get(name.text)
    if field is None or field.name not in settings:
        return None
    return Action(kind=kind, name=field.name, value=settings[field.name].value)
