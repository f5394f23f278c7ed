"""Reading a log directory: everything once and in order, while it is written, whatever is damaged, as long as one wants."""

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.server import LogSettings, RecordSettings
from kumotwist.logs.read import POLL, LogReader, follow, read_entry
from kumotwist.logs.segment import segment_name
from tests.logs.faulty import LogFilesForTest, failing, segments_in


class ReaderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        self.complaints: list[tuple[str, str]] = []

    def complain(self, path: str, fault: str) -> None:
        self.complaints.append((os.path.basename(path), fault))

    def reader(self, since: float | None = None) -> LogReader:
        reader = LogReader(self.directory, since=since, complain=self.complain)
        self.addCleanup(reader.close)
        return reader

    def log(self, **settings: object) -> LogFilesForTest:
        return LogFilesForTest(LogSettings(log_dir=self.directory, **settings)).start()  # type: ignore[arg-type]

    def put(self, second: int, octets: bytes, suffix: str = "", *, finished: bool = True) -> str:
        path = os.path.join(self.directory, segment_name(second * 10**9, suffix))
        with open(path, "ab") as file:
            file.write(octets)
        os.chmod(path, 0o440 if finished else 0o640)
        return path


class DirectoryTests(ReaderTests):
    def test_segments_are_read_in_the_order_of_their_names(self) -> None:
        self.put(3, b"e\n")
        self.put(1, b"a\nb\n")
        self.put(2, b"c\n", "-x")
        self.put(2, b"d\n", "-y")
        self.assertEqual(list(self.reader().lines()), [b"a", b"b", b"c", b"d", b"e"])

    def test_plain_and_compressed_segments_may_be_mixed(self) -> None:
        for compression in ("none", "zstd"):
            log = self.log(compression=compression)
            log.write(2, text=compression)
            log.files.close()
        self.assertEqual([b"zstd" in line for line in self.reader().lines()], [False, False, True, True])

    def test_a_single_segment_can_be_read(self) -> None:
        path = self.put(1, b"a\nb\n")
        self.put(2, b"c\n")
        self.assertEqual(list(LogReader(path).lines()), [b"a", b"b"])

    def test_other_files_are_passed_over(self) -> None:
        self.put(1, b"a\n")
        with open(os.path.join(self.directory, ".cursor"), "wb") as file:
            file.write(b"x\n")
        os.mkdir(os.path.join(self.directory, "old"))
        self.assertEqual(list(self.reader().lines()), [b"a"])
        self.assertEqual(self.complaints, [])

    def test_a_missing_directory_is_empty(self) -> None:
        self.assertEqual(list(LogReader(self.mktemp()).lines()), [])

    def test_segments_finished_before_the_wanted_time_are_not_opened(self) -> None:
        for second in (1000, 2000, 3000, 4000):
            self.put(second, b"%d\n" % second)
        self.put(500, b"only one of its suffix\n", "-x")
        self.assertEqual(list(self.reader(3500).lines()), [b"only one of its suffix", b"3000", b"4000"])
        self.assertEqual(len(list(self.reader(3050).lines())), 4)  # clocks are allowed a minute
        self.assertEqual(len(list(self.reader(0).lines())), 5)


class DamageTests(ReaderTests):
    """One bad segment costs that segment."""

    def test_a_damaged_segment_is_told_of_and_the_next_is_read(self) -> None:
        log = self.log(max_file_size=200)
        log.write(20)
        log.files.close()
        names = segments_in(self.directory)
        path = os.path.join(self.directory, names[1])
        os.chmod(path, 0o640)
        with open(path, "r+b") as file:
            file.seek(4)
            file.write(b"\xff" * 20)
        os.chmod(path, 0o440)
        lines = list(self.reader().lines())
        self.assertEqual([name for name, _ in self.complaints], [names[1]])
        self.assertEqual(lines, [line for line in log.journal.all if line in lines])
        self.assertGreater(len(lines), 10)

    def test_a_finished_segment_that_ends_in_the_middle_of_a_line_is_told_of(self) -> None:
        self.put(1, b"a\nb")
        self.put(2, b"c\n")
        self.assertEqual(list(self.reader().lines()), [b"a", b"c"])
        self.assertEqual(self.complaints, [("19700101-000001.000000000", "it ends in the middle of a line")])

    def test_an_open_segment_may_end_anywhere(self) -> None:
        self.put(1, b"a\nb", finished=False)
        self.assertEqual(list(self.reader().lines()), [b"a"])
        self.assertEqual(self.complaints, [])

    def test_a_segment_that_cannot_be_opened_is_told_of_once(self) -> None:
        os.mkdir(os.path.join(self.directory, segment_name(1)))
        self.put(2, b"c\n")
        reader = self.reader()
        self.assertEqual(list(reader.lines()), [b"c"])
        self.assertEqual(list(reader.lines()), [])
        self.assertEqual([fault for _, fault in self.complaints], ["Is a directory"])


class FollowTests(ReaderTests):
    """Asked again, a reader gives what is new."""

    def test_each_record_is_given_once_while_segments_grow_and_follow_each_other(self) -> None:
        for compression in ("zstd", "none"):
            log = self.log(compression=compression, max_segment_duration=3.0, per_record={"Bounce": RecordSettings(suffix="-b")})
            log.now += 1000 * (compression == "none")
            reader = self.reader()
            list(reader.lines())
            for step in range(20):
                log.write(step % 3, "Bounce") if step % 3 else None
                log.write(2)
                log.tend(0.7)
                new = list(reader.lines())
                self.assertEqual(sorted(new), sorted(log.journal.all[-(2 + step % 3) :]))
            log.files.close()
            self.assertEqual(list(reader.lines()), [])
            self.assertEqual(reader._open, {})
        self.assertEqual(self.complaints, [])

    def test_what_is_written_between_looking_and_sealing_is_not_missed(self) -> None:
        path = self.put(1, b"a\n", finished=False)
        reader = self.reader()
        self.assertEqual(list(reader.lines()), [b"a"])
        self.put(1, b"b\n", finished=True)
        self.assertEqual(list(reader.lines()), [b"b"])
        os.chmod(path, 0o640)
        self.put(1, b"never\n")
        self.assertEqual(list(reader.lines()), [])

    def test_a_line_is_given_when_it_is_whole(self) -> None:
        reader = self.reader()
        self.put(1, b'{"a":', finished=False)
        self.assertEqual(list(reader.lines()), [])
        self.put(1, b"1}\n", finished=False)
        self.assertEqual(list(reader.lines()), [b'{"a":1}'])

    def test_a_removed_segment_is_read_to_its_end_and_forgotten(self) -> None:
        path = self.put(1, b"a\n", finished=False)
        reader = self.reader()
        list(reader.lines())
        self.put(1, b"b\n", finished=False)
        os.unlink(path)
        self.assertEqual(list(reader.lines()), [b"b"])
        self.assertEqual((reader._open, reader._read), ({}, {path}))
        self.assertEqual((list(reader.lines()), reader._read), ([], set()))

    def test_a_directory_may_come_later(self) -> None:
        os.rmdir(self.directory)
        reader = self.reader()
        self.assertEqual(list(reader.lines()), [])
        os.mkdir(self.directory)
        self.put(1, b"a\n")
        self.assertEqual(list(reader.lines()), [b"a"])

    def test_a_crash_and_its_repair_neither_hide_nor_invent_records(self) -> None:
        log = self.log()
        reader = self.reader()
        log.write(3)
        before = list(reader.lines())
        log.disk.before = failing("sync")
        log.write(2)
        log.disk.die()
        later = LogFilesForTest(LogSettings(log_dir=self.directory), log.journal).start()
        later.write(2) if later.number else None
        after = list(reader.lines())
        self.assertEqual([*before, *after], log.journal.all)
        self.assertEqual(self.complaints, [])

    def test_following_looks_again_every_half_second_until_it_is_stopped(self) -> None:
        clock = Clock()
        reader = self.reader()
        seen: list[bytes] = []
        loop, ended = follow(lambda: seen.extend(reader.lines()), clock)
        self.put(1, b"a\n", finished=False)
        clock.advance(POLL)
        self.put(1, b"b\n", finished=False)
        self.put(2, b"c\n")
        clock.advance(POLL)
        self.assertEqual(seen, [b"a", b"b", b"c"])
        self.assertNoResult(ended)
        loop.stop()
        self.successResultOf(ended)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_what_the_display_raises_ends_the_following(self) -> None:
        def broken() -> None:
            raise BrokenPipeError

        _, ended = follow(broken, Clock())
        self.failureResultOf(ended, BrokenPipeError)


class EntryTests(SynchronousTestCase):
    def test_one_recipient_or_many(self) -> None:
        for text, recipients in ((b'"a@b"', ["a@b"]), (b'["a@b","c@d"]', ["a@b", "c@d"]), (b"[]", [])):
            entry = read_entry(b'{"type":"Delivery","recipient":%s}' % text)
            assert entry is not None
            self.assertEqual(entry.recipients, recipients)

    def test_unknown_fields_and_types_are_tolerated(self) -> None:
        entry = read_entry(b'{"type":"Later","new":{"a":[1]},"timestamp":5,"response":{"code":250,"more":1}}')
        assert entry is not None
        self.assertEqual((entry.type, entry.timestamp, entry.response.single_line), ("Later", 5, "250"))

    def test_text_that_is_no_record(self) -> None:
        for line in (b"", b"hello", b"[]", b'{"id":"no type"}', b'{"type":"X"', b'{"type":"X","id":"\xff"}'):
            self.assertIsNone(read_entry(line), line)
