"""Responses made from patterns: one that fits, and one that almost does."""

import re
import re._constants as opcodes  # type: ignore[import-not-found]  # the parser's own words
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterable
from typing import Any


def fitting(pattern: str) -> str:
    """A response on one line that a pattern is found in."""
    text = _of(parser.parse(pattern))
    line = text if re.match(r"[245]\d\d ", text) else f"421 4.7.0 {text}"
    assert re.search(pattern, line), (pattern, line)
    return line


def almost(pattern: str) -> str:
    """One that differs from it in one place, and that the pattern is not found in."""
    line = fitting(pattern)
    middle = len(line) // 2
    for place in sorted(range(10, len(line)), key=lambda place: abs(place - middle)):
        spoilt = f"{line[:place]}~{line[place + 1 :]}"
        if not re.search(pattern, spoilt):
            return spoilt
    return "421 4.7.0 quite another thing"


def _of(parsed: Iterable[tuple[Any, Any]]) -> str:
    return "".join(_one(op, argument) for op, argument in parsed)


def _one(op: Any, argument: Any) -> str:
    if op is opcodes.LITERAL:
        return chr(argument)
    if op is opcodes.ANY:
        return "x"
    if op is opcodes.IN:
        return _one(*argument[0])
    if op is opcodes.RANGE:
        return chr(argument[0])
    if op is opcodes.CATEGORY:
        return "7" if str(argument) == "CATEGORY_DIGIT" else "w"
    if op is opcodes.MAX_REPEAT:
        least, _, inner = argument
        times: int = max(1, least)
        return _of(inner) * times
    if op is opcodes.SUBPATTERN:
        return _of(argument[3])
    if op is opcodes.BRANCH:
        return _of(argument[1][0])
    assert op in (opcodes.AT, opcodes.ASSERT_NOT), op  # they are of no length
    return ""
