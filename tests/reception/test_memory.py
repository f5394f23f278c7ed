"""A client meets a server that has no memory left: what it is answered, and that everything is given back."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.listeners import ListenerSettings
from kumotwist.config.server import MemorySettings
from kumotwist.spool.memory import MemoryWatch
from tests.reception.fakes import FakeTransport, Line
from tests.spool.test_memory import MIB, Told

START = (b"EHLO c.example", b"MAIL FROM:<a@example.net>", b"RCPT TO:<b@example.org>")
NO_ROOM = b"452 4.3.1 no memory for this message now. Try later\r\n"


class ShortLine(Line):
    """A client of a server with 100 MiB, of which `used` are in use beside what arrives."""

    def __init__(self, used: int, settings: ListenerSettings | None = None) -> None:
        super().__init__(settings, connect=False)
        self.machine = Counting(used)
        watch = MemoryWatch(Clock(), MemorySettings(hard_limit=100 * MIB), self.machine, lambda memory: None, lambda: None)
        self.machine.watch = watch
        watch.measure()
        self.arrivals = self.reception.arrivals = watch.arrivals
        self.connect()
        self.heard()


class Counting(Told):
    """Uses what arrives, and something beside it."""

    watch: MemoryWatch

    def __init__(self, beside: int) -> None:
        super().__init__()
        self.beside = beside * MIB

    def used(self, own: bool) -> int:
        return self.beside + self.watch.arrivals.octets


def body(mebibytes: int) -> bytes:
    return b"Subject: x\r\n\r\n" + (b"y" * 510 + b"\r\n") * 2048 * mebibytes


class MemoryTests(SynchronousTestCase):
    def pour(self, line: Line, octets: bytes) -> bytes:
        return b"".join(line.send(octets[at : at + 65536]) for at in range(0, len(octets), 65536))

    def test_a_message_that_there_is_no_room_for_is_read_and_refused_and_the_next_is_taken(self) -> None:
        line = ShortLine(60, ListenerSettings(max_message_size=50 * MIB))
        line.say(*START, b"DATA")
        self.assertEqual(self.pour(line, body(20) + b".\r\n"), NO_ROOM)
        self.assertEqual((line.arrivals.octets, line.arrivals.refused), (0, 1))
        line.say(*START[1:], b"DATA")
        self.assertIn(b"250 OK ids=", self.pour(line, body(2) + b".\r\n"))
        self.assertEqual(line.arrivals.octets, 0)
        self.assertEqual([len(one.content or b"") > 2 * MIB for one in line.desk.taken], [True])

    def test_the_same_in_chunks(self) -> None:
        line = ShortLine(60, ListenerSettings(max_message_size=50 * MIB))
        line.say(*START)
        whole = body(20)
        half = len(whole) // 2
        said = self.pour(line, b"BDAT %d\r\n%b" % (half, whole[:half]))
        said += self.pour(line, b"BDAT %d LAST\r\n%b" % (len(whole) - half, whole[half:]))
        self.assertIn(NO_ROOM, said)
        self.assertNotIn(b"250 OK ids=", said)
        self.assertEqual(line.arrivals.octets, 0)
        self.assertEqual(line.desk.taken, [])

    def test_while_a_message_arrives_it_is_counted(self) -> None:
        line = ShortLine(20)
        line.say(*START, b"DATA")
        self.pour(line, body(5))
        self.assertGreaterEqual(line.arrivals.octets, 5 * MIB)
        line.protocol.connectionLost()
        self.assertEqual(line.arrivals.octets, 0)

    def test_it_is_counted_until_it_is_on_disk(self) -> None:
        line = ShortLine(20)
        line.desk.holds = True
        line.say(*START, b"DATA")
        self.pour(line, body(5) + b".\r\n")
        self.assertGreaterEqual(line.arrivals.octets, 10 * MIB)
        line.desk.keep()
        self.assertEqual(line.arrivals.octets, 0)

    def test_one_that_is_refused_is_not_counted(self) -> None:
        for bad in (b"bare\nlf\r\n", b"x" * 3000 + b"\r\n"):
            line = ShortLine(20)
            line.say(*START, b"DATA")
            self.assertRegex(self.pour(line, body(1) + bad + b".\r\n"), rb"5\d\d ")
            self.assertEqual(line.arrivals.octets, 0)

    def test_chunks_that_are_given_up_are_not_counted(self) -> None:
        line = ShortLine(20)
        line.say(*START)
        self.pour(line, b"BDAT %d\r\n%b" % (MIB, b"x" * MIB))
        self.assertGreaterEqual(line.arrivals.octets, MIB)
        line.say(b"RSET")
        self.assertEqual(line.arrivals.octets, 0)

    def test_a_large_message_for_many_is_asked_for_in_parts(self) -> None:
        line = ShortLine(40)
        said = line.say(
            b"EHLO c.example", b"MAIL FROM:<a@example.net> SIZE=5000000", *[b"RCPT TO:<b%d@example.org>" % n for n in range(8)]
        )
        self.assertEqual(said.count(b"250 OK <b"), 2)  # (95 - 40 - 15) / 15
        self.assertEqual(said.count(b"452 4.5.3 too many recipients"), 6)

    def test_without_a_declared_size_it_is_refused_at_its_end(self) -> None:
        line = ShortLine(40)
        line.say(*START[:2], *[b"RCPT TO:<b%d@example.org>" % n for n in range(8)], b"DATA")
        self.assertEqual(self.pour(line, body(5) + b".\r\n"), NO_ROOM)
        self.assertEqual((line.desk.taken, line.arrivals.octets), ([], 0))

    def test_above_the_soft_limit_a_session_is_told_to_come_back_and_may_stay(self) -> None:
        line = Line()
        line.heard()
        memory = [False, True]
        line.reception._memory_for = lambda: memory.pop(0)
        self.assertTrue(line.say(*START[:2]).endswith(b"\r\n452 4.3.1 load shedding. Try later\r\n"))
        self.assertTrue(line.say(START[1]).startswith(b"250 OK"))
        self.assertEqual(line.desk.refusals, [])

    def test_many_clients_with_large_messages_stay_below_the_hard_limit(self) -> None:
        """Octet for octet, taking turns: 150 MiB in all, for which there is no room; who is refused may try again."""
        first = ShortLine(20)
        lines = [first]
        for _ in range(29):
            line = ShortLine(20)
            line.reception.arrivals = first.arrivals
            line.protocol.connectionLost()
            line.transport = FakeTransport("127.0.0.1")
            line.connect()
            line.heard()
            lines.append(line)
        most = 0
        answers: list[bytes] = [b""] * len(lines)
        for line in lines:
            self.assertIn(b"354 ", line.say(*START, b"DATA"))
        block = body(1)
        for _ in range(5):
            for line in lines:
                line.send(block)
                most = max(most, first.machine.used(True))
        for n, line in enumerate(lines):
            answers[n] = line.send(b".\r\n")
        self.assertLess(most, 100 * MIB)
        self.assertIn(NO_ROOM, answers)
        self.assertEqual({answer[:3] for answer in answers} - {b"250", b"452"}, set())
        self.assertEqual(first.arrivals.octets, 0)
