"""Text parts: found and edited in place, whatever stands around them."""

from email import message_from_bytes, policy

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.mime import first_text, leaves, octets_of, text_of, with_text
from kumotwist.mail.address import parse_mailbox
from kumotwist.mail.message import Message

PARTS = (
    b"Received: from x by y;\r\n\tMon\r\nSubject:odd   spacing\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed;\r\n boundary="outer"\r\n\r\npreamble\r\n'
    b'--outer\r\nContent-Type: multipart/alternative; boundary="in ner"\r\n\r\n'
    b"--in ner\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nhall\xc3\xb6\r\n"
    b"--in ner\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"<body>gr=FC=DFe</body>\r\n"
    b"--in ner--\r\n"
    b"--outer\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nattached\r\n--outerx\r\n"
    b"--outer\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n"
    b"--outer-- \r\nepilogue\r\n"
)  # fmt: skip


def view(content: bytes) -> PolicyMessage:
    sender = parse_mailbox("alice@example.com")
    return PolicyMessage(Message("0" * 32, sender, (sender,), content))


class LeafTests(SynchronousTestCase):
    """What parts there are."""

    def test_the_parts_of_parts_in_their_order(self) -> None:
        found = [(leaf.content_type, leaf.charset, leaf.attached, octets_of(PARTS, leaf)) for leaf in leaves(PARTS)]
        self.assertEqual(
            found,
            [
                ("text/plain", "utf-8", False, "hallö".encode()),
                ("text/html", "iso-8859-1", False, b"<body>gr\xfc\xdfe</body>"),
                ("text/plain", "us-ascii", True, b"attached\r\n--outerx"),
                ("application/octet-stream", "us-ascii", False, b"\0\1\2"),
            ],
        )

    def test_a_message_without_parts_is_one(self) -> None:
        table = {
            b"A: b\r\n\r\nbody\r\n": [b"body\r\n"],
            b"\r\nbody\r\n": [b"body\r\n"],
            b"A: b\r\n\r\n": [b""],
            b"A: b\n\nbody\n": [b"body\n"],
            b"A: b\r\n": [],
            b"": [],
        }
        for content, bodies in table.items():
            self.assertEqual([content[leaf.body : leaf.end] for leaf in leaves(content)], bodies)

    def test_boundaries_that_are_missing_or_empty(self) -> None:
        head = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
        table = {
            head + b"no parts\r\n": [],
            head + b"--x\r\n\r\nopen end\r\n": [b"open end\r\n"],
            head + b"--x\r\n\r\n--x--": [],
            head + b"--x--": [],
            head + b"--x\r\nA: b\r\n\r\n\r\n--x\r\n\r\nc\r\n--x--after": [b"", b"c\r\n--x--after"],
            b"Content-Type: multipart/mixed\r\n\r\n--x\r\n\r\nbody\r\n": [b"--x\r\n\r\nbody\r\n"],
        }
        for content, bodies in table.items():
            self.assertEqual([content[leaf.body : leaf.end] for leaf in leaves(content)], bodies, content)

    def test_parts_in_parts_without_end_end(self) -> None:
        content = b"".join(b"Content-Type: multipart/mixed; boundary=x%d\r\n\r\n--x%d\r\n" % (n, n) for n in range(500))
        self.assertLessEqual(len(list(leaves(content))), 1)

    @given(st.lists(st.sampled_from([b"--x", b"--x--", b"\r\n", b"\n", b"a", b"Content-Type: text/plain", b": "]), max_size=30))
    def test_any_mixture_of_them_is_read_and_parts_lie_within_the_message(self, pieces: list[bytes]) -> None:
        content = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"".join(pieces)
        last = 0
        for leaf in leaves(content):
            self.assertTrue(last <= leaf.start <= leaf.body <= leaf.end <= len(content))
            last = leaf.end


class AppendTests(SynchronousTestCase):
    """More text in a part."""

    def test_plain_text_on_a_line_of_its_own(self) -> None:
        message = view(PARTS)
        self.assertTrue(message.append_text_plain("-- \nfooter\n"))
        old = b"charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nhall\xc3\xb6"
        new = b"charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nhall=C3=B6\r\n--=20\r\nfooter\r\n"
        self.assertEqual(message.get_data(), PARTS.replace(old, new))

    def test_html_before_the_end_of_the_page(self) -> None:
        message = view(PARTS)
        self.assertTrue(message.append_text_html("<p>fußnote</p>"))
        old, new = b"gr=FC=DFe</body>", b"gr=FC=DFe<p>fu=DFnote</p></body>"
        self.assertEqual(message.get_data(), PARTS.replace(old, new))

    def test_html_without_an_end_of_the_page(self) -> None:
        message = view(b"Content-Type: text/html\r\n\r\n<p>hi\r\n")
        self.assertTrue(message.append_text_html("<p>bye"))
        self.assertEqual(message.get_data(), b"Content-Type: text/html\r\n\r\n<p>hi\r\n<p>bye\r\n")

    def test_what_the_character_set_lacks_makes_it_utf_8(self) -> None:
        message = view(PARTS)
        message.append_text_html("試験")
        (_, part, _, _) = [
            one for one in message_from_bytes(message.get_data(), policy=policy.SMTP).walk() if not one.is_multipart()
        ]
        self.assertEqual(part.get_content().replace("\r\n", "\n").strip(), "<body>grüße試験</body>")
        self.assertEqual(part.get_content_charset(), "utf-8")

    def test_a_plain_message_becomes_mime_where_it_must(self) -> None:
        message = view(b"Subject: a\r\n\r\nhello\r\n")
        message.append_text_plain("more\n")
        self.assertEqual(message.get_data(), b"Subject: a\r\n\r\nhello\r\nmore\r\n")
        message.append_text_plain("grüße\n")
        parsed = message_from_bytes(message.get_data(), policy=policy.SMTP)
        self.assertEqual((parsed["MIME-Version"], parsed.get_content().replace("\r\n", "\n")), ("1.0", "hello\nmore\ngrüße\n"))

    def test_without_such_a_part_nothing_changes(self) -> None:
        for content in (b"Content-Type: image/png\r\n\r\nx\r\n", b"A: b\r\n"):
            message = view(content)
            self.assertFalse(message.append_text_plain("x"))
            self.assertFalse(message.append_text_html("x"))
            self.assertEqual(message.get_data(), content)

    def test_a_character_set_that_nobody_knows_becomes_utf_8(self) -> None:
        message = view(b"Content-Type: text/plain; charset=x-none\r\n\r\nhello\r\n")
        self.assertTrue(message.append_text_plain("grüße"))
        self.assertIn(b'charset="utf-8"', message.get_data())

    @given(st.text(max_size=60), st.sampled_from(["utf-8", "us-ascii", "iso-8859-15", "bogus"]))
    def test_any_text_comes_back_as_it_was_put_in(self, text: str, charset: str) -> None:
        content = f"A: b\r\nContent-Type: text/plain; charset={charset}\r\n\r\nold\r\n".encode()
        leaf = first_text(content, "plain")
        assert leaf is not None
        try:
            text.encode()
        except UnicodeEncodeError:
            return
        text = text.replace("\r\n", "\n").replace("\r", "")
        edited = with_text(content, leaf, text)
        self.assertTrue(edited.isascii())
        found = first_text(edited, "plain")
        assert found is not None
        self.assertEqual(text_of(edited, found).removesuffix("\n"), text.removesuffix("\n"))
