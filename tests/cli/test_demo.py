"""The demo: its files, its books, its tables, and one whole performance."""

import signal
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.demo_books import Books, Pace, Witnesses, discrepancies
from kumotwist.cli.demo_programs import CannotPlay, Programs, free_ports, require_addresses
from kumotwist.cli.demo_scene import POOLS, SITES, SOURCES, TENANTS, Ports, behaviour, configuration, messages_of, place_in_pool
from kumotwist.cli.demo_screen import closing, live, progress
from kumotwist.cli.sink_behaviour import Kind, Stage, load_behaviour
from kumotwist.config.read import read_config
from tests.cli.programs import Running, ran

PORTS = Ports(2525, (2601, 2602, 2603, 2604))


def lines(*records: tuple[str, str, str]) -> Iterable[bytes]:
    """(type, id, recipient) as lines of a log."""
    for kind, message_id, recipient in records:
        source = None if kind == "Reception" else "source-1"
        yield msgspec.json.encode({"type": kind, "id": message_id, "recipient": recipient, "egress_source": source, "size": 7})


class SceneTests(SynchronousTestCase):
    """The two files."""

    def write(self, text: str) -> str:
        path = Path(self.mktemp()).with_suffix(".yaml")
        path.write_text(text)
        return str(path)

    def test_the_server_reads_the_configuration(self) -> None:
        config = read_config(self.write(configuration(PORTS)))
        self.assertEqual([one.listen for one in config.esmtp_listeners], ["127.0.0.1:2525"])
        for source in SOURCES:
            found = config.egress.source[source.name]
            self.assertEqual((found.source_address, found.ehlo_domain), (source.address, source.ehlo_domain))
        for pool in POOLS:
            self.assertEqual(tuple((one.name, one.weight) for one in config.egress.pool[pool.name].entries), pool.weights)
        self.assertEqual(set(config.queues.tenant), {tenant.name for tenant in TENANTS})
        self.assertEqual(config.shaping.rules["default"].options["prohibited_hosts"].networks, ())  # type: ignore[attr-defined]

    def test_every_site_goes_to_its_own_port_of_the_sink(self) -> None:
        config = read_config(self.write(configuration(PORTS)))
        for site, port in zip(SITES, PORTS.sites, strict=True):
            (host,) = config.queues.queue[site.domain].options["mx_list"]  # type: ignore[misc]
            self.assertEqual((host.addr, host.port), ("127.0.0.1", port))

    def test_the_sink_reads_the_behaviour(self) -> None:
        domains = load_behaviour(self.write(behaviour())).domains
        self.assertEqual(list(domains), [site.domain for site in SITES])
        kinds = {domain: [answer.kind for answer in rule.answers.get(Stage.RCPT, ())] for domain, rule in domains.items()}
        self.assertEqual(kinds["busy.example"], [Kind.DEFERRED])
        self.assertEqual(kinds["strict.example"], [Kind.REFUSED])
        self.assertGreater(domains["slow.example"].delay, 0)
        self.assertEqual((kinds["friendly.example"], domains["friendly.example"].delay), ([], 0))

    def test_the_tenants_messages_add_up(self) -> None:
        for total in (1, 2, 3, 7, 100, 2001):
            self.assertEqual(sum(messages_of(tenant, total) for tenant in TENANTS), total)

    def test_a_source_s_place_in_its_pool(self) -> None:
        self.assertEqual(place_in_pool("source-1"), ("pool-a", 2, 3))
        self.assertEqual(place_in_pool("source-3"), ("pool-b", 1, 1))
        self.assertRaises(KeyError, place_in_pool, "source-4")


class BooksTests(SynchronousTestCase):
    """What the log says."""

    def books(self, *records: tuple[str, str, str]) -> Books:
        books = Books()
        books.read(lines(*records))
        return books

    def test_a_message_is_open_until_its_final_record(self) -> None:
        books = self.books(("Reception", "1", "a@x"), ("Reception", "2", "b@y"), ("TransientFailure", "1", "a@x"))
        self.assertEqual((books.open, books.queued("x"), books.total("TransientFailure")), ({"1": "x", "2": "y"}, 1, 1))
        books.read(lines(("Delivery", "1", "a@x"), ("Bounce", "2", "b@y")))
        self.assertEqual((books.open, books.faults, books.by_site["y", "Bounce"]), ({}, [], 1))
        self.assertEqual(books.by_source, {"source-1": 3})

    def test_what_must_not_be_in_a_log(self) -> None:
        for records, fault in (
            ([("Delivery", "1", "a@x")], "message 1 has a Delivery and no Reception before it"),
            ([("Reception", "1", "a@x"), ("Delivery", "1", "a@x"), ("Bounce", "1", "a@x")], "message 1 has two final records"),
            ([("TransientFailure", "1", "a@x")], "message 1 has a TransientFailure and is not in any queue"),
        ):
            self.assertEqual(self.books(*records).faults, [fault])

    def test_the_witnesses_must_agree_with_the_log(self) -> None:
        books = self.books(
            ("Reception", "1", "a@x"),
            ("Reception", "2", "a@x"),
            ("Reception", "3", "a@x"),
            ("Delivery", "1", "a@x"),
            ("Bounce", "2", "a@x"),
        )
        self.assertEqual(discrepancies(books, Witnesses(accepted=3, taken=1, refused=1)), [])
        for witnesses, count in (
            (Witnesses(accepted=4, taken=1, refused=1), 1),
            (Witnesses(accepted=3, taken=2, refused=1), 1),
            (Witnesses(accepted=3, taken=0, refused=0), 2),
        ):
            self.assertEqual(len(discrepancies(books, witnesses)), count, witnesses)

    def test_the_pace_forgets_what_is_long_ago(self) -> None:
        pace = Pace(window=2.0)
        self.assertEqual([pace.rate(float(now), 10 * now) for now in range(4)], [0.0, 10.0, 10.0, 10.0])
        self.assertEqual(pace.rate(100.0, 30), 0.0)


class ScreenTests(SynchronousTestCase):
    """What is shown, on 80 columns."""

    def shown(self, what: Any) -> str:
        console = Console(width=80)
        with console.capture() as capture:
            console.print(what)
        return capture.get()

    def setUp(self) -> None:
        self.books = Books()
        records = [("Reception", str(n), "a@busy.example") for n in range(5)]
        self.books.read(lines(*records, ("Delivery", "1", "a@busy.example"), ("TransientFailure", "2", "a@busy.example")))

    def test_the_moving_picture_and_its_plain_line(self) -> None:
        now = progress("sending", 10, self.books, 12.3)
        self.assertEqual(now.line, "sending: accepted 5 of 10, delivered 1, deferred 1, refused 0, in queue 4, 12/s")
        self.assertRegex(self.shown(live(now)), r"accepted +delivered +deferred +refused +in queue +rate\n +5 +1 +1 +0 +4 +12/s")

    def test_the_closing_tables_fit_and_cut_nothing(self) -> None:
        clients = {
            source.address: {"connections": 9, "accepted": 100_000 * n, "refused": 5, "greetings": {source.ehlo_domain: 9}}
            for n, source in enumerate(SOURCES, 1)
        }
        text = self.shown(closing(self.books, {"clients": clients}))
        self.assertNotIn("…", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        self.assertRegex(text, r"busy\.example +defers 30% +5 +1 +1 +0 +4")
        self.assertRegex(text, r"all +5 +1 +1 +0 +4")
        self.assertRegex(text, r"127\.0\.0\.11 +mta1\.demo\.example +9 +100,005 +pool-a +2 of 3 +33%")
        self.assertRegex(text, r"127\.0\.0\.13 +mta3\.demo\.example +9 +300,005 +pool-b +1 of 1 +100%")


class ProgramsTests(SynchronousTestCase):
    """Starting and ending."""

    def directory(self) -> Path:
        path = Path(self.mktemp())
        path.mkdir()
        return path.resolve()

    def test_an_address_that_is_not_here_is_said_with_the_remedy(self) -> None:
        fault = self.assertRaises(CannotPlay, require_addresses, ["127.0.0.1", "192.0.2.1"])
        self.assertIn("sudo ifconfig lo0 alias 192.0.2.1 up", str(fault))
        self.assertNotIn("alias 127.0.0.1 ", str(fault))
        require_addresses(["127.0.0.1"])

    def test_free_ports_are_different_and_free(self) -> None:
        ports = free_ports(5)
        self.assertEqual(len(set(ports)), 5)
        for port in ports:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))

    def test_whatever_was_started_is_ended(self) -> None:
        directory = self.directory()
        (directory / "sites.yaml").write_text(behaviour())
        (port,) = free_ports(1)
        with Programs(directory) as programs:
            programs.receive(directory / "sites.yaml", [port], directory / "stats.json")
            self.assertTrue(programs.is_running("sink"))
        self.assertFalse(programs.is_running("sink"))
        self.assertTrue((directory / "stats.json").exists())
        self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", port))

    def test_a_program_that_ends_at_once_leaves_its_last_words(self) -> None:
        directory = self.directory()
        (directory / "kumotwist.yaml").write_text("spool: {path: spool}\nlgos: {}\n")
        with Programs(directory) as programs:
            fault = self.assertRaises(CannotPlay, programs.serve, directory / "kumotwist.yaml", free_ports(1)[0])
        self.assertIn("The server ended", str(fault))
        self.assertIn("kumotwist.yaml:2:1: unknown key", str(fault))


class PerformanceTests(SynchronousTestCase):
    """The whole demo, with the real server."""

    def test_it_ends_with_books_that_add_up(self) -> None:
        directory = Path(self.mktemp()).resolve()
        run = ran("demo", "--messages", "50", "--exit", "--directory", str(directory))
        self.assertEqual((run.returncode, run.stderr), (0, ""), run.stdout)
        self.assertIn("50 accepted = 50 delivered or bounced.  Nothing lost, nothing doubled.", run.stdout)
        self.assertIn((directory / "kumotwist.yaml").read_text(), run.stdout)
        self.assertIn(f"kumotwist logs {directory / 'log'}", run.stdout)
        counted = ran("logs", str(directory / "log"), "--type", "Reception", "--count")
        self.assertEqual(counted.stdout.strip(), "50")

    def test_a_directory_that_is_in_use_is_refused(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "precious").write_text("")
        run = ran("demo", "--exit", "--directory", str(directory))
        self.assertEqual((run.returncode, "is not empty" in run.stderr), (1, True))

    def test_it_stays_up_until_it_is_interrupted(self) -> None:
        directory = Path(self.mktemp()).resolve()
        with Running("demo", "--messages", "5", "--directory", str(directory)) as running:
            assert running.process.stdout is not None
            for line in running.process.stdout:
                if "stays up until Ctrl-C" in line:
                    break
            self.assertEqual(running.end(signal.SIGINT), 0)
        self.assertIn("Stopping.", running.output)
        self.assertIn(f"Everything is in {directory}", running.output)
