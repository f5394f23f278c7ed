"""Section `suppression`: what a rule says, and what can be wrong about one."""

import re
from pathlib import Path

from kumotwist.config.suppression import Scope, What
from tests.config.files import ConfigTestCase

GUIDE = Path(__file__).resolve().parent.parent.parent / "docs" / "suppression.md"
CLASSIFIER = 'bounce_classifier: {files: ["builtin:default"]}\n'


class SuppressionTests(ConfigTestCase):
    def test_the_guides_rules_are_what_they_say(self) -> None:
        [text, _] = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.S)
        first, second, third = self.read(text).suppression.rules
        self.assertEqual((first.record_types, first.scope, first.what), (("Bounce", "OOB"), Scope.TENANT, What.ADDRESS))
        self.assertEqual((first.expires, second.expires, third.expires), (90 * 86400.0, 7 * 86400.0, None))
        self.assertEqual((second.classes, second.scope, second.what), (("BadDomain",), Scope.GLOBAL, What.DOMAIN))

    def test_what_is_wrong_is_said(self) -> None:
        bounce = "record_types: [Bounce]"
        table = {
            "[{classes: [InvalidRecipient]}]": "record_types is missing",
            f"[{{{bounce}}}]": "classes is missing, expected those of Bounce that count",
            "[{record_types: []}]": "record_types: nothing",
            "[{record_types: [Delivery]}]": '"Delivery"',
            f"[{{{bounce}, classes: [InvalidRecipent]}}]": "did you mean InvalidRecipient?",
            f"[{{{bounce}, classes: [Any], scope: tennant}}]": "tennant",
            f"[{{{bounce}, classes: [Any], expires: soon}}]": "expires",
            f"[{{{bounce}, classes: [Any], until: 1 day}}]": 'unknown key "until"',
            "{record_types: [Bounce]}": "expected a list",
        }
        for rules, expected in table.items():
            with self.subTest(rules):
                [fault] = self.faults(f"{CLASSIFIER}suppression: {{rules: {rules}}}")
                self.assertIn(expected, fault)

    def test_without_a_classifier_no_class_is_ever_seen(self) -> None:
        rules = "suppression: {rules: [{record_types: [Bounce], classes: [InvalidRecipient]}]}"
        [fault] = self.faults(rules)
        self.assertIn("no rule gives the class", fault)
        self.write("policy.py", "")
        self.assertEqual(len(self.read(f"policy: policy.py\n{rules}").suppression.rules), 1)
