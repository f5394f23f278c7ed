"""One line → one command, or what is wrong with it.  Replies are seen in tests/dialogues; here is what commands hold."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.address import NULL_SENDER, POSTMASTER, Mailbox
from kumotwist.mail.reply import Reply
from kumotwist.smtp.commands import (
    Auth,
    Bdat,
    Command,
    Data,
    Ehlo,
    Helo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Unsupported,
    Vrfy,
    XClient,
)
from kumotwist.smtp.grammar import BAD_ARGUMENTS, BAD_RECIPIENT, BAD_SENDER, NO_VERB, parse_command

A = Mailbox("a", "example.net")
WORDS = st.sampled_from(
    [
        b"MAIL", b"FROM:", b"<", b">", b"@", b"a", b"example.net", b'"', b"\\", b" ", b"\t", b":", b",", b"SIZE=", b"1", b"=",
        b"RCPT", b"TO:", b"BDAT", b"LAST", b"EHLO", b"[", b"]", b"IPv6:", b"\xc3\xbc", b"\xff", b"\0", b"\r", b"\n", b"AUTH",
        b".", b"-", b"_",
    ]
)  # fmt: skip


class ParseTests(SynchronousTestCase):
    """parse_command."""

    def test_what_commands_hold(self) -> None:
        table: tuple[tuple[bytes, Command], ...] = (
            (b"EHLO Client.Example", Ehlo("client.example")),
            (b"helo [192.0.2.1]", Helo("[192.0.2.1]")),
            (b"MAIL FROM:<>", Mail(NULL_SENDER)),
            (b"MAIL FROM:<a@example.net>", Mail(A)),
            (b"MAIL FROM:<a@example.net> SIZE=12", Mail(A, 12)),
            (b"MAIL FROM:<a@example.net>  SMTPUTF8\tBODY=8BITMIME  SIZE=0", Mail(A, 0, True, True)),
            (b"MAIL FROM:<a@example.net> BODY=7bit", Mail(A)),
            (b"MAIL FROM:a@example.net SIZE=12", Mail(A, 12)),
            (b"RCPT TO:<postMASTER>", Rcpt(POSTMASTER)),
            (b'RCPT TO:<"> SIZE=1"@example.net>', Rcpt(Mailbox('"> SIZE=1"', "example.net"))),
            (b"RCPT TO:<@x.example,@[192.0.2.1]:a@example.net>", Rcpt(A)),
            (b"DATA", Data()),
            (b"BDAT 0", Bdat(0, False)),
            (b"bdat  12\tLast ", Bdat(12, True)),
            (b"RSET", Rset()),
            (b"NOOP", Noop()),
            (b"VRFY <a@example.net>", Vrfy()),
            (b"STARTTLS", StartTls()),
            (b"QUIT", Quit()),
            (b"expn list", Unsupported("EXPN")),
            (b"auth Plain AAAA==", Auth("PLAIN", "AAAA==")),
            (b"AUTH LOGIN", Auth("LOGIN")),
            (b"XCLIENT addr=10.0.0.1 PORT=+32+35", XClient((("ADDR", "10.0.0.1"), ("PORT", "25")))),
            (b"MAIL FROM:<a@b.example> AUTH=<>", Mail(Mailbox("a", "b.example"))),
            (b"X1 anything\tat all", Unsupported("X1")),
        )
        for line, command in table:
            self.assertEqual(parse_command(line), command, line)

    def test_letters_that_only_look_alike_in_upper_case_make_no_verb(self) -> None:
        for line in ("RſET", "BDAT 5 laſt", "ıNOOP"):
            self.assertIsInstance(parse_command(line.encode()), Reply, line)

    def test_long_quoted_rubbish_is_refused_quickly(self) -> None:
        for line, answer in (
            (b'MAIL FROM:<"' + b'\\"' * 450, BAD_SENDER),
            (b"RCPT TO:<" + b'""' * 450, BAD_RECIPIENT),
            (b"RCPT TO:" + b'"' * 901, BAD_RECIPIENT),
            (b"MAIL FROM:<@" + b"a,@" * 300 + b">", BAD_SENDER),
            (b"MAIL FROM:<a@example.net> " + b"=" * 900, BAD_ARGUMENTS),
            (b" " * 900, NO_VERB),
        ):
            self.assertIs(parse_command(line), answer, line)

    @settings(deadline=None, database=None, max_examples=500)
    @given(st.one_of(st.binary(max_size=100), st.lists(WORDS).map(b"".join)))
    def test_any_line_is_a_command_or_is_answered(self, line: bytes) -> None:
        found = parse_command(line)
        if isinstance(found, Reply):
            self.assertIn(found.code, (501, 502, 555))
            self.assertEqual(found.encode().count(b"\r\n"), 1)
            self.assertTrue(found.encode().isascii())

    @settings(deadline=None, database=None, max_examples=500)
    @given(st.lists(WORDS).map(b"".join))
    def test_no_control_character_gets_into_an_address(self, words: bytes) -> None:
        for line in (b"MAIL FROM:<" + words + b">", b"RCPT TO:<" + words + b"@example.net>", b"EHLO " + words):
            found = parse_command(line)
            if isinstance(found, (Mail, Rcpt, Ehlo)):
                text = repr(found)
                for bad in ("\\r", "\\n", "\\x00", "\\t"):
                    self.assertNotIn(bad, text)

    @settings(deadline=None, database=None)
    @given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20), min_size=1, max_size=4))
    def test_any_text_comes_through_xtext(self, values: list[str]) -> None:
        words = [b"addr=" + b"".join(_xchar(octet) for octet in value.encode()) for value in values]
        self.assertEqual(parse_command(b"XCLIENT " + b" ".join(words)), XClient(tuple(("ADDR", value) for value in values)))

    def test_what_is_no_xtext_and_no_mechanism(self) -> None:
        for line in (
            b"XCLIENT", b"XCLIENT ADDR", b"XCLIENT ADDR=", b"XCLIENT ADDR=+3", b"XCLIENT ADDR=+0g", b"XCLIENT A-B=1",
            b"XCLIENT ADDR=\xc3\xbc", b"AUTH", b"AUTH PLAIN a b", b"AUTH PL.AIN", b"AUTH " + b"x" * 21,
        ):  # fmt: skip
            self.assertEqual(parse_command(line), BAD_ARGUMENTS, line)

    def test_secrets_are_not_shown(self) -> None:
        self.assertNotIn("c2VjcmV0", repr(parse_command(b"AUTH PLAIN c2VjcmV0")))


def _xchar(octet: int) -> bytes:
    """RFC 3461 section 4."""
    return bytes([octet]) if 0x21 <= octet <= 0x7E and octet not in b"+=" else b"+%02X" % octet
