"""Defects of the model that are mended here: one test for each, under a name that says what does not happen any more."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Rate
from kumotwist.config.queues import QueueSettings
from kumotwist.egress.path import Destination
from kumotwist.egress.sharing import SharedRate
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.policy import Handler
from kumotwist.mail.disposition import Verdict
from kumotwist.mail.reason import Reason
from kumotwist.scheduled.enumeration import enumerate_spool
from kumotwist.scheduled.orders import Criteria
from tests.support.house import LATER, START, House


def restarted(house: House, after: float) -> House:
    again = House(store=house.spool.store, started=house.clock.seconds() + after)
    again.handlers = house.handlers
    enumerate_spool(again.spool.store.envelopes(), again.scheduler.admit_stored)
    return again


class MendedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()

    def on(self, event: str, handler: Any, takes: int) -> None:
        self.house.handlers[event] = (Handler(handler, takes, "policy.py:1"),)

    def test_the_due_time_that_a_throttle_sets_is_kept_to_and_not_replaced_by_a_random_one(self) -> None:
        asked: list[float] = []

        def throttle(message: PolicyMessage) -> None:
            asked.append(self.house.clock.seconds())
            if len(asked) == 1:
                message.set_due(START + 1234.5)

        self.on("throttle_insert_ready_queue", throttle, 1)
        self.house.take()
        self.house.run(1300.0)
        self.assertEqual([round(instant - START, 3) for instant in asked], [0.0, 1234.5])

    def test_the_due_time_that_a_throttle_sets_is_kept_over_a_restart(self) -> None:
        self.on("throttle_insert_ready_queue", lambda message: message.set_due(START + 1000.0), 1)
        self.house.take()
        after = restarted(self.house, 10.0)
        after.handlers.clear()
        after.run(900.0)
        self.assertEqual(after.sessions, [])
        after.run(91.0)
        self.assertEqual(after.queue_of().size, 1)

    def test_attempts_and_due_time_are_kept_over_a_restart_and_nothing_is_due_at_once(self) -> None:
        messages = [self.house.take() for _ in range(5)]
        self.house.sessions[0].drain(Verdict.POSTPONED, LATER)
        after = restarted(self.house, 60.0)
        self.assertEqual(after.sessions, [])
        after.run(1200.0)
        sent = after.sessions[0].drain()
        self.assertEqual([(one.id, one.attempts) for one in sent], [(one.id, 1) for one in messages])

    def test_an_error_of_a_throttle_leaves_no_message_in_no_queue(self) -> None:
        def broken(_: PolicyMessage) -> None:
            raise RuntimeError("the policy's database is down")

        self.on("throttle_insert_ready_queue", broken, 1)
        self.house.take()
        self.assertEqual(self.house.queue_of().size, 1)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_an_error_of_a_rate_leaves_no_message_in_no_queue(self) -> None:
        class Down:
            def get(self, name: str, rate: Rate) -> SharedRate:
                raise RuntimeError("the server that keeps the rates is down")

        self.house.scheduler._throttles = Down()
        self.house.queues["example.org"] = QueueSettings(max_message_rate=Rate(10, 1.0))
        message = self.house.take()
        self.assertEqual(self.house.sessions, [])
        self.house.scheduler._throttles = self.house.throttles
        self.house.run(61.0)
        [sent] = self.house.sessions[0].drain()
        self.assertEqual((sent.id, sent.attempts), (message.id, 0))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_failing_lookup_is_tried_again_when_the_message_is_due_and_not_every_second(self) -> None:
        asked: list[float] = []

        def failing() -> "Deferred[Destination]":
            asked.append(self.house.clock.seconds() - START)
            failed: Deferred[Destination] = Deferred()
            self.house.clock.callLater(5.0, failed.errback, RuntimeError("SERVFAIL"))
            return failed

        self.house.destinations.answers["example.org"] = failing
        self.house.take()
        self.house.run(3 * 3600.0)
        self.assertEqual([round(instant / 60) for instant in asked], [0, 20, 60, 140])
        self.assertEqual([one["num_attempts"] for one in self.house.records("TransientFailure")], [0, 1, 2, 3])

    def test_a_failing_lookup_ends_with_the_messages_age(self) -> None:
        failed: list[Deferred[Destination]] = []

        def failing() -> "Deferred[Destination]":
            failed.append(Deferred())
            failed[-1].errback(RuntimeError("SERVFAIL"))
            return failed[-1]

        self.house.queues["example.org"] = QueueSettings(max_age=7200.0)
        self.house.destinations.answers["example.org"] = failing
        self.house.take()
        self.house.run(7300.0)
        self.assertEqual((len(self.house.records("Expiration")), self.house.spool.store.kept), (1, {}))

    def test_a_source_that_is_full_leaves_its_messages_to_the_others_and_no_attempt_is_counted(self) -> None:
        self.house.pool("both", one=1, other=1)
        self.house.queues["example.org"] = QueueSettings(egress_pool="both")
        self.house.paths["example.org"] = PathSettings(max_ready=5)
        for _ in range(12):
            self.house.take()
        self.assertEqual([self.house.queue_of("one").size, self.house.queue_of("other").size], [5, 5])
        self.assertEqual(self.house.records("TransientFailure"), [])

    def test_messages_of_a_source_that_is_suspended_choose_afresh(self) -> None:
        self.house.pool("both", one=1, other=1)
        self.house.queues["example.org"] = QueueSettings(egress_pool="both")
        for _ in range(10):
            self.house.take()
        self.house.ready.suspend("one->mx.example.org@smtp_client", "why")
        self.house.clock.advance(0)
        self.assertEqual([self.house.queue_of("one").size, self.house.queue_of("other").size], [0, 10])
        self.assertEqual(self.house.records("TransientFailure"), [])

    def test_suspension_counts_no_attempt(self) -> None:
        self.house.scheduler.administration.suspend(Criteria(), "why", duration=86400.0)
        self.house.take()
        self.house.run(80000.0)
        self.assertEqual((self.house.records("TransientFailure"), len(self.house.records("Delayed"))), ([], 1))

    def test_an_order_about_everything_ends_when_it_expires(self) -> None:
        self.house.scheduler.administration.suspend(Criteria(), "why", duration=60.0)
        self.house.run(60.0)
        self.house.take()
        self.assertEqual(self.house.queue_of().size, 1)

    def test_an_order_hits_only_its_own_queue_among_those_that_share_a_path(self) -> None:
        for tenant in ("acme", "other", "acme"):
            self.house.take(tenant=tenant)
        self.house.scheduler.administration.bounce(Criteria(tenant="acme"), "why")
        self.house.run(1.0)
        self.assertEqual([one["queue"] for one in self.house.records("AdminBounce")], ["acme@example.org"] * 2)
        self.assertEqual(self.house.queue_of().size, 1)

    def test_an_order_that_names_all_four_parts_holds_for_later_mail_too(self) -> None:
        criteria = Criteria(domain="example.org", tenant="acme", campaign="spring", routing_domain="hub.example")
        self.house.scheduler.administration.bounce(criteria, "why")
        self.house.take(tenant="acme", campaign="spring", routing_domain="hub.example")
        self.assertEqual(len(self.house.records("AdminBounce")), 1)

    def test_what_a_session_gives_back_with_a_delay_keeps_it_over_a_restart(self) -> None:
        self.house.take()
        supply = self.house.sessions[0].supply
        message = supply.next_message()
        assert message is not None
        supply.give_back(message, Reason.DISPATCHER_DROP, 600.0)
        after = restarted(self.house, 60.0)
        self.assertEqual(after.sessions, [])
        after.run(541.0)
        self.assertEqual(after.queue_of().size, 1)
