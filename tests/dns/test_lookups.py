"""Who waits for a lookup, and which lookups get the threads."""

from threading import current_thread

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kumotwist.dns.answers import LookupFailed, NotAsked
from kumotwist.dns.lookups import THREADS, LookupQueue, LookupThreads, SharedLookups
from tests.dns.fakes import Threads


class LookupQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.threads = Threads()
        self.queue = LookupQueue(self.threads, most_waiting=100)
        self.ended: list[str] = []

    def run_named(self, name: str, *, doubtful: bool = False) -> "Deferred[None]":
        return self.queue.run(lambda: self.ended.append(name), doubtful=doubtful)

    def test_what_the_work_returns_or_raises_comes_back(self) -> None:
        d = self.queue.run(lambda: 7)
        self.assertNoResult(d)
        failing = self.queue.run(lambda: 1 // 0)
        self.threads.run()
        self.assertEqual(self.successResultOf(d), 7)
        self.failureResultOf(failing, ZeroDivisionError)
        self.assertEqual(self.queue.in_progress, 0)

    def test_no_more_run_at_once_than_there_are_threads(self) -> None:
        for n in range(THREADS + 5):
            self.run_named(str(n))
        self.assertEqual((len(self.threads.started), self.queue.in_progress), (THREADS, THREADS + 5))
        self.threads.run(3)
        self.assertEqual((len(self.threads.started), self.queue.in_progress), (THREADS, THREADS + 2))
        self.threads.run()
        self.assertEqual(self.ended, [str(n) for n in range(THREADS + 5)])

    def test_doubtful_names_leave_half_of_the_threads_to_others(self) -> None:
        for _ in range(THREADS):
            self.run_named("dead", doubtful=True)
        self.assertEqual(len(self.threads.started), THREADS // 2)
        self.run_named("living")
        self.assertEqual(len(self.threads.started), THREADS // 2 + 1)

    def test_while_others_wait_a_doubtful_name_gets_one_thread_and_no_more(self) -> None:
        for n in range(THREADS + 8):
            self.run_named(f"living {n}")
        for n in range(3):
            self.run_named(f"dead {n}", doubtful=True)
        self.threads.run(2)
        # Two threads became free while eight living names and three dead ones were waiting: one for each kind.
        self.threads.run(THREADS)
        self.assertEqual([name for name in self.ended if name.startswith("dead")], ["dead 0"])
        self.threads.run()
        self.assertEqual(len(self.ended), THREADS + 11)
        self.assertEqual(self.ended[-2:], ["dead 1", "dead 2"])

    def test_too_many_are_refused_and_the_others_go_on(self) -> None:
        waiting = [self.run_named(str(n)) for n in range(THREADS + 100)]
        self.failureResultOf(self.run_named("one more"), NotAsked)
        self.threads.run()
        for d in waiting:
            self.successResultOf(d)
        self.assertNoResult(self.run_named("later"))

    def test_stopping_drops_what_waits_and_awaits_what_runs(self) -> None:
        running = [self.run_named(str(n)) for n in range(THREADS)]
        waiting = [self.run_named("waiting"), self.run_named("waiting", doubtful=True)]
        stopped = self.queue.stop()
        for d in waiting:
            self.failureResultOf(d, NotAsked)
        self.failureResultOf(self.run_named("too late"), NotAsked)
        self.threads.run(THREADS - 1)
        self.assertNoResult(stopped)
        again = self.queue.stop()
        self.threads.run()
        self.successResultOf(stopped)
        self.successResultOf(again)
        for d in running:
            self.successResultOf(d)
        self.assertNotIn("waiting", self.ended)

    def test_stopping_at_rest_is_over_at_once(self) -> None:
        self.successResultOf(self.queue.stop())
        self.successResultOf(self.queue.stop())


class SharedLookupsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.shared: SharedLookups[str] = SharedLookups()
        self.lookups: list[Deferred[str]] = []

    def ask(self, name: str) -> "Deferred[str]":
        def start() -> "Deferred[str]":
            d: Deferred[str] = Deferred()
            self.lookups.append(d)
            return d

        return self.shared.ask(name, start)

    def test_askers_of_one_name_share_a_lookup_and_get_a_deferred_each(self) -> None:
        first, second, other = self.ask("a"), self.ask("a"), self.ask("b")
        self.assertIsNot(first, second)
        self.assertEqual(len(self.lookups), 2)
        self.lookups[0].callback("found")
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), ("found", "found"))
        self.assertNoResult(other)
        self.ask("a")
        self.assertEqual(len(self.lookups), 3)

    def test_each_gets_a_failure_of_its_own(self) -> None:
        first, second = self.ask("a"), self.ask("a")
        self.lookups[0].errback(LookupFailed("no answer"))
        faults = [self.failureResultOf(d, LookupFailed).value for d in (first, second)]
        self.assertEqual([str(fault) for fault in faults], ["no answer", "no answer"])
        self.assertIsNot(*faults)

    def test_who_gives_up_does_not_take_the_answer_from_others(self) -> None:
        first, second, third = self.ask("a"), self.ask("a"), self.ask("a")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        second.addCallback(lambda found: (third.cancel(), found)[1])
        self.lookups[0].callback("found")
        self.assertEqual(self.successResultOf(second), "found")
        self.failureResultOf(third, CancelledError)

    def test_with_nobody_left_the_lookup_still_ends_quietly(self) -> None:
        d = self.ask("a")
        d.cancel()
        self.failureResultOf(d, CancelledError)
        self.lookups[0].errback(LookupFailed("no answer"))
        self.assertNoResult(self.ask("a"))
        self.assertEqual(len(self.lookups), 2)

    def test_an_asker_may_ask_again_when_it_is_answered(self) -> None:
        again: list[Deferred[str]] = []
        self.ask("a").addCallback(lambda _: again.append(self.ask("a")))
        self.lookups[0].callback("old")
        self.lookups[1].callback("new")
        self.assertEqual(self.successResultOf(again[0]), "new")

    def test_an_answer_that_is_there_at_once_is_passed_on(self) -> None:
        def start() -> "Deferred[str]":
            d: Deferred[str] = Deferred()
            d.callback("at once")
            return d

        self.assertEqual(self.successResultOf(self.shared.ask("a", start)), "at once")


class LookupThreadsTests(TestCase):
    async def test_work_runs_in_a_named_thread_that_keeps_no_process_alive(self) -> None:
        threads = LookupThreads(reactor, 2)
        self.addCleanup(threads.stop)
        thread = await threads.run(current_thread)
        self.assertTrue(thread.daemon)
        self.assertIn("dns", thread.name)
        threads.stop()
        self.assertFalse(thread.is_alive())

    def test_stopping_what_never_started_is_fine(self) -> None:
        threads = LookupThreads(reactor)
        threads.stop()
        threads.stop()
        self.assertFalse(threads._pool.started)
