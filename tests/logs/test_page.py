"""What docs/logs.md shows is what happens: its commands are run on the sample log, its Python is run, its fields exist."""

import doctest
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from kumotwist.cli.logs import logs
from kumotwist.logs.record import Record, RecordType
from tests.logs.sample import write_sample

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "logs.md"
PLACE = "/var/log/kumotwist"


class PageTests(SynchronousTestCase):
    maxDiff = None

    def setUp(self) -> None:
        self.text = PAGE.read_text(encoding="utf-8")
        self.directory = os.path.abspath(os.path.join(self.mktemp(), "log"))
        write_sample(self.directory)

    def examples(self) -> list[tuple[str, str]]:
        """(command, what the page shows of its output)"""
        blocks = re.findall(r"^```console\n\$ (.+?)\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)
        return [(command.replace(PLACE, self.directory), output) for command, output in blocks]

    def test_kumotwist_logs_prints_what_the_page_shows(self) -> None:
        tried = 0
        for command, output in self.examples():
            program, *arguments = shlex.split(command)
            if program != "kumotwist" or "|" in arguments:
                continue
            result = CliRunner().invoke(logs, arguments[1:])
            self.assertEqual((result.stdout, result.exit_code), (output, 0), command)
            tried += 1
        self.assertEqual(tried, 3)

    def test_other_tools_print_what_the_page_shows(self) -> None:
        if not all(shutil.which(tool) for tool in ("zstdcat", "jq", "find")):
            raise SkipTest("needs zstdcat, jq and find")
        tried = 0
        for command, output in self.examples():
            ours, bar, rest = command.partition(" | ")
            if command.startswith("kumotwist") and not bar:
                continue
            fed = CliRunner().invoke(logs, shlex.split(ours)[2:]).stdout_bytes if command.startswith("kumotwist") else b""
            done = subprocess.run(
                ["/bin/sh", "-c", rest if fed else command], input=fed, capture_output=True, timeout=20, check=True
            )
            self.assertEqual(done.stdout.decode(), output, command)
            tried += 1
        self.assertEqual(tried, 3)

    def test_the_python_does_what_the_page_shows(self) -> None:
        test = doctest.DocTestParser().get_doctest(self.text.replace(PLACE, self.directory), {}, "logs.md", str(PAGE), 0)
        self.assertEqual(len(test.examples), 3)
        said: list[str] = []
        result = doctest.DocTestRunner().run(test, out=said.append)
        self.assertEqual((result.failed, said), (0, []))

    def test_every_field_and_type_stands_in_the_tables(self) -> None:
        named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`[^|]+) \|", self.text, re.MULTILINE))))
        self.assertEqual(set(Record.__struct_fields__) - named, set())
        self.assertEqual({kind.value for kind in RecordType} - named, set())

    def test_every_option_stands_on_the_page(self) -> None:
        options = {option for parameter in logs.params for option in parameter.opts if option.startswith("--")}
        self.assertEqual({option for option in options if option not in self.text}, set())
