"""The server's side of a dialogue, without a connection: order, limits, what is kept and what is forgotten."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.listeners import LineEndings
from kumotwist.mail.address import Mailbox
from kumotwist.smtp.commands import (
    NEED_DATA,
    Auth,
    Bdat,
    Chunk,
    Content,
    Data,
    Ehlo,
    Helo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Refused,
    Rset,
    StartTls,
    Unsupported,
    Vrfy,
    XClient,
)
from kumotwist.smtp.server_session import NEXT_STAGE, OUT_OF_ORDER, Event, Limits, ServerSession, Stage
from tests.smtp.test_dotted import cut

LIMITS = Limits(max_message_size=200, max_line=60, line_endings=LineEndings.DENY)
COMMANDS = {
    Ehlo: b"EHLO c.example",
    Helo: b"HELO c.example",
    Mail: b"MAIL FROM:<a@example.net>",
    Rcpt: b"RCPT TO:<b@example.org>",
    Data: b"DATA",
    Bdat: b"BDAT 0",
    Rset: b"RSET",
    Noop: b"NOOP",
    Vrfy: b"VRFY",
    StartTls: b"STARTTLS",
    Quit: b"QUIT",
    Auth: b"AUTH PLAIN",
}
WAY = {
    Stage.CONNECTED: (),
    Stage.GREETED: (Ehlo,),
    Stage.SENDER_GIVEN: (Ehlo, Mail),
    Stage.RECIPIENTS_GIVEN: (Ehlo, Mail, Rcpt),
    Stage.CHUNKING: (Ehlo, Mail, Rcpt, Bdat),
}


def everything_granted(session: ServerSession, pieces: list[bytes]) -> list[object]:
    """The events that come of data in pieces when each command is granted; the session ends as a server would end it."""
    seen: list[object] = []
    for piece in pieces:
        session.receive(piece)
        while (event := session.next_event()) is not NEED_DATA:
            seen.append((event, session.line))
            if isinstance(event, Quit) or (isinstance(event, Refused) and event.closes):
                return seen
            if not isinstance(event, (Refused, Content, Chunk)):
                session.accept(event)  # type: ignore[arg-type]
    return seen


def session_at(stage: Stage) -> ServerSession:
    session = ServerSession(LIMITS, "mx.example.com")
    everything_granted(session, [b"".join(COMMANDS[kind] + b"\r\n" for kind in WAY[stage])])
    return session


def asked(session: ServerSession, data: bytes) -> Event:
    session.receive(data)
    return session.next_event()


class OrderTests(SynchronousTestCase):
    """The table of stages, each stage with each command."""

    def test_each_command_at_each_stage(self) -> None:
        for stage, following in NEXT_STAGE.items():
            if stage is Stage.RECEIVING:
                continue  # there are no commands in message data
            for kind, line in COMMANDS.items():
                session = session_at(stage)
                self.assertIs(session.stage, stage)
                event = asked(session, line + b"\r\n")
                if kind not in following:
                    self.assertEqual(event, Refused(OUT_OF_ORDER[stage][kind]))
                    self.assertIs(session.stage, stage, "a refused command changes nothing")
                elif kind is Bdat:
                    self.assertEqual(event, Chunk(0))
                    self.assertIs(session.stage, Stage.CHUNKING)
                else:
                    self.assertIsInstance(event, kind)
                    self.assertIs(session.stage, stage, "nothing changes before the command is granted")
                    session.accept(event)  # type: ignore[arg-type]
                    self.assertIs(session.stage, following[kind])

    def test_each_stage_has_a_reply_for_what_may_not_come(self) -> None:
        for stage, following in NEXT_STAGE.items():
            if stage is not Stage.RECEIVING:
                self.assertEqual(set(OUT_OF_ORDER[stage]), {*COMMANDS, Unsupported, XClient} - set(following))

    def test_a_command_that_is_not_granted_leaves_the_stage(self) -> None:
        session = session_at(Stage.GREETED)
        self.assertIsInstance(asked(session, b"MAIL FROM:<a@example.net>\r\n"), Mail)
        self.assertEqual(asked(session, b"RCPT TO:<b@example.org>\r\n"), Refused(OUT_OF_ORDER[Stage.GREETED][Rcpt]))

    def test_the_next_command_is_not_looked_at_before_it_is_asked_for(self) -> None:
        session = session_at(Stage.GREETED)
        session.receive(b"MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nNOOP\r\n.\r\nNOOP\r\n")
        seen = []
        for _ in range(3):
            event = session.next_event()
            seen.append(event)
            session.accept(event)  # type: ignore[arg-type]
        seen += [session.next_event(), session.next_event(), session.next_event()]
        sender, recipient = Mailbox("a", "example.net"), Mailbox("b", "example.org")
        self.assertEqual(seen, [Mail(sender), Rcpt(recipient), Data(), Content(b"NOOP\r\n"), Noop(), NEED_DATA])

    def test_data_that_is_refused_is_followed_by_commands(self) -> None:
        session = session_at(Stage.RECIPIENTS_GIVEN)
        session.receive(b"DATA\r\nNOOP\r\n")
        self.assertEqual([session.next_event(), session.next_event()], [Data(), Noop()])


class StartTlsTests(SynchronousTestCase):
    """What is forgotten."""

    def test_nothing_that_was_said_before_holds(self) -> None:
        session = session_at(Stage.RECIPIENTS_GIVEN)
        event = asked(session, b"STARTTLS\r\n")
        self.assertEqual(event, StartTls())
        session.accept(StartTls())
        session.start_tls()
        self.assertIs(session.stage, Stage.CONNECTED)
        self.assertEqual(session.buffered, 0)
        self.assertTrue(session.tls_active)

    def test_what_follows_in_the_clear_is_dropped(self) -> None:
        session = session_at(Stage.GREETED)
        event = asked(session, b"STARTTLS\r\nMAIL FROM:<evil@example.net>\r\n")
        assert isinstance(event, Refused)
        self.assertTrue(event.closes)
        self.assertEqual(event.reply.code, 421)
        self.assertIs(session.next_event(), NEED_DATA)


class MemoryTests(SynchronousTestCase):
    """What a session keeps is bounded."""

    def test_a_line_without_end_is_not_kept(self) -> None:
        session = ServerSession(LIMITS, "mx.example.com")
        refusals = 0
        for _ in range(1000):
            session.receive(b"x" * 100)
            while (event := session.next_event()) is not NEED_DATA:
                refusals += isinstance(event, Refused)
            self.assertLess(session.buffered, 64)
        self.assertEqual(refusals, 1)
        self.assertEqual(asked(session, b"\r\nNOOP\r\n"), Noop())

    def test_a_chunk_that_is_refused_is_not_kept(self) -> None:
        session = session_at(Stage.RECIPIENTS_GIVEN)
        session.receive(b"BDAT 100000000\r\n")
        self.assertIs(session.next_event(), NEED_DATA)
        for _ in range(1000):
            session.receive(b"x" * 100_000)
            event = session.next_event()
            self.assertEqual((session.buffered, len(session._chunks)), (0, 0))
        assert isinstance(event, Refused)
        self.assertTrue(event.ends_transaction)
        self.assertEqual(event.reply.single_line, "552 5.3.4 message too big")
        self.assertIs(session.stage, Stage.GREETED)

    def test_chunks_that_end_in_nothing_are_forgotten(self) -> None:
        for command in (b"RSET", b"EHLO c.example", b"STARTTLS"):
            session = session_at(Stage.RECIPIENTS_GIVEN)
            everything_granted(session, [b"BDAT 100\r\n" + b"x" * 100 + command + b"\r\n"])
            self.assertEqual(len(session._chunks), 0, command)

    def test_many_small_chunks_together_are_limited(self) -> None:
        session = session_at(Stage.RECIPIENTS_GIVEN)
        events = everything_granted(session, [b"BDAT 90\r\n" + b"x" * 90] * 3)
        self.assertEqual([type(event) for event, _ in events], [Chunk, Chunk, Refused])  # type: ignore[misc]


class LogTests(SynchronousTestCase):
    """The line that records show."""

    def test_the_command_as_it_came(self) -> None:
        session = session_at(Stage.GREETED)
        for sent, shown in (
            (b"mail  FROM:<a@example.net>", "mail  FROM:<a@example.net>"),
            (b"FOO \xff", "FOO \\xff"),
            (b"FOO bar", "FOO bar"),
            (b"AUTH PLAIN c2VjcmV0", "AUTH PLAIN"),
            (b"AUTH c2VjcmV0 c2VjcmV0", "AUTH"),
            (b"c2VjcmV0", ""),
            (b"c2VjcmV0==", ""),
            (b"NOOP", "NOOP"),
            (b"c2Vj", "c2Vj"),
            (b"\t auth c2VjcmV0", "AUTH"),
            (b"x" * 100, ""),
        ):
            asked(session, sent + b"\r\n")
            self.assertEqual(session.line, shown)

    def test_a_message_is_called_data(self) -> None:
        session = session_at(Stage.RECIPIENTS_GIVEN)
        everything_granted(session, [b"data\r\nx\r\n.\r\n"])
        self.assertEqual(session.line, "DATA")


PARTS = st.sampled_from(
    [line + b"\r\n" for line in COMMANDS.values()]
    + [b"DATA\r\n" + content for content in (b"text\r\n.\r\n", b".\r\n", b"..\r\n..x\r\n.\r\n", b"a\nb\r\n.\r\n")]
    + [b"DATA\r\n" + b"x" * 70 + b"\r\n.\r\n", b"DATA\r\n" + (b"x" * 50 + b"\r\n") * 8 + b".\r\n"]
    + [b"BDAT 5 LAST\r\nabc\r\n", b"BDAT 300\r\n" + b"y" * 300, b"BDAT 3\r\n\r\n.", b"BDAT x\r\n"]
    + [b"x" * 100 + b"\r\n", b"\r\n", b"\n", b"\r", b"NO\nOP\r\n", b"AUTH PLAIN x\r\n", b"\xff\r\n", b".\r\n"]
    + [b"MAIL FROM:<a@example.net> SIZE=201\r\n"]
)
BEGINNING = b"EHLO c.example\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\n"


class ChunkingTests(SynchronousTestCase):
    """Where the network cuts does not matter, and nothing that comes over it raises."""

    @settings(deadline=None, database=None, max_examples=300)
    @given(st.lists(PARTS, max_size=12).map(b"".join), st.lists(st.integers(0, 5000), max_size=12), st.booleans())
    def test_the_same_events_however_it_is_cut(self, data: bytes, places: list[int], begun: bool) -> None:
        # STARTTLS is the exception: what came with it is known to be an injection, what comes later goes to TLS.
        data = (BEGINNING if begun else b"") + data.replace(b"STARTTLS\r\n", b"")
        whole = everything_granted(ServerSession(LIMITS, "mx.example.com"), [data])
        for pieces in (cut(data, places), [data[at : at + 1] for at in range(len(data))]):
            self.assertEqual(everything_granted(ServerSession(LIMITS, "mx.example.com"), pieces), whole)

    @settings(deadline=None, database=None, max_examples=300)
    @given(st.lists(st.binary(max_size=40)), st.sampled_from(list(WAY)))
    def test_any_octets_at_any_stage(self, pieces: list[bytes], stage: Stage) -> None:
        everything_granted(session_at(stage), pieces)
