"""What of a message leaves memory while it waits: by how long it waits, by how little memory there is."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.config.queues import QueueSettings, Shrinking, ShrinkRule
from kumotwist.mail.disposition import Verdict
from kumotwist.mail.message import Message
from kumotwist.scheduled.shrinking import shrinking
from kumotwist.spool.residence import OVERHEAD, Memory, Residence
from tests.support.house import LATER, House

ALL, DATA, NOTHING = Shrinking.SHRINK_DATA_AND_META, Shrinking.SHRINK_DATA, Shrinking.NO_SHRINK


def rule(interval: float, policy: Shrinking) -> ShrinkRule:
    return ShrinkRule(interval=interval, policy=policy)


def in_memory(message: Message) -> tuple[bool, bool]:
    """(envelope, content)."""
    return message.envelope_loaded, message.content is not None


class ShrinkingTests(SynchronousTestCase):
    def test_the_last_rule_that_begins_no_later_counts(self) -> None:
        rules = (rule(0.0, NOTHING), rule(60.0, DATA), rule(3600.0, ALL))
        for seconds, kept in ((0.0, NOTHING), (59.9, NOTHING), (60.0, DATA), (3599.0, DATA), (3600.0, ALL), (1e9, ALL)):
            self.assertIs(shrinking(rules, seconds), kept, seconds)
        self.assertIs(shrinking((), 1.0), ALL)
        self.assertIs(shrinking((rule(60.0, NOTHING),), 1.0), ALL)
        self.assertIs(shrinking((rule(60.0, DATA), rule(0.0, NOTHING)), 100.0), NOTHING)


class ResidenceTests(SynchronousTestCase):
    def message(self, size: int = 100) -> Message:
        message = House().messages.make("a@example.org")
        message.content, message.size = b"x" * size, size
        return message

    def test_what_stays_is_counted_and_what_goes_is_not(self) -> None:
        for to, left, kept in (
            (ALL, (False, False), 0),
            (DATA, (True, False), OVERHEAD),
            (NOTHING, (True, True), OVERHEAD + 100),
        ):
            residence, message = Residence(1 << 20), self.message()
            residence.lodge(message)
            residence.reduce(message, to)
            self.assertEqual((in_memory(message), residence.held, message.resident), (left, kept, kept), to)
            residence.leave(message)
            self.assertEqual(residence.held, 0)

    def test_the_limit_holds_whatever_a_queue_would_rather_keep(self) -> None:
        for limit, to, left in (
            (OVERHEAD + 99, NOTHING, (False, False)),
            (OVERHEAD + 100, NOTHING, (True, True)),
            (OVERHEAD - 1, DATA, (False, False)),
            (OVERHEAD, DATA, (True, False)),
        ):
            residence, message = Residence(limit), self.message()
            residence.reduce(message, to)
            self.assertEqual(in_memory(message), left, (limit, to))
            self.assertLessEqual(residence.held, limit)

    def test_what_is_not_in_memory_cannot_stay_there(self) -> None:
        for to in (NOTHING, DATA):
            residence, message = Residence(1 << 20), self.message()
            message.shrink()
            residence.reduce(message, to)
            self.assertEqual((in_memory(message), residence.held), ((False, False), 0))

    def test_how_much_memory_there_is(self) -> None:
        residence = Residence(1000)
        for held, memory in ((0, Memory.ENOUGH), (799, Memory.ENOUGH), (800, Memory.LOW), (949, Memory.LOW), (950, Memory.NONE)):
            residence.held = held
            self.assertIs(residence.memory, memory, held)


class WaitingTests(SynchronousTestCase):
    """In the house."""

    def test_a_message_that_waits_for_its_retry_keeps_what_the_queue_says(self) -> None:
        for rules, left in (
            ((), (False, False)),
            ((rule(0.0, NOTHING),), (True, True)),
            ((rule(0.0, NOTHING), rule(600.0, DATA)), (True, False)),
            ((rule(0.0, NOTHING), rule(7200.0, DATA)), (True, True)),
        ):
            house = House()
            house.queues["example.org"] = QueueSettings(shrink_policy=rules, retry_interval=1200.0)
            message = house.take()
            house.sessions[0].answer(Verdict.POSTPONED, LATER)
            house.clock.advance(1.0)
            self.assertEqual(in_memory(message), left, rules)
            house.forward(1300, 10.0)
            [sent] = house.sessions[0].drain()
            self.assertEqual((sent.id, in_memory(sent), house.spool.store.kept), (message.id, (True, True), {}))

    def test_on_its_way_out_it_keeps_what_the_path_says_as_far_as_memory_goes(self) -> None:
        needed = OVERHEAD + House().messages.make("a@example.org").size
        for low, none, held, left in (
            (ALL, ALL, 0, (True, True)),
            (ALL, NOTHING, 85, (False, False)),
            (DATA, NOTHING, 85, (True, False)),
            (NOTHING, ALL, 85, (True, True)),
            (NOTHING, DATA, 96, (True, False)),
            (NOTHING, ALL, 96, (False, False)),
        ):
            house = House(memory=100 * needed)
            house.paths["example.org"] = PathSettings(low_memory_reduction_policy=low, no_memory_reduction_policy=none)
            house.custody._residence.held = held * needed
            message = house.take()
            self.assertEqual(in_memory(message), left, (low, none, held))
            [sent] = house.sessions[0].drain()
            self.assertEqual((sent.id, house.custody._residence.held), (message.id, held * needed))
