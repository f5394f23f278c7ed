"""
TOML → placed values.  `tomllib` reads the values; a second walk over the then valid text finds where keys and values stand.

A path is what leads to a value: keys, and indexes in lists.
"""

import re
import tomllib
from decimal import Decimal
from typing import Any

from kumotwist.config.faults import Broken, FaultList, Place
from kumotwist.config.fields import shown
from kumotwist.config.placed import Items, Lines, Placed, Text, check_depth, table

_Path = tuple[str | int, ...]

_FAULT_PLACE = re.compile(r"\s*\(at line (\d+), column (\d+)\)\Z")
_SKIPPED = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BLANKS = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\]|\\.)*"'),
    re.compile(r"'[^']*'"),
)
_OTHER = re.compile(r"[^,\]}#\n]*")  # numbers, dates, true, false


def read_toml(file: str, text: str, faults: FaultList) -> Placed:
    """Raises Broken where the text is not TOML."""
    text = text.replace("\r\n", "\n")
    lines = Lines(file, text)
    try:
        values = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as fault:
        raise _broken(lines, text, str(fault)) from None
    except RecursionError:
        raise Broken(lines.place(0), "not TOML: nested too deep") from None
    except ValueError:
        raise Broken(lines.place(0), "not TOML: a number of thousands of digits") from None
    found = _Walk(text, lines)
    found.document()
    return _Tree(found, faults).value(values, (), 0)


def _broken(lines: Lines, text: str, said: str) -> Broken:
    at = _FAULT_PLACE.search(said)
    place = lines.at(int(at[1]), int(at[2])) if at else lines.place(len(text))
    if said.startswith("Cannot overwrite a value"):
        # said of the end of the pair; the key is what one looks for
        line = text.splitlines()[place.line - 1]
        column = len(line) - len(line.lstrip()) + 1
        return Broken(lines.at(place.line, column), f"duplicate key {shown(line.partition('=')[0].strip().strip('[]'))}")
    what = _FAULT_PLACE.sub("", said).removesuffix(" (at end of document)")
    return Broken(place, f"not TOML: {what[:1].lower()}{what[1:]}")


class _Walk:
    """Where keys and values stand.  The text is known to be TOML, so nothing is checked again."""

    def __init__(self, text: str, lines: Lines) -> None:
        self._text = text
        self._lines = lines
        self._at = 0
        self._last: dict[_Path, int] = {}  # arrays of tables: the index of the latest
        self.keys: dict[_Path, Place] = {}
        self.values: dict[_Path, Place] = {(): lines.place(0)}

    def document(self) -> None:
        base: _Path = ()
        self._skip(_SKIPPED)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                base = self._header()
            else:
                self._pair(base, 1)
            self._skip(_SKIPPED)

    def _header(self) -> _Path:
        opened = self._lines.place(self._at)
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        path: _Path = ()
        keys = self._dotted()
        for count, (key, place) in enumerate(keys, 1):
            path = (*path, key)
            self.keys.setdefault(path, place)
            if brackets == 2 and count == len(keys):
                self._last[path] = self._last.get(path, -1) + 1
            self.values.setdefault(path, opened)
            if path in self._last:
                path = (*path, self._last[path])
                self.values.setdefault(path, opened)
        self._at += brackets
        return path

    def _pair(self, base: _Path, level: int) -> None:
        path = base
        for key, place in self._dotted():
            path = (*path, key)
            self.keys.setdefault(path, place)
            self.values.setdefault(path, place)
        self._at += 1  # the equals sign
        self._skip(_BLANKS)
        self._value(path, level)

    def _dotted(self) -> list[tuple[str, Place]]:
        """The keys up to the equals sign or the closing bracket."""
        keys = []
        while True:
            self._skip(_BLANKS)
            place = self._lines.place(self._at)
            if self._text[self._at] in "\"'":
                quoted = self._string()
                keys.append((str(tomllib.loads(f"k={quoted}")["k"]), place))
            else:
                keys.append((self._skip(_BARE_KEY), place))
            self._skip(_BLANKS)
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _value(self, path: _Path, level: int) -> None:
        place = self._lines.place(self._at)
        self.values[path] = place
        first = self._text[self._at]
        if first in "[{":
            check_depth(level, place)
            self._at += 1
            self._list(path, level) if first == "[" else self._inline_table(path, level)
        elif first in "\"'":
            self._string()
        else:
            self._skip(_OTHER)

    def _list(self, path: _Path, level: int) -> None:
        index = 0
        self._skip(_SKIPPED)
        while self._text[self._at] != "]":
            self._value((*path, index), level + 1)
            index += 1
            self._comma()
        self._at += 1

    def _inline_table(self, path: _Path, level: int) -> None:
        self._skip(_SKIPPED)
        while self._text[self._at] != "}":
            self._pair(path, level + 1)
            self._comma()
        self._at += 1

    def _comma(self) -> None:
        self._skip(_SKIPPED)
        if self._text[self._at] == ",":
            self._at += 1
            self._skip(_SKIPPED)

    def _string(self) -> str:
        for pattern in _STRINGS:
            if pattern.match(self._text, self._at):
                return self._skip(pattern)
        raise AssertionError("a string in valid TOML ends")

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]


class _Tree:
    """The values with their places."""

    def __init__(self, found: _Walk, faults: FaultList) -> None:
        self._found = found
        self._faults = faults

    def value(self, value: Any, path: _Path, level: int) -> Placed:
        place = self._place(path)
        if isinstance(value, dict | list):
            check_depth(level, place)
        if isinstance(value, dict):
            pairs = [(Text(key, self._key(path, key)), self.value(inner, (*path, key), level + 1)) for key, inner in value.items()]
            return table(pairs, place, self._faults)
        if isinstance(value, list):
            return Items(tuple(self.value(item, (*path, index), level + 1) for index, item in enumerate(value)), place)
        if isinstance(value, bool):
            return Text("true" if value else "false", place, plain=True)
        return Text(str(value), place, plain=not isinstance(value, str))

    def _place(self, path: _Path) -> Place:
        """Where the value stands; the nearest known place above it, should the walk have missed it."""
        while path not in self._found.values:
            path = path[:-1]
        return self._found.values[path]

    def _key(self, path: _Path, key: str) -> Place:
        return self._found.keys.get((*path, key)) or self._place(path)
