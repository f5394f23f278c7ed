"""A segment's name, and the file while it is written."""

import os

import zstandard
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.logs.segment import PLAIN, Disk, Segment, opened_at, segment_name, suffix_of, write_all
from tests.logs.faulty import lines_of


class NameTests(SynchronousTestCase):
    def test_a_name_is_the_time_in_utc_and_the_suffix(self) -> None:
        self.assertEqual(segment_name(1_785_844_800_123_456_789), "20260804-120000.123456789")
        self.assertEqual(segment_name(5, ".bounces"), "19700101-000000.000000005.bounces")

    def test_a_name_can_be_read_back(self) -> None:
        for nanoseconds in (0, 999_999_999, 1_785_844_800_123_456_789):
            name = segment_name(nanoseconds, "-x")
            self.assertEqual((opened_at(name), suffix_of(name)), (nanoseconds, "-x"))

    def test_other_names_are_no_segments(self) -> None:
        for name in (
            *(
                "",
                ".20260804-120000.123456789",
                "20260804-120000.12345678",
                "20260804-120000:123456789",
                "20261304-120000.123456789",
            ),
            *("20260804-120000.12345678x", "20260804_120000.123456789", "tailer-checkpoint", "20260804-120000.²23456789"),
        ):
            self.assertIsNone(opened_at(name), name)


class WritingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()

    def segment(self, level: int = 0) -> Segment:
        return Segment(Disk(), self.directory, segment_name(0), level=level, opened=0.0)

    def content(self, segment: Segment) -> bytes:
        with open(segment.path, "rb") as file:
            return file.read()

    def test_a_finished_segment_is_one_zstd_frame_that_any_tool_reads(self) -> None:
        segment = self.segment()
        segment.write(b"one\n")
        segment.write(b"two\nthree\n")
        segment.end()
        content = self.content(segment)
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        self.assertEqual(decompressor.decompress(content), b"one\ntwo\nthree\n")
        self.assertTrue(decompressor.eof)
        self.assertEqual(decompressor.unused_data, b"")
        segment.seal()

    def test_without_compression_it_is_the_lines(self) -> None:
        segment = self.segment(PLAIN)
        segment.write(b"one\ntwo\n")
        segment.end()
        self.assertEqual(self.content(segment), b"one\ntwo\n")
        segment.seal()

    def test_the_compression_level_is_heeded(self) -> None:
        text = b"".join(b"%d %d\n" % (number * 7919, number * 104729 % 1000) for number in range(3000))
        sizes = []
        for level in (1, 19):
            self.directory = self.mktemp()
            segment = self.segment(level)
            segment.write(text)
            segment.end()
            sizes.append(len(self.content(segment)))
            segment.seal()
        self.assertLess(sizes[1], sizes[0])

    def test_its_size_counts_octets_before_compression(self) -> None:
        segment = self.segment()
        segment.write(b"x" * 9999 + b"\n")
        self.assertEqual(segment.size, 10000)
        self.assertLess(len(self.content(segment)), 100)
        segment.abandon()

    def test_what_is_durable_grows_with_each_sync(self) -> None:
        segment = self.segment()
        segment.write(b"one\n")
        self.assertEqual(segment.durable, 0)
        segment.sync()
        self.assertEqual(segment.durable, len(self.content(segment)))
        segment.abandon()

    def test_a_taken_name_is_an_error(self) -> None:
        segment = self.segment()
        self.assertRaises(FileExistsError, self.segment)
        segment.abandon()

    def test_an_abandoned_segment_can_be_read_as_far_as_it_goes(self) -> None:
        segment = self.segment()
        segment.write(b"one\n")
        segment.abandon()
        self.assertEqual(lines_of(segment.path), [b"one"])

    def test_a_system_that_takes_little_at_a_time_gets_it_all(self) -> None:
        class Trickle(Disk):
            def write(self, fd: int, octets: bytes | memoryview) -> int:
                return os.write(fd, octets[:3])

        disk = Trickle()
        path = self.mktemp()
        fd = disk.create(path)
        write_all(disk, fd, b"0123456789")
        disk.close(fd)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"0123456789")
