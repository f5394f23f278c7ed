"""Section `bounce_classifier`: what is wrong with it is said with its place."""

from tests.config.files import ConfigTestCase


class FaultTests(ConfigTestCase):
    def test_a_pattern_that_is_none(self) -> None:
        self.write("r.toml", "[rules]\nA = [\n  'fine',\n  '(',\n  'a(?=b)',\n  '',\n  7,\n]\n")
        found = self.faults('bounce_classifier: {files: ["r.toml"]}')
        self.assertEqual(
            found,
            [
                'r.toml:4:3: A: "(" is not a pattern: missing ): (, expected a pattern in RE2\'s syntax',
                'r.toml:5:3: A: "a(?=b)" is not a pattern: invalid perl operator: (?=, expected a pattern in RE2\'s syntax',
                "r.toml:6:3: A: an empty pattern, which fits everything, expected a pattern in RE2's syntax",
            ],
        )

    def test_files_that_are_none(self) -> None:
        self.write("r.toml", "[rule]\nA = ['x']\n")
        self.assertEqual(
            self.faults('bounce_classifier: {files: ["r.toml", "builtin:defualt", "nowhere.toml"], cache: 7}')[-3:],
            [
                'main.yaml:1:75: unknown key "cache" in bounce_classifier, did you mean "cache_size"?',
                "r.toml:1:1: rules is missing, expected [rules] with a list of patterns for each class",
                'r.toml:1:2: unknown key "rule" in a file of bounce classes, did you mean "rules"?',
            ],
        )
        self.assertEqual(self.faults("bounce_classifier: {cache_size: 7}"), ["main.yaml:1:20: bounce_classifier: files is missing"])
        self.assertIn(
            'files: "builtin:defualt" does not come with this version, did you mean builtin:default?',
            self.faults('bounce_classifier: {files: ["builtin:defualt"]}')[0],
        )

    def test_rules_that_are_no_list(self) -> None:
        self.write("r.toml", "[rules]\nA = 'x'\n")
        self.assertEqual(
            self.faults('bounce_classifier: {files: ["r.toml"]}'), ['r.toml:2:5: A: "x", expected a list, did you mean [x]?']
        )
