"""Header fields read and edited as bytes: what is not asked for keeps every byte."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.headers import Field, Wanted, all_values, decoded, first_value, has_hops, header_end, with_field, without

MAIL = (
    b"Received: from a\r\n  by b\r\n"
    b"X-Tenant: one\r\n"
    b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n"
    b"x-tenant : two\r\n"
    b"To: b@example.org\r\n"
    b"\r\n"
    b"X-Tenant: text\r\n"
)


class HeaderEndTests(SynchronousTestCase):
    """header_end."""

    def test_the_block_ends_at_the_empty_line(self) -> None:
        for content, block in (
            (b"A: b\r\n\r\ntext", b"A: b\r\n"),
            (b"A: b\n\ntext\r\n\r\n", b"A: b\n"),
            (b"A: b\n\r\ntext", b"A: b\n"),
            (b"\r\nA: b\r\n\r\n", b""),
            (b"\nA: b\n\n", b""),
            (b"A: b\r\n", b"A: b\r\n"),
            (b"A: b", b"A: b"),
            (b"", b""),
        ):
            self.assertEqual(content[: header_end(content)], block)


class ReadTests(SynchronousTestCase):
    """first_value, all_values, Wanted."""

    def test_names_in_any_case_and_in_the_order_of_the_message(self) -> None:
        self.assertEqual(all_values(MAIL, "X-TENANT"), ["one", "two"])
        self.assertEqual(first_value(MAIL, "x-tenant"), "one")
        self.assertIsNone(first_value(MAIL, "X-Campaign"))
        self.assertIsNone(first_value(MAIL, "Tenant"))

    def test_text_is_no_header(self) -> None:
        self.assertEqual(all_values(b"\r\nX-Tenant: text\r\n", "X-Tenant"), [])

    def test_folded_values_are_one_line(self) -> None:
        self.assertEqual(first_value(MAIL, "Received"), "from a  by b")
        self.assertEqual(first_value(b"X:\r\n\tone\r\n two\r\n", "X"), "one\r\n two".replace("\r\n", ""))
        self.assertEqual(first_value(b"X: one\n two\nY: z\n", "X"), "one two")

    def test_several_names_in_one_pass_with_their_own_spelling(self) -> None:
        self.assertEqual(
            Wanted(("x-*", "TO")).read(MAIL), (Field("X-Tenant", "one"), Field("x-tenant", "two"), Field("To", "b@example.org"))
        )

    def test_nothing_wanted_is_nothing_read(self) -> None:
        self.assertFalse(Wanted(()))
        self.assertEqual(Wanted(()).read(MAIL), ())

    def test_values_are_decoded_or_as_they_stand(self) -> None:
        for raw, text in (
            (b" plain ", "plain"),
            (b" =?utf-8?q?gr=C3=BC=C3=9Fe?=", "grüße"),
            (b"=?iso-8859-1?b?Z3L832U=?= to all", "grüße to all"),
            ("grüße".encode(), "grüße"),
            ("grüße".encode("latin-1"), "grüße"),
            (b"=?no-such-charset?q?x?=", "=?no-such-charset?q?x?="),
            (b"=?utf-8?b?x?=", "=?utf-8?b?x?="),
            (b"=?utf-8?q?=FF?=", "=?utf-8?q?=FF?="),
            (b"what is =? this", "what is =? this"),
        ):
            self.assertEqual(decoded(raw), text)


class EditTests(SynchronousTestCase):
    """without and with_field."""

    def test_all_fields_of_a_name_go_with_their_folds(self) -> None:
        self.assertEqual(
            without(MAIL, ("x-TENANT", "Received")),
            b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nTo: b@example.org\r\n\r\nX-Tenant: text\r\n",
        )

    def test_a_message_without_such_fields_is_the_same_message(self) -> None:
        self.assertIs(without(MAIL, ("X-Campaign",)), MAIL)

    def test_the_last_field_may_end_without_a_line_end(self) -> None:
        self.assertEqual(without(b"A: b\r\nX: y", ("X",)), b"A: b\r\n")
        self.assertEqual(without(b"X: y", ("X",)), b"")

    def test_a_field_goes_on_top(self) -> None:
        self.assertEqual(with_field(b"A: b\r\n", "X-New", "one\r\n two"), b"X-New: one\r\n two\r\nA: b\r\n")

    def test_no_field_is_smuggled_in(self) -> None:
        for name, value in (
            ("X", "a\r\nBcc: b"),
            ("X", "a\nBcc: b"),
            ("X", "a\r"),
            ("X:", "a"),
            ("", "a"),
            ("X\r\nY", "a"),
            ("X Y", "a"),
            ("Ü", "a"),
        ):
            with self.assertRaises(ValueError, msg=repr((name, value))):
                with_field(b"", name, value)

    @settings(deadline=None, database=None)
    @given(
        st.lists(st.sampled_from([b"A: b", b"X: y", b" fold", b"", b"text", b"X", b":", b"\tX: z", b"x:"])),
        st.sampled_from([b"\r\n", b"\n"]),
    )
    def test_what_is_removed_is_not_found_and_the_rest_stays(self, lines: list[bytes], end: bytes) -> None:
        content = end.join(lines)
        rest = without(content, ("X",))
        self.assertEqual(all_values(rest, "X"), [])
        self.assertEqual(all_values(rest, "A"), all_values(content, "A"))
        self.assertTrue(rest.endswith(content[header_end(content) :]))

    @settings(deadline=None, database=None)
    @given(st.binary())
    def test_any_octets_can_be_read_and_edited(self, content: bytes) -> None:
        Wanted(("*",)).read(content)
        self.assertLessEqual(len(without(content, ("a*",))), len(content))


class HopTests(SynchronousTestCase):
    """has_hops."""

    def test_received_fields_are_counted_in_the_header_only(self) -> None:
        for content, hops in (
            (b"Received: x\r\n" * 99, False),
            (b"Received: x\r\n" * 100, True),
            (b"received:\r\n x\r\n" * 100, True),
            (b"A: b\r\n" + b"RECEIVED: x\r\n" * 100, True),
            (b"Received: x\r\n" * 99 + b"\r\n" + b"Received: x\r\n" * 99, False),
            (b"X-Received: x\r\n" * 200, False),
            (b"A: b\r\n\r\n" + b"Received: x\r\n" * 200, False),
            (b"Received:\n" * 100, True),
        ):
            self.assertEqual(has_hops(content, 100), hops)
