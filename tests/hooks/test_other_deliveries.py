"""docs/other-deliveries.md: its configurations and policies are valid, and do what the page says."""

import re
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from kumotwist.config.path_template import PLACES
from kumotwist.config.read import examine, unanswered
from kumotwist.hooks.loading import load_policy
from tests.hooks.around import PolicyCase

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "other-deliveries.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```(yaml|python)(?: [a-z.]+)?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


class PageTests(PolicyCase):
    def setUp(self) -> None:
        super().setUp()
        policies = [text for kind, text in SNIPPETS if kind == "python"]
        (self.place / "policy.py").write_text("\n".join(policies), encoding="utf-8")

    def test_each_configuration_is_valid_with_the_policies_that_are_shown(self) -> None:
        policy = load_policy([self.place / "policy.py"], self.clock, self.services)
        configurations = [text for kind, text in SNIPPETS if kind == "yaml"]
        for text in configurations:
            (self.place / "kumotwist.yaml").write_text(text, encoding="utf-8")
            found = examine(self.place / "kumotwist.yaml")
            self.assertEqual((found.faults, unanswered(found.doubts, policy)), ((), ()), text)
        self.assertEqual(len(configurations), 4)

    def test_the_objects_have_what_the_page_says(self) -> None:
        policy = load_policy([self.place / "policy.py"], self.clock, self.services)
        webhook: Any = policy.first("make.webhook", "example.com", None, None)
        self.assertEqual(webhook.url, "https://example.com/mail")
        batches: Any = policy.first("make.batches", "example.com", None, None)
        said = Deferred.fromCoroutine(batches.send_batch([1, 2]))
        self.assertEqual(self.successResultOf(said), "2 messages")

    def test_it_names_every_place_of_a_template(self) -> None:
        table = "".join(line for line in PAGE.splitlines() if line.startswith("| `"))
        for place in PLACES:
            self.assertIn(f"`{place}.KEY`" if place == "meta" else f"`{place}`", table)
