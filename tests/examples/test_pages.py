"""docs/from-kumomta.md and the examples as they stand: they are valid, typed, in pairs, and the page shows what is in them."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from kumotwist.cli.check import check
from tests.examples.support import EXAMPLES, NAMES

PROJECT = EXAMPLES.parents[1]
PAGE = PROJECT / "docs" / "from-kumomta.md"

_FENCE = re.compile(r"^```(\w+) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ONLY_AS_POLICY = {"webhook-delivery"}  # what no data can say
_ROW = re.compile(r"^\| .+ \| \[(\S+)\.yaml\]\(\S+\).* \| \[(\S+)\.py\]\(\S+\) \|$", re.MULTILINE)


class ExampleFileTests(SynchronousTestCase):
    maxDiff = None

    def test_each_example_is_valid_as_it_stands(self) -> None:
        runner = CliRunner()
        said = {name: runner.invoke(check, [str(EXAMPLES / f"{name}.yaml")]) for name in NAMES}
        self.assertEqual({name: one.output for name, one in said.items() if one.exit_code}, {})
        self.assertGreater(len(said), 20)

    def test_each_example_is_there_as_data_and_as_policy(self) -> None:
        data = {name for name in NAMES if not name.endswith("-policy")}
        self.assertEqual({f"{name}-policy" for name in data | ONLY_AS_POLICY}, set(NAMES) - data)
        self.assertEqual({path.stem for path in EXAMPLES.glob("*.py")}, data | ONLY_AS_POLICY)
        for name in data:
            self.assertNotIn("policy:", (EXAMPLES / f"{name}.yaml").read_text("utf-8"), "data only")
            self.assertIn(f"policy: {name}.py\n", (EXAMPLES / f"{name}-policy.yaml").read_text("utf-8"))

    def test_mypy_accepts_the_policies_without_being_told_to_look_away(self) -> None:
        if find_spec("mypy") is None:
            raise SkipTest("mypy is not installed")
        files = sorted(EXAMPLES.glob("*.py"))
        self.assertEqual([file.name for file in files if "type: ignore" in file.read_text("utf-8")], [])
        command = [sys.executable, "-m", "mypy", "--strict", "--scripts-are-modules", "--config-file", os.devnull]
        done = subprocess.run([*command, *map(str, files)], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_examples_are_those_that_a_test_starts(self) -> None:
        tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
        started = set(re.findall(r'start_(?:both|policy)\("([\w-]+)"', tests))
        self.assertEqual(started, {name.removesuffix("-policy") for name in NAMES})


class PageTests(SynchronousTestCase):
    maxDiff = None

    def setUp(self) -> None:
        self.text = PAGE.read_text("utf-8")

    def test_each_row_names_the_two_forms_of_one_example_and_every_example_has_a_row(self) -> None:
        rows = _ROW.findall(self.text)
        self.assertEqual([row for row in rows if row[0] != row[1]], [])
        self.assertEqual({name for name, _ in rows}, {name for name in NAMES if not name.endswith("-policy")})
        for name in ONLY_AS_POLICY:
            self.assertIn(f"| - | [{name}.py](../conf/examples/{name}.py) |", self.text)

    def test_each_snippet_stands_in_the_file_that_it_names(self) -> None:
        found = _FENCE.findall(self.text)
        lost = [(file, snippet) for _, file, snippet in found if snippet not in (EXAMPLES / file).read_text("utf-8")]
        self.assertEqual(lost, [])

    def test_each_example_is_shown(self) -> None:
        shown = {Path(file).stem for _, file, _ in _FENCE.findall(self.text)}
        self.assertEqual({name for name in NAMES if not name.endswith("-policy")} - shown, set())
