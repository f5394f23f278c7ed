"""Our own rules: every example that stands beside a pattern is classified by that pattern."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.bounces.classifier import PREDEFINED, Matcher
from kumotwist.config.bounces import BounceRule
from kumotwist.config.read_bounces import builtin_files


def rules_of(text: str) -> list[BounceRule]:
    return [BounceRule(label, one) for label, patterns in tomllib.loads(text)["rules"].items() for one in patterns]


def examples_of(text: str) -> Iterator[tuple[int, list[str]]]:
    """For each pattern in order: its line, and the examples above it."""
    examples: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped.startswith("#> "):
            examples.append(stripped.removeprefix("#> "))
        elif stripped.startswith("'"):
            yield number, examples
            examples = []


class OwnRulesTests(SynchronousTestCase):
    maxDiff = None

    def test_every_pattern_has_examples_and_is_the_first_that_fits_them(self) -> None:
        for name, file in builtin_files().items():
            text = Path(file).read_text(encoding="utf-8")
            rules = rules_of(text)
            examples = list(examples_of(text))
            self.assertEqual(len(examples), len(rules), name)
            matcher = Matcher(rules)
            wrong = []
            for (line, shown), rule in zip(examples, rules, strict=True):
                self.assertTrue(shown, f"{name}:{line}: a pattern without an example")
                found = [(one, matcher.first(one)) for one in shown]
                wrong += [f"{name}:{line}: {one} is {first}" for one, first in found if first != rule]
            self.assertEqual(wrong, [])

    def test_the_classes_are_the_models(self) -> None:
        for file in builtin_files().values():
            labels = {rule.label for rule in rules_of(Path(file).read_text(encoding="utf-8"))}
            self.assertLessEqual(labels, PREDEFINED)
