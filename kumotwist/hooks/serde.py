"""
`kumo.serde`: TOML, JSON and YAML, from files and from texts, and back.

Names of files are relative to the file that calls.  What is read counts as part of the configuration: when it changes, the
policy is loaded anew.  YAML is read as the server reads its own: by the core schema of YAML 1.2 (`on` and `25:30` are texts),
with bounds on depth and on what aliases repeat.  A file that cannot be understood is a ValueError that names it.
"""

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from math import isfinite, isinf
from typing import Any

import yaml

from kumotwist.config.faults import Broken
from kumotwist.config.placed_yaml import read_yaml
from kumotwist.config.reading import Reading
from kumotwist.hooks.context import SERVICES
from kumotwist.hooks.registration import calling_place

__all__ = [
    "json_encode", "json_encode_pretty", "json_load", "json_parse",
    "toml_encode", "toml_encode_pretty", "toml_load", "toml_parse",
    "yaml_encode", "yaml_load", "yaml_parse",
]  # fmt: skip

Path = str | os.PathLike[str]


def toml_load(path: Path) -> dict[str, Any]:
    """What a TOML file holds.  Raises OSError, and ValueError where it is not TOML."""
    found: dict[str, Any] = _load(path, tomllib.loads)
    return found


def json_load(path: Path) -> Any:
    """What a JSON file holds.  Raises OSError, and ValueError where it is not JSON."""
    return _load(path, json_parse)


def yaml_load(path: Path) -> Any:
    """What a YAML file holds.  Raises OSError, and ValueError where it is not YAML."""
    return _load(path, yaml_parse)


def toml_parse(text: str) -> dict[str, Any]:
    """Raises ValueError."""
    return tomllib.loads(text)


def json_parse(text: str | bytes) -> Any:
    """Raises ValueError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("not JSON: nested too deep") from None


def yaml_parse(text: str) -> Any:
    """Raises ValueError."""
    reading = Reading()
    try:
        found = read_yaml("text", text, reading.faults)
    except Broken as fault:
        raise ValueError(f"{fault.what} (at line {fault.place.line}, column {fault.place.column})") from None
    value = None if found is None else reading.free(found, "yaml")
    if reading.faults:
        first = reading.faults.in_order()[0]
        raise ValueError(f"{first.what} (at line {first.line}, column {first.column})")
    return value


def _load(path: Path, parse: Callable[[str], Any]) -> Any:
    file = os.path.join(os.path.dirname(os.path.abspath(calling_place()[0])), path)
    around = SERVICES.get()
    if around is not None:
        around.files.add(os.path.normpath(file))
    with open(file, encoding="utf-8-sig") as stream:
        text = stream.read()
    try:
        return parse(text)
    except ValueError as fault:
        raise ValueError(f"{path}: {fault}") from None


# --- and back --------------------------------------------------------------------------------------------------------


def json_encode(value: Any) -> str:
    """Raises TypeError for what JSON does not have."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def json_encode_pretty(value: Any) -> str:
    """The same over several lines."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def yaml_encode(value: Any) -> str:
    """Raises yaml.YAMLError for what YAML does not have."""
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False)


def toml_encode(value: Mapping[str, Any]) -> str:
    """Raises TypeError for what TOML does not have: None, keys that are no texts."""
    lines: list[str] = []
    _write_table(value, (), lines)
    return "".join(f"{line}\n" for line in lines)


toml_encode_pretty = toml_encode  # it has a line for each key already


def _write_table(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    below = {}
    for key, value in table.items():
        if isinstance(value, Mapping) or _holds_tables(value):
            below[key] = value
        else:
            lines.append(f"{_toml_key(key)} = {_toml_value(value)}")
    for key, value in below.items():
        inner = (*path, key)
        name = ".".join(map(_toml_key, inner))
        for one in (value,) if isinstance(value, Mapping) else value:
            if lines:
                lines.append("")
            lines.append(f"[{name}]" if isinstance(value, Mapping) else f"[[{name}]]")
            _write_table(one, inner, lines)


def _holds_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _toml_key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"toml_encode: {key!r} as a key, expected a text")
    bare = key.isascii() and key.replace("-", "_").replace("_", "a").isalnum()
    return key if bare else _toml_text(key)


def _toml_text(text: str) -> str:
    # JSON's escapes are TOML's too, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _toml_text(value)
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value)) if isfinite(value) else ("inf" if value > 0 else "-inf") if isinf(value) else "nan"
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return "[{}]".format(", ".join(map(_toml_value, value)))
    if isinstance(value, Mapping):
        return "{{{}}}".format(", ".join(f"{_toml_key(key)} = {_toml_value(item)}" for key, item in value.items()))
    raise TypeError(f"toml_encode: {value!r}, which TOML does not have")
