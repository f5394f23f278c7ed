"""What operators do to scheduled queues, on a clock, with the whole way of the mail around it."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Rate
from kumotwist.config.queues import QueueSettings
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.policy import Handler
from kumotwist.mail.disposition import Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reply import refuse
from kumotwist.scheduled.enumeration import enumerate_spool
from kumotwist.scheduled.inspection import inspect_message
from kumotwist.scheduled.orders import Criteria, Rebinding
from tests.support.house import LATER, OK, START, House

ACME = Criteria(tenant="acme")


def restarted(house: House, after: float = 0.0) -> House:
    """Another server on what this one left, so many seconds later."""
    again = House(store=house.spool.store, started=house.clock.seconds() + after)
    enumerate_spool(again.spool.store.envelopes(), again.scheduler.admit_stored)
    return again


def drained(house: House) -> list[Message]:
    house.clock.advance(0)
    return [message for session in list(house.sessions) for message in session.drain()]


class HouseCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.admin = self.house.scheduler.administration


class SuspensionTests(HouseCase):
    def test_mail_waits_uncounted_until_the_suspension_ends_and_one_record_says_so(self) -> None:
        order = self.successResultOf(self.admin.suspend(ACME, "too many complaints", duration=600.0))
        for _ in range(5):
            self.house.take(tenant="acme")
        self.house.take(tenant="other")
        self.assertEqual([message.meta["tenant"] for message in drained(self.house)], ["other"])
        [delayed] = self.house.records("Delayed")
        self.assertIn("Received, ScheduledQueueWasSuspended. Next due in 10m at", delayed["response"]["content"])
        self.assertIn("too many complaints", delayed["response"]["content"])
        self.assertEqual((delayed["site"], delayed["num_attempts"]), ("acme@example.org", 0))
        self.house.run(599.0)
        self.assertEqual(drained(self.house), [])
        self.house.run(1.1)
        self.assertEqual([message.attempts for message in drained(self.house)], [0] * 5)
        self.assertEqual(len(self.house.records("Delayed")), 1)
        self.assertEqual(self.admin.suspensions(), [])
        self.assertNotIn(f"orders/suspension/{order.id}", self.house.spool.store.shelf)

    def test_what_was_ready_waits_too_and_what_is_on_the_wire_is_finished(self) -> None:
        for _ in range(3):
            self.house.take(tenant="acme")
        session = self.house.sessions[0]
        on_the_wire = session.supply.next_message()
        assert on_the_wire is not None
        self.admin.suspend(ACME, "why")
        self.assertEqual(session.supply.size, 0)
        session.supply.settle(on_the_wire, session.attempt, [_delivered(on_the_wire)])
        self.house.run(299.0)
        self.assertEqual(len(self.house.records("Delivery")), 1)
        self.house.run(2.0)
        self.assertEqual(len(drained(self.house)), 2)

    def test_what_fails_on_the_wire_counts_its_attempt_and_waits_when_it_is_due(self) -> None:
        self.house.take(tenant="acme")
        self.admin.suspend(ACME, "why", duration=7200.0)
        self.house.take("x@example.net", tenant="acme")
        self.house.run(7100.0)
        self.assertEqual(self.house.records("TransientFailure"), [])
        self.house.run(200.0)
        self.assertEqual(len(drained(self.house)), 2)

    def test_cancelling_lets_the_mail_go_on_at_once(self) -> None:
        order = self.successResultOf(self.admin.suspend(Criteria(domain="example.org"), "why", expires=START + 1e6))
        self.house.take()
        [listed] = self.admin.suspensions()
        self.assertEqual((listed.order.id, listed.order.reason, listed.remaining), (order.id, "why", 1e6))
        cancelled = self.admin.resume(order.id)
        assert cancelled is not None
        self.assertTrue(self.successResultOf(cancelled))
        self.assertEqual(len(drained(self.house)), 1)
        self.assertIsNone(self.admin.resume(order.id))
        self.assertEqual(self.house.spool.store.shelf, {})

    def test_mail_grows_old_while_it_waits(self) -> None:
        self.house.queues["example.org"] = QueueSettings(max_age=900.0)
        self.admin.suspend(Criteria(), "why", duration=7200.0)
        for _ in range(3):
            self.house.take()
        self.house.run(1000.0)
        self.assertEqual([one["num_attempts"] for one in self.house.records("Expiration")], [0, 0, 0])
        self.assertEqual(self.house.spool.store.kept, {})

    def test_the_same_criteria_again_replace_the_order(self) -> None:
        first = self.successResultOf(self.admin.suspend(ACME, "one", duration=60.0))
        second = self.successResultOf(self.admin.suspend(ACME, "two", duration=600.0))
        self.admin.suspend(Criteria(), "all", duration=30.0)
        self.assertEqual([listed.order.reason for listed in self.admin.suspensions()], ["two", "all"])
        self.assertNotEqual(first.id, second.id)
        self.house.take(tenant="acme")
        self.house.run(61.0)
        self.assertEqual(drained(self.house), [])
        self.assertEqual(len(self.house.spool.store.shelf), 1)

    def test_it_is_kept_over_restarts_until_it_expires(self) -> None:
        self.admin.suspend(ACME, "why", duration=600.0)
        message = self.house.take(tenant="acme")
        after = restarted(self.house, 300.0)
        self.assertEqual([round(one.remaining) for one in after.scheduler.administration.suspensions()], [300])
        self.assertEqual(drained(after), [])
        after.run(301.0)
        self.assertEqual([one.id for one in drained(after)], [message.id])
        late = restarted(self.house, 601.0)
        self.assertEqual((late.scheduler.administration.suspensions(), late.spool.store.shelf), ([], {}))

    def test_what_is_no_order_on_the_shelf_is_said_and_left_there(self) -> None:
        self.house.spool.store.shelf["orders/suspension/x"] = b"{}"
        after = restarted(self.house)
        self.assertEqual(after.scheduler.administration.suspensions(), [])
        self.assertEqual(list(after.spool.store.shelf), ["orders/suspension/x"])

    def test_without_orders_nothing_is_looked_up(self) -> None:
        self.assertFalse(self.admin.orders.stand)
        order = self.successResultOf(self.admin.suspend(ACME, "why"))
        self.assertTrue(self.admin.orders.stand)
        self.admin.resume(order.id)
        self.assertFalse(self.admin.orders.stand)


def _delivered(message: Message) -> Outcome:
    return Outcome(Verdict.DELIVERED, message.recipients, OK)


class BounceTests(HouseCase):
    def test_mail_ends_wherever_it_waits_and_whatever_comes_later_too(self) -> None:
        self.house.queues["example.org"] = QueueSettings(max_message_rate=Rate(2, 3600.0, max_burst=1))
        for _ in range(6):
            self.house.take(tenant="acme")  # two are ready, four are held up
        self.house.sessions[0].answer(Verdict.POSTPONED, LATER)  # and one waits for its next attempt
        self.house.take(tenant="other")
        order = self.successResultOf(self.admin.bounce(ACME, "unwanted", duration=600.0))
        self.house.run(1.0)
        self.assertEqual(len(self.house.spool.store.kept), 1)
        late = self.house.take(tenant="acme")
        ended = self.house.records("AdminBounce")
        self.assertEqual((len(ended), ended[-1]["id"]), (7, late.id))
        self.assertEqual(
            {(one["response"]["code"], one["response"]["content"], one["site"]) for one in ended},
            {(551, "Administrator bounced with reason: unwanted", "localhost")},
        )
        [listed] = self.admin.bounces()
        self.assertEqual((listed.order.id, dict(listed.bounced), listed.total_bounced), (order.id, {"acme@example.org": 7}, 7))
        self.house.run(601.0)
        self.assertEqual(self.admin.bounces(), [])
        self.house.take(tenant="acme")
        self.assertEqual(len(self.house.records("AdminBounce")), 7)

    def test_what_comes_back_from_the_wire_ends_when_it_is_to_wait(self) -> None:
        self.house.take(tenant="acme")
        message = self.house.sessions[0].supply.next_message()
        assert message is not None
        self.admin.bounce(ACME, "unwanted")
        self.assertEqual(self.house.records("AdminBounce"), [])
        session = self.house.sessions[0]
        session.supply.settle(message, session.attempt, [Outcome(Verdict.POSTPONED, message.recipients, LATER)])
        [ended] = self.house.records("AdminBounce")
        self.assertEqual((ended["id"], ended["num_attempts"]), (message.id, 1))
        self.assertEqual(self.house.spool.store.kept, {})

    def test_without_records_if_so_ordered(self) -> None:
        self.house.take()
        self.admin.bounce(Criteria(), "quietly", suppress_logging=True)
        self.house.run(1.0)
        self.assertEqual((self.house.spool.store.kept, self.house.records("AdminBounce")), ({}, []))

    def test_thousands_are_ended_a_portion_at_a_time(self) -> None:
        self.admin.suspend(Criteria(), "first wait", duration=3600.0)
        for _ in range(1800):
            self.house.take()
        self.admin.bounce(Criteria(), "then end")
        before = len(self.house.records("AdminBounce"))
        self.assertLess(before, 1800)
        other = self.house.take("x@example.net")
        self.house.run(0.1)
        self.assertEqual(len(self.house.records("AdminBounce")), 1801)
        self.assertIn(other.id, {one["id"] for one in self.house.records("AdminBounce")})

    def test_cancelled_in_between_the_rest_stays(self) -> None:
        self.admin.suspend(Criteria(), "first wait", duration=3600.0)
        for _ in range(1800):
            self.house.take()
        order = self.successResultOf(self.admin.bounce(Criteria(), "a mistake"))
        ended = len(self.house.records("AdminBounce"))
        self.admin.stop_bouncing(order.id)
        self.house.run(1.0)
        self.assertEqual(len(self.house.records("AdminBounce")), ended)
        self.assertEqual(len(self.house.spool.store.kept), 1800 - ended)
        self.assertIsNone(self.admin.stop_bouncing("no such order"))
        [suspension] = self.admin.suspensions()
        self.admin.resume(suspension.order.id)
        self.house.run(1.0)
        self.assertEqual(self.house.queue_of().size, min(1024, 1800 - ended))

    def test_a_message_that_cannot_be_read_is_tried_again(self) -> None:
        self.house.take()
        self.house.sessions[0].answer(Verdict.POSTPONED, LATER)
        envelopes = self.house.scheduler.envelopes
        failing: Deferred[None] = Deferred()
        failing.errback(OSError("the disk"))
        envelopes._load = lambda _: failing
        self.admin.bounce(Criteria(), "unwanted")
        self.house.run(1.0)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        envelopes._load = lambda message: self.house.spool.load(message, False)
        self.house.run(70.0)
        self.assertEqual(len(self.house.records("AdminBounce")), 1)

    def test_it_is_kept_over_restarts_and_ends_what_the_spool_has(self) -> None:
        message = self.house.take(tenant="acme")
        self.house.sessions[0].answer(Verdict.POSTPONED, LATER)
        store = self.house.spool.store
        self.admin.suspend(ACME, "so that nothing is bounced here")
        store.shelf["orders/bounce/b"] = b'{"id":"b","reason":"kept","criteria":{"tenant":"acme"},"expires":%d}' % (START + 1000)
        after = restarted(self.house, 10.0)
        [ended] = after.records("AdminBounce")
        self.assertEqual((ended["id"], ended["num_attempts"], store.kept), (message.id, 1, {}))


class RebindTests(HouseCase):
    def waiting(self, count: int = 1, **meta: Any) -> list[Message]:
        taken = [self.house.take(**meta) for _ in range(count)]
        for session in list(self.house.sessions):
            session.drain(Verdict.POSTPONED, LATER)
        return taken

    def test_mail_moves_to_another_queue_and_is_due_now_and_a_record_says_so(self) -> None:
        [message] = self.waiting(tenant="acme")
        orders = Rebinding(criteria=ACME, reason="hub is up", data={"routing_domain": "hub.example"})
        count = self.admin.rebind(orders)
        self.house.run(1.0)
        self.assertEqual(self.successResultOf(count), 1)
        [record] = self.house.records("AdminRebind")
        self.assertEqual(record["response"]["content"], "Rebound from acme@example.org to acme@example.org!hub.example: hub is up")
        self.assertEqual((record["id"], record["queue"], record["num_attempts"]), (message.id, "acme@example.org!hub.example", 1))
        [sent] = self.house.sessions[-1].drain()
        self.assertEqual((sent.id, sent.attempts), (message.id, 1))

    def test_what_stays_in_its_queue_keeps_its_due_time_and_has_no_record(self) -> None:
        [message] = self.waiting()
        due = message.due
        self.admin.rebind(Rebinding(criteria=Criteria(), reason="x", data={"colour": "red"}))
        self.house.run(1.0)
        self.assertEqual((message.due, self.house.records("AdminRebind")), (due, []))
        self.house.run(1201.0)
        [sent] = self.house.sessions[-1].drain()
        self.assertEqual(sent.meta["colour"], "red")

    def test_always_flush_makes_it_due_now(self) -> None:
        self.waiting(700)
        self.admin.rebind(Rebinding(criteria=Criteria(domain="example.org"), reason="flush", always_flush=True))
        self.house.run(1.0)
        self.assertEqual(self.house.queue_of().size, 700)
        self.assertEqual(self.house.records("AdminRebind"), [])

    def test_records_can_be_left_out(self) -> None:
        self.waiting()
        self.admin.rebind(Rebinding(criteria=Criteria(), reason="x", data={"queue": "elsewhere.example"}, suppress_logging=True))
        self.house.run(1.0)
        self.assertEqual((self.house.records("AdminRebind"), self.house.queue_of(site="mx.elsewhere.example").size), ([], 1))

    def test_the_policy_can_say_where_each_belongs(self) -> None:
        def rebind(message: PolicyMessage, data: dict[str, str]) -> None:
            if message.get_meta("tenant") == "acme":
                message.set_meta("routing_domain", data["to"])

        self.house.handlers["rebind_message"] = (Handler(rebind, 2, "policy.py:1"),)
        self.house.scheduler.direct(type(self.house.directions)(self.house, 1))
        self.waiting(tenant="acme")
        self.waiting(tenant="other")
        event = Rebinding(criteria=Criteria(), reason="x", data={"to": "hub.example"}, trigger_rebind_event=True)
        self.admin.rebind(event)
        self.house.run(1.0)
        self.assertEqual([one["queue"] for one in self.house.records("AdminRebind")], ["acme@example.org!hub.example"])

    def test_a_policy_that_refuses_changes_nothing(self) -> None:
        def rebind(message: PolicyMessage, _: dict[str, str]) -> None:
            message.set_meta("queue", "elsewhere.example")
            raise refuse("550 no")

        self.house.handlers["rebind_message"] = (Handler(rebind, 2, "policy.py:1"),)
        self.house.scheduler.direct(type(self.house.directions)(self.house, 1))
        self.waiting(2)
        self.admin.rebind(Rebinding(criteria=Criteria(), reason="x", trigger_rebind_event=True))
        self.house.run(1300.0)
        self.assertEqual(self.house.records("AdminRebind"), [])
        self.assertEqual(len(drained(self.house)), 2)

    def test_whatever_the_policy_does_wrong_each_message_waits_again(self) -> None:
        async def later(*_: Any) -> None:
            raise ZeroDivisionError

        def at_once(*_: Any) -> None:
            raise ZeroDivisionError

        def to_nowhere(message: PolicyMessage, _: Any) -> None:
            message.set_meta("queue", 7)

        wrongs: dict[str, Any] = {
            "raises": at_once,
            "raises later": later,
            "never answers": lambda *_: Deferred(),
            "answers nonsense": lambda *_: object(),
            "names no queue": to_nowhere,
        }
        for epoch, (what, handler) in enumerate(wrongs.items(), 1):
            with self.subTest(what):
                self.house.handlers["rebind_message"] = (Handler(handler, 2, "policy.py:1"),)
                self.house.scheduler.direct(type(self.house.directions)(self.house, epoch))
                waiting = {message.id for message in self.waiting(2)}
                done = self.admin.rebind(Rebinding(criteria=Criteria(), reason="x", trigger_rebind_event=True))
                self.house.run(400.0)
                self.assertEqual(self.successResultOf(done), 2)
                self.house.run(1300.0)
                self.assertEqual({one.id for one in drained(self.house)}, waiting)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, ValueError)), 6)

    def test_it_is_on_disk_before_the_message_goes_on(self) -> None:
        [message] = self.waiting(tenant="acme")
        self.house.spool.stalled = True
        self.admin.rebind(Rebinding(criteria=ACME, reason="x", data={"routing_domain": "hub.example"}))
        self.house.run(1.0)
        self.assertEqual([queue.name for queue in self.house.ready if "hub" in queue.name], [])
        self.house.spool.run()
        self.house.spool.stalled = False
        after = restarted(self.house, 1.0)
        self.assertEqual([one.id for one in drained(after)], [message.id])
        self.assertEqual(after.sessions[0].supply.path.destination.domain, "hub.example")

    def test_other_queues_are_left_alone(self) -> None:
        self.waiting(tenant="other")
        due = self.admin.rebind(Rebinding(criteria=ACME, reason="x", data={"queue": "q"}, always_flush=True))
        self.house.run(10.0)
        self.assertEqual((self.successResultOf(due), self.house.queue_of().size), (0, 0))


class InspectionTests(HouseCase):
    def test_a_queue_shows_what_waits_in_it_and_why(self) -> None:
        self.house.queues["example.org"] = QueueSettings(max_message_rate=Rate(1, 3600.0))
        taken = [self.house.take() for _ in range(3)]
        self.house.sessions[0].answer(Verdict.POSTPONED, LATER)
        view = self.admin.inspect_queue("example.org")
        assert view is not None
        self.assertEqual([one.id for one in view.messages], [taken[1].id, taken[2].id, taken[0].id])
        self.assertEqual([(one.num_attempts, one.due > view.now) for one in view.messages], [(0, False), (0, False), (1, True)])
        self.assertEqual((view.num_scheduled, view.parked, view.blocked), (3, 1, "MessageRateThrottle"))
        self.assertEqual((view.egress_pool, view.site), ("unspecified", "mx.example.org"))
        self.assertEqual(view.queue_config.max_message_rate, Rate(1, 3600.0))
        limited = self.admin.inspect_queue("example.org", 1)
        assert limited is not None
        self.assertEqual((len(limited.messages), limited.num_scheduled), (1, 3))
        self.assertIsNone(self.admin.inspect_queue("unknown.example"))

    def test_a_queue_shows_its_orders_and_what_is_ready(self) -> None:
        self.house.paths["example.org"] = PathSettings(max_ready=2)
        for _ in range(3):
            self.house.take()
        order = self.successResultOf(self.admin.suspend(Criteria(domain="example.org"), "why"))
        view = self.admin.inspect_queue("example.org")
        assert view is not None
        self.assertEqual((view.suspension, view.bounce, dict(view.ready)), (order, None, {}))
        self.admin.resume(order.id)
        self.house.run(1.0)
        view = self.admin.inspect_queue("example.org")
        assert view is not None
        self.assertEqual(dict(view.ready), {"unspecified->mx.example.org@smtp_client": 2})

    def test_a_message_shows_what_the_spool_has_of_it(self) -> None:
        message = self.house.take("bob@example.org", "carol@example.org", tenant="acme")
        self.house.sessions[0].drain(Verdict.POSTPONED, LATER)
        view = self.successResultOf(inspect_message(message.id, lambda one: self.house.spool.load(one, False)))
        assert view is not None
        self.assertEqual((view.queue, view.sender, view.recipient), (
            "acme@example.org", "alice@example.com", ("bob@example.org", "carol@example.org")))  # fmt: skip
        self.assertEqual((view.num_attempts, view.due, view.last_reply), (1, message.due, "451 4.7.0 later"))
        self.assertIsNone(view.data)
        whole = self.successResultOf(inspect_message(message.id, self.house.spool.load))
        assert whole is not None
        self.assertEqual(whole.data, b"Subject: hello\r\n\r\nworld\r\n")
        self.assertIsNone(self.successResultOf(inspect_message("0" * 32, self.house.spool.load)))
