"""
Which class a response belongs to: the first rule in the order of the files whose pattern is found in it.

Thousands of patterns are not tried one after the other.  Of each pattern RE2 knows texts of which at least one must occur;
one pass over the response finds which texts do, and only the patterns that are then still possible are tried.  RE2 takes
linear time whatever a peer sends and whatever pattern stands in a file.
"""

from collections import OrderedDict
from collections.abc import Sequence

import re2  # type: ignore[import-untyped]  # it ships no types

from kumotwist.config.bounces import BounceClassifierSettings, BounceRule
from kumotwist.config.read_bounces import re2_options

UNCATEGORIZED = "Uncategorized"

# The model's classes; a file may name others, which are its own.
_CLASSES = """
    InvalidRecipient DNSFailure SpamBlock SpamContent ProhibitedAttachment RelayDenied AutoReply TransientFailure Subscribe
    Unsubscribe ChallengeResponse BadConfiguration BadConnection BadDomain ContentRelated InactiveMailbox InvalidSender
    MessageExpired NoAnswerFromHost PolicyRelated ProtocolErrors QuotaIssues RelayingIssues RoutingErrors SpamRelated
    VirusRelated AuthenticationFailed TooManyRecipients Uncategorized
"""
PREDEFINED = frozenset(_CLASSES.split())

_LONGEST_KEPT = 2048  # characters of a response that is worth remembering


class Matcher:
    """The patterns of all rules, prepared for use."""

    __slots__ = ("_filter", "_rules")

    def __init__(self, rules: Sequence[BounceRule]) -> None:
        """Every pattern must be valid, as those are that the configuration read."""
        self._rules = tuple(rules)
        self._filter = re2.Filter()
        options = re2_options()
        for rule in rules:
            self._filter.Add(rule.pattern, options)
        if rules:
            self._filter.Compile()

    def first(self, line: str) -> BounceRule | None:
        """The first rule that fits a response on one line (`CODE [C.S.D ]text`); None: none does."""
        if not self._rules:
            return None
        found = self._filter.Match(line.encode("utf-8", "replace"))
        return self._rules[min(found)] if found else None


class Classifier:
    """A matcher that remembers what it was asked last."""

    __slots__ = ("_kept", "_kept_uncategorized", "_matcher", "_most", "_most_uncategorized")

    def __init__(self, settings: BounceClassifierSettings) -> None:
        self._matcher = Matcher(settings.rules)
        self._most = settings.cache_size
        self._most_uncategorized = settings.uncategorized_cache_size
        self._kept: OrderedDict[str, str] = OrderedDict()
        # Apart, so that a flood of texts that nobody has a rule for does not drive out those that come all the time.
        self._kept_uncategorized: OrderedDict[str, None] = OrderedDict()

    def classify(self, line: str) -> str:
        """The class of a response on one line; `Uncategorized` where no rule fits."""
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
