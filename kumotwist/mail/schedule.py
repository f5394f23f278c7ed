"""
When a message may be tried at all: not before a moment, only in certain hours of certain days, not after a moment.

The model's `set_scheduling` and its JSON header.  Pure: the zone data come with Python.
"""

import re
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONG_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[Zz]|[+-]\d\d:\d\d)\Z", re.ASCII)
_LAST_YEAR = 9990  # so that no zone and no retry leads beyond what Python can count
_MOST_STEPS = 8  # days looked at for a window, as in the model


class BadSchedule(ValueError):
    """Scheduling constraints that make no sense; the argument says which."""


class Window(Struct, frozen=True):
    """Hours of days: days 0 is Monday; start <= end, both `HH:MM:SS` of one day in zone `tz`, the end excluded."""

    days: tuple[int, ...]
    tz: str
    start: str
    end: str


class Schedule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """first_attempt and expires: epoch seconds.  expires replaces the queue's max_age."""

    first_attempt: float | None = None
    window: Window | None = None
    expires: float | None = None

    def adjust(self, due: float) -> float:
        """The first moment, not before `due`, at which the message may be tried; epoch seconds."""
        if self.first_attempt is not None:
            due = max(due, self.first_attempt)
        return due if self.window is None else _into_window(self.window, due)


def _into_window(window: Window, due: float) -> float:
    zone = ZoneInfo(window.tz)
    start, end = time.fromisoformat(window.start), time.fromisoformat(window.end)
    local = datetime.fromtimestamp(due, zone)
    for _ in range(_MOST_STEPS):
        if local.weekday() in window.days and _exists(local, start, zone) and _exists(local, end, zone):
            if local.time() < start:
                return datetime.combine(local.date(), start, zone).timestamp()
            if local.time() < end:
                return max(due, local.timestamp())
        local = datetime.combine(local.date() + timedelta(days=1), time(0), zone)
    return due


def _exists(day: datetime, at: time, zone: ZoneInfo) -> bool:
    """Whether this local time happens exactly once on that day: a change to or from summer time can skip or repeat it."""
    early = datetime.combine(day.date(), at, zone)
    late = early.replace(fold=1)
    return early.utcoffset() == late.utcoffset()


def parse_schedule(given: dict[str, Any]) -> Schedule:
    """The model's table: first_attempt, dow, tz, start, end, expires.  Raises BadSchedule."""
    if not isinstance(given, dict):
        raise BadSchedule("scheduling constraints must be an object")
    unknown = set(given) - {"first_attempt", "dow", "tz", "start", "end", "expires"}
    if unknown:
        raise BadSchedule(f"unknown scheduling field: {', '.join(sorted(map(str, unknown)))}")
    window_keys = [key for key in ("dow", "tz", "start", "end") if given.get(key) is not None]
    if window_keys and len(window_keys) < 4:
        raise BadSchedule("dow, tz, start and end go together")
    return Schedule(
        first_attempt=_instant(given, "first_attempt"),
        window=_window(given) if window_keys else None,
        expires=_instant(given, "expires"),
    )


def _instant(given: dict[str, Any], key: str) -> float | None:
    value = given.get(key)
    if value is None:
        return None
    try:
        # Python's parser alone takes more than RFC 3339, and different things in different versions.
        at = datetime.fromisoformat(value.upper()) if _RFC3339.match(value) else None
    except (TypeError, ValueError):
        at = None
    if at is None:
        raise BadSchedule(f"{key} must be an RFC 3339 date and time with its offset from UTC, not {value!r}")
    if not 1970 <= at.year <= _LAST_YEAR:
        raise BadSchedule(f"{key} is out of range: {value!r}")
    return at.timestamp()


def _window(given: dict[str, Any]) -> Window:
    days = []
    for word in str(given["dow"]).lower().split(","):
        if word in _DAYS:
            days.append(_DAYS.index(word))
        elif word in _LONG_DAYS:
            days.append(_LONG_DAYS.index(word))
        else:
            raise BadSchedule(f"dow: not a day of the week: {word!r}")
    try:
        ZoneInfo(given["tz"])
    except (KeyError, TypeError, ValueError, OSError, AttributeError):
        raise BadSchedule(f"tz: unknown time zone {given['tz']!r}") from None
    for key in ("start", "end"):
        try:
            at = time.fromisoformat(given[key])
        except (TypeError, ValueError):
            at = None
        if at is None or at.tzinfo is not None:  # the zone is `tz`; a time with an offset of its own contradicts it
            raise BadSchedule(f"{key} must be HH:MM:SS, not {given[key]!r}")
    if time.fromisoformat(given["start"]) > time.fromisoformat(given["end"]):
        raise BadSchedule("start must not be after end: a window lies within one day")
    return Window(tuple(sorted(set(days))), given["tz"], given["start"], given["end"])


def rfc3339_utc(instant: float) -> str:
    """Epoch seconds as RFC 3339, to the second."""
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
