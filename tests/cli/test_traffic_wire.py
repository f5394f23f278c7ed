"""The sending end of a load, against a script and against our own sink."""

from array import array
from io import BytesIO

import msgspec
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.traffic_mail import Letter
from kumotwist.cli.traffic_results import Percentiles, Results, percentiles
from kumotwist.cli.traffic_wire import TrafficWire

EHLO_REPLY = b"250-mx.example\r\n250-SIZE 1000\r\n250 PIPELINING\r\n"


class FakeLane:
    """Gives letters away and notes what became of them."""

    def __init__(self, letters: int) -> None:
        self.letters = [Letter(b"id-%d" % n, b"to-%d@x.example" % n, b"text %d\r\n.\r\n" % n) for n in range(1, letters + 1)]
        self.noted: list[tuple[object, ...]] = []

    def next_letter(self) -> Letter | None:
        return self.letters.pop(0) if self.letters else None

    def answered(self, letter: Letter, reply: bytes) -> None:
        self.noted.append((letter.id.decode(), reply.decode()))

    def ended(self, letter: Letter | None, greeted: bool, why: str) -> None:
        self.noted.append(("ended", letter and letter.id.decode(), greeted, why))


class ScriptTests(SynchronousTestCase):
    """What is said, reply by reply."""

    maxDiff = None

    def wire(self, letters: int = 1, *, pipelining: bool = True, most: int = 1000) -> None:
        self.lane = FakeLane(letters)
        self.transport = StringTransport()
        self.clock = Clock()
        self.traffic = TrafficWire(
            self.lane, self.clock.seconds, sender=b"me@y.example", ehlo=b"client.example", pipelining=pipelining, most=most
        )
        self.traffic.makeConnection(self.transport)

    def hear(self, octets: bytes) -> bytes:
        self.transport.clear()
        self.traffic.dataReceived(octets)
        said: bytes = self.transport.value()
        return said

    def begin(self, letters: int = 1, *, pipelining: bool = True, most: int = 1000) -> bytes:
        """As far as the first MAIL."""
        self.wire(letters, pipelining=pipelining, most=most)
        self.assertEqual(self.hear(b"220 mx.example\r\n"), b"EHLO client.example\r\n")
        return self.hear(EHLO_REPLY)

    def test_pipelined(self) -> None:
        self.assertEqual(self.begin(2), b"MAIL FROM:<me@y.example> SIZE=8\r\nRCPT TO:<to-1@x.example>\r\nDATA\r\n")
        self.assertEqual(self.hear(b"250 ok\r\n250 ok\r\n354 go\r\n"), b"text 1\r\n.\r\n")
        self.assertEqual(
            self.hear(b"250 2.0.0 taken\r\n"), b"MAIL FROM:<me@y.example> SIZE=8\r\nRCPT TO:<to-2@x.example>\r\nDATA\r\n"
        )
        self.assertEqual(self.hear(b"250 ok\r\n250 ok\r\n354 go\r\n"), b"text 2\r\n.\r\n")
        self.assertEqual(self.hear(b"250 2.0.0 taken\r\n"), b"QUIT\r\n")
        self.hear(b"221 bye\r\n")
        self.assertTrue(self.transport.disconnecting)
        self.traffic.connectionLost()
        taken = [(f"id-{n}", "250 2.0.0 taken") for n in (1, 2)]
        self.assertEqual(self.lane.noted, [*taken, ("ended", None, True, "")])

    def test_one_by_one_where_pipelining_is_off_or_not_offered(self) -> None:
        self.assertEqual(self.begin(pipelining=False), b"MAIL FROM:<me@y.example> SIZE=8\r\n")
        self.wire()
        self.hear(b"220 mx\r\n")
        self.assertEqual(self.hear(b"250 mx\r\n"), b"MAIL FROM:<me@y.example>\r\n")
        self.assertEqual(self.hear(b"250 ok\r\n"), b"RCPT TO:<to-1@x.example>\r\n")
        self.assertEqual(self.hear(b"250 ok\r\n"), b"DATA\r\n")
        self.assertEqual(self.hear(b"354 go\r\n"), b"text 1\r\n.\r\n")
        self.assertEqual(self.hear(b"250 taken\r\n"), b"QUIT\r\n")
        self.assertEqual(self.lane.noted, [("id-1", "250 taken")])

    def test_replies_in_pieces_and_of_several_lines(self) -> None:
        self.begin()
        said = b"".join(self.hear(bytes([octet])) for octet in b"250-a\r\n250 b\r\n250 ok\r\n354-x\r\n354 go\r\n")
        self.assertEqual(said, b"text 1\r\n.\r\n")

    def test_a_refusal_at_each_step(self) -> None:
        for pipelining, replies, said, noted in (
            (True, b"550 no\r\n503 x\r\n503 x\r\n", b"RSET\r\n", "550 no"),
            (True, b"250 ok\r\n450 later\r\n554 none\r\n", b"RSET\r\n", "450 later"),
            (True, b"250 ok\r\n450 later\r\n354 go\r\n", b".\r\n", "450 later"),
            (True, b"250 ok\r\n250 ok\r\n451 x\r\n", b"RSET\r\n", "451 x"),
            (True, b"250 ok\r\n250 ok\r\n354 go\r\n552 big\r\n", b"text 1\r\n.\r\n", "552 big"),
            (False, b"550 no\r\n", b"", "550 no"),
            (False, b"250 ok\r\n550 no\r\n", b"RCPT TO:<to-1@x.example>\r\nRSET\r\n", "550 no"),
            (False, b"250 ok\r\n250 ok\r\n554 no\r\n", b"RCPT TO:<to-1@x.example>\r\nDATA\r\nRSET\r\n", "554 no"),
        ):
            self.begin(1, pipelining=pipelining)
            heard = self.hear(replies)
            if not self.lane.noted:
                heard += self.hear(b"250 ok\r\n")
            self.assertEqual(heard, said + b"QUIT\r\n", replies)
            self.assertEqual(self.lane.noted, [("id-1", noted)], replies)

    def test_the_next_message_follows_a_refused_one(self) -> None:
        self.begin(2)
        self.hear(b"250 ok\r\n550 no\r\n554 none\r\n")
        self.assertEqual(self.hear(b"250 reset\r\n"), b"MAIL FROM:<me@y.example> SIZE=8\r\nRCPT TO:<to-2@x.example>\r\nDATA\r\n")

    def test_421_leaves_the_message_without_an_answer(self) -> None:
        for replies in (
            b"421 bye\r\n",
            b"250 ok\r\n421 bye\r\n",
            b"250 ok\r\n250 ok\r\n421 bye\r\n",
            b"250 ok\r\n250 ok\r\n354 go\r\n421 bye\r\n",
        ):
            self.begin(2)
            self.hear(replies)
            self.assertTrue(self.transport.disconnecting, replies)
            self.traffic.connectionLost()
            self.assertEqual(self.lane.noted, [("ended", "id-1", True, "421 bye")], replies)

    def test_a_lost_connection_hands_the_message_back(self) -> None:
        self.begin()
        self.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
        self.traffic.connectionLost()
        self.assertEqual(self.lane.noted, [("ended", "id-1", True, "the server closed the connection")])

    def test_a_server_that_does_not_want_us(self) -> None:
        for replies, why in ((b"554 go away\r\n", "554 go away"), (b"220 x\r\n550 no\r\n", "550 no")):
            self.wire()
            self.hear(replies)
            self.assertTrue(self.transport.disconnecting)
            self.traffic.connectionLost()
            self.assertEqual(self.lane.noted, [("ended", None, False, why)])

    def test_the_most_messages_of_a_connection(self) -> None:
        self.begin(5, most=1)
        self.hear(b"250 ok\r\n250 ok\r\n354 go\r\n")
        self.assertEqual(self.hear(b"250 taken\r\n"), b"QUIT\r\n")
        self.assertEqual(len(self.lane.letters), 4)

    def test_a_reply_without_end_is_given_up(self) -> None:
        self.wire()
        self.hear(b"x" * 70_000)
        self.traffic.connectionLost()
        self.assertEqual(self.lane.noted, [("ended", None, False, "the server's reply does not end")])

    def test_the_clock_starts_with_mail(self) -> None:
        self.wire()
        self.clock.advance(3)
        self.hear(b"220 x\r\n" + EHLO_REPLY)
        assert self.traffic.letter is not None
        self.assertEqual((self.traffic.letter.began, self.traffic.letter.attempts), (3.0, 1))


class ResultTests(SynchronousTestCase):
    """The books."""

    def letter(self) -> Letter:
        letter = Letter(b"run-1", b"run-1@x.example", b"12345\r\n.\r\n")
        letter.began, letter.attempts = 10.0, 2
        return letter

    def test_percentiles(self) -> None:
        self.assertEqual(percentiles(array("d", range(101))), Percentiles(50.0, 90.0, 99.0, 100.0))
        self.assertEqual(percentiles(array("d", [3.0])), Percentiles(3.0, 3.0, 3.0, 3.0))
        self.assertIs(percentiles(array("d")), None)

    def test_an_accepted_message_gets_a_line(self) -> None:
        file = BytesIO()
        results = Results(file)
        results.taken(self.letter(), b"250 2.0.0 Ok", 10.5)
        results.flush()
        self.assertEqual(
            msgspec.json.decode(file.getvalue()),
            {"id": "run-1", "recipient": "run-1@x.example", "reply": "250 2.0.0 Ok", "attempts": 2, "time": 10.5},
        )
        self.assertEqual((results.octets, list(results.latencies), results.replies), (7, [0.5], {"250": 1}))

    def test_all_is_taken_only_if_nothing_else_happened(self) -> None:
        results = Results()
        self.assertFalse(results.all_taken)
        results.taken(self.letter(), b"250 ok", 11.0)
        self.assertTrue(results.all_taken)
        for name in ("lost", "unsent", "refused"):
            setattr(results, name, 1)
            self.assertFalse(results.all_taken, name)
            setattr(results, name, 0)

    def test_as_json(self) -> None:
        results = Results()
        results.taken(self.letter(), b"250 ok", 11.0)
        results.not_taken(b"550 no")
        self.assertEqual(
            msgspec.json.decode(msgspec.json.encode(results.as_json(2.0))),
            {
                "accepted": 1,
                "refused": 1,
                "lost": 0,
                "unsent": 0,
                "resent": 0,
                "octets": 7,
                "connections": 0,
                "seconds": 2.0,
                "rate": 0.5,
                "latency": {"p50": 1.0, "p90": 1.0, "p99": 1.0, "max": 1.0},
                "replies": {"250": 1, "550": 1},
                "faults": {},
            },
        )
