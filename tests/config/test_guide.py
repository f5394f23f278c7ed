"""What docs/configuration.md shows of what is still awaited is marked `yaml not yet`, and will be true."""

import re
from pathlib import Path

from click.testing import CliRunner

from kumotwist.cli.check import check
from tests.config.certificate import certificate_and_key
from tests.config.files import ConfigTestCase, use_all_values

GUIDE = Path(__file__).resolve().parent.parent.parent / "docs" / "configuration.md"
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class GuideTests(ConfigTestCase):
    def setUp(self) -> None:
        super().setUp()
        certificate, key = certificate_and_key("mail.example.com")
        self.write("cert.pem", certificate)
        self.write("key.pem", key)
        self.snippets, self.with_policy = [], []
        for found in _FENCE.finditer(GUIDE.read_text(encoding="utf-8")):
            _, _, title = found[1].strip().partition(" ")
            if title == "not yet":
                self.snippets.append(found[2])
            elif title.startswith("with "):
                self.with_policy.append(found[2])
            elif title.endswith((".toml", ".py")):
                self.write(title, found[2])

    def test_what_is_shown_with_a_policy_is_valid_with_it(self) -> None:
        for text in self.with_policy:
            result = CliRunner().invoke(check, [str(self.write("main.yaml", text))])
            self.assertEqual((result.exit_code, result.stderr), (0, ""))
        self.assertNotEqual(self.with_policy, [])

    def test_a_mark_goes_when_what_it_stands_for_comes(self) -> None:
        for text in self.snippets:
            with self.subTest(text):
                said = self.faults(text)
                self.assertEqual([fault for fault in said if not fault.endswith(" is not implemented yet")], [])

    def test_then_it_is_valid(self) -> None:
        use_all_values(self)
        for text in self.snippets:
            with self.subTest(text):
                self.read(text)
