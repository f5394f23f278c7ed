"""
YAML → placed values.

Built from parser events, not from PyYAML's loader: nothing is resolved to Python types on the way, depth and the growth
by aliases are bounded, and each value keeps its place.  libyaml parses where it is there; what it refuses is given to the
Python parser again, whose messages say more.
"""

from collections.abc import Iterator
from typing import Any

import yaml
from msgspec import Struct

from kumotwist.config.faults import Broken, FaultList, Place
from kumotwist.config.fields import shown
from kumotwist.config.placed import Items, Lines, Placed, Table, Text, check_depth, table

_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRING = "tag:yaml.org,2002:str"
_MOST_BY_ALIASES = 1_000_000  # values that aliases may add: enough for any configuration, too few for a bomb


class _Sized(Struct, frozen=True):
    """A value with the number of values in it and its height, as they are once aliases are followed."""

    value: Placed
    total: int = 1
    height: int = 1


class _Open:
    """A list or a mapping whose end has not come."""

    __slots__ = ("anchor", "children", "height", "is_table", "place", "total")

    def __init__(self, place: Place, anchor: str | None, *, is_table: bool) -> None:
        self.place = place
        self.anchor = anchor
        self.is_table = is_table
        self.children: list[Placed] = []
        self.total = 1
        self.height = 1

    def add(self, child: _Sized) -> None:
        self.children.append(child.value)
        self.total += child.total
        self.height = max(self.height, child.height + 1)


def read_yaml(file: str, text: str, faults: FaultList) -> Placed | None:
    """The one document of a file; None if there is none.  Raises Broken where it cannot be parsed."""
    try:
        return _Tree(file, faults).build(yaml.parse(text, Loader=_FAST))
    except yaml.YAMLError as fault:
        first = fault
    try:
        for _ in yaml.parse(text, Loader=yaml.SafeLoader):
            pass
    except yaml.YAMLError as fault:
        first = fault
    raise _broken(file, text, first)


def _broken(file: str, text: str, fault: yaml.YAMLError) -> Broken:
    mark = getattr(fault, "problem_mark", None)
    if mark is not None:
        problem = str(getattr(fault, "problem", "") or "").replace("\\t", "tab")
        context = getattr(fault, "context", None)
        what = f"{problem} ({context})" if context else problem
        if "tab" in problem:
            what = "a tab where only blanks may indent"
        return Broken(Place(file, mark.line + 1, mark.column + 1), f"not YAML: {what}")
    position = getattr(fault, "position", 0)
    return Broken(Lines(file, text).place(position), f"not YAML: unprintable character {shown(text[position : position + 1])}")


class _Tree:
    """Makes the tree of one document; without recursion, so that depth is a fault and not a crash."""

    def __init__(self, file: str, faults: FaultList) -> None:
        self._file = file
        self._faults = faults
        self._open: list[_Open] = []
        self._anchors: dict[str, _Sized | None] = {}  # None: still open, so an alias would be inside itself
        self._by_aliases = 0
        self._root: Placed | None = None

    def build(self, events: Iterator[Any]) -> Placed | None:
        documents = 0
        for event in events:
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._begin(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end()
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise Broken(self._place(event), "a second document, expected one in a file")
        return self._root

    def _place(self, event: Any) -> Place:
        return Place(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _scalar(self, event: Any) -> None:
        place = self._place(event)
        if event.tag not in (None, "!", _STRING):
            self._faults.note(place, f"tag {shown(event.tag)}, expected a value without a tag")
        self._add(_Sized(Text(event.value, place, not event.style and event.tag is None)), event.anchor)

    def _begin(self, event: Any) -> None:
        place = self._place(event)
        check_depth(len(self._open) + 1, place)
        if event.tag not in (None, "!"):
            self._faults.note(place, f"tag {shown(event.tag)}, expected a value without a tag")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._open.append(_Open(place, event.anchor, is_table=isinstance(event, yaml.MappingStartEvent)))

    def _end(self) -> None:
        done = self._open.pop()
        value: Placed
        if done.is_table:
            value = self._table(list(zip(done.children[::2], done.children[1::2], strict=True)), done.place)
        else:
            value = Items(tuple(done.children), done.place)
        self._add(_Sized(value, done.total, done.height), done.anchor)

    def _alias(self, event: Any) -> None:
        place = self._place(event)
        if event.anchor not in self._anchors:
            raise Broken(place, f"alias of {shown(event.anchor)}, which is not defined before it")
        meant = self._anchors[event.anchor]
        if meant is None:
            raise Broken(place, f"alias of {shown(event.anchor)} inside what it stands for")
        self._by_aliases += meant.total
        if self._by_aliases > _MOST_BY_ALIASES:
            raise Broken(place, f"aliases repeat more than {_MOST_BY_ALIASES} values")
        check_depth(len(self._open) + meant.height, place)
        self._add(meant, None)

    def _add(self, child: _Sized, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = child
        if self._open:
            self._open[-1].add(child)
        else:
            self._root = child.value

    def _table(self, pairs: list[tuple[Placed, Placed]], place: Place) -> Table:
        """With YAML 1.1's merge key `<<`: what it brings holds where the mapping says nothing itself."""
        merged = [value for key, value in pairs if _is_merge(key)]
        made = table([pair for pair in pairs if not _is_merge(pair[0])], place, self._faults)
        for value in merged:
            for base in value.items if isinstance(value, Items) else (value,):
                if isinstance(base, Table):
                    for name, entry in base.entries.items():
                        made.entries.setdefault(name, entry)
                else:
                    self._faults.note(base.place, "expected a mapping, or a list of mappings, to merge")
        return made


def _is_merge(key: Placed) -> bool:
    return isinstance(key, Text) and key.plain and key.text == "<<"
