"""The command's table of subcommands."""

import subprocess
import sys

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from kumotwist import __version__
from kumotwist.cli.main import SUBCOMMANDS, main


class SubcommandTests(SynchronousTestCase):
    """What is said without running any of them."""

    def test_help_names_every_subcommand_with_its_line(self) -> None:
        result = CliRunner().invoke(main, ["--help"])
        self.assertEqual(result.exit_code, 0)
        for name, subcommand in SUBCOMMANDS.items():
            self.assertIn(f"\n  {name} ", result.output)
            self.assertIn(subcommand.summary.split()[0], result.output)

    def test_every_subcommand_can_be_loaded_and_has_help(self) -> None:
        for name, subcommand in SUBCOMMANDS.items():
            self.assertEqual(subcommand.load().name, name)
            result = CliRunner().invoke(main, [name, "--help"], prog_name="kumotwist")
            self.assertEqual((result.exit_code, f"Usage: kumotwist {name}" in result.output), (0, True), name)

    def test_an_unknown_subcommand_suggests_the_nearest(self) -> None:
        result = CliRunner().invoke(main, ["trafic-gen"])
        self.assertEqual(result.exit_code, 2)
        self.assertIn("Did you mean 'traffic-gen'?", result.output)

    def test_a_subcommand_like_none_gets_the_list(self) -> None:
        result = CliRunner().invoke(main, ["xyzzy"])
        self.assertEqual(result.exit_code, 2)
        self.assertIn(f"There are: {', '.join(sorted(SUBCOMMANDS))}.", result.output)

    def test_an_unknown_option_is_a_usage_error(self) -> None:
        result = CliRunner().invoke(main, ["--frobnicate"])
        self.assertEqual((result.exit_code, "--frobnicate" in result.output), (2, True))

    def test_the_version_is_the_package_s(self) -> None:
        result = CliRunner().invoke(main, ["--version"])
        self.assertEqual((result.exit_code, result.output), (0, f"kumotwist, version {__version__}\n"))


class LazinessTests(SynchronousTestCase):
    """Help comes at once."""

    def test_help_imports_neither_twisted_nor_any_subcommand(self) -> None:
        program = (
            "import sys\n"
            "from kumotwist.cli.main import main\n"
            "try: main(['--help'])\n"
            "except SystemExit: pass\n"
            "heavy = {'twisted', 'rich', 'yaml', 'kumotwist.cli.sink', 'kumotwist.config'} & set(sys.modules)\n"
            "print(sorted(heavy), file=sys.stderr)\n"
        )
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
        self.assertEqual(run.stderr.strip(), "[]")
        self.assertIn("traffic-gen", run.stdout)

    def test_the_package_can_be_run(self) -> None:
        run = subprocess.run(
            [sys.executable, "-m", "kumotwist", "--version"], capture_output=True, text=True, timeout=60, check=True
        )
        self.assertEqual(run.stdout, f"kumotwist, version {__version__}\n")
