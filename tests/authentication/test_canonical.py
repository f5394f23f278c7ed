"""Canonical forms: the RFC's own examples, and every odd end that a body can have."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.authentication.canonical import Canonicalization, SignedContent, bottom_up, canonical_body, canonical_field

RELAXED, SIMPLE = Canonicalization.RELAXED, Canonicalization.SIMPLE


class BodyTests(SynchronousTestCase):
    def test_bodies(self) -> None:
        table = {
            # body: (relaxed, simple)
            b" C \r\nD \t E\r\n\r\n\r\n": (b" C\r\nD E\r\n", b" C \r\nD \t E\r\n"),  # RFC 6376 section 3.4.5
            b"": (b"", b"\r\n"),
            b"\r\n": (b"", b"\r\n"),
            b"\r\n\r\n\r\n": (b"", b"\r\n"),
            b" \r\n\t\r\n": (b"", b" \r\n\t\r\n"),
            b" ": (b"", b" \r\n"),
            b"a": (b"a\r\n", b"a\r\n"),
            b"a \t": (b"a\r\n", b"a \t\r\n"),
            b"a\r\n \r\n": (b"a\r\n", b"a\r\n \r\n"),
            b"a\r\n\r\nb\r\n": (b"a\r\n\r\nb\r\n", b"a\r\n\r\nb\r\n"),
            b"a  \t  b\r\n": (b"a b\r\n", b"a  \t  b\r\n"),
            b"\xff\xfe  \xa0 \r\n": (b"\xff\xfe \xa0\r\n", b"\xff\xfe  \xa0 \r\n"),
            b"a\n\r\n": (b"a\n\r\n", b"a\n\r\n"),  # a bare LF is an octet like any other
            b"a\n\r\n\r\n\r\n": (b"a\n\r\n", b"a\n\r\n"),
        }
        for body, expected in table.items():
            self.assertEqual((canonical_body(body, RELAXED), canonical_body(body, SIMPLE)), expected, body)

    def test_a_body_of_nothing_but_blanks_or_line_ends_takes_no_longer_than_any(self) -> None:
        """Halved, not walked through: else a megabyte of it would take hours."""
        self.assertEqual(canonical_body(b" \t" * 500_000 + b"x", RELAXED), b" x\r\n")
        self.assertEqual(canonical_body(b"x" + b"\r\n" * 500_000, SIMPLE), b"x\r\n")


class HeaderTests(SynchronousTestCase):
    def test_fields(self) -> None:
        table = {
            # RFC 6376 section 3.4.5
            b"A: X\r\n": b"a:X\r\n",
            b"B : Y\t\r\n\tZ  \r\n": b"b:Y Z\r\n",
            b"SUBJect:\r\n": b"subject:\r\n",
            b"Subject: \t \r\n": b"subject:\r\n",
            b"s:a\r\n \r\n b\r\n": b"s:a b\r\n",
            b"s:a:b": b"s:a:b",
        }
        for field, relaxed in table.items():
            self.assertEqual(canonical_field(field, RELAXED), relaxed)
            self.assertEqual(canonical_field(field, SIMPLE), field)

    def test_a_message_is_cut_at_its_first_empty_line(self) -> None:
        table: dict[bytes, tuple[list[bytes], bytes]] = {
            b"A: 1\r\nB: 2\r\n\tfolded\r\n\r\nbody\r\n\r\n": ([b"A: 1\r\n", b"B: 2\r\n\tfolded\r\n"], b"body\r\n\r\n"),
            b"A: 1\r\n\r\n": ([b"A: 1\r\n"], b""),
            b"A: 1\r\n": ([b"A: 1\r\n"], b""),
            b"A: 1": ([b"A: 1\r\n"], b""),
            b"\r\nbody": ([], b"body"),
            b"no colon\r\nA: 1\r\n\r\n": ([b"A: 1\r\n"], b""),
            b" folds nothing\r\nA: 1\r\n\r\n": ([b"A: 1\r\n"], b""),
        }
        for content, expected in table.items():
            signed = SignedContent(content)
            self.assertEqual((signed.fields, signed.body), expected, content)

    def test_fields_of_one_name_are_taken_from_the_bottom(self) -> None:
        fields = SignedContent(b"A: 1\r\nB: 2\r\na: 3\r\n\r\n").named([b"a", b"b", b"c"])
        taken = list(bottom_up(fields, [b"a", b"c", b"a", b"b", b"a"]))
        self.assertEqual(taken, [b"a: 3\r\n", b"A: 1\r\n", b"B: 2\r\n"])
