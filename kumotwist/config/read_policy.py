"""`policy`: the Python files of the policy, as one name or a list of them.  What is in them, `hooks` finds out."""

import os

from kumotwist.config.fields import FilePath, shown, shown_file
from kumotwist.config.kinds import kind_of
from kumotwist.config.placed import Items, Placed, Text
from kumotwist.config.reading import UNFIT, Reading

_PATH = kind_of(FilePath)


def read_policy(reading: Reading, given: Placed) -> tuple[str, ...]:
    """Absolute names, in order; each is there and can be read."""
    if isinstance(given, Text) and given.is_null:
        return ()
    before = len(reading.faults)
    found: dict[str, None] = {}
    for item in given.items if isinstance(given, Items) else (given,):
        file = _file(reading, item)
        if file is not None and file in found:
            reading.note(item, "policy", f"{shown_file(file)} stands here already, expected each file once")
        elif file is not None:
            found[file] = None
    reading.policy_is_whole = len(reading.faults) == before
    return tuple(found)


def _file(reading: Reading, item: Placed) -> str | None:
    assert _PATH is not None
    file = reading.scalar(_PATH, item, "policy")
    if file is UNFIT or not isinstance(item, Text):
        return None
    if not item.text.endswith(".py"):
        reading.note(item, "policy", f"{shown(item.text)} has an unknown ending, expected a Python file such as policy.py")
        return None
    try:
        with open(file, "rb"):
            return str(file)
    except OSError as fault:
        what = os.strerror(fault.errno) if fault.errno else str(fault)
        reading.note(item, "policy", f"{shown_file(item.text)} cannot be read: {what}")
        return None
