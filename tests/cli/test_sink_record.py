"""What a sink keeps, and what it shows at the end."""

from hashlib import sha256
from io import BytesIO
from pathlib import Path

import msgspec
from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.sink_counts import Counts
from kumotwist.cli.sink_record import Accepted, Keeper, header_and_body, line_of, traffic_id
from kumotwist.cli.sink_report import MOST_ROWS, closing_tables

CONTENT = b"Received: from x\r\n\tby y\r\nX-Traffic-ID:  run-1 \r\nSubject: z\r\n\r\nbody\r\n"


def accepted(content: bytes = CONTENT) -> Accepted:
    return Accepted(
        client="127.0.0.11",
        local="127.0.0.1",
        ehlo="mta.example",
        tls=True,
        sender="a@b.example",
        recipients=("c@d.example",),
        content=content,
        connected=1.0,
        began=2.0,
        ended=3.5,
    )


class LineTests(SynchronousTestCase):
    """The line about a message."""

    def test_it_tells_who_what_and_when(self) -> None:
        line = msgspec.json.decode(msgspec.json.encode(line_of(accepted())))
        self.assertEqual(
            line,
            {
                "client": "127.0.0.11",
                "local": "127.0.0.1",
                "ehlo": "mta.example",
                "tls": True,
                "sender": "a@b.example",
                "recipients": ["c@d.example"],
                "size": len(CONTENT),
                "sha256": sha256(CONTENT).hexdigest(),
                "body_sha256": sha256(b"body\r\n").hexdigest(),
                "traffic_id": "run-1",
                "connected": 1.0,
                "began": 2.0,
                "time": 3.5,
            },
        )

    def test_the_traffic_id_is_looked_for_in_the_header_only(self) -> None:
        for header, found in (
            (b"X-Traffic-Id: first\r\nA: b\r\n", "first"),
            (b"A: b\r\nx-traffic-id: last\r\n", "last"),
            (b"A: b\r\n", None),
            (b"Not-X-Traffic-Id: x\r\n", None),
        ):
            self.assertEqual(traffic_id(header), found, header)
        self.assertIs(line_of(accepted(b"A: b\r\n\r\nX-Traffic-Id: body\r\n")).traffic_id, None)

    def test_header_and_body_part_at_the_empty_line(self) -> None:
        for content, parts in (
            (b"A: b\r\n\r\nbody\r\n\r\nmore\r\n", (b"A: b\r\n", b"body\r\n\r\nmore\r\n")),
            (b"\r\nbody\r\n", (b"", b"body\r\n")),
            (b"A: b\r\n\r\n", (b"A: b\r\n", b"")),
        ):
            self.assertEqual(header_and_body(content), parts)


class KeeperTests(SynchronousTestCase):
    """Files."""

    def test_lines_gather_until_flushed(self) -> None:
        file = BytesIO()
        keeper = Keeper(file, None)
        keeper.take(accepted())
        keeper.take(accepted())
        self.assertEqual(file.getvalue(), b"")
        keeper.flush()
        self.assertEqual([msgspec.json.decode(line)["traffic_id"] for line in file.getvalue().splitlines()], ["run-1"] * 2)
        keeper.flush()
        self.assertEqual(len(file.getvalue().splitlines()), 2)

    def test_contents_are_kept_as_they_are_and_none_is_overwritten(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        Keeper(None, directory).take(accepted(b"first\r\n"))
        Keeper(None, directory).take(accepted(b"second\r\n"))
        self.assertEqual(
            {path.name: path.read_bytes() for path in directory.iterdir()},
            {"000001.eml": b"first\r\n", "000002.eml": b"second\r\n"},
        )


class ReportTests(SynchronousTestCase):
    """The closing tables."""

    def shown(self, counts: Counts) -> str:
        console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - lives as long as the console
        console.print(closing_tables(counts))
        console.file.close()
        return console.export_text()

    def test_domains_and_clients_with_their_outcomes(self) -> None:
        counts = Counts()
        counts.connections = counts.messages = 1234
        counts.domain("d.example").accepted = 1200
        counts.domain("d.example").deferred = 34
        counts.client("127.0.0.11").connections = 7
        text = self.shown(counts)
        self.assertIn("1,234 connections, 1,234 messages accepted", text)
        self.assertRegex(text, r"d\.example\W+1,200\W+34\W+0\W+0")
        self.assertRegex(text, r"127\.0\.0\.11\W+7\W+0")

    def test_many_domains_end_in_a_sum(self) -> None:
        counts = Counts()
        counts.connections = 1
        for number in range(MOST_ROWS + 5):
            counts.domain(f"d{number:03}.example").accepted = 1000 - number
        text = self.shown(counts)
        self.assertRegex(text, rf"\(5 others\)\W+{sum(1000 - n for n in range(MOST_ROWS, MOST_ROWS + 5)):,}")
        self.assertNotIn(f"d{MOST_ROWS:03}.example", text)
