"""One hook at work, on a clock of the test's: batches, patience, refusals, restarts."""

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.log_hooks import LogHook
from kumotwist.publishing.publisher import POLL, Publisher
from kumotwist.publishing.source import LogSource, Record
from kumotwist.publishing.target import NeverTaken, NotTaken, PartlyTaken
from tests.publishing.logs import WrittenLog, record
from tests.support.memory import InstantSpool


class Listening:
    """A Target that remembers what it was sent and answers as it is told."""

    def __init__(self) -> None:
        self.answers: list[Any] = []  # for the next calls: an exception, a Deferred, or None to take the records
        self.asked: list[list[int]] = []
        self.taken: list[int] = []
        self.closed = 0

    async def send(self, records: Sequence[Record]) -> None:
        numbers = [msgspec.json.decode(one.line)["n"] for one in records]
        self.asked.append(numbers)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Deferred):
            await answer
        elif isinstance(answer, PartlyTaken):
            self.taken += numbers[: answer.taken]
            raise answer
        elif answer is not None:
            raise answer
        self.taken += numbers

    async def close(self) -> None:
        self.closed += 1


class Refusing(Listening):
    """A Target that will never take some of the records."""

    def __init__(self, *never: int) -> None:
        super().__init__()
        self.never = set(never)

    async def send(self, records: Sequence[Record]) -> None:
        if any(msgspec.json.decode(one.line)["n"] in self.never for one in records):
            raise NeverTaken("answered 422")
        await super().send(records)


def at_once(function: Callable[..., Any], *arguments: Any) -> "Deferred[Any]":
    return maybeDeferred(function, *arguments)


class PublisherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        self.written = WrittenLog(self.directory)
        self.clock = Clock()
        self.spool = InstantSpool()
        self.target = Listening()

    def run_hook(self, in_thread: Any = at_once, **settings: Any) -> Publisher:
        publisher = Publisher(
            LogHook(name="one", **settings),
            self.target,
            lambda cursor, wanted, complain: LogSource([self.directory], cursor, wanted, complain),
            spool=self.spool,  # type: ignore[arg-type]
            clock=self.clock,
            in_thread=in_thread,
            draw=lambda: 0.5,
        )
        publisher.start()
        self.addCleanup(lambda: self.stop(publisher))
        return publisher

    def stop(self, publisher: Publisher) -> None:
        self.successResultOf(Deferred.fromCoroutine(publisher.stop()))

    def forward(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)

    def write(self, *numbers: int, kind: str = "Delivery") -> None:
        self.written.write(*(record(n, kind) for n in numbers))

    def test_a_new_hook_begins_with_what_comes_next(self) -> None:
        self.write(1, 2)
        self.run_hook()
        self.forward(5)
        self.write(3)
        self.forward(5)
        self.assertEqual(self.target.taken, [3])

    def test_a_full_batch_is_sent_at_once_and_the_rest_after_its_latency(self) -> None:
        self.run_hook(batch_size=3, max_batch_latency=10.0)
        self.write(1, 2, 3, 4)
        self.clock.advance(POLL)
        self.assertEqual(self.target.asked, [[1, 2, 3]])
        self.forward(9)
        self.assertEqual(self.target.asked, [[1, 2, 3]])
        self.forward(2)
        self.assertEqual(self.target.asked, [[1, 2, 3], [4]])

    def test_only_the_wanted_types_are_sent(self) -> None:
        self.run_hook(record_types=("Bounce",), max_batch_latency=0.0)
        self.write(1)
        self.write(2, kind="Bounce")
        self.forward(2)
        self.assertEqual(self.target.taken, [2])

    def test_any_stands_for_every_type(self) -> None:
        self.run_hook(record_types=("Any",), max_batch_latency=0.0)
        self.write(1)
        self.forward(2)
        self.assertEqual(self.target.taken, [1])

    def test_what_was_not_taken_is_sent_again_less_and_less_often_until_it_is(self) -> None:
        publisher = self.run_hook(max_batch_latency=0.0, retry_interval=1.0, max_retry_interval=8.0)
        self.target.answers = [NotTaken("down")] * 6
        self.write(1)
        times = []
        for _ in range(600):
            before = len(self.target.asked)
            self.clock.advance(0.1)
            if len(self.target.asked) > before:
                times.append(self.clock.seconds())
        waits = [round(later - earlier) for earlier, later in pairwise(times)]
        self.assertEqual(waits, [1, 2, 4, 8, 8, 8])
        self.assertEqual(self.target.taken, [1])
        self.assertEqual((publisher.progress.failures, publisher.progress.sent, publisher.progress.fault), (6, 1, ""))

    def test_order_holds_while_the_target_is_away(self) -> None:
        self.run_hook(batch_size=2, max_batch_latency=0.0)
        self.target.answers = [NotTaken("down")]
        self.write(1, 2)
        self.forward(1)
        self.write(3, 4, 5)
        self.forward(20)
        self.assertEqual(self.target.taken, [1, 2, 3, 4, 5])

    def test_after_a_restart_what_was_taken_is_not_sent_again(self) -> None:
        first = self.run_hook(max_batch_latency=0.0)
        self.write(1, 2)
        self.forward(2)
        self.stop(first)
        self.write(3)
        self.run_hook(max_batch_latency=0.0)
        self.forward(2)
        self.assertEqual(self.target.taken, [1, 2, 3])

    def test_after_a_stop_in_the_middle_of_a_batch_it_is_sent_again(self) -> None:
        publisher = self.run_hook(max_batch_latency=0.0)
        self.target.answers = [Deferred()]
        self.write(1, 2)
        self.forward(2)
        self.stop(publisher)
        self.assertEqual((self.target.asked, self.target.taken, self.target.closed), ([[1, 2]], [], 1))
        self.run_hook(max_batch_latency=0.0)
        self.forward(2)
        self.assertEqual(self.target.taken, [1, 2])

    def test_a_stop_waits_for_what_a_thread_reads(self) -> None:
        reading: list[Deferred[Any]] = []

        def in_thread(function: Callable[..., Any], *arguments: Any) -> "Deferred[Any]":
            running: Deferred[Any] = Deferred()
            reading.append(running.addCallback(lambda _: function(*arguments)))
            return running

        publisher = self.run_hook(in_thread)
        stopped = Deferred.fromCoroutine(publisher.stop())
        self.assertNoResult(stopped)
        while reading:
            reading.pop(0).callback(None)
        self.successResultOf(stopped)

    def test_of_a_batch_that_is_refused_for_good_only_the_culprit_is_given_up(self) -> None:
        self.target = Refusing(2, 5)
        publisher = self.run_hook(max_batch_latency=0.0)
        self.write(1, 2, 3, 4, 5, 6)
        self.forward(3)
        self.assertEqual(self.target.taken, [1, 3, 4, 6])
        self.assertEqual((publisher.progress.sent, publisher.progress.dropped), (4, 2))

    def test_what_a_target_took_of_a_batch_is_not_sent_again(self) -> None:
        self.run_hook(max_batch_latency=0.0)
        self.target.answers = [PartlyTaken(2, "the third one waits")]
        self.write(1, 2, 3, 4)
        self.forward(5)
        self.assertEqual((self.target.asked, self.target.taken), ([[1, 2, 3, 4], [3, 4]], [1, 2, 3, 4]))

    def test_a_fault_of_ours_costs_a_minute_and_nothing_else(self) -> None:
        publisher = self.run_hook(max_batch_latency=0.0)
        self.target.answers = [ZeroDivisionError("of ours")]
        self.write(1)
        self.forward(2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.forward(publisher.hook.max_retry_interval + 2)
        self.assertEqual(self.target.taken, [1])

    def test_a_cursor_that_cannot_be_read_is_made_anew(self) -> None:
        self.spool.store.shelf["hooks/one"] = b"garbage"
        self.write(1)
        self.run_hook(max_batch_latency=0.0)
        self.forward(2)
        self.write(2)
        self.forward(2)
        self.assertEqual(self.target.taken, [2])

    def test_a_target_that_is_down_for_a_day_costs_nothing_but_the_log_and_catches_up_in_order(self) -> None:
        class Down(Listening):
            until = 86_450.0

            async def send(inner, records: Sequence[Record]) -> None:  # noqa: N805  the test's self is needed, too
                if self.clock.seconds() < inner.until:
                    raise NotTaken("down")
                await super().send(records)

        self.target = Down()
        publisher = self.run_hook()
        for n in range(2880):
            self.clock.advance(30)
            self.write(n)
            if n % 500 == 499:
                self.written.finish()
        self.assertEqual((self.target.taken, list(self.spool.store.shelf)), ([], ["hooks/one"]))
        self.assertGreater(publisher.progress.failures, 1400)
        self.forward(200)
        self.assertEqual(self.target.taken, list(range(2880)))
