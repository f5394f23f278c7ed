"""A queue that looks empty is dropped; what was only away for an answer must still find its way."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.hooks.policy import Handler
from tests.support.house import House


class DroppedQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()

    def test_a_message_whose_policy_answers_after_its_queue_was_dropped_goes_on(self) -> None:
        """Found by the simulation, as a message of the spool that nobody had."""
        answer: Deferred[None] = Deferred()
        self.house.handlers["throttle_insert_ready_queue"] = (Handler(lambda _: answer, 1, "policy.py:1"),)
        message = self.house.take()
        self.assertEqual(list(self.house.scheduler.asked), [message])
        self.house.scheduler.queues.clear()
        lookup: Deferred[None] = Deferred()
        self.house.destinations.answers["example.org"] = lambda: lookup
        answer.callback(None)
        self.assertEqual([list(queue.held) for queue in self.house.scheduler.queues.values()], [[message]])
        self.assertEqual(list(self.house.scheduler.asked), [])
