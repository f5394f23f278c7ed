"""`kumotwist logs` as a person meets it: what it prints, what it says when it cannot, how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.logs import escaped, logs, parse_type, parse_when, readable
from kumotwist.logs.read import Answer, Entry
from tests.logs.sample import NOON, write_sample

PROJECT = Path(__file__).resolve().parent.parent.parent
PROGRAM = [sys.executable, "-c", "from kumotwist.cli.logs import logs; logs(prog_name='kumotwist logs')"]


class CommandTests(SynchronousTestCase):
    maxDiff = None

    def setUp(self) -> None:
        self.directory = os.path.abspath(os.path.join(self.mktemp(), "log"))
        self.lines = write_sample(self.directory)

    def run_with(self, *arguments: str) -> Result:
        return CliRunner().invoke(logs, [self.directory, *arguments])

    def types(self, *arguments: str) -> list[str]:
        result = self.run_with("--json", *arguments)
        self.assertEqual((result.exit_code, result.stderr), (0, ""))
        return [json.loads(line)["type"] for line in result.stdout.splitlines()]


class OutputTests(CommandTests):
    def test_one_readable_line_for_each_record(self) -> None:
        result = self.run_with()
        self.assertEqual((result.exit_code, result.stderr), (0, ""))
        shown = result.stdout.splitlines()
        self.assertEqual(len(shown), len(self.lines))
        self.assertEqual(
            shown[1],
            "2026-08-04T12:00:02.500Z TransientFailure 04c8e0008ffc11f18001010000000001 "
            "<news@shop.example> → <ann@example.net> queue=shop@example.net site=ip-1->mx.example.net@smtp_client: "
            "451 4.7.1 greylisted, try again later",
        )

    def test_a_rejection_says_what_was_refused(self) -> None:
        self.assertEqual(
            self.run_with("--type", "Rejection").stdout,
            "2026-08-04T12:21:40.000Z Rejection        - <who@stranger.example> → -: "
            "550 5.7.1 relaying not permitted (to RCPT TO:<x@elsewhere.example>)\n",
        )

    def test_json_prints_the_lines_as_they_are(self) -> None:
        result = self.run_with("--json")
        self.assertEqual(result.stdout_bytes, b"".join(line + b"\n" for line in self.lines))

    def test_count_prints_a_number(self) -> None:
        self.assertEqual(self.run_with("--count").stdout, f"{len(self.lines)}\n")
        self.assertEqual(self.run_with("--count", "--type", "OOB").stdout, "0\n")

    def test_nothing_found_is_no_fault(self) -> None:
        result = self.run_with("--recipient", "nobody@nowhere.example")
        self.assertEqual((result.exit_code, result.output), (0, ""))

    def test_a_single_segment_can_be_named(self) -> None:
        name = sorted(os.listdir(self.directory))[0]
        result = CliRunner().invoke(logs, [os.path.join(self.directory, name), "--count"])
        self.assertEqual(result.stdout, f"{len(self.lines)}\n")

    def test_several_recipients_are_cut_short(self) -> None:
        many = Entry(type="Delivery", recipient=["a@b", "c@d", "e@f", "g@h", "i@j"])
        self.assertIn("→ <a@b>, <c@d>, <e@f> and 2 more:", readable(many))

    def test_what_came_from_outside_does_not_steer_the_terminal(self) -> None:
        nasty = Entry(
            type="Bounce", id="\x1b[2J", sender="a\r\nb", queue="\u202egnp.exe", response=Answer(550, None, "\x9b31m\x07")
        )
        shown = readable(nasty)
        self.assertTrue(shown.isprintable(), shown)
        self.assertIn(r"\x1b[2J", shown)
        self.assertEqual(escaped("grün → ok"), "grün → ok")

    def test_there_are_colours_only_where_they_are_asked_for(self) -> None:
        entry = Entry(type="Bounce", event_time="2026-08-04T12:00:00.000000Z")
        self.assertNotIn("\x1b", readable(entry))
        self.assertIn("\x1b[31mBounce", readable(entry, coloured=True))
        self.assertNotIn("\x1b", self.run_with().stdout)


class ChoiceTests(CommandTests):
    def test_options_choose_records(self) -> None:
        everything = [json.loads(line)["type"] for line in self.lines]
        table: list[tuple[list[str], list[str]]] = [
            ([], everything),
            (["--type", "Bounce"], ["Bounce"]),
            (["--type", "bounce", "--type", "DELIVERY"], ["Delivery", "Bounce"]),
            (["--recipient", "ann@example.net"], ["Reception", "TransientFailure", "Delivery"]),
            (["--recipient", "*.example.org"], ["Reception", "Bounce"]),
            (["--sender", "shop.example", "--type", "Reception"], ["Reception", "Reception"]),
            (["--sender", "<>"], []),
            (["--queue", "*@example.net"], ["Reception", "TransientFailure", "Delivery"]),
            (["--site", "ip-1->*"], ["TransientFailure", "Delivery"]),
            (["--id", json.loads(self.lines[-2])["id"]], ["Reception", "Bounce"]),
            (["--since", "2026-08-04T12:10:00Z"], everything[2:]),
            (["--until", "2026-08-04 12:10"], everything[:2]),
            (["--since", str(NOON + 1), "--until", str(NOON + 3)], ["TransientFailure"]),
            (["--since", "2026-08-04T14:00:02+02:00", "--until", "1000d"], []),
        ]
        for arguments, types in table:
            self.assertEqual(self.types(*arguments), types, arguments)


class FaultTests(CommandTests):
    def test_a_missing_directory_says_where_to_look(self) -> None:
        result = CliRunner().invoke(logs, ["/no/such/place"])
        self.assertEqual(result.exit_code, 2)
        self.assertIn("there is no /no/such/place", result.stderr)
        self.assertIn("`log_dir`", result.stderr)

    def test_a_misspelt_type_is_told_with_the_nearest(self) -> None:
        result = self.run_with("--type", "Delivry")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("did you mean Delivery?", result.stderr)
        self.assertIn("there are Reception, ", self.run_with("--type", "qqq").stderr)

    def test_a_time_that_is_none_is_told(self) -> None:
        result = self.run_with("--since", "soonish")
        self.assertEqual(result.exit_code, 2)
        self.assertIn("how long ago", result.stderr)

    def test_counting_and_following_exclude_each_other(self) -> None:
        self.assertEqual(self.run_with("--count", "--follow").exit_code, 2)

    def test_a_line_that_is_no_record_is_told_and_the_rest_is_printed(self) -> None:
        with open(os.path.join(self.directory, "20270101-000000.000000000"), "wb") as file:
            file.write(b'from a template: \x1b[31m\n{"type":"Delivery","id":"last"}\n')
        result = self.run_with("--type", "Delivery")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(len(result.stdout.splitlines()), 2)
        self.assertEqual(result.stderr, "from a template: \\x1b[31m: no record\n")

    def test_a_damaged_segment_is_told_and_the_rest_is_printed(self) -> None:
        with open(os.path.join(self.directory, "20200101-000000.000000000"), "wb") as file:
            file.write(b"\x28\xb5\x2f\xfd" + b"\xff" * 100)
        result = self.run_with("--count")
        self.assertEqual((result.exit_code, result.stdout), (1, f"{len(self.lines)}\n"))
        self.assertIn("20200101-000000.000000000: zstd", result.stderr)


class WordTests(SynchronousTestCase):
    def test_times(self) -> None:
        now = 1_800_000_000.0
        for text, instant in (
            ("now", now),
            ("10 minutes", now - 600),
            ("10m", now - 600),
            ("1d 2h ago", now - 93600),
            ("90", now - 90),
            ("1785844800", NOON),
            ("1785844800.5", NOON + 0.5),
            ("2026-08-04T12:00:00Z", NOON),
            ("2026-08-04 12:00", NOON),
            ("2026-08-04T14:00:00+02:00", NOON),
            ("2026-08-04", NOON - 12 * 3600),
            ("2026-08-04T12:00:00.250000Z", NOON + 0.25),
        ):
            self.assertEqual(parse_when(text, now), instant, text)
        for text in ("", "tomorrow", "-5", "2026-13-01", "12:00 o'clock", "five minutes"):
            self.assertRaises(ValueError, parse_when, text, now)

    def test_types_are_found_in_any_case(self) -> None:
        self.assertEqual(parse_type("transientfailure"), "TransientFailure")
        self.assertEqual(parse_type("OOB"), "OOB")


class ProcessTests(CommandTests):
    """The program as a process: pipes, signals, terminals."""

    def started(self, *arguments: str, **options: int) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([*PROGRAM, self.directory, *arguments], cwd=PROJECT, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload]
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert isinstance(process, subprocess.Popen)
        return process

    def write_much(self) -> None:
        with open(os.path.join(self.directory, "20270101-000000.000000000"), "wb") as file:
            file.write((self.lines[0] + b"\n") * 3000)

    def test_a_reader_that_has_enough_ends_it_quietly(self) -> None:
        self.write_much()
        process = self.started("--json", stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        self.assertEqual(process.stdout.readline(), self.lines[0] + b"\n")
        process.stdout.close()
        self.assertEqual((process.stderr.read(), process.wait(20)), (b"", 0))

    def test_following_shows_what_comes_until_it_is_interrupted(self) -> None:
        process = self.started("--json", "--follow", stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        self.assertEqual([process.stdout.readline() for _ in self.lines], [line + b"\n" for line in self.lines])
        with open(os.path.join(self.directory, "20270101-000000.000000000"), "wb") as file:
            file.write(b'{"type":"Delivery","id":"new"}\n')
        self.assertEqual(process.stdout.readline(), b'{"type":"Delivery","id":"new"}\n')
        process.send_signal(signal.SIGINT)
        self.assertEqual((process.stdout.read(), process.stderr.read(), process.wait(20)), (b"", b"", 0))

    def test_following_ends_quietly_when_its_reader_has_enough(self) -> None:
        process = self.started("--follow", stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        with open(os.path.join(self.directory, "20270101-000000.000000000"), "wb") as file:
            file.write(b'{"type":"Delivery","id":"new"}\n')
        self.assertEqual((process.stderr.read(), process.wait(20)), (b"", 0))

    def test_an_interrupt_in_the_middle_is_quiet(self) -> None:
        self.write_much()
        process = self.started(stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()  # the rest does not fit into the pipe, so it waits
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=20)
        self.assertEqual((rest[1], process.returncode), (b"", 130))

    def test_a_terminal_gets_colours_and_NO_COLOR_is_heeded(self) -> None:
        for variables, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
            ours, theirs = os.openpty()
            environment = {**{key: value for key, value in os.environ.items() if key != "NO_COLOR"}, **variables}
            done = subprocess.run(
                [*PROGRAM, self.directory, "--type", "Bounce"], cwd=PROJECT, stdout=theirs, env=environment, check=True, timeout=20
            )
            shown = os.read(ours, 10_000)
            os.close(ours)
            os.close(theirs)
            self.assertEqual((done.returncode, b"\x1b[31mBounce" in shown), (0, coloured))

    def test_it_starts_at_once(self) -> None:
        """Reading logs needs no reactor."""
        program = "import sys; import kumotwist.cli.logs; print('twisted.internet.reactor' in sys.modules)"
        before = time.monotonic()
        done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=20, check=True)
        self.assertEqual(done.stdout, "False\n")
        self.assertLess(time.monotonic() - before, 10)


class UnclassifiedTests(SynchronousTestCase):
    """What has no class yet, the most frequent first."""

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory)

    def write(self, *records: tuple[str, str, int, str]) -> None:
        """Each: type, class, code, text."""
        lines = [
            json.dumps({"type": kind, "bounce_classification": label, "response": {"code": code, "content": text}})
            for kind, label, code, text in records
        ]
        Path(self.directory, "20260804-120000.000000000").write_text("".join(f"{line}\n" for line in lines))

    def test_responses_that_differ_in_addresses_and_ids_are_counted_together(self) -> None:
        self.write(
            ("Bounce", "Uncategorized", 550, "who is <ann@example.net>? 4Q2x7Kabc"),
            ("Bounce", "Uncategorized", 550, "who is <bob@example.net>? 9Z1x7Kdef"),
            ("TransientFailure", "Uncategorized", 451, "not today from 192.0.2.1"),
            ("Bounce", "InvalidRecipient", 550, "no such user"),
            ("Delivery", "Uncategorized", 250, "fine"),
            ("OOB", "Uncategorized", 550, "who is <eve@example.net>? 1111x7Kdef"),
        )
        result = CliRunner().invoke(logs, [self.directory, "--unclassified"])
        self.assertEqual((result.exit_code, result.stderr), (0, ""))
        self.assertEqual(result.stdout, "       3 550 who is <ann@example.net>? 4Q2x7Kabc\n       1 451 not today from 192.0.2.1\n")
        result = CliRunner().invoke(logs, [self.directory, "--unclassified", "--type", "OOB"])
        self.assertEqual(result.stdout, "       1 550 who is <eve@example.net>? 1111x7Kdef\n")

    def test_it_is_a_report_of_its_own(self) -> None:
        for option in ("--follow", "--count", "--json"):
            result = CliRunner().invoke(logs, [self.directory, "--unclassified", option])
            self.assertEqual(result.exit_code, 2, option)
