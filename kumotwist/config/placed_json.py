"""JSON → placed values.  `json` says whether the text is valid; a second walk over the then valid text finds the places."""

import json
import re

from kumotwist.config.faults import Broken, FaultList
from kumotwist.config.placed import Items, Lines, Placed, Text, check_depth, table

_BLANKS = re.compile(r"[ \t\n\r]*")
_BARE = re.compile(r"[^ \t\n\r,\]}]+")
_STRINGS = json.JSONDecoder()


def read_json(file: str, text: str, faults: FaultList) -> Placed:
    """Raises Broken where the text is not JSON."""
    lines = Lines(file, text)
    try:
        json.loads(text, parse_int=str, parse_float=str)
    except json.JSONDecodeError as fault:
        what = fault.msg[:1].lower() + fault.msg[1:]
        raise Broken(lines.place(min(fault.pos, len(text))), f"not JSON: {what}") from None
    except RecursionError:
        raise Broken(lines.place(0), "not JSON: nested too deep") from None
    return _Walk(text, lines, faults).value(_blanks(text, 0), 1)[0]


def _blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


class _Walk:
    """Over text that is known to be JSON, so nothing is checked again.  Each step returns what it read and where it ended."""

    def __init__(self, text: str, lines: Lines, faults: FaultList) -> None:
        self._text = text
        self._lines = lines
        self._faults = faults

    def value(self, at: int, level: int) -> tuple[Placed, int]:
        place = self._lines.place(at)
        first = self._text[at]
        if first in "[{":
            check_depth(level, place)
            return self._items(at, level) if first == "[" else self._table(at, level)
        if first == '"':
            return self._string(at)
        found = _BARE.match(self._text, at)
        assert found is not None  # valid JSON has a number or a word here
        return Text(found[0], place, plain=True), found.end()

    def _string(self, at: int) -> tuple[Text, int]:
        value, end = _STRINGS.raw_decode(self._text, at)
        return Text(value, self._lines.place(at)), end

    def _items(self, opened: int, level: int) -> tuple[Placed, int]:
        items = []
        at = _blanks(self._text, opened + 1)
        while self._text[at] != "]":
            item, at = self.value(at, level + 1)
            items.append(item)
            at = self._next(at)
        return Items(tuple(items), self._lines.place(opened)), at + 1

    def _table(self, opened: int, level: int) -> tuple[Placed, int]:
        pairs: list[tuple[Placed, Placed]] = []
        at = _blanks(self._text, opened + 1)
        while self._text[at] != "}":
            key, at = self._string(at)
            colon = _blanks(self._text, at)
            value, at = self.value(_blanks(self._text, colon + 1), level + 1)
            pairs.append((key, value))
            at = self._next(at)
        return table(pairs, self._lines.place(opened), self._faults), at + 1

    def _next(self, at: int) -> int:
        """Past the comma, if there is one."""
        at = _blanks(self._text, at)
        return _blanks(self._text, at + 1) if self._text[at] == "," else at
