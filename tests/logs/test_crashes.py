"""
However and whenever the server dies, each record is in the files exactly once after the next start.

The scenario is run again and again and killed before each of its file operations; then the log is started anew on what
is on the disk and in the journal.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.server import LogSettings, RecordSettings
from kumotwist.logs.segment import is_finished
from tests.logs.faulty import FaultyDisk, Journal, Killed, LogFilesForTest, dying_at, lines_in, lines_of, segments_in


class CrashTests(SynchronousTestCase):
    compression = "zstd"

    def setUp(self) -> None:
        self.runs = 0

    def settings(self) -> LogSettings:
        self.runs += 1
        return LogSettings(
            log_dir=os.path.join(self.mktemp(), str(self.runs)),
            compression=self.compression,
            max_file_size=600,
            max_segment_duration=15.0,
            per_record={"Rejection": RecordSettings(suffix="-r"), "Delayed": RecordSettings(enable=False)},
        )

    def scenario(self, log: LogFilesForTest) -> None:
        """Everything that happens to files: opening, writing, syncing, closing by size, by age and at the end."""
        log.start()
        log.write(3)
        log.tend(0.1)
        log.write(2, "Rejection")
        log.write(1, "Delayed")
        log.tend(1.1)
        log.write(4)
        log.tend(0.2)
        log.write(12, text="x" * 30)
        log.tend(20)
        log.write(2, "Rejection")
        log.write(2)
        log.tend(1)
        log.write(1)
        log.files.close()
        log.journal.forget(log.files.durable)

    def recover(self, settings: LogSettings, journal: Journal, disk: FaultyDisk | None = None) -> None:
        """The next run: it begins with the journal, gets some more records, and ends in order."""
        log = self.restart(settings, journal, disk)
        log.write(2)
        log.tend(2)
        log.files.close()

    def restart(self, settings: LogSettings, journal: Journal, disk: FaultyDisk | None = None) -> LogFilesForTest:
        log = LogFilesForTest(settings, journal, disk)
        log.now = 2000.0
        log.number = len(journal.all)
        return log.start()

    def verify(self, settings: LogSettings, journal: Journal, about: object) -> None:
        found = lines_in(settings.log_dir)
        wanted = [line for line in journal.all if b"Delayed" not in line]
        self.assertEqual(Counter(found), Counter(wanted), about)
        for suffix in ("", "-r"):
            names = [name for name in segments_in(settings.log_dir) if name[25:] == suffix]
            lines = [line for name in names for line in lines_of(os.path.join(settings.log_dir, name))]
            self.assertEqual(lines, [line for line in wanted if line in set(lines)], about)  # in order
        for name in segments_in(settings.log_dir):
            self.assertTrue(is_finished(os.stat(os.path.join(settings.log_dir, name)).st_mode), about)

    def operations(self) -> int:
        log = LogFilesForTest(self.settings())
        self.scenario(log)
        return len(log.disk.calls)

    def killed_runs(self, torn: float) -> Iterator[tuple[int, LogSettings, Journal, FaultyDisk]]:
        """One run for each operation, dead before it."""
        for count in range(self.operations()):
            settings = self.settings()
            disks: list[FaultyDisk] = []
            disk = FaultyDisk(dying_at(count, disks))
            disk.torn_writes = torn
            disks.append(disk)
            log = LogFilesForTest(settings, disk=disk)
            self.assertRaises(Killed, self.scenario, log)
            yield count, settings, log.journal, disk

    def try_all(self, after_death: Callable[[FaultyDisk], None], torn: float = 0.0, *, forgets: bool = True) -> None:
        for count, settings, journal, disk in self.killed_runs(torn):
            after_death(disk)
            if not forgets:  # the journal's own deletion did not reach the disk
                journal.kept = dict(enumerate(journal.all, 1))
            self.recover(settings, journal)
            self.verify(settings, journal, (count, disk.calls[-1]))

    def test_the_scenario_itself_writes_everything_once(self) -> None:
        settings = self.settings()
        log = LogFilesForTest(settings)
        self.scenario(log)
        self.verify(settings, log.journal, "no crash")
        self.assertEqual(log.journal.kept, {})
        for operation in ("create", "write", "sync", "sync_directory", "seal"):
            self.assertGreater(log.disk.calls.count(operation), 5, operation)

    def test_killed_before_any_operation(self) -> None:
        self.try_all(FaultyDisk.die)

    def test_killed_in_the_middle_of_any_write(self) -> None:
        for torn in (0.1, 0.9):
            self.try_all(FaultyDisk.die, torn)

    def test_the_journal_may_have_forgotten_nothing(self) -> None:
        """Also what stands in segments finished long ago is then not written again."""
        self.try_all(FaultyDisk.die, 0.5, forgets=False)

    def test_power_failure_loses_what_was_not_synced(self) -> None:
        self.try_all(lambda disk: disk.lose_power(0.0))
        self.try_all(lambda disk: disk.lose_power(0.6))

    def test_power_failure_leaves_zeros_or_rubbish_where_data_did_not_arrive(self) -> None:
        self.try_all(lambda disk: disk.lose_power(0.0, b"\0"))
        self.try_all(lambda disk: disk.lose_power(0.4, b"\0"))
        self.try_all(lambda disk: disk.lose_power(0.3, b"\xa5"))

    def test_power_failure_after_the_recovery_loses_nothing_that_it_found_in_the_files(self) -> None:
        """What the killed run had not synced, the recovery must sync before the journal forgets it."""
        for count, settings, journal, disk in self.killed_runs(0.0):
            disk.die()
            later = FaultyDisk(earlier=disk)
            self.restart(settings, journal, later).tend(1)
            self.assertEqual(journal.kept, {})
            later.lose_power(0.0)
            self.recover(settings, journal)
            self.verify(settings, journal, (count, disk.calls[-1]))

    def test_killed_again_in_the_middle_of_the_recovery(self) -> None:
        for count, settings, journal, disk in self.killed_runs(0.5):
            disk.die()
            if count % 9:  # each ninth is enough: the recovery of neighbours differs little
                continue
            again = 0
            while self.dies_in_recovery(settings, journal, again):
                again += 3
            self.verify(settings, journal, count)
            self.assertGreater(again, 3)

    def dies_in_recovery(self, settings: LogSettings, journal: Journal, count: int) -> bool:
        disks: list[FaultyDisk] = []
        disks.append(FaultyDisk(dying_at(count, disks)))
        disks[0].torn_writes = 0.5
        try:
            self.recover(settings, journal, disks[0])
        except Killed:
            disks[0].die()
            return True
        return False


class PlainCrashTests(CrashTests):
    """The same without compression."""

    compression = "none"

    def test_power_failure_leaves_zeros_or_rubbish_where_data_did_not_arrive(self) -> None:
        self.try_all(lambda disk: disk.lose_power(0.0, b"\0"))
        self.try_all(lambda disk: disk.lose_power(0.4, b"\0"))
