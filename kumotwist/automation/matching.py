"""
Which of many patterns are found in a response.

All that RE2 understands is looked for at once, as bounce classes are: thousands of patterns cost microseconds.  Patterns with
what only `re` has (look-around, back-references) are searched one by one, so a rule of that kind is for where there are few.
"""

import re
import warnings
from collections.abc import Sequence
from functools import cache

import re2  # type: ignore[import-untyped]  # it ships no types

_MOST_IN_FILTER = 4000  # patterns; one that has many more does not compile within RE2's bound of memory
_LONGEST = 4096  # characters of a response that are looked at: a bound on what backtracking can cost


class Patterns:
    """Patterns by number."""

    __slots__ = ("_filters", "_searched")

    def __init__(self, patterns: Sequence[str]) -> None:
        """Every pattern must be one of `re`, as those are that the configuration read."""
        self._searched: list[tuple[int, re.Pattern[str]]] = []
        self._filters: list[tuple[list[int], re2.Filter]] = []
        numbered = list(enumerate(patterns))
        for start in range(0, len(numbered), _MOST_IN_FILTER):
            self._filter(numbered[start : start + _MOST_IN_FILTER])

    def _filter(self, patterns: Sequence[tuple[int, str]]) -> None:
        """One filter for all of them that RE2 understands; where one cannot be made, two are."""
        made = re2.Filter()
        taken = []
        for number, pattern in patterns:
            try:
                made.Add(pattern, _options())
            except re2.error:
                self._searched.append((number, _of_re(pattern)))
            else:
                taken.append((number, pattern))
        if not taken:
            return
        try:
            made.Compile()
        except re2.error:
            if len(taken) == 1:
                self._searched.append((taken[0][0], _of_re(taken[0][1])))
                return
            half = len(taken) // 2
            self._filter(taken[:half])
            self._filter(taken[half:])
        else:
            self._filters.append(([number for number, _ in taken], made))

    def found_in(self, line: str) -> set[int]:
        """The numbers of those that are found in a response on one line."""
        line = line[:_LONGEST]
        octets = line.encode("utf-8", "replace")
        found: set[int] = set()
        for numbers, several in self._filters:
            matched = several.Match(octets)
            if matched:
                found.update([numbers[one] for one in matched])
        for number, pattern in self._searched:
            if pattern.search(line):
                found.add(number)
        return found


@cache
def _options() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    return options


def _of_re(pattern: str) -> re.Pattern[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what some later Python will understand otherwise
        return re.compile(pattern)
