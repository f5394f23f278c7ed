"""Message data on the wire: stuffing, its end, the shape of its lines."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.smtp.dotted import END, UntilDot, has_bare_cr_or_lf, has_long_line, stuff, unstuff, with_crlf

# What matters to this module, often enough to meet each other.
TRICKY = st.lists(st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"x", b"..", b"\r\n.", b"\r\n.\r\n", b"\0", b"\x85"])).map(b"".join)
LINES = st.lists(st.sampled_from([b"", b".", b"..", b".x", b"x.", b"text"])).map(
    lambda lines: b"".join(line + b"\r\n" for line in lines)
)


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    """The octets in pieces."""
    edges = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    return [octets[begin:end] for begin, end in pairwise(edges)]


def fed(pieces: list[bytes], limit: int = 1000) -> tuple[bytes | None, bytes]:
    """What UntilDot makes of data in pieces: the content, and what is left behind its end."""
    until_dot = UntilDot(limit)
    for number, piece in enumerate(pieces):
        end = until_dot.feed(piece, 0)
        if end >= 0:
            return until_dot.content(), piece[end:] + b"".join(pieces[number + 1 :])
    raise AssertionError(f"no end in {pieces}")


class StuffTests(SynchronousTestCase):
    """stuff and unstuff."""

    def test_dots_at_the_beginning_of_lines_are_doubled(self) -> None:
        for content, sent in (
            (b"a\r\n", b"a\r\n.\r\n"),
            (b".a\r\n", b"..a\r\n.\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b"..\r\n.", b"...\r\n..\r\n.\r\n"),
            (b"a.b\r\n", b"a.b\r\n.\r\n"),
            (b"a\n.\nb\r\n", b"a\n..\nb\r\n.\r\n"),
            (b"a\n.\r\n", b"a\n..\r\n.\r\n"),
            (b"a\r.\r\n", b"a\r.\r\n.\r\n"),
        ):
            self.assertEqual(stuff(content), sent)

    def test_the_end_is_always_crlf_dot_crlf(self) -> None:
        for content in (b"", b"a", b"a\r", b"a\n", b"a\r\n", b"\r\n", b"."):
            self.assertTrue(stuff(content).endswith(END), content)

    @settings(deadline=None, database=None)
    @given(LINES)
    def test_lines_come_through_unchanged(self, content: bytes) -> None:
        self.assertEqual(unstuff(stuff(content).removesuffix(b".\r\n")), content if content else b"\r\n")

    @settings(deadline=None, database=None)
    @given(TRICKY)
    def test_nothing_in_a_message_ends_it(self, content: bytes) -> None:
        sent = stuff(content)
        self.assertEqual(sent.find(END), len(sent) - len(END))
        # Nor for a receiver that takes a bare LF for the end of a line.
        self.assertNotIn(b"\n.\n", sent)
        self.assertEqual(sent.find(b"\n.\r\n"), len(sent) - len(END) + 1)


class LineEndTests(SynchronousTestCase):
    """has_bare_cr_or_lf, with_crlf, has_long_line."""

    def test_what_is_bare(self) -> None:
        for content, bare in (
            (b"", False),
            (b"a", False),
            (b"a\r\nb\r\n", False),
            (b"\r\n\r\n", False),
            (b"a\x85b\x0bc\x0cd\xe2\x80\xa8e\x1c", False),  # line ends only for others
            (b"a\n", True),
            (b"a\r", True),
            (b"a\r\r\n", True),
            (b"a\r\n\n", True),
            (b"\n\r", True),
            (b"a\r\n" * 1000 + b"\n", True),
            (b"a\r\n" * 1000 + b"\r", True),
        ):
            self.assertEqual(has_bare_cr_or_lf(content), bare, content)

    @settings(deadline=None, database=None)
    @given(TRICKY)
    def test_bare_is_what_is_left_without_pairs(self, content: bytes) -> None:
        rest = content.replace(b"\r\n", b"")
        pairs = content.count(b"\r\n")
        bare = b"\r" in rest or b"\n" in rest if pairs == 0 else (content.count(b"\r"), content.count(b"\n")) != (pairs, pairs)
        self.assertEqual(has_bare_cr_or_lf(content), bare)

    @settings(deadline=None, database=None)
    @given(TRICKY)
    def test_repaired_content_has_nothing_bare_and_loses_nothing(self, content: bytes) -> None:
        repaired = with_crlf(content)
        self.assertFalse(has_bare_cr_or_lf(repaired))
        self.assertEqual(repaired.translate(None, b"\r\n"), content.translate(None, b"\r\n"))
        self.assertEqual(with_crlf(repaired), repaired)

    @settings(deadline=None, database=None)
    @given(st.lists(st.integers(0, 12)), st.booleans())
    def test_a_long_line_is_found_wherever_it_is(self, lengths: list[int], ended: bool) -> None:
        content = b"\r\n".join(b"x" * length for length in lengths) + (b"\r\n" if ended else b"")
        self.assertEqual(has_long_line(content, 10), any(length > 10 for length in lengths))


class UntilDotTests(SynchronousTestCase):
    """UntilDot."""

    def test_the_end_and_what_is_behind_it(self) -> None:
        for data, content, rest in (
            (b".\r\n", b"", b""),
            (b".\r\nNOOP\r\n", b"", b"NOOP\r\n"),
            (b"\r\n.\r\n", b"\r\n", b""),
            (b"a\r\n.\r\n.\r\n", b"a\r\n", b".\r\n"),
            (b"..\r\n.\r\n", b".\r\n", b""),
            (b"a\r\n..\r\n..b\r\n.c\r\n.\r\nQUIT\r\n", b"a\r\n.\r\n.b\r\nc\r\n", b"QUIT\r\n"),
            (b"a\n.\n\r\n.\r\n", b"a\n.\n\r\n", b""),
            (b"a\r\n.\r\r\n.\r\n", b"a\r\n\r\r\n", b""),
        ):
            self.assertEqual(fed([data]), (content, rest), data)
            self.assertEqual(fed([data[at : at + 1] for at in range(len(data))]), (content, rest), data)

    @settings(deadline=None, database=None, max_examples=300)
    @given(TRICKY, TRICKY, st.lists(st.integers(0, 100), max_size=6))
    def test_where_chunks_are_cut_does_not_matter(self, content: bytes, rest: bytes, places: list[int]) -> None:
        data = stuff(content) + rest
        expected = content if content.endswith(b"\r\n") else content + b"\r\n"
        self.assertEqual(fed([data]), fed(cut(data, places)))
        if b"\n." not in content.replace(b"\r\n.", b""):  # there stuff doubles dots that are none to us
            self.assertEqual(fed([data]), (expected, rest))

    def test_it_begins_anywhere_in_the_first_chunk(self) -> None:
        until_dot = UntilDot(100)
        self.assertEqual(until_dot.feed(b"DATA\r\na\r\n.\r\nNOOP", 6), 12)
        self.assertEqual(until_dot.content(), b"a\r\n")

    def test_the_limit_counts_octets_without_stuffing(self) -> None:
        for data, content in (
            (b"12345\r\n.\r\n", b"12345\r\n"),
            (b"..345\r\n.\r\n", b".345\r\n"),
            (b"..3456\r\n.\r\n", b".3456\r\n"),
        ):
            self.assertEqual(fed([data], limit=7), (content, b""))
        self.assertEqual(fed([b"123456\r\n.\r\nx"], limit=7), (None, b"x"))

    def test_what_is_too_big_is_forgotten_but_its_end_is_found(self) -> None:
        until_dot = UntilDot(1000)
        most = 0
        for _ in range(1000):
            self.assertEqual(until_dot.feed(b"x" * 498 + b"\r\n", 0), -1)
            most = max(most, len(until_dot._kept))
        self.assertLess(most, 2000)
        self.assertEqual([until_dot.feed(piece, 0) for piece in (b".", b"\r", b"\nNOOP")], [-1, -1, 1])
        self.assertIsNone(until_dot.content())

    def test_a_message_in_tiny_pieces_takes_no_more_memory_than_in_one(self) -> None:
        until_dot = UntilDot(10_000)
        for _ in range(2000):
            until_dot.feed(b"ab", 0)
        self.assertEqual(len(until_dot._kept), 4002)
        self.assertIsInstance(until_dot._kept, bytearray)
