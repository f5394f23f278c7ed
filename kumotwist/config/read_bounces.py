"""Section `bounce_classifier` and the model's files of rules: `[rules]`, class → list of patterns, first match wins."""

import os
from collections.abc import Iterator
from functools import cache

import re2  # type: ignore[import-untyped]  # it ships no types

from kumotwist.config.bounces import BUILTIN, BounceClassifierSettings, BounceRule
from kumotwist.config.faults import Place
from kumotwist.config.fields import BadValue, nearest, shown
from kumotwist.config.kinds import Kind
from kumotwist.config.placed import Placed, Table, Text, has_controls
from kumotwist.config.reading import UNFIT, Reading, values_of

_SHIPPED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bounces")


def builtin_files() -> dict[str, str]:
    """The rules files that come with us: `builtin:NAME` → file."""
    names = sorted(name for name in os.listdir(_SHIPPED) if name.endswith(".toml"))
    return {f"{BUILTIN}{name.removesuffix('.toml')}": os.path.join(_SHIPPED, name) for name in names}


def read_bounce_classifier(reading: Reading, given: Placed) -> BounceClassifierSettings:
    """The settings with the rules of all files, in the order of `files`, and in each file in the order in which they stand."""
    section = reading.table(given, "bounce_classifier")
    settings = reading.settings(BounceClassifierSettings, section, "bounce_classifier", leave=("files",))
    if "files" not in section.entries:
        reading.note(section, "bounce_classifier", "files is missing")
        return BounceClassifierSettings()
    rules = [rule for table in _tables(reading, section) for rule in _rules(reading, table)]
    return BounceClassifierSettings(rules=tuple(rules), **values_of(settings))


def _tables(reading: Reading, section: Table) -> Iterator[Table]:
    for name in reading.items(section.entries["files"].value, "files"):
        file = _file(reading, name)
        document = reading.document(file, name.place) if file is not None else None
        if document is not None:
            yield reading.table(document, os.path.basename(file or ""))


def _file(reading: Reading, name: Placed) -> str | None:
    """Where a file lies that `files` names; None, and a fault, if that is no name."""
    if not isinstance(name, Text) or not name.text.startswith(BUILTIN):
        return reading.file_name(name)
    known = builtin_files()
    if name.text not in known:
        meant = nearest(name.text, known)
        hint = f"did you mean {meant}?" if meant else f"expected {', '.join(known)}"
        reading.note(name, "files", f"{shown(name.text)} does not come with this version, {hint}")
        return None
    return known[name.text]


def _rules(reading: Reading, table: Table) -> Iterator[BounceRule]:
    for key, entry in table.entries.items():
        if key != "rules":
            reading.unknown(key, entry, "a file of bounce classes", ["rules"])
            continue
        for label, patterns in reading.table(entry.value, "rules").entries.items():
            for item in reading.items(patterns.value, label):
                pattern = reading.scalar(_PATTERN, item, label)
                if pattern is not UNFIT:
                    yield BounceRule(label, pattern)
    if "rules" not in table.entries:
        reading.faults.note(
            Place(table.place.file, 1, 1), "rules is missing, expected [rules] with a list of patterns for each class"
        )


def _pattern(given: Text) -> str:
    if has_controls(given.text):
        raise BadValue(f"{shown(given.text)} has control characters")
    if not given.text:
        raise BadValue("an empty pattern, which fits everything")
    fault = _fault_of(given.text)
    if fault is not None:
        raise BadValue(f"{shown(given.text)} is not a pattern: {fault}")
    return given.text


@cache
def re2_options() -> re2.Options:
    """How patterns are understood: RE2's syntax over Unicode, which has no look-around and takes linear time."""
    options = re2.Options()
    options.log_errors = False
    return options


def _fault_of(pattern: str) -> str | None:
    try:
        re2.compile(pattern, re2_options())
    except re2.error as fault:
        said = fault.args[0] if fault.args else ""
        return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return None


_PATTERN = Kind("a pattern in RE2's syntax", _pattern)
