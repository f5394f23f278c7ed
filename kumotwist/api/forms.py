"""How requests and answers say things: durations, instants, reasons, settings."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from kumotwist.api.endpoint import Problem
from kumotwist.config.fields import LONGEST, BadValue, Limit, Networks, Rate, format_duration, format_rate, parse_duration
from kumotwist.config.keys import KeyData, KeyEvent
from kumotwist.config.path_template import PathTemplate

DurationGiven = Annotated[str, Meta(description="a duration such as 5m or 1h 30m")] | Annotated[float, Meta(description="seconds")]
Instant = Annotated[datetime, Meta(tz=True)]  # RFC 3339

_LONGEST_REASON = 1000  # characters: it stands in the record of each message
_HIDDEN = "(not shown)"


def lasts(duration: str | float | None, expires: datetime | None, now: float, otherwise: float) -> float:
    """Until when an order stands, in epoch seconds; expires wins, as in the model.  Raises Problem."""
    if expires is not None:
        left = expires.timestamp() - now
    elif duration is None:
        left = otherwise
    else:
        left = seconds_of(duration)
    if left > LONGEST:
        raise Problem(422, "Error: it would stand for more than 100 years")
    return now + left


def seconds_of(duration: str | float) -> float:
    """Raises Problem."""
    if isinstance(duration, str):
        try:
            return parse_duration(duration)
        except BadValue as fault:
            raise Problem(422, f"Error: duration: {fault}, expected one such as 5m or 1h 30m") from None
    if not 0 <= duration <= LONGEST:
        raise Problem(422, "Error: duration: expected seconds, at most 100 years of them")
    return float(duration)


def reason_of(given: str) -> str:
    """As it is shown in records: on one line, of bearable length."""
    return " ".join(given.split())[:_LONGEST_REASON]


def settings_shown(settings: Struct) -> dict[str, Any]:
    """Settings as one writes them, those that say nothing left out; never a secret."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(settings):
        value = getattr(settings, field.name)
        if value is None or value == ():
            continue
        if "password" in field.name:
            found[field.name] = _HIDDEN
        elif isinstance(value, float) and _is_duration(field.type):
            found[field.name] = format_duration(value)
        else:
            found[field.name] = _shown(value)
    return found


def _is_duration(wanted: Any) -> bool:
    """Whether a field's type is one of config's durations."""
    return "duration" in repr(wanted)


def _shown(value: Any) -> Any:
    if isinstance(value, Rate):
        return format_rate(value)
    if isinstance(value, Limit):
        return f"local:{value.limit}" if value.local else value.limit
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Networks):
        return [str(one) for one in value.networks]
    if isinstance(value, PathTemplate):
        return value.text
    if isinstance(value, KeyData):
        return _HIDDEN
    if isinstance(value, KeyEvent):
        return {"event_name": value.event_name}
    if isinstance(value, Struct):
        return settings_shown(value)
    if isinstance(value, Mapping):
        return {str(key): _shown(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(one) for one in value]
    return value if isinstance(value, str | int | float | bool) else str(value)
