"""Messages read back with another parser are what was asked for, whatever was asked for."""

import os
from base64 import b64decode, b64encode
from email import policy
from email.header import decode_header, make_header
from email.parser import BytesParser
from email.utils import parseaddr
from random import Random
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kumotwist.injection.building import BuiltContent
from kumotwist.injection.fields import field
from kumotwist.injection.request import Attachment, BadRequest, Content, Correspondent, TemplateDialect
from kumotwist.injection.templates import Templates
from kumotwist.injection.whole import WholeContent
from tests.injection.support import InjectionTestCase, Office, parsed, request

TEMPLATES = Templates(lambda: 0.0)
EXAMPLES = int(os.environ.get("KUMOTWIST_INJECTION_EXAMPLES", "60"))
# What fails is shown as it was found: making it smaller has no bound, where each try builds a message and reads it.
BOUNDED = settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\x85"), max_size=200)
NAME = st.text(st.characters(categories=("L", "N", "P", "Zs")), max_size=60)
NOT_ALONE: Any = ("Cs",)  # half a character
BODY = st.text(st.characters(exclude_categories=NOT_ALONE, exclude_characters="\r\0"), min_size=1, max_size=3000)
ATTACHED = st.builds(
    lambda data, name, cid: Attachment(b64encode(data).decode(), "application/pdf", cid, name or None, True),
    st.binary(max_size=300),
    st.text(st.characters(categories=("L", "N")), max_size=40),
    st.none() | st.just("part-1"),
)


def built(content: Content, email: str = "bob@example.org", name: str | None = None, **values: Any) -> bytes:
    made = BuiltContent(content, TemplateDialect.JINJA, TEMPLATES, Random(3).getrandbits)
    return made.message(email, name, values, 0.0)


def payload(part: Any) -> bytes:
    octets: bytes = part.get_payload(decode=True)
    return octets


def words(text: str) -> str:
    """Blanks are folding: their number may change in a header."""
    return " ".join(text.split())


def correspondents(octets: bytes) -> list[tuple[str, str]]:
    """
    Name and address of To and From, as RFC 2047 has them.

    By the older of the library's two readers: the newer one, up to Python 3.12, takes a fold between two encoded words of a
    name for a blank of the name.
    """
    header = BytesParser(policy=policy.compat32).parsebytes(octets)
    found = [parseaddr(header[name]) for name in ("to", "from")]
    return [(words(str(make_header(decode_header(name)))), address) for name, address in found]


def body(part: Any) -> str:
    text: str = part.get_content()
    return text.replace("\r\n", "\n")


class BuiltTests(InjectionTestCase):
    @BOUNDED
    @given(text=BODY, html=BODY, subject=TEXT, name=NAME, attached=st.lists(ATTACHED, max_size=3))
    def test_what_is_read_back_is_what_was_asked_for(
        self, text: str, html: str, subject: str, name: str, attached: list[Attachment]
    ) -> None:
        values = {"text": text, "html": html, "subject": subject}
        content = Content(
            text_body="{{ text }}",
            html_body="{{ html|safe }}",
            subject="{{ subject }}",
            from_=Correspondent("sales@example.com", name),
            attachments=attached,
        )
        octets = built(content, "bob@example.org", name, **values)
        self.assertTrue(octets.isascii())
        self.assertTrue(all(len(line) <= 998 and b"\n" not in line and b"\r" not in line for line in octets.split(b"\r\n")))
        message = parsed(octets)
        self.assertEqual([fault for part in message.walk() for fault in part.defects], [])
        plain, marked_up = message.get_body(("plain",)), message.get_body(("html",))
        assert plain is not None
        assert marked_up is not None
        self.assertEqual(body(plain).rstrip("\n"), text.rstrip("\n"))
        self.assertEqual(body(marked_up).rstrip("\n"), html.rstrip("\n"))
        self.assertEqual(words(message["subject"]), words(subject))
        self.assertEqual(message["to"].addresses[0].addr_spec, "bob@example.org")
        self.assertEqual(correspondents(octets), [(words(name), "bob@example.org"), (words(name), "sales@example.com")])
        self.assertEqual(message["from"].addresses[0].addr_spec, "sales@example.com")
        found: list[Any] = sorted(payload(part) for part in message.walk() if part.get_content_type() == "application/pdf")
        self.assertEqual(found, sorted(built_octets(one) for one in attached))

    def test_the_parts_stand_where_clients_look_for_them(self) -> None:
        content = Content(
            text_body="text",
            html_body="<img src='cid:logo'>",
            amp_html_body="<html amp4email>",
            attachments=[
                Attachment("R0lG", "image/gif", "logo", "logo.gif", True),
                Attachment("Grüße", "text/plain", None, "Grüße.txt"),
            ],
        )
        message = parsed(built(content))
        kinds = [part.get_content_type() for part in message.walk()]
        self.assertEqual(
            kinds,
            [
                "multipart/mixed", "multipart/related", "multipart/alternative", "text/plain", "text/x-amp-html", "text/html",
                "image/gif", "text/plain",
            ],
        )  # fmt: skip
        *_, image, attached = message.walk()
        self.assertEqual((image["content-id"], image.get_content_disposition()), ("<logo>", "inline"))
        self.assertEqual((attached.get_filename(), attached.get_content()), ("Grüße.txt", "Grüße"))

    def test_a_header_value_never_becomes_two_fields(self) -> None:
        table = ["a\r\nBcc: x@example.net", "a\nBcc: x", "a\rBcc: x", "a\u2028Bcc: x", "a\r\n\r\nbody", "a\x00b", "\r\nBcc: x"]
        for value in table:
            with self.subTest(value):
                content = Content(
                    text_body="x", headers={"X-Note": value}, subject=value, from_=Correspondent("a@b.example", value)
                )
                message = parsed(built(content, "bob@example.org", value))
                self.assertNotIn("bcc", message)
                self.assertEqual(body(message), "x\n")

    def test_a_name_that_looks_like_an_address_is_encoded_as_a_name(self) -> None:
        octets = built(Content(text_body="x", from_=Correspondent("a@b.example", "é@x")), "bob@example.org", "ü@y.example")
        self.assertTrue(octets.isascii())
        message = parsed(octets)
        shown = [message[name].addresses[0].display_name for name in ("from", "to")]
        self.assertEqual(shown, ["é@x", "ü@y.example"])

    def test_a_long_name_may_be_folded_within_a_word(self) -> None:
        name = "𝕿𝖍𝖊 𝖖𝖚𝖎𝖈𝖐 𝖇𝖗𝖔𝖜𝖓 𝖋𝖔𝖝 𝖏𝖚𝖒𝖕𝖘 𝖔𝖛𝖊𝖗 𝖙𝖍𝖊 𝖑𝖆𝖟𝖞 𝖉𝖔𝖌"
        octets = built(Content(text_body="x", from_=Correspondent("a@b.example", name)), "bob@example.org", name)
        self.assertEqual(correspondents(octets), [(name, "bob@example.org"), (name, "a@b.example")])

    def test_names_of_fields_are_checked(self) -> None:
        for name in ("", "X Y", "X:", "X\r\nBcc", "Grüße", "x" * 77):
            with self.subTest(name):
                self.assertRaises(BadRequest, built, Content(text_body="x", headers={name: "v"}))

    def test_a_long_address_in_a_field_is_not_encoded(self) -> None:
        target = f"<https://example.com/{'a' * 300}>"
        octets = built(Content(text_body="x", headers={"List-Unsubscribe": target}))
        self.assertIn(b"List-Unsubscribe: " + target.encode() + b"\r\n", octets)

    def test_a_long_field_is_folded_at_its_blanks(self) -> None:
        folded = field("X-Words", "word " * 100)
        self.assertTrue(all(len(line) <= 78 for line in folded.split(b"\r\n")))
        self.assertEqual(folded.replace(b"\r\n", b""), b"X-Words: " + ("word " * 100).strip().encode())

    def test_what_cannot_be_built_is_refused(self) -> None:
        table = (
            ("at least one", Content(subject="x")),
            ("base64", Content(text_body="x", attachments=[Attachment("%%%", "image/gif", base64=True)])),
            ("content_type", Content(text_body="x", attachments=[Attachment("x", "nonsense")])),
            ("content_type", Content(text_body="x", attachments=[Attachment("x", "multipart/mixed")])),
            ("content_id", Content(text_body="x", attachments=[Attachment("x", "image/gif", "a\r\nb")])),
            ("From", Content(text_body="x", from_=Correspondent("no address"))),
        )
        for what, content in table:
            with self.subTest(what):
                self.assertIn(what, str(self.assertRaises(BadRequest, built, content)))

    def test_the_requests_own_to_and_date_stay(self) -> None:
        message = parsed(
            built(Content(text_body="x", headers={"TO": "list@example.com", "Date": "Thu, 01 Jan 1970 00:00:00 +0000"}))
        )
        self.assertEqual([message.get_all("to"), len(message.get_all("date") or [])], [["list@example.com"], 1])


def built_octets(attachment: Attachment) -> bytes:
    return b64decode(attachment.data)


class WholeTests(InjectionTestCase):
    def whole(self, source: str, **values: Any) -> bytes:
        return WholeContent(source, TemplateDialect.JINJA, TEMPLATES).message("b@example.org", None, values, 0.0)

    def test_what_is_ascii_keeps_every_byte_but_its_line_ends(self) -> None:
        source = "Subject:  odd   spacing\nMIME-Version: 1.0\nX-Z: 1\nX-A: 2\n\nbody\n.\nlast"
        self.assertEqual(self.whole(source), source.replace("\n", "\r\n").encode() + b"\r\n")

    def test_mime_version_is_added_where_it_is_missing(self) -> None:
        self.assertEqual(parsed(self.whole("Subject: x\n\nbody"))["mime-version"], "1.0")

    @BOUNDED
    @given(text=BODY, subject=TEXT)
    def test_what_is_not_ascii_is_encoded(self, text: str, subject: str) -> None:
        octets = self.whole("Subject: {{ s }}\nFrom: Jürgen <j@example.com>\n\n{{ t }}", s=subject, t=text)
        self.assertTrue(octets.isascii())
        message = parsed(octets)
        self.assertEqual(words(message["subject"]), words(subject))
        self.assertEqual(message["from"].addresses[0].display_name, "Jürgen")
        self.assertEqual(body(message).rstrip("\n"), text.rstrip("\n"))

    def test_parts_are_encoded_each_by_itself(self) -> None:
        source = (
            "Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html; charset=utf-8\n\nGrüße\n"
            "--b\nContent-Type: text/plain\n\nplain\n--b--\n"
        )
        message = parsed(self.whole(source))
        self.assertEqual([body(part) for part in message.iter_parts()], ["Grüße\n", "plain"])

    def test_what_is_no_message_is_refused(self) -> None:
        for source in ("", "\n\nbody", "no header here", " Subject: x\n\n", "Subject: x\nnot a field\n\nbody"):
            with self.subTest(source):
                self.assertRaises(BadRequest, self.whole, source)

    def test_recipients_see_their_own_values(self) -> None:
        recipients = [
            {"email": "a@example.org", "name": "Anna", "substitutions": {"code": 1}},
            {"email": "b@example.org", "substitutions": {"email": "shown@example.org"}},
        ]
        office = Office()
        content = "To: {{ to_header }}\nSubject: {{ code }} {{ common }}\n\n{{ email }}"
        given_request = request(content=content, substitutions={"code": 0, "common": "x", "email": "never"}) | {
            "recipients": recipients
        }
        self.assertEqual(self.answer(office, given_request).success_count, 2)
        bodies = [
            (parsed(octets)["to"], parsed(octets)["subject"], parsed(octets).get_content().strip()) for _, octets in office.kept
        ]
        self.assertEqual(bodies, [("Anna <a@example.org>", "1 x", "a@example.org"), ("b@example.org", "0 x", "shown@example.org")])
