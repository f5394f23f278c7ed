"""The thread behind the mail log: it takes without blocking, writes behind the server's back, and ends in order."""

import os
import time
from collections.abc import Callable
from threading import Event
from threading import enumerate as threads
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kumotwist.config.server import LogSettings
from kumotwist.logs import service
from kumotwist.logs.service import MailLog
from tests.logs.faulty import FaultyDisk, Journal, failing, lines_in, segments_in

clock: IReactorTime = reactor


class MailLogTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.patch(service, "GATHER", 0.002)
        self.directory = os.path.join(self.mktemp(), "log")
        self.journal = Journal()
        self.disk = FaultyDisk()
        self.forgotten: list[int] = []
        self.waiting: list[tuple[int, Deferred[None]]] = []
        self.log = self.mail_log()
        self.events: list[dict[str, Any]] = []
        observe: Any = self.events.append
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def mail_log(self, **settings: Any) -> MailLog:
        return MailLog(
            LogSettings(log_dir=self.directory, **settings),
            clock,
            call_from_thread=reactor.callFromThread,  # type: ignore[attr-defined]
            forget=self.forget,
            reread=self.journal.after,
            disk=self.disk,
        )

    def forget(self, number: int) -> None:
        self.forgotten.append(number)
        self.journal.forget(number)
        for wanted, fired in list(self.waiting):
            if number >= wanted:
                self.waiting.remove((wanted, fired))
                fired.callback(None)

    def until_forgotten(self, number: int) -> "Deferred[None]":
        fired: Deferred[None] = Deferred()
        self.waiting.append((number, fired))
        return fired

    def append(self, count: int) -> None:
        for _ in range(count):
            self.log.append(*self.journal.commit(len(self.journal.all) + 1))

    def said(self) -> list[tuple[LogLevel, str]]:
        return [
            (event["log_level"], str(event.get("fault", "")))
            for event in self.events
            if event["log_namespace"] == service.__name__ + ".MailLog"
        ]

    async def test_records_are_on_disk_and_then_forgotten(self) -> None:
        self.log.start(())
        self.append(100)
        await self.until_forgotten(100)
        self.assertEqual(lines_in(self.directory), self.journal.all)
        self.assertEqual(self.forgotten, sorted(self.forgotten))
        self.assertEqual((self.log.lag, self.log.healthy), (0, True))
        await self.log.stop()

    async def test_stopping_writes_everything_finishes_the_segments_and_ends_the_thread(self) -> None:
        self.log.start(())
        self.append(5000)
        self.assertIn("mail log", [thread.name for thread in threads()])
        await self.log.stop()
        self.assertEqual(lines_in(self.directory), self.journal.all)
        self.assertEqual(self.journal.kept, {})
        self.assertEqual(
            {os.stat(os.path.join(self.directory, name)).st_mode & 0o777 for name in segments_in(self.directory)}, {0o440}
        )
        self.assertNotIn("mail log", [thread.name for thread in threads()])

    async def test_it_can_be_stopped_twice_at_once(self) -> None:
        self.log.start(())
        await DeferredList([self.log.stop(), self.log.stop()])
        await self.log.stop()
        self.assertNotIn("mail log", [thread.name for thread in threads()])

    async def test_leftovers_come_before_what_is_new(self) -> None:
        for number in range(1, 4):
            self.journal.commit(number)
        self.log.start(self.journal.after(0))
        self.append(3)
        await self.log.stop()
        self.assertEqual(lines_in(self.directory), self.journal.all)

    async def test_the_leftovers_are_read_on_the_thread(self) -> None:
        """A long journal must not keep the reactor from its work."""
        gate = Event()

        def slowly() -> Any:
            gate.wait(10)
            yield from self.journal.after(0)

        self.journal.commit(1)
        self.log.start(slowly())
        self.append(1)
        self.assertEqual(lines_in(self.directory), [])
        gate.set()
        await self.log.stop()
        self.assertEqual(lines_in(self.directory), self.journal.all)

    async def test_a_batch_wakes_the_thread_once(self) -> None:
        woken: list[None] = []
        wake = self.log._wake.set
        self.log._wake.set = lambda: (woken.append(None), wake())  # type: ignore[assignment,func-returns-value]
        self.log.start(())
        await self.log.stop()
        self.log = self.mail_log()
        self.log._wake.set = lambda: (woken.append(None), wake())  # type: ignore[assignment,func-returns-value]
        self.log._asleep = True
        del woken[:]
        self.append(500)
        self.assertEqual(len(woken), 1)

    async def test_when_memory_is_full_the_journal_is_read_instead(self) -> None:
        self.patch(self.log, "_most_waiting", 50)
        gate = Event()

        def before(name: str) -> None:
            if name == "write":
                gate.wait(10)

        self.disk.before = before
        self.log.start(())
        self.append(10)
        self.append(300)
        self.assertLessEqual(len(self.log._waiting), 50)
        gate.set()
        await self.until_forgotten(310)
        self.append(3)
        await self.log.stop()
        self.assertEqual(lines_in(self.directory), self.journal.all)
        self.assertNotEqual(self.journal.asked, [])

    async def test_a_failing_disk_is_told_once_and_survived(self) -> None:
        self.disk.before = failing("create")
        self.log.start(())
        self.append(10)
        while not self.said():
            await self.pause()
        self.append(10)
        self.assertFalse(self.log.healthy)
        self.assertEqual(self.log.lag, 20)
        self.disk.before = failing()
        await self.log.stop()  # tries once more
        await self.pause()
        self.assertEqual(lines_in(self.directory), self.journal.all)
        self.assertEqual([level for level, _ in self.said()], [LogLevel.error, LogLevel.info])
        self.assertIn("No space left", self.said()[0][1])

    async def test_it_ends_also_where_the_disk_refuses(self) -> None:
        self.disk.before = failing("create", "make_directory")
        self.log.start(())
        self.append(10)
        await self.log.stop()
        self.assertEqual((self.forgotten, len(self.journal.kept)), ([], 10))

    async def test_a_fault_of_ours_is_told_and_everything_written_from_the_journal(self) -> None:
        broken = [1]

        def before(name: str) -> None:
            if name == "write" and broken:
                broken.pop()
                raise ZeroDivisionError

        self.disk.before = before
        self.log.start(())
        self.append(10)
        while not self.said():
            await self.pause()
        self.append(10)
        await self.log.stop()
        self.assertEqual(lines_in(self.directory), self.journal.all)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_a_segment_is_closed_at_its_age_though_nothing_comes(self) -> None:
        self.log = self.mail_log(max_segment_duration=0.05)
        self.log.start(())
        self.append(1)
        while not any(os.stat(os.path.join(self.directory, name)).st_mode & 0o222 == 0 for name in segments_in(self.directory)):
            await self.pause()
        self.append(1)
        await self.log.stop()
        self.assertEqual(len(segments_in(self.directory)), 2)

    def pause(self) -> "Deferred[None]":
        done: Deferred[None] = Deferred()
        clock.callLater(0.005, done.callback, None)
        return done


class IdleTests(SynchronousTestCase):
    """Without a thread."""

    def test_a_log_that_never_started_stops_at_once_and_takes_records_all_the_same(self) -> None:
        def never(*_: Any) -> None:
            raise AssertionError("there is no thread")

        reread: Callable[[int], Any] = never
        log = MailLog(LogSettings(log_dir=self.mktemp()), Clock(), call_from_thread=never, forget=never, reread=reread)
        log.append(1, "Delivery", b"{}")
        self.successResultOf(log.stop())
        self.assertTrue(log.healthy)

    def test_taking_a_record_costs_about_a_microsecond(self) -> None:
        """A hundred times that would be noticed here, whatever else the machine does."""
        log = MailLog(LogSettings(log_dir=self.mktemp()), Clock(), call_from_thread=print, forget=print, reread=lambda _: ())
        before = time.process_time()
        for number in range(1, 20_001):
            log.append(number, "Delivery", b"{}")
        self.assertLess((time.process_time() - before) / 20_000, 100e-6)
