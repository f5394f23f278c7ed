"""Segments that were torn anywhere are completed, and nothing whole is lost."""

import os

import zstandard
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.logs.read import LineStream
from kumotwist.logs.repair import finish
from kumotwist.logs.segment import PLAIN, Disk, Segment, is_finished
from tests.logs.faulty import lines_of

BATCHES = ([b'{"n":1}', b'{"n":2}'], [b'{"n":3,"text":"' + b"ab" * 40 + b'"}'], [b'{"n":4}'] * 30)
LINES = [line for batch in BATCHES for line in batch]


class Written:
    """A segment of three batches; ends: the length of the file after each."""

    def __init__(self, directory: str, level: int) -> None:
        segment = Segment(Disk(), directory, "whole", level=level, opened=0.0)
        self.ends = [0]
        for batch in BATCHES:
            segment.write(b"\n".join(batch) + b"\n")
            self.ends.append(os.path.getsize(segment.path))
        segment.end()
        with open(segment.path, "rb") as file:
            self.octets = file.read()
        segment.seal()

    def batches_within(self, length: int) -> int:
        return sum(end <= length for end in self.ends) - 1


class FinishTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        self.path = os.path.join(self.directory, "torn")
        self.zstd = Written(self.directory, 0)
        self.plain = Written(self.mktemp(), PLAIN)

    def finish(self, octets: bytes, trusted: int | None = None) -> bytes | None:
        """What the file holds after it was finished; None: it was removed."""
        if os.path.exists(self.path):
            os.unlink(self.path)
        with open(self.path, "wb") as file:
            file.write(octets)
        finish(Disk(), self.path, trusted)
        if not os.path.exists(self.path):
            return None
        self.assertTrue(is_finished(os.stat(self.path).st_mode))
        with open(self.path, "rb") as file:
            return file.read()

    def lines(self, octets: bytes, trusted: int | None = None) -> list[bytes]:
        return [] if self.finish(octets, trusted) is None else lines_of(self.path)

    def test_a_frame_torn_at_any_octet_becomes_a_whole_frame_of_whole_batches(self) -> None:
        for length in range(len(self.zstd.octets) + 1):
            content = self.finish(self.zstd.octets[:length])
            count = self.zstd.batches_within(length)
            if count == 0:
                self.assertIsNone(content, length)
                continue
            assert content is not None
            decompressor = zstandard.ZstdDecompressor().decompressobj()
            text = decompressor.decompress(content)
            self.assertTrue(decompressor.eof, length)
            self.assertEqual(text.splitlines(), [line for batch in BATCHES[:count] for line in batch], length)

    def test_a_plain_segment_torn_at_any_octet_keeps_its_whole_lines(self) -> None:
        for length in range(len(self.plain.octets) + 1):
            whole = self.plain.octets[:length].rpartition(b"\n")[0]
            self.assertEqual(self.lines(self.plain.octets[:length]), whole.split(b"\n") if whole else [], length)

    def test_a_torn_segment_with_zeros_behind_keeps_what_was_before(self) -> None:
        for written in (self.zstd, self.plain):
            for zeros in (1, 3, 5000):
                self.assertEqual(self.lines(written.octets[: written.ends[2]] + b"\0" * zeros), LINES[:3])
        self.assertEqual(self.lines(self.plain.octets[: self.plain.ends[2]] + b"\0" * 50 + b'":1}\n{"n":9}\n'), LINES[:3])

    def test_only_what_is_trusted_stays(self) -> None:
        for written in (self.zstd, self.plain):
            self.assertEqual(self.lines(written.octets, written.ends[1]), LINES[:2])
            self.assertEqual(self.lines(written.octets, written.ends[2]), LINES[:3])
            self.assertIsNone(self.finish(written.octets, 0))

    def test_a_whole_segment_stays_as_it_is(self) -> None:
        for written in (self.zstd, self.plain):
            self.assertEqual(self.finish(written.octets), written.octets)

    def test_finishing_twice_changes_nothing(self) -> None:
        once = self.finish(self.zstd.octets[:-1])
        assert once is not None
        self.assertEqual(self.finish(once), once)

    def test_a_repair_that_died_can_be_repaired(self) -> None:
        torn = self.zstd.octets[: self.zstd.ends[2] + 5]
        done = self.finish(torn)
        assert done is not None
        for length in range(self.zstd.ends[2], len(done) + 1):
            self.assertEqual(self.finish(done[:length]), done)

    def test_large_segments_are_walked_whole(self) -> None:
        """Blocks of all kinds: compressed, raw (random), and repeated."""
        segment = Segment(Disk(), self.directory, "large", level=0, opened=0.0)
        batches = [b"x" * 150_000 + b"\n", os.urandom(90_000).replace(b"\n", b"-").replace(b"\0", b"-") + b"\n", b"{}\n" * 40_000]
        for batch in batches:
            segment.write(batch)
        good = os.path.getsize(segment.path)
        segment.write(os.urandom(50_000).replace(b"\0", b"-") + b"\n")
        segment.abandon()
        with open(segment.path, "rb") as file:
            octets = file.read()
        self.assertEqual(self.lines(octets[: good + 1000]), b"".join(batches).split(b"\n")[:-1])
        self.assertEqual(self.lines(octets[: good - 1]), b"".join(batches[:2]).split(b"\n")[:-1])

    def test_a_frame_torn_within_a_long_line_loses_the_line_whole(self) -> None:
        """A line that is longer than a block: the frame could be ended in the middle of it, but not the log."""
        segment = Segment(Disk(), self.directory, "long", level=0, opened=0.0)
        segment.write(b"short\n")
        segment.write(os.urandom(400_000).replace(b"\n", b"-").replace(b"\0", b"-") + b"\n")
        segment.abandon()
        with open(segment.path, "rb") as file:
            octets = file.read()
        for length in (100_000, 200_000, 300_000, len(octets) - 1):
            content = self.finish(octets[:length])
            assert content is not None
            self.assertEqual(zstandard.ZstdDecompressor().decompressobj().decompress(content), b"short\n", length)

    def test_zeros_within_a_block_are_data_that_did_not_arrive(self) -> None:
        segment = Segment(Disk(), self.directory, "holed", level=0, opened=0.0)
        segment.write(b"before\n")
        at = os.path.getsize(segment.path)
        segment.write(os.urandom(20_000).replace(b"\n", b"-").replace(b"\0", b"-") + b"\n")
        segment.abandon()
        with open(segment.path, "rb") as file:
            octets = bytearray(file.read())
        octets[at + 4096 : at + 8192] = bytes(4096)
        self.assertEqual(self.lines(bytes(octets)), [b"before"])

    def test_a_frame_with_a_checksum_is_not_ours_and_stays(self) -> None:
        octets = zstandard.ZstdCompressor(write_checksum=True).compress(b"one\ntwo\n" * 100)
        self.assertEqual(self.finish(octets[:-3]), octets[:-3])

    def test_rubbish_is_removed(self) -> None:
        for octets in (b"", b"\x28", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd" + b"\xff" * 40, b"no newline", b"\0" * 100):
            self.assertIsNone(self.finish(octets), octets)

    def test_a_segment_that_is_gone_needs_nothing(self) -> None:
        finish(Disk(), os.path.join(self.directory, "never was"))
        self.assertEqual(os.listdir(self.directory), ["whole"])

    def test_a_segment_that_is_being_written_is_left_alone(self) -> None:
        segment = Segment(Disk(), self.directory, "living", level=0, opened=0.0)
        segment.write(b"one\n")
        finish(Disk(), segment.path)
        segment.write(b"two\n")
        self.assertEqual(lines_of(segment.path), [b"one", b"two"])
        segment.abandon()


class LineStreamTests(SynchronousTestCase):
    """Reading is forgiving where repairing is strict."""

    def setUp(self) -> None:
        self.zstd = Written(self.mktemp(), 0)
        self.plain = Written(self.mktemp(), PLAIN)

    def test_a_segment_torn_at_any_octet_gives_its_whole_lines(self) -> None:
        for written in (self.zstd, self.plain):
            for length in range(len(written.octets) + 1):
                stream = LineStream()
                lines = list(stream.feed(written.octets[:length]))
                self.assertEqual(lines, LINES[: len(lines)], length)
                self.assertGreaterEqual(len(lines), sum(len(batch) for batch in BATCHES[: written.batches_within(length)]))
                self.assertEqual(stream.fault, "")

    def test_octet_by_octet_it_gives_the_same(self) -> None:
        for written in (self.zstd, self.plain):
            stream = LineStream()
            lines = [line for at in range(len(written.octets)) for line in stream.feed(written.octets[at : at + 1])]
            self.assertEqual(lines, LINES)
            self.assertFalse(stream.mid_line)

    def test_damage_ends_the_reading_with_a_fault(self) -> None:
        good = self.zstd.ends[2]
        stream = LineStream()
        self.assertEqual(list(stream.feed(self.zstd.octets[:good])), LINES[:3])
        self.assertEqual(list(stream.feed(b"\xff\xff\xff" + self.zstd.octets[good + 3 :])), [])
        self.assertNotEqual(stream.fault, "")
        self.assertEqual(list(stream.feed(b"more\n")), [])

    def test_frames_one_behind_the_other_are_one_segment(self) -> None:
        self.assertEqual(list(LineStream().feed(self.zstd.octets * 2)), LINES * 2)

    def test_a_line_without_end_is_given_up(self) -> None:
        self.patch(__import__("kumotwist.logs.read").logs.read, "LONGEST_LINE", 1000)
        stream = LineStream()
        self.assertEqual(list(stream.feed(b"x" * 1500)), [])
        self.assertIn("more than 1000 octets", stream.fault)

    def test_it_says_when_it_stands_in_the_middle_of_a_line(self) -> None:
        stream = LineStream()
        self.assertEqual((list(stream.feed(b"one\ntw")), stream.mid_line), ([b"one"], True))
        self.assertEqual((list(stream.feed(b"o\n")), stream.mid_line), ([b"two"], False))

    def test_memory_stays_bounded_however_well_the_text_compresses(self) -> None:
        """A small piece of compressed text stands for much; it is opened piece by piece."""
        octets = zstandard.ZstdCompressor().compress((b"x" * 999 + b"\n") * 60_000)
        self.assertLess(len(octets), 10_000)
        stream = LineStream()
        most = 0
        decode = zstandard.ZstdDecompressor().decompressobj().decompress

        def counted(piece: bytes) -> bytes:
            nonlocal most
            text = decode(piece)
            most = max(most, len(text))
            return text

        stream._decode = counted
        self.assertEqual(sum(1 for _ in stream.feed(octets)), 60_000)
        self.assertLess(most, 32 << 20)
