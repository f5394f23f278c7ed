"""The client's half of a dialogue: bytes out, replies in."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.reply import EnhancedCode, Reply, reply
from kumotwist.smtp.client_session import (
    LONGEST_LINE,
    LONGEST_REPLY,
    Capabilities,
    ClientSession,
    PeerBrokeProtocol,
    Stage,
    read_capabilities,
)


def greeted() -> ClientSession:
    """A session whose greeting is over."""
    session = ClientSession()
    session.receive(b"220 mx.example.com\r\n")
    session.take()
    return session


GROUP_REPLIES = b"250 2.0.0 Reset\r\n250 2.1.0 Ok\r\n550-5.1.1 No such\r\n550 5.1.1 user\r\n250 2.1.5 Ok\r\n354 go ahead\r\n"


class ReplyTests(SynchronousTestCase):
    """Bytes that came become replies."""

    def hear(self, came: bytes) -> Reply:
        session = greeted()
        session.rset()
        session.receive(came)
        (heard,) = session.take()
        return heard

    def test_replies_are_read_as_they_are_written(self) -> None:
        for came, expected in (
            (b"250 Ok\r\n", reply("250 Ok", "RSET")),
            (b"250 2.0.0 Ok\r\n", reply("250 2.0.0 Ok", "RSET")),
            (b"250\r\n", Reply(250, None, "", "RSET")),
            (b"250 \r\n", Reply(250, None, "", "RSET")),
            (b"250-\r\n250 \r\n", Reply(250, None, "\n", "RSET")),
            (b"550 5.1.1\r\n", Reply(550, EnhancedCode(5, 1, 1), "", "RSET")),
            (b"250-one\r\n250-two\r\n250 three\r\n", Reply(250, None, "one\ntwo\nthree", "RSET")),
            (b"550-5.1.1 No\r\n550-5.1.1 such\r\n550 5.1.1 user\r\n", Reply(550, EnhancedCode(5, 1, 1), "No\nsuch\nuser", "RSET")),
            (b"550-5.1.1 No\r\n550 5.7.1 way\r\n", Reply(550, EnhancedCode(5, 1, 1), "No\n5.7.1 way", "RSET")),
            (b"550-No\r\n550 5.1.1 such\r\n", Reply(550, None, "No\n5.1.1 such", "RSET")),
            (b"250 caf\xe9\r\n", Reply(250, None, "caf\ufffd", "RSET")),
            ("250 caf\xe9\r\n".encode(), Reply(250, None, "caf\xe9", "RSET")),
        ):
            self.assertEqual(self.hear(came), expected, came)

    def test_what_is_no_reply_breaks_the_dialogue(self) -> None:
        for came in (
            b"hello\r\n",
            b"\r\n",
            b"25\r\n",
            b"2500 Ok\r\n",
            b"250_Ok\r\n",
            b"150 one\r\n",
            b"999 nine\r\n",
            b"+25 Ok\r\n",
            b" 250 Ok\r\n",
            b"250-Ok\r\n251 Ok\r\n",
            b"250-Ok\r\nand more\r\n",
            b"250 Ok\n",
            b"250 Ok\n250 Ok\r\n",
            b"250 " + b"x" * LONGEST_LINE,
            b"250 " + b"x" * LONGEST_LINE + b"\r\n",
            (b"250-" + b"x" * 4000 + b"\r\n") * (LONGEST_REPLY // 4000 + 1),
            "\u0662\u0665\u0660 Ok\r\n".encode(),
        ):
            session = greeted()
            session.rset()
            with self.assertRaises(PeerBrokeProtocol, msg=came[:40]):
                session.receive(came)
            self.assertEqual(session.take(), [], came[:40])

    def test_what_was_heard_before_garbage_is_kept(self) -> None:
        session = greeted()
        session.rset()
        session.quit()
        with self.assertRaises(PeerBrokeProtocol):
            session.receive(b"250 Ok\r\ngarbage\r\n")
        self.assertEqual(session.take(), [reply("250 Ok", "RSET")])

    def test_replies_to_a_group_each_get_their_command_however_they_are_cut(self) -> None:
        for size in (1, 2, 7, 1000):
            session = greeted()
            session.group("a@example.org", "", ["b@example.com", "c@example.com"], rset=True)
            for start in range(0, len(GROUP_REPLIES), size):
                self.assertIsNotNone(session.due)
                session.receive(GROUP_REPLIES[start : start + size])
            self.assertIsNone(session.due)
            self.assertEqual(
                session.take(),
                [
                    reply("250 2.0.0 Reset", "RSET"),
                    reply("250 2.1.0 Ok", "MAIL FROM:<a@example.org>"),
                    reply("550 5.1.1 No such\nuser", "RCPT TO:<b@example.com>"),
                    reply("250 2.1.5 Ok", "RCPT TO:<c@example.com>"),
                    reply("354 go ahead", "DATA"),
                ],
            )

    def test_what_was_not_asked_for_answers_nothing(self) -> None:
        session = greeted()
        session.rset()
        session.receive(b"250 Ok\r\n421 4.4.2 idle too long\r\n250 more\r\n")
        self.assertEqual(session.take(), [reply("250 Ok", "RSET")])
        self.assertEqual(session.out_of_step, "421 4.4.2 idle too long")
        session.rset()
        self.assertEqual(session.out_of_step, "421 4.4.2 idle too long")
        self.assertEqual(session.take(), [])

    def test_the_beginning_of_a_word_unasked_is_noticed_too(self) -> None:
        for came, noticed in ((b"42", "42"), (b"421-bye\r\n", "bye"), (b"421-bye\r\n421", "421")):
            session = greeted()
            session.receive(came)
            self.assertEqual(session.out_of_step, noticed)

    def test_half_a_reply_that_is_due_is_not_out_of_step(self) -> None:
        session = greeted()
        session.rset()
        session.receive(b"25")
        self.assertEqual((session.out_of_step, session.heard, session.due), ("", 0, Stage.RSET))
        session.receive(b"0 Ok\r\n")
        self.assertEqual((session.heard, session.due), (1, None))

    def test_the_greeting_is_due_first(self) -> None:
        session = ClientSession()
        self.assertEqual((session.due, session.due_command), (Stage.BANNER, "the greeting"))
        session.receive(b"554 5.3.2 go away\r\n")
        self.assertEqual(session.take(), [reply("554 5.3.2 go away")])
        self.assertEqual((session.due, session.due_command), (None, ""))


class CommandTests(SynchronousTestCase):
    """Commands become bytes."""

    def test_each_command_is_a_line(self) -> None:
        session = greeted()
        self.assertEqual(
            [
                session.ehlo("here.example.net"),
                session.lhlo("here.example.net"),
                session.starttls(),
                session.auth_plain("user", "secret"),
                session.rset(),
                session.mail("", " SIZE=5"),
                session.mail("m\xfcller@example.org"),
                session.rcpt("postmaster"),
                session.data(),
                session.quit(),
            ],
            [
                b"EHLO here.example.net\r\n",
                b"LHLO here.example.net\r\n",
                b"STARTTLS\r\n",
                b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n",
                b"RSET\r\n",
                b"MAIL FROM:<> SIZE=5\r\n",
                "MAIL FROM:<m\xfcller@example.org>\r\n".encode(),
                b"RCPT TO:<postmaster>\r\n",
                b"DATA\r\n",
                b"QUIT\r\n",
            ],
        )

    def test_a_group_is_one_write(self) -> None:
        session = greeted()
        self.assertEqual(
            session.group("a@example.org", " SIZE=5", ["b@example.com", "c@example.com"], rset=False),
            b"MAIL FROM:<a@example.org> SIZE=5\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n",
        )
        self.assertEqual(session.group("", "", ["b@example.com"], rset=True).split(b"\r\n")[0], b"RSET")

    def test_a_group_before_a_chunk_has_no_data(self) -> None:
        session = greeted()
        group = session.group("a@example.org", "", ["b@example.com"], rset=True, data=False)
        self.assertEqual(group, b"RSET\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\n")
        session.receive(b"250 Ok\r\n" * 3)
        self.assertIsNone(session.due)
        self.assertEqual(len(session.take()), 3)

    def test_a_chunk_is_its_length_and_the_content_as_it_is(self) -> None:
        session = greeted()
        self.assertEqual(session.chunk(b".one\r\ntwo"), b"BDAT 9 LAST\r\n.one\r\ntwo")
        self.assertEqual((session.due, session.due_command), (Stage.BDAT, "BDAT 9 LAST"))
        session.receive(b"250 Ok\r\n")
        self.assertEqual(session.take(), [reply("250 Ok", "BDAT 9 LAST")])

    def test_a_body_may_have_an_answer_for_each_recipient(self) -> None:
        session = greeted()
        self.assertEqual(session.body(b"one\r\n", 3), b"one\r\n.\r\n")
        session.receive(b"250 Ok\r\n452 full\r\n")
        self.assertEqual(session.due, Stage.DOT)
        session.receive(b"250 Ok\r\n")
        self.assertIsNone(session.due)
        self.assertEqual([one.command for one in session.take()], [".", ".", "."])

    def test_a_login_is_not_told_to_anybody_but_the_peer(self) -> None:
        session = greeted()
        session.auth_plain("user", "secret")
        self.assertEqual(session.due_command, "AUTH PLAIN")
        session.receive(b"535 5.7.8 no\r\n")
        self.assertEqual(session.take(), [reply("535 5.7.8 no", "AUTH PLAIN")])

    def test_no_address_can_bring_a_command_of_its_own(self) -> None:
        session = greeted()
        for evil in ("a@example.org>\r\nRCPT TO:<x@example.com", "a\n@example.org", "a\r@example.org"):
            with self.assertRaises(ValueError):
                session.group(evil, "", ["b@example.com"], rset=False)
            with self.assertRaises(ValueError):
                session.group("a@example.org", "", [evil], rset=True)
            with self.assertRaises(ValueError):
                session.rcpt(evil)
            with self.assertRaises(ValueError):
                session.mail(evil)
        self.assertIsNone(session.due, "what was not said has no reply")

    def test_a_body_is_stuffed_and_ended(self) -> None:
        session = greeted()
        self.assertEqual(session.body(b".one\r\n..two\r\nthree"), b"..one\r\n...two\r\nthree\r\n.\r\n")
        self.assertEqual(session.empty_body(), b".\r\n")
        session.receive(b"250 Ok\r\n250 Ok\r\n")
        self.assertEqual([one.command for one in session.take()], [".", "."])

    def test_parameters_are_given_as_far_as_they_were_offered(self) -> None:
        session = greeted()
        for offered, eight_bit, utf8, expected in (
            (Capabilities(), True, True, ""),
            (Capabilities(size_offered=True), False, False, " SIZE=7"),
            (Capabilities(eight_bit_mime=True, smtputf8=True), False, False, ""),
            (Capabilities(eight_bit_mime=True, smtputf8=True), True, False, " BODY=8BITMIME"),
            (Capabilities(size_offered=True, eight_bit_mime=True, smtputf8=True), True, True, " SIZE=7 BODY=8BITMIME SMTPUTF8"),
        ):
            session.capabilities = offered
            self.assertEqual(session.parameters(7, eight_bit=eight_bit, utf8=utf8), expected)


class CapabilityTests(SynchronousTestCase):
    """What a reply to EHLO offers."""

    def test_keywords_are_found_in_any_case_and_unknown_ones_are_ignored(self) -> None:
        text = "mx.example.com at your service\nPipelining\n8BITMIME\nSIZE 35882577\nstarttls\nSMTPUTF8\nCHUNKING\nXYZZY 1 2"
        self.assertEqual(
            read_capabilities(Reply(250, None, text)),
            Capabilities(
                pipelining=True,
                eight_bit_mime=True,
                smtputf8=True,
                starttls=True,
                chunking=True,
                size_offered=True,
                size=35882577,
            ),
        )

    def test_the_greeting_line_offers_nothing(self) -> None:
        self.assertEqual(read_capabilities(Reply(250, None, "PIPELINING")), Capabilities())

    def test_the_ways_to_log_in(self) -> None:
        for offer, expected in (
            ("AUTH PLAIN LOGIN", {"PLAIN", "LOGIN"}),
            ("auth plain", {"PLAIN"}),
            ("AUTH=LOGIN PLAIN", {"PLAIN", "LOGIN"}),
            ("AUTH LOGIN\nAUTH=LOGIN PLAIN", {"LOGIN"}),
            ("AUTH", set()),
            ("AUTHX PLAIN", set()),
        ):
            self.assertEqual(read_capabilities(Reply(250, None, f"mx\n{offer}")).auth, expected, offer)

    def test_a_size_that_is_no_number_is_no_limit(self) -> None:
        for size in ("SIZE", "SIZE 0", "SIZE unlimited", "SIZE -1", "SIZE \u0661", f"SIZE {'9' * 5000}"):
            found = read_capabilities(Reply(250, None, f"mx\n{size}"))
            self.assertEqual((found.size_offered, found.size), (True, 0), size)
