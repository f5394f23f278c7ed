"""What metadata may hold: values that JSON has too, since they travel through the spool and the logs."""

import math
from collections.abc import Mapping
from typing import Any

# They become the name of the queue and of the pool.
NAMES = frozenset({"queue", "tenant", "campaign", "routing_domain", "egress_pool"})

_MOST_LEVELS = 32
_LEAST_WHOLE, _MOST_WHOLE = -(2**63), 2**64 - 1  # what the spool's encoding holds


def write_meta(meta: dict[str, Any], key: str, value: object) -> None:
    """Note a value, checked and copied; None removes the key, since whoever reads it could not tell.  Raises ValueError."""
    if not isinstance(key, str) or not key:
        raise ValueError(f"set_meta: {key!r} is no key, expected a text")
    if value is None:
        meta.pop(key, None)
        return
    if key in NAMES:
        _check_name(key, value)
    meta[key] = _checked(value, key, 1)


def _check_name(key: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"set_meta: {key} is {_shown(value)}, expected a text or None")
    if not value.isprintable():
        raise ValueError(f"set_meta: {key} has characters that no queue's name can have: {_shown(value)}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _checked(value: object, key: str, level: int) -> Any:
    """A copy that nobody else can change."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not value.isascii():
            value.encode()  # UnicodeEncodeError is a ValueError: a lone surrogate has no UTF-8
        return str.__str__(value)  # also of an enumeration that is a text
    if isinstance(value, int) and _LEAST_WHOLE <= value <= _MOST_WHOLE:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if level > _MOST_LEVELS:
        raise ValueError(f"set_meta: {key} is nested more than {_MOST_LEVELS} levels deep")
    if isinstance(value, list | tuple):
        return [_checked(item, key, level + 1) for item in value]
    if isinstance(value, Mapping):
        return {_checked_key(name, key): _checked(item, key, level + 1) for name, item in value.items()}
    raise ValueError(f"set_meta: {key} has {_shown(value)} in it, which JSON does not have")


def _checked_key(name: object, key: str) -> str:
    if not isinstance(name, str):
        raise ValueError(f"set_meta: {key} has the key {_shown(name)} in it, expected a text")
    name.encode()
    return str.__str__(name)


def copied(value: Any) -> Any:
    """A value of metadata to hand out: lists and mappings as copies, so that only `set_meta` changes what is noted."""
    kind = type(value)
    if kind is dict:
        return {key: copied(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [copied(item) for item in value]
    return value
