"""A few inputs for each parser, the same at every run; more of them with KUMOTWIST_FUZZ=N."""

import os

from hypothesis import HealthCheck, given, settings
from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz import test_fuzz
from tests.fuzz.parsers import PARSERS, Parser

INPUTS = int(os.environ.get("KUMOTWIST_FUZZ", "100"))


class FuzzTests(SynchronousTestCase):
    def feed(self, name: str) -> None:
        parser = PARSERS[name]
        fed = []

        @settings(max_examples=INPUTS, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
        @given(parser.given)
        def feed(given: object) -> None:
            fed.append(1)
            parser.feed(given)

        feed()
        self.assertGreater(len(fed), INPUTS // 4)

    def test_no_parser_answers_with_anything_but_its_own_refusal(self) -> None:
        for name in PARSERS:
            with self.subTest(name):
                self.feed(name)

    def test_a_parser_that_breaks_would_be_noticed(self) -> None:
        def breaks(given: object) -> None:
            raise KeyError(given)

        self.patch(test_fuzz, "PARSERS", {"broken": Parser(PARSERS["command"].given, breaks)})
        self.assertRaises(KeyError, self.feed, "broken")
