"""`kumotwist classify-bounce`: classes, exit codes, configurations."""

from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.classify_bounce import classify_bounce, on_one_line


class ClassifyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()
        (self.place / "mine.toml").write_text("[rules]\nMine = ['^550 .*special phrase']\nOther = ['phrase']\n")

    def run_with(self, *arguments: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(classify_bounce, arguments, input=typed)

    def test_our_own_rules_are_used_where_none_are_named(self) -> None:
        result = self.run_with("550 5.1.1 <ann@example.net>: Recipient address rejected: User unknown")
        self.assertEqual((result.exit_code, result.stdout.split()[0]), (0, "InvalidRecipient"))

    def test_the_pattern_stands_beside_the_class(self) -> None:
        result = self.run_with("--rules", str(self.place / "mine.toml"), "550 a special phrase", "451 phrase")
        self.assertEqual((result.exit_code, result.stdout), (0, "Mine  ^550 .*special phrase\nOther  phrase\n"))

    def test_what_no_rule_fits_is_said_and_ends_with_1(self) -> None:
        result = self.run_with("--rules", str(self.place / "mine.toml"), "451 phrase", "451 else")
        self.assertEqual((result.exit_code, result.stdout), (1, "Other  phrase\nUncategorized\n"))

    def test_responses_may_come_from_standard_input(self) -> None:
        result = self.run_with("--rules", str(self.place / "mine.toml"), "-", typed="451 phrase\n\n550 a special phrase\n")
        self.assertEqual(result.stdout.splitlines(), ["Other  phrase", "Mine  ^550 .*special phrase"])

    def test_the_rules_of_a_configuration(self) -> None:
        config = self.place / "kumotwist.yaml"
        config.write_text("hostname: mta.example.com\nbounce_classifier: {files: [mine.toml]}\n")
        result = self.run_with("--config", str(config), "550 a special phrase")
        self.assertEqual((result.exit_code, result.stdout), (0, "Mine  ^550 .*special phrase\n"))
        config.write_text("hostname: mta.example.com\nbounce_classifier: {files: [yours.toml]}\n")
        result = self.run_with("--config", str(config), "550 x")
        self.assertEqual(result.exit_code, 2)
        self.assertIn(f'kumotwist.yaml:2:29: "{self.place / "yours.toml"}" cannot be read', result.stderr)
        config.write_text("hostname: mta.example.com\n")
        self.assertEqual(self.run_with("--config", str(config), "550 x").exit_code, 2)

    def test_commands_that_cannot_be_understood(self) -> None:
        for arguments in ((), ("--config", "a", "--rules", "b", "550 x"), ("--rules", "nowhere.toml", "550 x")):
            result = self.run_with(*arguments)
            self.assertEqual(result.exit_code, 2, arguments)
            self.assertIn("Error: ", result.stderr)

    def test_a_reply_of_several_lines_is_joined_as_in_the_log(self) -> None:
        table = {
            "550-5.1.1 no such\n550 5.1.1 user": "550 5.1.1 no such user",
            "550-no such\r\n550 user": "550 no such user",
            "550 5.1.1 no": "550 5.1.1 no",
            "550": "550 ",
            "no reply\nat all": "no reply at all",
            "550x y": "550x y",
        }
        self.assertEqual({text: on_one_line(text) for text in table}, table)
