"""
Which class a response belongs to: the first rule in the order of the files whose pattern is found in it.

Thousands of patterns are not tried one after the other.  Of each pattern RE2 knows texts of which at least one must occur;
one pass over the response finds which texts do, and only the patterns that are then still possible are tried.  RE2 takes
linear time whatever a peer sends and whatever pattern stands in a file.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import re2  # type: ignore[import-untyped]  # it ships no types

from kumotwist.config.bounces import BounceClassifierSettings, BounceRule
from kumotwist.config.read_bounces import re2_options
from kumotwist.metrics.family import QUICK, Histogram

UNCATEGORIZED = "Uncategorized"

# The model's classes; a file may name others, which are its own.
_CLASSES = """
    InvalidRecipient DNSFailure SpamBlock SpamContent ProhibitedAttachment RelayDenied AutoReply TransientFailure Subscribe
    Unsubscribe ChallengeResponse BadConfiguration BadConnection BadDomain ContentRelated InactiveMailbox InvalidSender
    MessageExpired NoAnswerFromHost PolicyRelated ProtocolErrors QuotaIssues RelayingIssues RoutingErrors SpamRelated
    VirusRelated AuthenticationFailed TooManyRecipients Uncategorized
"""
PREDEFINED = frozenset(_CLASSES.split())

_PORTION = 500  # rules that are compiled in one go: Python does nothing else for that time, some 20 ms
_LONGEST_KEPT = 2048  # characters of a response that is worth remembering


class Matcher:
    """The patterns of all rules, prepared for use."""

    __slots__ = ("_portions",)

    def __init__(self, rules: Sequence[BounceRule]) -> None:
        """Every pattern must be valid, as those are that the configuration read.  Thousands take some tenths of a second."""
        self._portions = [_compiled(tuple(rules[at : at + _PORTION])) for at in range(0, len(rules), _PORTION)]

    def first(self, line: str) -> BounceRule | None:
        """The first rule that fits a response on one line (`CODE [C.S.D ]text`); None: none does."""
        octets = line.encode("utf-8", "replace")
        for rules, patterns in self._portions:
            found: list[int] = patterns.Match(octets)
            if found:
                return rules[min(found)]
        return None


def _compiled(rules: tuple[BounceRule, ...]) -> tuple[tuple[BounceRule, ...], Any]:
    patterns, options = re2.Filter(), re2_options()
    for rule in rules:
        patterns.Add(rule.pattern, options)
    patterns.Compile()
    return rules, patterns


@lru_cache(maxsize=2)
def matcher_of(rules: tuple[BounceRule, ...]) -> Matcher:
    """
    The same for the same rules.

    A thread that asks first spares whoever asks next the time: so a reload compiles its rules where it reads them.
    """
    return Matcher(rules)


class Classifier:
    """A matcher that remembers what it was asked last."""

    __slots__ = ("_kept", "_kept_uncategorized", "_matcher", "_most", "_most_uncategorized", "_seconds", "latency")

    def __init__(self, settings: BounceClassifierSettings, seconds: Callable[[], float] = lambda: 0.0) -> None:
        """seconds: the time, for `latency`: seconds that it took, also where the answer was remembered."""
        self._seconds = seconds
        self.latency = Histogram(QUICK)
        self._matcher = matcher_of(settings.rules)
        self._most = settings.cache_size
        self._most_uncategorized = settings.uncategorized_cache_size
        self._kept: OrderedDict[str, str] = OrderedDict()
        # Apart, so that a flood of texts that nobody has a rule for does not drive out those that come all the time.
        self._kept_uncategorized: OrderedDict[str, None] = OrderedDict()

    def classify(self, line: str) -> str:
        """The class of a response on one line; `Uncategorized` where no rule fits."""
        began = self._seconds()
        label = self._class_of(line)
        self.latency.observe(self._seconds() - began)
        return label

    def _class_of(self, line: str) -> str:
        kept = self._kept.get(line)
        if kept is not None:
            self._kept.move_to_end(line)
            return kept
        if line in self._kept_uncategorized:
            self._kept_uncategorized.move_to_end(line)
            return UNCATEGORIZED
        rule = self._matcher.first(line)
        label = UNCATEGORIZED if rule is None else rule.label
        if len(line) <= _LONGEST_KEPT:
            self._keep(line, label)
        return label

    def _keep(self, line: str, label: str) -> None:
        if label == UNCATEGORIZED:
            self._kept_uncategorized[line] = None
            if len(self._kept_uncategorized) > self._most_uncategorized:
                self._kept_uncategorized.popitem(last=False)
        else:
            self._kept[line] = label
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)


def unclassified(_: str) -> str:
    """Where nothing is configured."""
    return UNCATEGORIZED
