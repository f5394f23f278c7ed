"""Which rule wins, what is remembered, and what the supplied rules make of large receivers' replies."""

from pathlib import Path

from msgspec.structs import replace
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from kumotwist.bounces.classifier import PREDEFINED, UNCATEGORIZED, Classifier, Matcher
from kumotwist.config.bounces import BounceClassifierSettings, BounceRule
from kumotwist.config.read import read_config
from tests.config.test_shaping import SHARED

REPLIES = Path(__file__).resolve().parent / "replies.txt"
IANA = SHARED / "bounce_classifier-iana.toml"


def classes(column: int) -> dict[str, str]:
    lines = REPLIES.read_text("utf-8").splitlines()
    rows = [line.split(None, 2) for line in lines if not line.startswith("#")]
    return {row[2]: UNCATEGORIZED if row[column] == "-" else row[column] for row in rows}


class ConfiguredCase(SynchronousTestCase):
    maxDiff = None

    def setUp(self) -> None:
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()

    def settings(self, *files: str | Path, more: str = "") -> BounceClassifierSettings:
        names = ", ".join(f'"{file}"' for file in files)
        config = self.place / "main.yaml"
        config.write_text(f"hostname: mta.example.com\nbounce_classifier: {{files: [{names}]{more}}}\n")
        return read_config(config).bounce_classifier

    def rules(self, name: str, text: str) -> str:
        (self.place / name).write_text(text)
        return name


class SuppliedRulesTests(ConfiguredCase):
    def test_the_iana_rules_look_at_codes(self) -> None:
        if not IANA.exists():
            raise SkipTest("the model's rules are not here")
        classifier = Classifier(self.settings(IANA))
        expected = classes(0)
        self.assertEqual({line: classifier.classify(line) for line in expected}, expected)
        self.assertGreater(len(expected), 80)

    def test_the_iana_rules_load_unchanged_and_keep_their_order(self) -> None:
        if not IANA.exists():
            raise SkipTest("the model's rules are not here")
        settings = self.settings(IANA)
        labels = list(dict.fromkeys(rule.label for rule in settings.rules))
        self.assertEqual((labels[0], labels[-1], len(settings.rules)), ("InvalidRecipient", "TooManyRecipients", 26))
        self.assertLessEqual(set(labels), PREDEFINED)
        # ProtocolErrors (x.5.*) comes before it, so it is never reached; that is how the file stands.
        self.assertEqual(Classifier(settings).classify("452 4.5.3 too many recipients"), "ProtocolErrors")

    def test_our_own_rules_read_words_first(self) -> None:
        classifier = Classifier(self.settings("builtin:default"))
        expected = classes(1)
        self.assertEqual({line: classifier.classify(line) for line in expected}, expected)


class OrderTests(ConfiguredCase):
    def test_the_first_rule_wins_by_file_then_class_then_place(self) -> None:
        first = self.rules("first.toml", "[rules]\nB = ['two words', 'one']\nA = ['two', 'x']\n")
        second = self.rules("second.json", '{"rules": {"A": ["words"], "C": ["^550 "]}}')
        classifier = Classifier(self.settings(first, second))
        table = {
            "550 two words": "B",
            "550 two": "A",
            "550 words": "A",
            "550 one two": "B",
            "550 else": "C",
            "551 else": UNCATEGORIZED,
        }
        self.assertEqual({line: classifier.classify(line) for line in table}, table)
        self.assertEqual(Classifier(self.settings(second, first)).classify("550 two words"), "A")

    def test_patterns_are_found_anywhere_and_anchors_see_the_whole_line(self) -> None:
        name = self.rules("r.toml", "[rules]\nStart = ['^550 5']\nEnd = ['end$']\nAny = ['(?i)MiDDle']\n")
        classifier = Classifier(self.settings(name))
        table = {"550 5.1.1 x": "Start", "451 the end": "End", "451 in the middle of": "Any", "451 550 5": UNCATEGORIZED}
        self.assertEqual({line: classifier.classify(line) for line in table}, table)

    def test_a_class_may_be_ones_own(self) -> None:
        self.assertEqual(Classifier(self.settings(self.rules("r.toml", "[rules]\nMyOwn = ['x']\n"))).classify("550 x"), "MyOwn")

    def test_thousands_of_rules_give_what_one_after_the_other_would(self) -> None:
        words = ["mailbox", "quota", "full", "spam", "policy", "user", "unknown", "relay", "later", "block"]
        rules = tuple(
            BounceRule(f"{a}-{b}-{c}", rf"{a}.*{b} {c}" if (n + m) % 2 else f"^5.. {a} (?:{b}|{c})$")
            for n, a in enumerate(words)
            for m, b in enumerate(words)
            for c in words
        )
        matcher = Matcher(rules)
        one_by_one = [Matcher([rule]) for rule in rules]
        for line in ("550 mailbox full", "451 user unknown later block", "550 relay x block spam", "550 nothing of these"):
            expected = next((rule for rule, one in zip(rules, one_by_one, strict=True) if one.first(line)), None)
            self.assertEqual(matcher.first(line), expected, line)

    def test_the_first_rule_wins_also_where_they_are_compiled_in_portions(self) -> None:
        rules = [BounceRule(f"c{n}", f"word{n}x") for n in range(1300)]
        found = {text: rule.label for text in ("word3x word1200x", "word1299x word700x") if (rule := Matcher(rules).first(text))}
        self.assertEqual(found, {"word3x word1200x": "c3", "word1299x word700x": "c700"})

    def test_what_a_peer_says_cannot_break_it(self) -> None:
        matcher = Matcher([BounceRule("A", "(a+)+b")])
        for line in ("", "550 \ud800", "a" * 100_000, "550 \x00\x01", "\u00e4\u4e2d"):
            self.assertIsNone(matcher.first(line))

    def test_without_rules_nothing_has_a_class(self) -> None:
        self.assertEqual(Classifier(BounceClassifierSettings()).classify("550 5.1.1 no"), UNCATEGORIZED)


class CacheTests(SynchronousTestCase):
    """What is remembered, seen from how often the rules are asked."""

    def setUp(self) -> None:
        self.settings = BounceClassifierSettings(rules=(BounceRule("A", "a"),), cache_size=2, uncategorized_cache_size=1)

    def asked(self, settings: BounceClassifierSettings, *lines: str) -> list[str]:
        classifier, asked = Classifier(settings), []

        class Asked:
            def first(self, line: str) -> BounceRule | None:
                asked.append(line)
                return settings.rules[0] if "a" in line else None

        classifier._matcher = Asked()  # type: ignore[assignment]
        for line in lines:
            classifier.classify(line)
        return asked

    def test_what_was_used_last_is_kept(self) -> None:
        self.assertEqual(self.asked(self.settings, "a1", "a2", "a1", "a3", "a1", "a2"), ["a1", "a2", "a3", "a2"])

    def test_what_has_no_class_does_not_drive_out_what_has(self) -> None:
        self.assertEqual(self.asked(self.settings, "a1", "x", "y", "z", "a1", "z", "x"), ["a1", "x", "y", "z", "x"])

    def test_nothing_is_kept_where_nothing_is_wanted(self) -> None:
        settings = replace(self.settings, cache_size=0, uncategorized_cache_size=0)
        self.assertEqual(self.asked(settings, "a", "a", "x", "x"), ["a", "a", "x", "x"])

    def test_very_long_responses_are_not_kept(self) -> None:
        self.assertEqual(len(self.asked(self.settings, "a" * 3000, "a" * 3000)), 2)
