"""
What a file says, before anyone asks what it means: texts, lists and tables, each with its place.

YAML, TOML and JSON all become this.  Scalars stay text, so that the wanted kind of value decides how they are read: `on` is
a host name where a host name is wanted, and true where a switch is.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable

from msgspec import Struct

from kumotwist.config.faults import Broken, FaultList, Place
from kumotwist.config.fields import shown


class Text(Struct, frozen=True, gc=False):
    """A scalar.  plain: without quotes, so that it may stand for a number, a switch or null."""

    text: str
    place: Place
    plain: bool = False

    @property
    def is_null(self) -> bool:
        return self.plain and self.text in _NULLS


_NULLS = frozenset({"", "~", "null", "Null", "NULL"})  # YAML 1.1


class Items(Struct, frozen=True):
    """A list."""

    items: "tuple[Placed, ...]"
    place: Place


class Entry(Struct, frozen=True):
    """What a key of a table holds.  place: that of the key."""

    value: "Placed"
    place: Place


class Table(Struct, frozen=True):
    """A mapping; the keys are texts and stand in the order of the file."""

    entries: dict[str, Entry]
    place: Place


Placed = Text | Items | Table


def described(given: Placed) -> str:
    """What stands here, for a fault."""
    if isinstance(given, Text):
        return "nothing" if given.is_null else shown(given.text)
    return "a list" if isinstance(given, Items) else "a mapping"


MOST_LEVELS = 50  # of lists and tables in one another; readers of values recurse
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def has_controls(text: str) -> bool:
    """Whether there are control characters in it, or halves of surrogate pairs, which no file can hold."""
    return _UNPRINTABLE.search(text) is not None


def table(pairs: Iterable[tuple[Placed, Placed]], place: Place, faults: FaultList) -> Table:
    """A mapping from its keys and values; faulty keys are noted and left out."""
    entries: dict[str, Entry] = {}
    for key, value in pairs:
        if not isinstance(key, Text):
            faults.note(key.place, "a list or a mapping as a key, expected a text")
        elif not key.text:
            faults.note(key.place, "empty key, expected a name")
        elif has_controls(key.text):
            faults.note(key.place, f"key {shown(key.text)} has control characters")
        elif key.text in entries:
            faults.note(key.place, f"duplicate key {shown(key.text)}, first in line {entries[key.text].place.line}")
        else:
            entries[key.text] = Entry(value, key.place)
    return Table(entries, place)


class Lines:
    """Offsets in a text → places."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def place(self, offset: int) -> Place:
        line = bisect_right(self._starts, offset)
        return Place(self._file, line, offset - self._starts[line - 1] + 1)

    def at(self, line: int, column: int) -> Place:
        return Place(self._file, line, column)


def check_depth(level: int, place: Place) -> None:
    """Raises Broken where lists and tables are nested too deep."""
    if level > MOST_LEVELS:
        raise Broken(place, f"nested more than {MOST_LEVELS} levels deep")
