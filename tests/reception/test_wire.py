"""The connection under a conversation: what it keeps, when it waits, how it ends."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.listeners import ListenerSettings
from kumotwist.reception.wire import TurnedAway
from tests.reception.fakes import FakeTransport, Line
from tests.smtp.test_dotted import cut

START = b"EHLO c.example\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\n"
DATA = b"DATA\r\nx\r\n.\r\n"


class BackpressureTests(SynchronousTestCase):
    """What is kept is bounded both ways."""

    def test_a_client_far_ahead_of_our_answers_is_not_read_from(self) -> None:
        line = Line()
        line.desk.holds = True
        line.send(START + DATA)
        for _ in range(7):
            line.send(b"NOOP\r\n" * 1500)
            self.assertEqual(line.transport.producerState, "producing")
        line.send(b"NOOP\r\n" * 1500)
        self.assertEqual(line.transport.producerState, "paused")
        line.heard()
        line.desk.keep()
        self.assertEqual(line.heard().count(b"250 the goggles do nothing\r\n"), 8 * 1500)
        self.assertEqual(line.transport.producerState, "producing")

    def test_so_much_is_read_at_once_as_is_configured(self) -> None:
        line = Line(ListenerSettings(data_buffer_size=4096))
        self.assertEqual(line.transport.bufferSize, 4096)  # type: ignore[attr-defined]  # as a real one has it

    def test_a_client_that_does_not_read_is_not_answered(self) -> None:
        line = Line()
        line.heard()
        line.wire.pauseProducing()  # as the transport does when it holds 64 KiB
        self.assertEqual(line.send(b"NOOP\r\nNOOP\r\nNOOP\r\n"), b"250 the goggles do nothing\r\n")
        self.assertEqual(line.send(b"NOOP\r\n" * 20_000), b"")
        self.assertEqual(line.transport.producerState, "paused")
        line.wire.resumeProducing()
        self.assertEqual(line.heard().count(b"\r\n"), 20_002)
        self.assertEqual(line.transport.producerState, "producing")

    def test_a_client_that_never_reads_is_dropped(self) -> None:
        line = Line(ListenerSettings(client_timeout=60.0))
        line.wire.pauseProducing()
        line.send(b"NOOP\r\nNOOP\r\n")
        line.clock.advance(59)
        self.assertFalse(line.transport.aborted)
        line.clock.advance(1)
        self.assertTrue(line.transport.aborted)

    def test_a_client_that_keeps_reading_slowly_is_not_dropped(self) -> None:
        line = Line(ListenerSettings(client_timeout=60.0))
        for _ in range(5):
            line.wire.pauseProducing()
            line.send(b"NOOP\r\n")
            line.clock.advance(50)
            line.wire.resumeProducing()
            line.clock.advance(50)
        self.assertFalse(line.closed)


class TimerTests(SynchronousTestCase):
    """One timer a connection."""

    def test_commands_do_not_touch_the_timer(self) -> None:
        line = Line()
        (timer,) = line.clock.getDelayedCalls()
        line.clock.advance(30)
        line.send(START + DATA)
        self.assertEqual(line.clock.getDelayedCalls(), [timer])
        self.assertEqual(timer.getTime(), 1_700_000_060)

    def test_the_time_counts_from_the_last_octet(self) -> None:
        line = Line()
        for _ in range(5):
            line.clock.advance(59.5)
            line.send(b"N")
        line.clock.advance(59.5)
        self.assertFalse(line.closed)
        line.clock.advance(0.5)
        self.assertTrue(line.closed)

    def test_custody_is_not_hurried(self) -> None:
        line = Line()
        line.desk.holds = True
        line.send(START + DATA)
        line.heard()
        line.clock.pump([100.0] * 20)
        self.assertEqual(line.heard(), b"")
        line.desk.keep()
        self.assertTrue(line.heard().startswith(b"250 OK ids="))
        line.clock.advance(59)
        self.assertFalse(line.closed)
        line.clock.advance(1)
        self.assertTrue(line.heard().startswith(b"421 4.3.2 mx.example.com idle too long"))

    def test_last_words_that_nobody_reads_do_not_keep_a_connection(self) -> None:
        line = Line()
        line.send(b"QUIT\r\n")
        self.assertTrue(line.closed)
        self.assertFalse(line.transport.aborted)
        line.clock.advance(10)
        self.assertTrue(line.transport.aborted)

    def test_a_lost_connection_leaves_no_timer(self) -> None:
        for sent in (b"", b"NOOP\r\n", b"QUIT\r\n", START + b"DATA\r\nx"):
            line = Line()
            line.send(sent)
            line.lose()
            self.assertEqual(line.clock.getDelayedCalls(), [])
            self.assertEqual(line.factory.connections, 0)


class LossTests(SynchronousTestCase):
    """Clients that go away."""

    def test_a_client_that_goes_away_is_forgotten_silently(self) -> None:
        line = Line()
        line.send(START + b"DATA\r\nhalf a message\r\n")
        line.heard()
        line.lose()
        self.assertEqual((line.heard(), line.desk.taken, line.desk.refusals), (b"", [], []))

    def test_a_message_in_custody_stays_there(self) -> None:
        line = Line()
        line.desk.holds = True
        line.send(START + DATA + b"NOOP\r\n")
        line.heard()
        line.lose()
        line.desk.keep()
        self.assertEqual(len(line.desk.taken), 1)
        self.assertEqual(line.heard(), b"")

    def test_what_was_sent_ahead_of_a_lost_connection_is_not_done(self) -> None:
        line = Line()
        line.desk.holds = True
        line.send(START + DATA + START[16:] + DATA)
        line.lose()
        line.desk.keep()
        self.assertEqual((len(line.desk.taken), line.desk.held), (1, []))

    def test_a_client_that_goes_away_without_having_read(self) -> None:
        line = Line()
        line.wire.pauseProducing()
        line.send(b"NOOP\r\nNOOP\r\n")
        line.lose()
        self.assertEqual(line.factory.connections, 0)

    def test_what_comes_after_the_end_is_ignored(self) -> None:
        line = Line()
        line.send(b"QUIT\r\n")
        line.heard()
        line.wire.dataReceived(b"NOOP\r\n" * 100_000)
        self.assertEqual(line.heard(), b"")
        self.assertEqual(line.wire._session.buffered, 0)

    def test_many_messages_in_one_chunk_with_custody_at_once(self) -> None:
        line = Line()
        said = line.send(b"EHLO c.example\r\n" + (START[16:] + DATA) * 2000)
        self.assertEqual(said.count(b"250 OK ids="), 2000)


class CapacityTests(SynchronousTestCase):
    """max_connections."""

    def test_a_place_is_free_again_when_a_client_has_gone(self) -> None:
        line = Line(ListenerSettings(max_connections=1))
        second = line.factory.buildProtocol(None)
        self.assertIsInstance(second, TurnedAway)
        transport = FakeTransport()
        second.makeConnection(transport)
        self.assertEqual(transport.value(), b"421 4.3.2 mx.example.com too many concurrent sessions. Try later\r\n")
        self.assertTrue(transport.disconnecting)
        line.lose()
        self.assertNotIsInstance(line.factory.buildProtocol(None), TurnedAway)


class LeaveTests(SynchronousTestCase):
    """Shutdown."""

    def test_it_fires_when_the_last_connection_is_gone(self) -> None:
        line = Line()
        left = line.factory.leave()
        self.assertNoResult(left)
        line.lose()
        self.successResultOf(left)
        self.successResultOf(line.factory.leave())

    def test_a_client_that_does_not_read_is_dropped_at_the_end(self) -> None:
        line = Line()
        line.wire.pauseProducing()
        line.send(b"NOOP\r\n")
        line.factory.leave()
        self.assertFalse(line.closed)
        line.factory.leave_now()
        self.assertTrue(line.transport.aborted)


PIECES = st.one_of(
    st.sampled_from([b"EHLO c.example\r\n", b"MAIL FROM:<a@example.net>\r\n", b"RCPT TO:<b@example.org>\r\n", b"RSET\r\n"]),
    st.sampled_from(
        [b"DATA\r\nx\r\n..y\r\n.\r\n", b"DATA\r\n.\r\n", b"DATA\r\na\nb\r\n.\r\n", b"BDAT 3 LAST\r\nx\r\n", b"BDAT 2\r\n.\r"]
    ),
    st.sampled_from([b"NOOP\r\n", b"FOO\r\n", b"\r\n", b"QUIT\r\n", b"\xff\xfe\r\n", b"VRFY x\r\n", b"AUTH x\r\n"]),
)


class RandomSessionTests(SynchronousTestCase):
    """Whatever is said, and however the network cuts it."""

    def played(self, pieces: list[bytes]) -> tuple[bytes, list[tuple[str, bytes | None]], list[str], bool]:
        """What was heard, accepted and recorded, and whether the connection was closed."""
        line = Line()
        heard = line.heard() + b"".join(line.send(piece) for piece in pieces)
        taken = [(message.recipients[0].email, message.content) for message in line.desk.taken]
        return heard, taken, [reply.single_line for reply, _ in line.desk.refusals], line.closed

    @settings(deadline=None, database=None, max_examples=200)
    @given(st.lists(PIECES, max_size=15), st.lists(st.integers(0, 2000), max_size=15))
    def test_the_same_replies_and_messages_however_it_is_cut(self, parts: list[bytes], places: list[int]) -> None:
        data = b"".join(parts)
        self.assertEqual(self.played(cut(data, places)), self.played([data]))

    @settings(deadline=None, database=None, max_examples=200)
    @given(st.lists(st.one_of(st.binary(max_size=60), PIECES), max_size=15))
    def test_any_octets_are_answered_without_a_fault(self, pieces: list[bytes]) -> None:
        heard, *_ = self.played(pieces)
        self.assertTrue(heard.endswith(b"\r\n"))
        self.assertNotIn(b"451 4.3.0", heard)
        self.assertNotIn(b"technical", heard)
