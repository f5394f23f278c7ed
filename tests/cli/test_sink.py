"""The programs themselves, on loopback: a real sink, loaded by the real generator and by Python's own client."""

import os
import signal
import smtplib
import ssl
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.programs import Running, lines_of, ran

LISTEN = "127.0.0.1:0"


class SinkTests(SynchronousTestCase):
    """`kumotwist sink`."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def test_it_answers_as_told_records_and_ends_with_a_table(self) -> None:
        behaviour = self.directory / "behaviour.yaml"
        behaviour.write_text("local_parts: {tempfail: {defer: {share: 100}}}\n")
        with Running(
            *("sink", "--listen", LISTEN, "--behaviour", str(behaviour), "--tls"),
            *("--record", self.path("record"), "--stats", self.path("stats"), "--dump", self.path("dump")),
        ) as sink:
            with smtplib.SMTP("127.0.0.1", sink.port(), local_hostname="client.example") as client:
                client.starttls(context=ssl._create_unverified_context())
                client.sendmail("a@b.example", ["c@d.example"], b"Subject: x\r\n\r\n.dot\r\n")
                refused = self.assertRaises(
                    smtplib.SMTPRecipientsRefused, client.sendmail, "a@b.example", ["tempfail@d.example"], b""
                )
                self.assertEqual(refused.recipients, {"tempfail@d.example": (451, b"4.7.1 Try again later")})
            self.assertEqual(sink.end(), 0)
        self.assertRegex(sink.output, r"d\.example\W+1\W+1\W+0\W+0")
        (line,) = lines_of(self.path("record"))
        self.assertEqual(
            (line["sender"], line["recipients"], line["ehlo"], line["tls"], line["client"]),
            ("a@b.example", ["c@d.example"], "client.example", True, "127.0.0.1"),
        )
        self.assertEqual((self.directory / "dump" / "000001.eml").read_bytes(), b"Subject: x\r\n\r\n.dot\r\n")
        stats = msgspec.json.decode(Path(self.path("stats")).read_bytes())
        self.assertEqual(stats["domains"], {"d.example": {"accepted": 1, "deferred": 1, "refused": 0, "disconnected": 0}})

    def test_a_signal_has_the_counts_written_at_once(self) -> None:
        with Running("sink", "--listen", LISTEN, "--stats", self.path("stats")) as sink:
            port = sink.port()
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.sendmail("", ["c@d.example"], b"x\r\n")
                sink.process.send_signal(signal.SIGUSR1)
                while not os.path.exists(self.path("stats")):
                    client.noop()  # the sink's turn: the file is there after some of these
                self.assertEqual(msgspec.json.decode(Path(self.path("stats")).read_bytes())["messages"], 1)
            self.assertEqual(sink.end(signal.SIGTERM), 0)

    def test_several_addresses(self) -> None:
        with Running("sink", "--listen", LISTEN, "--listen", LISTEN) as sink:
            ports = [sink.port(), sink.port()]
            for port in ports:
                with smtplib.SMTP("127.0.0.1", port) as client:
                    self.assertEqual(client.noop()[0], 250)
            self.assertEqual(len(set(ports)), 2)
            sink.end()

    def test_an_address_that_is_taken_is_said(self) -> None:
        with Running("sink", "--listen", LISTEN) as sink:
            port = sink.port()
            second = ran("sink", "--listen", f"127.0.0.1:{port}")
            self.assertEqual(second.returncode, 1)
            self.assertIn(f"cannot listen on 127.0.0.1:{port}", second.stderr)
            sink.end()

    def test_a_faulty_behaviour_ends_it_with_a_line_for_each_fault(self) -> None:
        behaviour = self.directory / "bad.yaml"
        behaviour.write_text("default: {delya: 1}\ndomain: {}\n")
        run = ran("sink", "--listen", LISTEN, "--behaviour", str(behaviour))
        self.assertEqual((run.returncode, len(run.stderr.splitlines())), (2, 2))
        self.assertIn('bad.yaml:1:11: unknown key "delya" in default, did you mean "delay"?', run.stderr)


class TrafficTests(SynchronousTestCase):
    """`kumotwist traffic-gen`."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def test_what_was_acknowledged_is_what_arrived(self) -> None:
        with Running("sink", "--listen", LISTEN, "--record", self.path("record")) as sink:
            run = ran(
                *("traffic-gen", "--target", f"127.0.0.1:{sink.port()}", "--messages", "200", "--concurrency", "7"),
                *("--domain", "a.example:2", "--domain", "b.example", "--body-size", "2kb", "--header", "X-Tenant: acme"),
                *("--messages-per-connection", "9", "--ids", self.path("ids"), "--json", "--seed", "3"),
            )
            sink.end()
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        results = msgspec.json.decode(run.stdout)
        self.assertEqual((results["accepted"], results["replies"]), (200, {"250": 200}))
        self.assertLessEqual(results["latency"]["p50"], results["latency"]["max"])
        sent = {(line["id"], line["recipient"]) for line in lines_of(self.path("ids"))}
        arrived = {(line["traffic_id"], line["recipients"][0]) for line in lines_of(self.path("record"))}
        self.assertEqual((len(arrived), sent), (200, arrived))

    def test_a_message_that_is_not_accepted_makes_the_status_1(self) -> None:
        behaviour = self.directory / "behaviour.yaml"
        behaviour.write_text("domains: {no.example: {refuse: {share: 100}}}\n")
        with Running("sink", "--listen", LISTEN, "--behaviour", str(behaviour)) as sink:
            run = ran(
                *("traffic-gen", "--target", f"127.0.0.1:{sink.port()}", "--messages", "20", "--no-pipelining"),
                *("--domain", "no.example", "--domain", "yes.example", "--seed", "1"),
            )
            sink.end()
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stdout, r"refused\W+\d+")
        self.assertRegex(run.stdout, r"replies\W+250: \d+, 550: \d+")

    def test_nobody_there(self) -> None:
        with Running("sink", "--listen", LISTEN) as sink:
            port = sink.port()
            sink.end()
        run = ran("traffic-gen", "--target", f"127.0.0.1:{port}", "--messages", "3")
        self.assertEqual(run.returncode, 1)
        self.assertIn("Connection was refused", run.stdout)

    def test_options_that_make_no_sense(self) -> None:
        target = ("--target", "127.0.0.1:1")
        for options, said in (
            (("--messages", "1", "--duration", "1 s", *target), "exclude each other"),
            (("--domain", "a.example:0", *target), "above 0"),
            (("--body-size", "much", *target), "expected a size"),
            (("--target", "127.0.0.1"), "expected HOST:PORT"),
            (("--header", "nonsense", *target), "expected 'Name: value'"),
        ):
            run = ran("traffic-gen", *options)
            self.assertEqual((run.returncode, said in run.stderr), (2, True), run.stderr)
