"""The books find what is in nobody's hands, in two places, or held without being in the spool; and nothing else."""

from collections.abc import Collection, Iterator
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.books import OVERDUE, Audit, Books, Holding, Stage, holdings, misplaced
from kumotwist.mail.disposition import Verdict
from kumotwist.mail.reason import Reason
from tests.support.house import LATER, OK, House

NOW = 1000.0


def held(message_id: str, stage: Stage = Stage.READY, due: float | None = None) -> Holding:
    return Holding(message_id, stage, "a test", due)


class MisplacedTests(SynchronousTestCase):
    """One moment's spool and holdings, and what is wrong with them."""

    def wrong(self, spooled: Collection[str], *those: Holding) -> dict[str, str]:
        return {one.id: one.why for one in misplaced(spooled, those, NOW)}

    def test_what_is_in_the_spool_and_in_one_place_is_right(self) -> None:
        self.assertEqual(self.wrong("ab", held("a"), held("b", Stage.SCHEDULED, NOW + 5)), {})

    def test_a_message_that_nobody_has_is_stranded(self) -> None:
        self.assertEqual(self.wrong("ab", held("a")), {"b": "in the spool, and nobody has it"})

    def test_a_message_in_two_places_would_be_sent_twice(self) -> None:
        self.assertEqual(self.wrong("a", held("a"), held("a", Stage.HELD)), {"a": "in more than one place: ready, held"})

    def test_a_message_that_is_held_and_not_in_the_spool_would_be_lost_by_a_crash(self) -> None:
        self.assertEqual(self.wrong("", held("a")), {"a": "ready, and not in the spool"})

    def test_a_change_on_its_way_to_the_disk_explains_both(self) -> None:
        self.assertEqual(self.wrong("a", held("a", Stage.SPOOL), held("b", Stage.SPOOL)), {})
        self.assertEqual(self.wrong("a", held("a", Stage.SPOOL), held("a")), {})
        self.assertEqual(self.wrong("", held("a", Stage.SPOOL), held("a", Stage.DELIVERY)), {})

    def test_a_due_time_that_nobody_kept_is_told(self) -> None:
        self.assertEqual(self.wrong("a", held("a", Stage.SCHEDULED, NOW - OVERDUE - 1)), {"a": "was due 61 s ago"})
        self.assertEqual(self.wrong("a", held("a", Stage.SCHEDULED, NOW - OVERDUE + 1)), {})


class Shelf:
    """A spool of ids."""

    def __init__(self, *ids: str) -> None:
        self.ids = set(ids)

    def envelopes(self) -> Iterator[tuple[str, bytes]]:
        return iter([(one, b"") for one in self.ids])

    def still_here(self, message_ids: Collection[str]) -> set[str]:
        return self.ids & set(message_ids)

    def under_way(self) -> Iterator[tuple[str, str]]:
        return iter(())


class BooksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.spool = Shelf("a", "b")
        self.walks: list[list[Holding]] = []  # what the stages say, each time they are asked; the last holds
        self.complete = True
        self.calls: list[Any] = []
        self.books = Books(self.clock, self.spool, self._held, self._in_thread, lambda: self.complete)

    def _held(self) -> Iterator[Holding]:
        return iter(self.walks.pop(0) if len(self.walks) > 1 else self.walks[0])

    def _in_thread(self, call: Any, *arguments: Any) -> "Deferred[Any]":
        return succeed(call(*arguments))

    def audit(self) -> Audit:
        audit = Deferred.fromCoroutine(self.books.audit())
        self.clock.pump([0.0] * 10)
        return self.successResultOf(audit)

    def stranded(self) -> int:
        """And forget what was logged about them."""
        found = self.audit()
        self.assertEqual(self.books.stranded_messages, found.stranded_messages)
        return found.stranded_messages

    def test_books_that_balance(self) -> None:
        self.walks = [[held("a"), held("b", Stage.SCHEDULED, NOW)]]
        found = self.audit()
        self.assertEqual((found.spooled, found.stranded_messages, found.complete), (2, 0, True))
        self.assertEqual({stage: count for stage, count in found.holdings.items() if count}, {"ready": 1, "scheduled": 1})

    def test_a_message_that_moved_while_we_walked_is_found_at_the_second_look(self) -> None:
        self.walks = [[held("a")], [held("a"), held("b")]]
        self.assertEqual(self.stranded(), 0)

    def test_a_message_that_ended_while_we_walked_is_right(self) -> None:
        self.walks = [[held("a")]]
        self.spool.still_here = lambda message_ids: set(message_ids) - {"b"}  # type: ignore[method-assign]
        self.assertEqual(self.stranded(), 0)

    def test_a_message_that_nobody_has_is_named_and_counted(self) -> None:
        self.walks = [[held("a")]]
        self.assertEqual([one.id for one in self.audit().stranded], ["b"])
        self.assertEqual(self.books.stranded_messages, 1)

    def test_a_message_that_came_while_we_walked_is_right(self) -> None:
        self.walks = [[held("a"), held("b"), held("c")]]
        self.spool.still_here = lambda message_ids: set(message_ids)  # type: ignore[method-assign]
        self.assertEqual(self.stranded(), 0)

    def test_nothing_is_said_while_a_start_reads_the_spool_or_the_server_stops(self) -> None:
        self.walks = [[held("a")]]
        self.complete = False
        self.assertFalse(self.audit().complete)
        self.complete = True
        self.books.stop()
        self.assertEqual((self.audit().complete, self.books.stranded_messages), (False, 0))


class HoldingsTests(SynchronousTestCase):
    """What the real stages say, as a message passes through them."""

    def setUp(self) -> None:
        self.house = House()

    def stages(self) -> list[Stage]:
        spool: Any = Shelf()
        return [one.stage for one in holdings(self.house.scheduler, self.house.ready, spool)]

    def test_a_message_is_in_one_place_at_each_step(self) -> None:
        message = self.house.take()
        self.assertEqual(self.stages(), [Stage.READY])
        session = self.house.sessions[0]
        taken = session.supply.next_message()
        self.assertIs(taken, message)
        self.assertEqual(self.stages(), [Stage.DELIVERY])
        session.supply.give_back(message, Reason.DISPATCHER_DROP, 0.0)
        self.assertEqual(self.stages(), [Stage.HELD])
        self.house.clock.advance(0)
        session.answer(Verdict.POSTPONED, LATER)
        self.assertEqual(self.stages(), [Stage.SCHEDULED])
        self.house.forward(1300)
        session.answer(Verdict.DELIVERED, OK)
        self.assertEqual(self.stages(), [])

    def test_a_blocked_queue_says_why(self) -> None:
        lookup: Deferred[None] = Deferred()
        self.house.destinations.answers["example.org"] = lambda: lookup
        self.house.take()
        spool: Any = Shelf()
        (one,) = holdings(self.house.scheduler, self.house.ready, spool)
        self.assertEqual((one.stage, bool(one.waits_for)), (Stage.HELD, True))
