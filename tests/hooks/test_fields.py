"""Header fields that a policy writes: every other byte stays, and no value becomes more than one field."""

from email import message_from_bytes, policy

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.hooks.fields import NoHeaderEnd, at_bottom, field_line
from kumotwist.hooks.message import PolicyMessage
from kumotwist.mail.address import parse_mailbox
from kumotwist.mail.headers import Wanted, header_end, raw_values
from kumotwist.mail.message import Message

_NAMES = st.sampled_from(["Subject", "X-Tenant", "x-tenant", "X-Other", "Received", "To"])
_FOLDED = st.lists(st.text("abc ü\t:=?", min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=3).map("\r\n ".join)
_FIELD = st.builds(
    lambda name, blank, value: f"{name}:{blank}{value}\r\n".encode(), _NAMES, st.sampled_from(["", " ", "\t"]), _FOLDED
)
_BODY = st.binary(max_size=60)
_CONTENT = st.builds(lambda fields, body: (fields, body), st.lists(_FIELD, max_size=6), _BODY)


def view(content: bytes) -> PolicyMessage:
    sender = parse_mailbox("alice@example.com")
    return PolicyMessage(Message("0" * 32, sender, (sender,), content))


def name_of(field: bytes) -> str:
    return field.split(b":", 1)[0].decode().lower()


class UntouchedTests(SynchronousTestCase):
    """What is not asked for keeps every byte."""

    @given(_CONTENT, _NAMES)
    def test_removing_takes_the_fields_of_that_name_and_nothing_else(self, content: tuple[list[bytes], bytes], name: str) -> None:
        fields, body = content
        message = view(b"".join(fields) + b"\r\n" + body)
        message.remove_all_named_headers(name)
        kept = [field for field in fields if name_of(field) != name.lower()]
        self.assertEqual(message.get_data(), b"".join(kept) + b"\r\n" + body)

    @given(_CONTENT)
    def test_removing_x_headers_takes_those_and_nothing_else(self, content: tuple[list[bytes], bytes]) -> None:
        fields, body = content
        message = view(b"".join(fields) + b"\r\n" + body)
        message.remove_x_headers()
        kept = [field for field in fields if not name_of(field).startswith("x-")]
        self.assertEqual(message.get_data(), b"".join(kept) + b"\r\n" + body)

    @given(_CONTENT, _NAMES, _FOLDED)
    def test_a_new_field_stands_before_or_after_all_others(self, content: tuple[list[bytes], bytes], name: str, value: str) -> None:
        fields, body = content
        whole = b"".join(fields) + b"\r\n" + body
        line = f"{name}: {value}\r\n".encode()
        first, last = view(whole), view(whole)
        first.prepend_header(name, value)
        last.append_header(name, value)
        self.assertEqual(first.get_data(), line + whole)
        self.assertEqual(last.get_data(), b"".join(fields) + line + b"\r\n" + body)

    @given(_CONTENT, _NAMES)
    def test_reading_changes_nothing(self, content: tuple[list[bytes], bytes], name: str) -> None:
        fields, body = content
        whole = b"".join(fields) + b"\r\n" + body
        message = view(whole)
        values = message.get_all_named_header_values(name)
        self.assertEqual(message.get_first_named_header_value(name), values[0] if values else None)
        self.assertEqual(len(message.get_all_headers()), len(fields))
        self.assertEqual(len(raw_values(whole, name)), len(values))
        message.import_x_headers()
        self.assertEqual(message.get_data(), whole)


class InjectionTests(SynchronousTestCase):
    """However a value looks, there is one field more, or an error."""

    @given(st.text(max_size=40), st.text(max_size=80), st.booleans(), st.booleans())
    def test_whatever_is_given_there_is_exactly_one_more_field_or_a_value_error(
        self, name: str, value: str, encode: bool, top: bool
    ) -> None:
        message = view(b"To: a\r\nSubject: b\r\n\r\nbody\r\n")
        try:
            (message.prepend_header if top else message.append_header)(name, value, encode)
        except ValueError:
            self.assertEqual(message.get_data(), b"To: a\r\nSubject: b\r\n\r\nbody\r\n")
            return
        content = message.get_data()
        self.assertEqual(content[header_end(content) :], b"\r\nbody\r\n")
        names = [field.name for field in Wanted(("*",)).read(content)]
        self.assertEqual(names, [name, "To", "Subject"] if top else ["To", "Subject", name])

    @given(st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), max_size=200))
    def test_an_encoded_value_is_ascii_in_lines_that_fit_and_reads_back(self, value: str) -> None:
        line = field_line("X-Text", value, encode=True)
        self.assertTrue(line.isascii())
        self.assertLessEqual(max(map(len, line.split(b"\r\n"))), 910)
        message = view(line + b"\r\n")
        if not value.isascii():
            self.assertEqual((message.get_first_named_header_value("X-Text") or "").split(), value.split())
            self.assertLessEqual(max(map(len, line.split(b"\r\n"))), 78)

    def test_values_that_would_be_more_than_one_field_are_refused(self) -> None:
        table = [
            "a\r\nBcc: x",
            "a\nBcc: x",
            "a\rBcc: x",
            "a\r\n\r\nbody",
            "a\r\n \r\n b",
            "a\r\n \t",
            "a\0",
            "a\r\n x\nY: z",
            "\r\n\r\n",
        ]
        for value in table:
            for encode in (False, True):
                if encode and "\r\n" in value and not value.replace("\r\n ", "").count("\n"):
                    continue  # blanks that fold are folded anew
                with self.assertRaises(ValueError, msg=repr(value)):
                    field_line("X-Name", value, encode=encode)

    def test_names_that_are_none_are_refused(self) -> None:
        for name in ("", "a b", "a:b", "a\r\nb", "ä", "a\0", " a", "a ", "x" * 201):
            with self.assertRaises(ValueError, msg=repr(name)):
                field_line(name, "x")

    def test_folded_values_stand_as_they_are(self) -> None:
        self.assertEqual(field_line("X", "a\r\n b\r\n\tc"), b"X: a\r\n b\r\n\tc\r\n")
        self.assertEqual(field_line("X", "a\r\n"), b"X: a\r\n")
        self.assertEqual(field_line("X", ""), b"X: \r\n")


class EncodeTests(SynchronousTestCase):
    """`encode`: folded near 75 columns, encoded where it is not ASCII."""

    def test_ascii_is_folded_at_blanks(self) -> None:
        line = field_line("X-Words", "word " * 40, encode=True)
        self.assertEqual({len(one) <= 76 for one in line.split(b"\r\n")}, {True})
        self.assertEqual(b" ".join(line.split()), b"X-Words: " + b" ".join([b"word"] * 40))

    def test_a_word_without_end_is_cut(self) -> None:
        line = field_line("X-Word", "x" * 2000, encode=True)
        self.assertEqual(max(map(len, line.split(b"\r\n"))), 900)
        self.assertEqual(line.count(b"x"), 2000)

    def test_short_ascii_stays_as_it_is(self) -> None:
        for value in ("hello", "two  blanks", "=?utf-8?q?x?="):
            self.assertEqual(field_line("X", value, encode=True), f"X: {value}\r\n".encode())

    def test_what_is_not_ascii_is_read_by_others_as_it_was_meant(self) -> None:
        value = "Zwölf große Boxkämpfer jagen Viktor quer über den Sylter Deich, 試験 " * 3
        line = field_line("Subject", value, encode=True)
        parsed = message_from_bytes(line + b"\r\n", policy=policy.default)
        self.assertEqual(str(parsed["Subject"]).split(), value.split())

    def test_a_lone_surrogate_is_no_text(self) -> None:
        for encode in (False, True):
            with self.assertRaises(ValueError):
                field_line("X", "\ud800", encode=encode)


class BottomTests(SynchronousTestCase):
    """Where a header ends."""

    def test_it_may_be_empty_or_of_bare_line_feeds(self) -> None:
        table = {
            b"\r\nbody": b"X: y\r\n\r\nbody",
            b"A: b\n\nbody": b"A: b\nX: y\r\n\nbody",
            b"A: b\r\n\r\n": b"A: b\r\nX: y\r\n\r\n",
        }
        for content, result in table.items():
            self.assertEqual(at_bottom(content, b"X: y\r\n"), result)

    def test_without_an_end_there_is_no_bottom(self) -> None:
        for content in (b"A: b\r\n", b"A: b", b""):
            with self.assertRaises(NoHeaderEnd):
                at_bottom(content, b"X: y\r\n")
