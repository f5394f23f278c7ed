"""Ready queues: their sessions, their bounds, what comes back from them."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.mail.disposition import Verdict
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import reply
from tests.support.house import House


class ReadyQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()

    def test_sessions_grow_with_the_queue_and_not_beyond_the_limit(self) -> None:
        for _ in range(200):
            self.house.take()
        self.assertLessEqual(len(self.house.sessions), 32)
        self.assertGreater(len(self.house.sessions), 25)

    def test_an_idle_session_gets_the_next_message_and_patience_ends(self) -> None:
        self.house.take()
        session = self.house.sessions[0]
        session.drain()
        waiting = session.supply.message_or_none(5.0)
        self.house.take()
        self.assertIsNotNone(self.successResultOf(waiting))
        self.assertEqual(len(self.house.sessions), 1)
        impatient = session.supply.message_or_none(5.0)
        self.house.clock.advance(4.9)
        self.assertNoResult(impatient)
        self.house.clock.advance(0.2)
        self.assertIsNone(self.successResultOf(impatient))

    def test_a_cancelled_wait_takes_no_message(self) -> None:
        self.house.take()
        session = self.house.sessions[0]
        session.drain()
        waiting = session.supply.message_or_none(5.0)
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        self.house.take()
        self.assertEqual(session.supply.size, 1)

    def test_when_a_session_ends_others_go_on_with_what_is_left(self) -> None:
        self.house.take()
        self.house.sessions[0].end()
        self.house.clock.advance(0)
        self.assertEqual(len(self.house.sessions), 2)

    def test_a_session_that_breaks_by_our_fault_makes_the_path_rest(self) -> None:
        self.house.take()
        self.house.sessions[0].ended.errback(ZeroDivisionError("ours"))
        self.house.clock.advance(0.5)
        self.assertEqual(len(self.house.sessions), 1)
        self.house.clock.advance(0.6)
        self.assertEqual(len(self.house.sessions), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_throttled_path_hands_out_nothing_until_the_limit_frees(self) -> None:
        self.house.take()
        supply = self.house.sessions[0].supply
        supply.throttled(Reason.MESSAGE_RATE_THROTTLE, 30.0)
        self.assertIsNone(supply.next_message())
        self.house.sessions[0].end()
        self.house.forward(29)
        self.assertEqual(len(self.house.sessions), 1)
        self.house.forward(2)
        self.assertEqual(len(self.house.sessions), 2)

    def test_what_is_given_back_with_a_delay_waits_uncounted_and_a_record_says_why(self) -> None:
        self.house.take()
        supply = self.house.sessions[0].supply
        message = supply.next_message()
        assert message is not None
        supply.give_back(message, Reason.CONNECTION_RATE_THROTTLE, 30.0)
        [delayed] = self.house.records("Delayed")
        self.assertIn("Context: ConnectionRateThrottle. Next due in 30s at ", delayed["response"]["content"])
        self.house.forward(31)
        again = supply.next_message()
        assert again is not None
        self.assertEqual((again.id, again.attempts), (message.id, 0))

    def test_everything_ready_can_get_one_outcome(self) -> None:
        for _ in range(5):
            self.house.take()
        supply = self.house.sessions[0].supply
        supply.dispose_all(Verdict.BOUNCED, reply("556 5.1.10 Recipient address has a null MX"), Reason.FAILED_DUE_TO_NULL_MX)
        self.assertEqual(len(self.house.records("Bounce")), 5)
        self.assertEqual(self.house.spool.store.kept, {})

    def test_after_too_many_failed_connections_all_that_is_ready_waits(self) -> None:
        self.house.paths["example.org"] = PathSettings(consecutive_connection_failures_before_delay=3)
        for _ in range(10):
            self.house.take()
        supply = self.house.sessions[0].supply
        for _ in range(4):
            supply.connection_failed()
        self.assertEqual(self.house.records("TransientFailure"), [])
        supply.connection_failed()
        failures = self.house.records("TransientFailure")
        self.assertEqual(len(failures), 10)
        self.assertIn("too many successive connection failures", failures[0]["response"]["content"])

    def test_stopping_waits_for_the_sessions_and_hands_out_nothing_more(self) -> None:
        self.house.take()
        stopped = self.house.ready.stop()
        self.assertNoResult(stopped)
        self.assertIsNone(self.house.sessions[0].supply.next_message())
        self.house.sessions[0].end()
        self.successResultOf(stopped)

    def test_domains_of_one_site_share_a_path_and_the_first_by_name_decides(self) -> None:
        shared = self.house.destinations.destination("shared.example")
        for domain, limit in (("b.example", 7), ("a.example", 3)):
            self.house.destinations.answers[domain] = shared
            self.house.paths[domain] = PathSettings(max_ready=limit)
        self.house.take("x@b.example")
        self.house.take("x@a.example")
        queue = self.house.queue_of(site="mx.shared.example")
        self.assertEqual((queue.size, queue.path.settings.max_ready), (2, 3))
