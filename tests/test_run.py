"""run.py, the way in: how it counts, what it says when it cannot go on, and that it stays the only place of command lines."""

import ast
import configparser
import re
import sys
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import run

PROJECT = Path(__file__).resolve().parent.parent


class CountTests(SynchronousTestCase):
    """`N passed, N failed`, from trial's closing line."""

    def test_each_form_of_the_closing_line(self) -> None:
        table = {
            "PASSED (successes=12)": (12, 0, 0),
            "PASSED (skips=3, successes=9)": (9, 0, 3),
            "FAILED (skips=1, failures=2, errors=3, successes=4)": (4, 5, 1),
            "PASSED (expectedFailures=1, successes=4)": (5, 0, 0),
            "FAILED (unexpectedSuccesses=2, successes=4)": (4, 2, 0),
            "FAILED (errors=1)": (0, 1, 0),
            "PASSED (skips=2)": (0, 0, 2),
        }
        for closing, counted in table.items():
            self.assertEqual(run.count_tests(f"...\nRan 7 tests in 1.0s\n\n{closing}\n"), counted, closing)

    def test_only_the_last_closing_line_counts(self) -> None:
        """A test may print one of its own."""
        self.assertEqual(run.count_tests("FAILED (errors=1)\nand then\nPASSED (successes=2)\n"), (2, 0, 0))

    def test_a_run_that_broke_off_counts_nothing(self) -> None:
        self.assertEqual(run.count_tests("Segmentation fault\n"), (0, 0, 0))


class AdviceTests(SynchronousTestCase):
    """What a person reads when something is missing."""

    def test_an_index_that_cannot_be_reached_is_told_with_pips_own_words(self) -> None:
        said = [
            "Obtaining file:///somewhere",
            "  WARNING: Retrying (Retry(total=4)) after connection broken",
            "  WARNING: Retrying (Retry(total=0)) after connection broken",
            "      ERROR: Could not find a version that satisfies the requirement setuptools>=68 (from versions: none)",
            "      error: subprocess-exited-with-error",
        ]
        advice = run.explain_pip(said)
        self.assertIn("ERROR: Could not find a version that satisfies the requirement setuptools>=68", advice)
        self.assertIn("total=0", advice)
        self.assertNotIn("total=4", advice)
        self.assertNotIn("subprocess-exited", advice)
        self.assertIn("PIP_INDEX_URL", advice)

    def test_a_full_disk_is_told_as_such(self) -> None:
        advice = run.explain_pip(["ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"])
        self.assertIn("The disk is full.", advice)
        self.assertNotIn("PIP_INDEX_URL", advice)

    def test_any_other_fault_shows_what_pip_said_last(self) -> None:
        advice = run.explain_pip(["line one", "the compiler is missing"])
        self.assertIn("the compiler is missing", advice)
        self.assertNotIn("PIP_INDEX_URL", advice)

    def test_an_old_python_is_told_how_old(self) -> None:
        self.patch(run.sys, "version_info", (3, 9, 2))
        self.patch(run.shutil, "which", lambda name: None)
        stop = self.assertRaises(run.Stop, run.require_python, ["demo"])
        self.assertIn("needs Python 3.11 or newer; this is Python 3.9.2", str(stop))

    def test_an_old_python_names_a_newer_one_that_works(self) -> None:
        self.patch(run.sys, "version_info", (3, 9, 2))
        self.patch(run.shutil, "which", lambda name: name if name in ("python3.13", "python3.12") else None)
        self.patch(run, "quietly", lambda command: Answer(returncode=1 if command[0] == "python3.13" else 0))
        stop = self.assertRaises(run.Stop, run.require_python, ["demo", "--exit"])
        self.assertIn("python3.12 run.py demo --exit", str(stop))

    def test_an_unknown_command_is_no_traceback(self) -> None:
        said = StringIO()
        self.patch(run.sys, "stderr", said)
        self.assertEqual(run.main(["nonsense"]), 2)
        self.assertIn("no command 'nonsense'", said.getvalue())
        self.assertIn("run.py demo", said.getvalue())


class Answer:
    """What a finished process leaves behind."""

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode


class EnvironmentTests(SynchronousTestCase):
    """When the private environment is as it must be, and when not."""

    def setUp(self) -> None:
        self.place = Path(self.mktemp()).resolve()
        (self.place / "bin").mkdir(parents=True)
        (self.place / "bin" / "python").symlink_to(sys.executable)
        self.patch(run, "ENVIRONMENT", self.place)
        self.patch(run, "STAMP", self.place / "kumotwist.json")
        self.stamp: dict[str, Any] = {
            "python": run.python_identity(),
            "place": str(run.ROOT),
            "requirements": run.requirements(),
            "extras": ["test"],
        }
        run.write_stamp(self.stamp)

    def test_one_made_for_all_this_is_used_as_it_is(self) -> None:
        self.assertTrue(run.is_prepared("test"))
        self.assertTrue(run.is_prepared(""))

    def test_other_requirements_another_python_or_another_place_need_work(self) -> None:
        for key in ("requirements", "python", "place"):
            run.write_stamp({**self.stamp, key: "another"})
            self.assertFalse(run.is_prepared("test"), key)

    def test_the_demos_environment_is_not_enough_for_tests(self) -> None:
        run.write_stamp({**self.stamp, "extras": []})
        self.assertTrue(run.is_prepared(""))
        self.assertFalse(run.is_prepared("test"))

    def test_an_interpreter_that_is_gone_needs_work(self) -> None:
        (self.place / "bin" / "python").unlink()
        (self.place / "bin" / "python").symlink_to(self.place / "gone")
        self.assertFalse(run.is_prepared("test"))

    def test_a_stamp_that_was_never_finished_needs_work(self) -> None:
        for text in ("", "{", "[]"):
            run.STAMP.write_text(text)
            self.assertFalse(run.is_prepared("test"), text)


class OnePlaceTests(SynchronousTestCase):
    """The command lines stand in run.py; the others go there."""

    def test_tox_has_every_part_and_no_command_line_of_its_own(self) -> None:
        tox = configparser.ConfigParser()
        tox.read(PROJECT / "tox.ini")
        self.assertLessEqual(set(run.PARTS), {name.strip() for name in tox["tox"]["env_list"].split(",")})
        for section in tox.sections():
            if command := tox[section].get("commands"):
                self.assertRegex(command, r"^python run\.py --here ")

    def test_the_gate_starts_nothing_but_run_py(self) -> None:
        gate = (PROJECT / ".ci" / "run").read_text(encoding="utf-8")
        self.assertEqual(re.findall(r"-m (?:pytest|twisted|ruff|mypy)\b|(?:^|[;&|] *|\d )(?:tox|trial|mypy|ruff)\b", gate), [])
        self.assertGreaterEqual(gate.count("run.py"), 4)

    def test_an_old_python_can_read_it(self) -> None:
        """Python 3.6 must get as far as the message that it is too old."""
        text = (PROJECT / "run.py").read_text(encoding="utf-8")
        tree = ast.parse(text, feature_version=(3, 6))
        modern = [node for node in ast.walk(tree) if isinstance(node, ast.NamedExpr | ast.Match)]
        annotations = [node.annotation for node in ast.walk(tree) if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation]
        annotations += [node.returns for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.returns]
        evaluated = [ast.unparse(node) for node in annotations if not isinstance(node, ast.Constant | ast.Name)]
        self.assertEqual((modern, evaluated), ([], []))
