"""Which record goes where, when segments are closed and synced, what the journal may forget, and what a failing disk costs."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.server import LogSettings, RecordSettings
from kumotwist.logs import files
from kumotwist.logs.segment import is_finished
from tests.logs.faulty import FaultyDisk, Journal, LogFilesForTest, failing, lines_in, lines_of, segments_in


class LogFilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = os.path.join(self.mktemp(), "log")

    def log(self, **settings: object) -> LogFilesForTest:
        chosen = LogSettings(log_dir=self.directory, **settings)  # type: ignore[arg-type]
        return LogFilesForTest(chosen).start()

    def segments(self) -> list[str]:
        return segments_in(self.directory)

    def mode(self, name: str) -> int:
        return stat.S_IMODE(os.stat(os.path.join(self.directory, name)).st_mode)


class SegmentTests(LogFilesTests):
    """Opening and closing."""

    def test_nothing_is_made_before_a_record_needs_it(self) -> None:
        log = self.log(max_segment_duration=10.0)
        log.tend(100)
        self.assertFalse(os.path.exists(self.directory))
        log.write()
        self.assertEqual(self.segments(), ["19700101-001820.000000000"])

    def test_the_group_can_read_a_segment_and_nobody_else(self) -> None:
        log = self.log()
        before = os.umask(0o077)
        try:
            log.write()
        finally:
            os.umask(before)
        self.assertEqual(self.mode(self.segments()[0]), 0o640)
        log.files.close()
        self.assertEqual(self.mode(self.segments()[0]), 0o440)

    def test_a_reader_of_the_open_segment_sees_every_record_at_once(self) -> None:
        for compression in ("zstd", "none"):
            self.directory = self.mktemp()
            log = self.log(compression=compression)
            for count in range(1, 6):
                log.write()
                self.assertEqual(lines_in(self.directory), log.journal.all[:count])

    def test_a_segment_is_closed_at_its_size(self) -> None:
        size = len(Journal().commit(1)[2]) + 1
        log = self.log(max_file_size=3 * size)
        log.write(7)
        modes = [self.mode(name) for name in self.segments()]
        self.assertEqual(modes, [0o440, 0o440, 0o640])
        counts = [len(lines_of(os.path.join(self.directory, name))) for name in self.segments()]
        self.assertEqual(counts, [3, 3, 1])

    def test_a_segment_is_closed_at_its_age(self) -> None:
        log = self.log(max_segment_duration=10.0)
        log.write()
        log.tend(9.9)
        self.assertEqual([self.mode(name) for name in self.segments()], [0o640])
        log.tend(0.1)
        self.assertEqual([self.mode(name) for name in self.segments()], [0o440])
        log.tend(5)
        log.write()
        self.assertEqual(self.segments(), ["19700101-001640.000000000", "19700101-001655.000000000"])

    def test_without_a_duration_a_segment_stays_open(self) -> None:
        log = self.log()
        log.write()
        log.tend(1e6)
        self.assertEqual([self.mode(name) for name in self.segments()], [0o640])

    def test_names_grow_when_the_clock_is_set_back(self) -> None:
        log = self.log(max_segment_duration=10.0)
        log.write()
        log.tend(10)
        log.now -= 500
        log.write()
        self.assertEqual(self.segments(), ["19700101-001640.000000000", "19700101-001640.000000001"])
        self.assertEqual(lines_in(self.directory), log.journal.all)

    def test_names_grow_over_restarts_too(self) -> None:
        os.makedirs(self.directory)
        open(os.path.join(self.directory, "20990101-000000.000000007"), "wb").close()
        log = self.log()
        log.write()
        self.assertEqual(self.segments(), ["20990101-000000.000000008"])  # the empty one held nothing

    def test_a_name_that_another_server_took_is_passed_over(self) -> None:
        log = self.log()
        os.makedirs(self.directory)
        open(os.path.join(self.directory, "19700101-001640.000000000"), "wb").close()
        log.write()
        self.assertEqual(self.segments()[1], "19700101-001640.000000001")

    def test_closing_finishes_every_segment(self) -> None:
        log = self.log(per_record={"Bounce": RecordSettings(suffix="-b")})
        log.write(2)
        log.write(1, "Bounce")
        log.files.close()
        self.assertEqual([self.mode(name) for name in self.segments()], [0o440, 0o440])
        self.assertEqual(log.files.durable, 3)

    def test_large_batches_and_large_records_go_through_whole(self) -> None:
        log = self.log()
        log.write(3000)
        log.write(2, text="x" * 300_000)
        self.assertEqual(lines_in(self.directory), log.journal.all)


class RouteTests(LogFilesTests):
    """`per_record`."""

    def log_of_four(self, **per_record: RecordSettings) -> LogFilesForTest:
        log = self.log(per_record=per_record)
        for kind in ("Reception", "Delivery", "Bounce", "Rejection"):
            log.write(1, kind)
        return log

    def found(self, log: LogFilesForTest) -> dict[str, list[str]]:
        """Directory and suffix → types of the records there."""
        found: dict[str, list[str]] = {}
        for top, _, names in os.walk(os.path.dirname(self.directory)):
            for name in names:
                key = os.path.relpath(top, self.directory) + "/" + name[25:]
                kinds = [log.journal.kinds[log.journal.all.index(line) + 1] for line in lines_of(os.path.join(top, name))]
                found.setdefault(key, []).extend(kinds)
        return {key: sorted(kinds) for key, kinds in found.items()}

    def test_everything_goes_to_one_segment_by_default(self) -> None:
        self.assertEqual(self.found(self.log_of_four()), {"./": ["Bounce", "Delivery", "Reception", "Rejection"]})

    def test_types_go_where_their_entries_say(self) -> None:
        other = os.path.join(os.path.dirname(self.directory), "other")
        log = self.log_of_four(
            Bounce=RecordSettings(suffix="-bad"), Rejection=RecordSettings(suffix="-bad"), Delivery=RecordSettings(log_dir=other)
        )
        self.assertEqual(self.found(log), {"./-bad": ["Bounce", "Rejection"], "../other/": ["Delivery"], "./": ["Reception"]})

    def test_a_disabled_type_is_not_written_and_not_kept_in_the_journal(self) -> None:
        log = self.log_of_four(Rejection=RecordSettings(enable=False))
        self.assertEqual(self.found(log), {"./": ["Bounce", "Delivery", "Reception"]})
        log.tend(1)
        self.assertEqual(log.journal.kept, {})

    def test_any_holds_for_types_without_an_entry(self) -> None:
        log = self.log_of_four(Any=RecordSettings(enable=False), Delivery=RecordSettings())
        self.assertEqual(self.found(log), {"./": ["Delivery"]})
        log = self.log_of_four(Any=RecordSettings(suffix=".all"), Bounce=RecordSettings(enable=False))
        self.assertEqual(self.found(log)["./.all"], ["Delivery", "Reception", "Rejection"])

    def test_with_everything_disabled_everything_is_forgotten(self) -> None:
        log = self.log_of_four(Any=RecordSettings(enable=False))
        log.tend(1)
        self.assertEqual((self.found(log), log.journal.kept), ({}, {}))


class SyncTests(LogFilesTests):
    """What reaches the disk when, and what the journal is told."""

    def test_syncs_come_at_most_once_a_second(self) -> None:
        log = self.log()
        log.tend(5)
        for _ in range(50):
            log.write()
            log.tend(0.1)
        self.assertEqual(log.disk.calls.count("sync"), 5)

    def test_an_idle_log_is_not_synced(self) -> None:
        log = self.log()
        log.write()
        for _ in range(10):
            log.tend(1)
        self.assertEqual(log.disk.calls.count("sync"), 1)

    def test_a_record_is_forgotten_only_after_the_sync(self) -> None:
        log = self.log()
        log.write(3)
        log.tend(0.5)
        self.assertEqual(log.files.durable, 0)
        log.tend(0.5)
        self.assertEqual(log.files.durable, 3)

    def test_a_new_segments_name_is_synced_before_its_records_are_forgotten(self) -> None:
        log = self.log(max_segment_duration=10.0)
        for _ in range(3):
            log.write()
            log.tend(1)
        self.assertEqual([call for call in log.disk.calls if call.startswith("sync")], ["sync_directory", "sync", "sync", "sync"])

    def test_the_slowest_file_decides(self) -> None:
        log = self.log(per_record={"Bounce": RecordSettings(suffix="-b")})
        log.write(2)
        log.write(1, "Bounce")
        log.disk.before = failing("sync")
        log.tend(1)
        self.assertEqual(log.files.durable, 0)
        log.disk.before = failing()
        log.tend(5)
        log.tend(1)
        self.assertEqual(log.files.durable, 3)

    def test_a_file_that_gets_nothing_holds_nothing_up(self) -> None:
        log = self.log(per_record={"Bounce": RecordSettings(suffix="-b")})
        log.write(1, "Bounce")
        log.tend(1)
        log.write(5)
        log.tend(1)
        self.assertEqual(log.files.durable, 6)

    def test_it_says_when_it_wants_to_be_called(self) -> None:
        log = self.log(max_segment_duration=60.0)
        self.assertIsNone(log.files.next_due())
        log.now = 2000.0
        log.write()
        self.assertEqual(log.files.next_due(), 1001.0)  # the last sync was at 1000
        log.tend()
        self.assertEqual(log.files.next_due(), 2060.0)
        log.tend(60)
        self.assertIsNone(log.files.next_due())

    def test_the_lag_counts_what_is_not_yet_durable(self) -> None:
        log = self.log()
        self.assertEqual(log.files.lag(0), 0)
        log.number = 5000
        log.write(4)
        self.assertEqual(log.files.lag(5004), 4)
        log.tend(1)
        self.assertEqual(log.files.lag(5006), 2)

    def test_a_clock_that_is_set_back_delays_no_sync(self) -> None:
        log = self.log()
        log.write()
        log.tend(-500)
        self.assertEqual(log.files.durable, 1)


class FailureTests(LogFilesTests):
    """Whatever fails, nothing is lost, nothing is doubled, nothing else stops, and the operator is told once."""

    def everything_once(self, log: LogFilesForTest, *directories: str) -> None:
        found = [line for directory in directories or (self.directory,) for line in lines_in(directory)]
        self.assertEqual(Counter(found), Counter(log.journal.all))

    def test_each_kind_of_failure_is_told_once_and_survived(self) -> None:
        for code in (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES):
            for operation in ("create", "write", "sync", "sync_directory", "seal", "close", "still_named"):
                self.directory = self.mktemp()
                log = self.log(max_segment_duration=2.0)
                log.write(2)
                log.tend(1)
                log.disk.before = failing(operation, code=code)
                for _ in range(30):
                    log.write()
                    log.tend(0.5)
                self.assertEqual(log.reports.kinds, ["fails"], (operation, code))
                self.assertFalse(log.files.healthy)
                self.assertIn(os.strerror(code), str(log.reports.said[0]))
                log.disk.before = failing()
                log.tend(5)
                log.tend(1)
                self.assertEqual(log.reports.kinds, ["fails", "works"], (operation, code))
                self.assertTrue(log.files.healthy)
                log.write()
                log.files.close()
                self.everything_once(log)
                self.assertEqual(log.files.durable, log.number)

    def test_one_failure_of_any_operation_at_any_time(self) -> None:
        log = self.log(max_segment_duration=3.0)
        self.some_days_work(log)
        for count in range(len(log.disk.calls)):
            self.directory = self.mktemp()
            disk = FaultyDisk()
            log = LogFilesForTest(LogSettings(log_dir=self.directory, max_segment_duration=3.0), disk=disk)

            def before(name: str, count: int = count, disk: FaultyDisk = disk) -> None:
                if len(disk.calls) == count + 1:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))

            disk.before = before
            self.some_days_work(log.start())
            log.tend(6)
            log.files.close()
            self.everything_once(log)
            self.assertTrue(all(self.mode(name) == 0o440 for name in self.segments()), count)

    def some_days_work(self, log: LogFilesForTest) -> None:
        for _ in range(12):
            log.write(2)
            log.tend(0.6)

    def test_while_it_fails_it_tries_every_five_seconds(self) -> None:
        log = self.log()
        log.disk.before = failing("create")
        log.write()
        tries = []
        for _ in range(40):
            log.tend(0.5)
            tries.append(log.disk.calls.count("create"))
        self.assertEqual([tries.count(number) for number in (1, 2, 3, 4)], [9, 10, 10, 10])
        self.assertEqual(log.files.next_due(), 1000.0 + 20 + 5)

    def test_a_half_written_record_is_cut_off_before_anything_follows(self) -> None:
        for compression in ("zstd", "none"):
            self.directory = self.mktemp()
            log = self.log(compression=compression)
            log.write(2)
            log.tend(1)

            def write(fd: int, octets: bytes | memoryview) -> int:
                os.write(fd, octets[: len(octets) // 2])
                raise OSError(errno.ENOSPC, "full")

            log.disk.write = write  # type: ignore[method-assign]
            log.write(3)
            del log.disk.write
            log.tend(5)
            log.files.close()
            self.everything_once(log)
            self.assertEqual(len(self.segments()), 2)

    def test_what_was_not_synced_is_not_trusted_after_a_failed_sync(self) -> None:
        """The system may have dropped the pages whose writing failed, and show them all the same."""
        log = self.log()
        log.write(2)
        log.tend(1)
        log.write(3)
        log.disk.before = failing("sync", code=errno.EIO)
        log.tend(1)
        log.disk.before = failing()
        log.tend(5)
        log.files.close()
        first, second = (lines_of(os.path.join(self.directory, name)) for name in self.segments())
        self.assertEqual((len(first), len(second)), (2, 3))

    def test_a_removed_segment_is_noticed_and_written_again(self) -> None:
        log = self.log()
        log.write(2)
        os.unlink(os.path.join(self.directory, self.segments()[0]))
        log.tend(1)
        self.assertEqual(log.reports.kinds, ["fails"])
        log.tend(5)
        log.files.close()
        self.everything_once(log)

    def test_a_removed_directory_is_made_again(self) -> None:
        log = self.log()
        log.write(2)
        os.rename(self.directory, self.directory + ".away")
        os.unlink(os.path.join(self.directory + ".away", segments_in(self.directory + ".away")[0]))
        log.tend(1)
        log.tend(5)
        log.files.close()
        self.everything_once(log)

    def test_a_directory_that_is_none_stops_only_what_goes_there(self) -> None:
        dead = self.mktemp()
        open(dead, "wb").close()
        log = self.log(per_record={"Bounce": RecordSettings(log_dir=dead)})
        log.write(2)
        log.write(1, "Bounce")
        log.write(2)
        log.tend(1)
        self.assertEqual(len(lines_in(self.directory)), 4)
        self.assertEqual(log.reports.said[0][0], f"{dead}/*")
        self.assertEqual(log.files.durable, 0)  # at the start nobody knows yet what the journal has for the dead one
        os.unlink(dead)
        log.tend(5)
        log.tend(1)
        self.assertEqual(log.files.durable, 5)
        self.everything_once(log, self.directory, dead)

    def test_a_long_absence_is_made_up_in_slices_while_the_others_go_on(self) -> None:
        self.patch(files, "SLICE", 10)
        other = self.mktemp()
        log = self.log(per_record={"Bounce": RecordSettings(log_dir=other)})
        log.write(1, "Bounce")
        log.tend(1)
        log.disk.before = failing("sync")
        log.write(1, "Bounce")
        log.tend(1)
        log.disk.before = failing()
        for _ in range(4):
            log.write(10)
            log.write(5, "Bounce")
        log.now += 5
        counts: list[int] = []
        while log.files.busy or not counts:
            log.tend(0.01)
            log.write(1)
            counts.append(len(lines_in(other)))
        self.assertEqual(counts, sorted(counts))
        self.assertGreater(len(set(counts)), 3)
        log.write(3, "Bounce")
        log.files.close()
        self.everything_once(log, self.directory, other)

    def test_a_journal_that_cannot_be_read_is_asked_again(self) -> None:
        log = self.log()
        log.write(1)
        log.files.fall_behind()
        log.write(1)
        asked = log.journal.after

        def broken(number: int) -> object:
            raise RuntimeError("no such column family")

        log.files._reread = broken  # type: ignore[assignment]
        log.tend(1)
        self.assertIn("no such column family", str(log.reports.said))
        log.files._reread = asked
        log.tend(5)
        log.files.close()
        self.everything_once(log)
        self.assertEqual(log.reports.kinds, ["fails", "works"])

    def test_the_journal_is_read_only_as_far_as_it_is_known_to_be_committed(self) -> None:
        """What is younger is handed over when its sync is done; until then it may be taken back."""
        log = self.log()
        log.write(2)
        log.files.fall_behind()
        log.journal.kept[3] = b'{"type":"Delivery","id":"taken back","timestamp":1}'
        log.tend(1)
        self.assertFalse(log.files.busy)
        self.assertEqual(lines_in(self.directory), log.journal.all)
        log.write(1)
        self.assertEqual(lines_in(self.directory), log.journal.all)

    def test_after_something_unforeseen_all_is_written_again_from_what_is_durable(self) -> None:
        log = self.log()
        log.write(2)
        log.tend(1)
        log.write(2)
        log.files.abandon()
        log.write(2)
        log.tend(5)
        log.files.close()
        self.everything_once(log)


class StartTests(LogFilesTests):
    """What an earlier run left behind."""

    def earlier(self, count: int = 5, **settings: object) -> LogFilesForTest:
        """A run that died after the last record was written, before any was forgotten."""
        log = self.log(**settings)
        log.write(count)
        log.disk.die()
        return log

    def later(self, journal: Journal, **settings: object) -> LogFilesForTest:
        return LogFilesForTest(LogSettings(log_dir=self.directory, **settings), journal).start()  # type: ignore[arg-type]

    def test_what_is_in_the_segment_already_is_not_written_again(self) -> None:
        later = self.later(self.earlier().journal)
        self.assertEqual(lines_in(self.directory), later.journal.all)
        self.assertEqual([self.mode(name) for name in self.segments()], [0o440])
        later.tend(1)
        self.assertEqual(later.journal.kept, {})

    def test_what_is_not_in_any_segment_is_written(self) -> None:
        journal = self.earlier().journal
        for number in range(6, 9):
            journal.commit(number)
        later = self.later(journal)
        self.assertEqual(lines_in(self.directory), later.journal.all)

    def test_nothing_is_compared_that_cannot_hold_a_record_of_the_journal(self) -> None:
        """Segments of days before are not read."""
        for day in range(1, 8):
            log = self.log()
            log.now = 86400.0 * day
            log.write()
            log.files.close()
        journal = Journal()
        journal.commit(1)
        journal.kept[1] = journal.all[0] = b'{"type":"Delivery","timestamp":%d}' % (86400 * 7 - 30)
        later = self.later(journal)
        self.assertEqual(later.disk.calls.count("look"), 2)  # the last, and the one that was open when it began

    def test_a_segment_of_a_living_server_is_left_alone(self) -> None:
        living = self.log()
        living.write(2)
        later = LogFilesForTest(LogSettings(log_dir=self.directory))
        later.start()
        later.write(1)
        self.assertEqual([self.mode(name) for name in self.segments()], [0o640, 0o640])
        living.write(2)
        living.files.close()
        later.files.close()
        self.assertEqual(Counter(lines_in(self.directory)), Counter([*living.journal.all, *later.journal.all]))

    def test_files_that_are_no_segments_are_left_alone(self) -> None:
        os.makedirs(os.path.join(self.directory, "20200101-000000.000000000"))
        for name in ("notes.txt", ".cursor", "20200101", "20201301-000000.000000000"):
            with open(os.path.join(self.directory, name), "wb") as file:
                file.write(b"torn")
        before = {name: self.mode(name) for name in self.segments()}
        log = self.log()
        self.assertEqual({name: self.mode(name) for name in self.segments()}, before)
        self.assertTrue(log.files.healthy)

    def test_segments_with_a_suffix_that_is_not_used_any_more_are_finished_too(self) -> None:
        self.earlier(per_record={"Any": RecordSettings(suffix="-old")})
        self.later(Journal())
        self.assertEqual([(name[25:], self.mode(name)) for name in self.segments()], [("-old", 0o440)])

    def test_somebody_elses_segment_is_told_of_and_left(self) -> None:
        journal = self.earlier().journal
        disk = FaultyDisk(failing("reopen", "look", code=errno.EACCES))
        log = LogFilesForTest(LogSettings(log_dir=self.directory), journal, disk).start()
        self.assertIn("left as it is", str(log.reports.said))
        self.assertEqual(len(lines_in(self.directory)), 10)  # better twice than not at all
        self.assertTrue(log.files.healthy)

    def test_a_failing_start_is_tried_again(self) -> None:
        for operation in ("names", "reopen", "read", "truncate", "look"):
            self.directory = self.mktemp()
            earlier = self.earlier()
            earlier.journal.commit(6)
            disk = FaultyDisk(failing(operation, code=errno.EIO))
            log = LogFilesForTest(LogSettings(log_dir=self.directory), earlier.journal, disk).start()
            self.assertEqual(log.reports.kinds, ["fails"], operation)
            log.number = 6
            log.write()
            disk.before = failing()
            log.tend(5)
            log.files.close()
            self.assertEqual(lines_in(self.directory), log.journal.all, operation)
            self.assertTrue(all(is_finished(self.mode(name)) for name in self.segments()))

    def test_leftovers_that_cannot_be_read_are_asked_for_again(self) -> None:
        journal = Journal()
        for number in range(1, 4):
            journal.commit(number)

        def broken() -> Iterator[tuple[int, bytes]]:
            yield 1, journal.all[0]
            raise OSError(errno.EIO, "the spool's disk")

        log = LogFilesForTest(LogSettings(log_dir=self.directory), journal)
        log.files.start(broken())
        log.tend()
        self.assertEqual(log.reports.kinds, ["fails"])
        log.tend(5)
        log.tend(1)
        self.assertEqual(lines_in(self.directory), journal.all)
        self.assertEqual((log.reports.kinds, journal.kept), (["fails", "works"], {}))

    def test_records_that_come_while_the_leftovers_are_written_follow_them(self) -> None:
        self.patch(files, "SLICE", 10)
        journal = Journal()
        for number in range(1, 36):
            journal.commit(number)
        log = self.later(journal)
        while log.files.busy:
            log.write(2)
            log.tend(0.1)
        log.write(2)
        self.assertEqual(lines_in(self.directory), journal.all)

    def test_what_the_journal_yields_twice_is_written_once(self) -> None:
        """The leftovers may be read while new records are committed: then they contain what is also handed over."""
        journal = Journal()
        journal.commit(1)
        log = LogFilesForTest(LogSettings(log_dir=self.directory), journal)
        log.files.start(journal.after(0))
        batch = [journal.commit(2), journal.commit(3)]
        log.files.write(batch[:1])
        log.files.start(journal.after(0))
        log.tend()
        log.files.write(batch)
        self.assertEqual(lines_in(self.directory), journal.all)

    def test_equal_records_are_each_written(self) -> None:
        """Two clients' identical refusals in the same microsecond."""
        journal = Journal()
        same = journal.commit(1)[2]
        for number in (2, 3, 4):
            journal.kept[number] = same
            journal.all.append(same)
        log = self.later(journal)
        self.assertEqual(lines_in(self.directory), [same] * 4)
        log.disk.die()
        journal.all.append(journal.commit(5)[2])
        self.later(journal)
        self.assertEqual(len(lines_in(self.directory)), 5)
