"""Replies: written down, on the wire, on one line."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.reply import EnhancedCode, Refusal, Reply, refuse, reply, split_enhanced


class ReplyTests(SynchronousTestCase):
    """Reply and the ways to make one."""

    def test_a_reply_as_one_writes_it_down(self) -> None:
        self.assertEqual(reply("550 5.7.1 no", "RCPT"), Reply(550, EnhancedCode(5, 7, 1), "no", "RCPT"))
        self.assertEqual(reply("250 OK"), Reply(250, None, "OK"))
        self.assertEqual(reply("250"), Reply(250, None, ""))

    def test_what_is_an_enhanced_code(self) -> None:
        for text, enhanced, rest in (
            ("4.7.0 later", EnhancedCode(4, 7, 0), "later"),
            ("5.1.123", EnhancedCode(5, 1, 123), ""),
            ("2.0.0  two blanks", EnhancedCode(2, 0, 0), " two blanks"),
            ("3.1.1 x", None, "3.1.1 x"),
            ("5.1 x", None, "5.1 x"),
            ("5.1.1234 x", None, "5.1.1234 x"),
            ("5.1.1x", None, "5.1.1x"),
            ("", None, ""),
        ):
            self.assertEqual(split_enhanced(text), (enhanced, rest))

    def test_on_the_wire_each_line_has_the_code_and_the_enhanced_code(self) -> None:
        self.assertEqual(reply("250 OK").encode(), b"250 OK\r\n")
        self.assertEqual(reply("552 5.3.4 too\nbig").encode(), b"552-5.3.4 too\r\n552 5.3.4 big\r\n")
        self.assertEqual(reply("250 a\nb\nc").encode(), b"250-a\r\n250-b\r\n250 c\r\n")

    def test_on_one_line(self) -> None:
        self.assertEqual(reply("552 5.3.4 too\r\nbig").single_line, "552 5.3.4 too big")
        self.assertEqual(reply("250 OK").single_line, "250 OK")

    def test_a_refusal_keeps_its_reason_from_the_peer(self) -> None:
        refusal = refuse("451 4.3.0 internal error", "the disk burns")
        self.assertIsInstance(refusal, Refusal)
        self.assertEqual(refusal.reply.encode(), b"451 4.3.0 internal error\r\n")
        self.assertEqual(refusal.reason, "the disk burns")
        self.assertEqual(refuse("500 no").reason, "500 no")
