"""The scheduler, its ready queues and custody together, on a clock, with a spool in memory and scripted sessions."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Rate
from kumotwist.config.queues import QueueSettings
from kumotwist.egress.path import Destination
from kumotwist.mail.disposition import Attempt, Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Reply
from kumotwist.mail.schedule import Schedule
from kumotwist.scheduled.sources import Ailment
from kumotwist.spool.change import decode_message
from tests.support.house import ARRIVAL, LATER, NEVER, OK, START, House


class WayOfAMessageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()

    def test_a_delivered_message_leaves_the_spool_with_its_record(self) -> None:
        message = self.house.take(tenant="acme", campaign="spring")
        self.assertIn(message.id, self.house.spool.store.kept)
        self.assertEqual(message.queue, "spring:acme@example.org")
        self.house.sessions[0].drain()
        self.assertEqual(self.house.spool.store.kept, {})
        reception, delivery = self.house.records()
        self.assertEqual((reception["type"], delivery["type"]), ("Reception", "Delivery"))
        self.assertEqual(delivery["id"], message.id)
        self.assertEqual(delivery["queue"], "spring:acme@example.org")
        self.assertEqual(delivery["site"], "unspecified->mx.example.org@smtp_client")
        self.assertEqual((delivery["egress_pool"], delivery["egress_source"]), ("unspecified", "unspecified"))
        self.assertEqual(delivery["num_attempts"], 0)

    def test_a_bounced_message_leaves_too(self) -> None:
        self.house.take()
        self.house.sessions[0].drain(Verdict.BOUNCED, NEVER)
        self.assertEqual(self.house.spool.store.kept, {})
        self.assertEqual([one["type"] for one in self.house.records()], ["Reception", "Bounce"])

    def test_a_postponed_message_comes_back_when_due_and_not_before(self) -> None:
        message = self.house.take()
        self.house.sessions[0].answer(Verdict.POSTPONED, LATER)
        self.house.forward(1199)
        self.assertEqual(self.house.queue_of().size, 0)
        self.house.forward(2)
        self.assertEqual(self.house.queue_of().size, 1)
        self.house.sessions[-1].drain()
        last = self.house.records()[-1]
        self.assertEqual((last["type"], last["num_attempts"], last["id"]), ("Delivery", 1, message.id))
        self.assertEqual(last["sender"], "alice@example.com")

    def test_days_of_retries_end_in_one_expiration(self) -> None:
        self.house.take()
        for _ in range(7 * 24 * 60):
            for session in self.house.sessions:
                if session.supply.size:
                    session.answer(Verdict.POSTPONED, LATER)
            self.house.clock.advance(60.0)
        kinds = [one["type"] for one in self.house.records()]
        self.assertEqual(kinds, ["Reception", *["TransientFailure"] * 9, "Expiration"])
        self.assertEqual([one["num_attempts"] for one in self.house.records("TransientFailure")], list(range(9)))
        self.assertEqual(self.house.spool.store.kept, {})
        self.assertEqual(self.house.records()[-1]["response"]["code"], 551)

    def test_what_waits_keeps_nothing_in_memory_that_the_spool_has(self) -> None:
        message = self.house.take()
        self.house.sessions[0].answer(Verdict.POSTPONED, LATER)
        self.assertIsNone(message.content)
        self.assertFalse(message.envelope_loaded)

    def test_some_recipients_delivered_some_not_only_the_rest_is_tried_again(self) -> None:
        message = self.house.take("bob@example.org", "carol@example.org", "dan@example.org")
        supply = self.house.sessions[0].supply
        taken = supply.next_message()
        assert taken is not None
        bob, carol, dan = taken.recipients
        outcomes = [
            Outcome(Verdict.DELIVERED, (bob,), OK),
            Outcome(Verdict.POSTPONED, (carol,), LATER),
            Outcome(Verdict.BOUNCED, (dan,), NEVER),
        ]
        supply.settle(taken, self.house.sessions[0].attempt, outcomes)
        kept = decode_message(message.id, self.house.spool.store.kept[message.id][0])
        self.assertEqual([one.email for one in kept.recipients], ["carol@example.org"])
        self.assertEqual(
            [(one["type"], one["recipient"]) for one in self.house.records()[1:]],
            [("Delivery", "bob@example.org"), ("TransientFailure", "carol@example.org"), ("Bounce", "dan@example.org")],
        )
        self.house.forward(1202)
        [again] = self.house.sessions[-1].drain()
        self.assertEqual([one.email for one in again.recipients], ["carol@example.org"])

    def test_a_message_waits_again_only_once_the_disk_has_what_changed(self) -> None:
        self.house.take("bob@example.org", "carol@example.org")
        self.house.spool.stalled = True
        self.house.sessions[0].answer(Verdict.POSTPONED, LATER)
        self.house.forward(5000)
        self.assertEqual(self.house.queue_of().size, 0)
        self.house.spool.stalled = False
        self.house.spool.run()
        self.assertEqual(self.house.queue_of().size, 1)

    def test_the_null_queue_takes_everything_and_keeps_nothing(self) -> None:
        self.house.take(queue="null")
        self.assertEqual(self.house.spool.store.kept, {})
        self.assertEqual([one["type"] for one in self.house.records()], ["Reception"])
        self.assertEqual(self.house.sessions, [])

    def test_a_schedule_holds_a_fresh_message_back_and_a_record_says_so(self) -> None:
        self.house.take(schedule=Schedule(first_attempt=START + 3600))
        self.assertEqual(self.house.sessions, [])
        delayed = self.house.records("Delayed")[0]
        self.assertTrue(delayed["response"]["content"].startswith("Context: Received, ScheduledForLater. Next due in 1h at "))
        self.house.forward(3601)
        self.assertEqual(self.house.queue_of().size, 1)

    def test_metadata_of_the_wrong_kind_refuses_instead_of_losing(self) -> None:
        message = self.house.messages.make()
        message.meta["tenant"] = 5
        with self.assertRaises(Exception) as caught:
            self.house.custody.take([message], ARRIVAL)
        self.assertIn("451 4.3.0", str(caught.exception))


class SelectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.house.pool("both", heavy=2, light=1)
        self.house.queues["example.org"] = QueueSettings(egress_pool="both")

    def test_weights_share_the_messages(self) -> None:
        for _ in range(300):
            self.house.take()
        self.assertEqual((self.house.queue_of("heavy").size, self.house.queue_of("light").size), (200, 100))

    def test_a_full_path_leaves_its_share_to_the_other(self) -> None:
        self.house.paths["example.org"] = PathSettings(max_ready=10)
        for _ in range(15):
            self.house.take()
        self.assertEqual((self.house.queue_of("heavy").size, self.house.queue_of("light").size), (10, 5))

    def test_when_all_are_full_messages_wait_for_room_in_order_and_one_record_says_so(self) -> None:
        self.house.paths["example.org"] = PathSettings(max_ready=4)
        taken = [self.house.take() for _ in range(20)]
        delayed = self.house.records("Delayed")
        self.assertEqual(len(delayed), 1)
        self.assertIn("ReadyQueueWasFull. Next due as soon as there is room in ", delayed[0]["response"]["content"])
        sent: list[Message] = []
        for _ in range(30):
            for session in list(self.house.sessions):
                sent += session.drain()
            self.house.clock.advance(0.01)
        self.assertEqual(sorted(one.id for one in sent), sorted(one.id for one in taken))
        self.assertEqual(self.house.spool.store.kept, {})

    def test_a_source_without_its_address_is_left_out_and_found_again(self) -> None:
        here = {"127.0.0.12": True, "127.0.0.11": False}
        self.house.scheduler._promotion.sources._here = here.__getitem__
        for _ in range(6):
            self.house.take()
        self.house.scheduler.source_missing("heavy")
        self.house.clock.advance(0)
        self.assertEqual((self.house.queue_of("heavy").size, self.house.queue_of("light").size), (0, 6))
        here["127.0.0.11"] = True
        self.house.forward(6)
        for _ in range(3):
            self.house.take()
        self.assertGreater(self.house.queue_of("heavy").size, 0)

    def test_with_no_source_left_messages_wait_uncounted_until_one_returns(self) -> None:
        here = {"127.0.0.12": False, "127.0.0.11": False}
        self.house.scheduler._promotion.sources._here = here.__getitem__
        self.house.take()
        for source in ("heavy", "light"):
            self.house.scheduler._promotion.sources.failed(self.house.sources[source], Ailment.UNPLUMBED)
        self.house.queue_of("light").give_all_back(Reason.SOURCE_IS_UNHEALTHY_AND_SUSPENDED)
        self.house.forward(86400, 60.0)
        [told] = self.house.records("Delayed")
        self.assertIn("NoSourceIsUsable", told["response"]["content"])
        here["127.0.0.12"] = True
        self.house.forward(10)
        [message] = self.house.sessions[-1].drain()
        self.assertEqual(message.attempts, 0)

    def test_an_empty_pool_is_a_counted_failure_with_its_own_text(self) -> None:
        self.house.pool("none")
        self.house.queues["example.net"] = QueueSettings(egress_pool="none")
        self.house.take("x@example.net")
        [failure] = self.house.records("TransientFailure")
        self.assertEqual(failure["response"]["code"], 451)
        self.assertEqual(failure["response"]["content"], "KumoMTA internal: no sources available for example.net pool=`none`")


class BlockedQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()

    def test_a_failed_lookup_is_a_transient_failure_for_all_that_wait(self) -> None:
        looked_up: Deferred[Destination] = Deferred()
        self.house.destinations.answers["example.org"] = lambda: looked_up
        for _ in range(3):
            self.house.take()
        looked_up.errback(RuntimeError("MX lookup for example.org failed after 5s: timeout"))
        failures = self.house.records("TransientFailure")
        self.assertEqual(len(failures), 3)
        self.assertEqual(
            failures[0]["response"]["content"],
            "failed to resolve queue example.org: MX lookup for example.org failed after 5s: timeout",
        )
        self.assertEqual(len(self.house.spool.store.kept), 3)
        del self.house.destinations.answers["example.org"]
        self.house.forward(1202)
        self.assertEqual(len(self.house.sessions[0].drain()), 3)

    def test_messages_wait_for_a_lookup_and_go_on_in_order(self) -> None:
        looked_up: Deferred[Destination] = Deferred()
        self.house.destinations.answers["example.org"] = lambda: looked_up
        taken = [self.house.take() for _ in range(3)]
        self.assertEqual(self.house.sessions, [])
        del self.house.destinations.answers["example.org"]
        looked_up.callback(self.house.destinations.destination("example.org"))
        self.house.clock.advance(0)
        self.assertEqual([one.id for one in self.house.sessions[0].drain()], [one.id for one in taken])

    def test_a_lookup_that_fails_at_once_strands_nothing(self) -> None:
        def broken() -> Any:
            failed: Deferred[Destination] = Deferred()
            failed.errback(RuntimeError("no"))
            return failed

        self.house.destinations.answers["example.org"] = broken
        self.house.take()
        self.house.take()
        self.assertEqual(len(self.house.records("TransientFailure")), 2)

    def test_the_queues_own_message_rate_holds_exactly(self) -> None:
        self.house.queues["example.org"] = QueueSettings(max_message_rate=Rate(2, 10.0))
        for _ in range(10):
            self.house.take()
        seen = []
        for _ in range(60):
            seen.append(sum(len(session.drain()) for session in self.house.sessions))
            self.house.clock.advance(1.0)
        self.assertEqual(sum(seen), 10)
        self.assertEqual(seen[0], 2)
        self.assertLessEqual(max(sum(seen[n : n + 5]) for n in range(1, 50)), 1)
        self.assertEqual(len(self.house.records("Delayed")), 1)

    def test_a_held_message_expires_while_it_waits(self) -> None:
        self.house.queues["example.org"] = QueueSettings(max_age=600.0)
        self.house.destinations.answers["example.org"] = lambda: Deferred()
        self.house.take()
        self.house.forward(700, 10.0)
        [expired] = self.house.records("Expiration")
        self.assertIn("Next delivery time", expired["response"]["content"])
        self.assertEqual(self.house.spool.store.kept, {})


class FairnessTests(SynchronousTestCase):
    def test_queues_that_share_a_path_are_served_in_turn(self) -> None:
        house = House()
        for _ in range(50):
            house.take(tenant="big")
        for _ in range(3):
            house.take(tenant="small")
        sent = [house.sessions[0].answer(Verdict.DELIVERED, OK).meta["tenant"] for _ in range(6)]
        self.assertEqual(sent.count("small"), 3)

    def test_room_is_shared_among_the_queues_that_wait_for_it(self) -> None:
        house = House()
        house.paths["example.org"] = PathSettings(max_ready=8)
        for tenant, count in (("big", 100), ("small", 5)):
            for _ in range(count):
                house.take(tenant=tenant)
        first: list[str] = []
        while len(first) < 30:
            busy = [session for session in house.sessions if session.supply.size]
            first += [session.answer(Verdict.DELIVERED, OK).meta["tenant"] for session in busy if session.supply.size]
            house.clock.advance(0.001)
        self.assertEqual(first.count("small"), 5)


class RestartTests(SynchronousTestCase):
    def test_attempts_due_time_and_last_reply_survive(self) -> None:
        house = House()
        message = house.take(tenant="acme")
        house.sessions[0].answer(Verdict.POSTPONED, LATER)
        house.forward(600)
        after = House(store=house.spool.store)
        after.clock.advance(600)
        [(message_id, envelope)] = after.spool.store.envelopes()
        found = decode_message(message_id, envelope)
        self.assertEqual((found.attempts, found.due, found.last_reply), (1, message.due, "451 4.7.0 later"))
        found.queue = found.queue_name()
        found.shrink()
        after.scheduler.admit_stored([found])
        self.assertEqual(after.sessions, [])
        after.forward(602)
        [sent] = after.sessions[0].drain()
        self.assertEqual((sent.id, sent.attempts, sent.meta["tenant"]), (message.id, 1, "acme"))

    def test_what_grew_too_old_while_we_were_down_expires(self) -> None:
        house = House()
        house.take()
        after = House(store=house.spool.store)
        after.clock.advance(8 * 86400)
        [(message_id, envelope)] = after.spool.store.envelopes()
        found = decode_message(message_id, envelope)
        found.queue = found.queue_name()
        found.shrink()
        after.scheduler.admit_stored([found])
        [expired] = after.records("Expiration")
        self.assertEqual((expired["id"], expired["recipient"]), (message_id, "bob@example.org"))


class MemoryTests(SynchronousTestCase):
    def test_beyond_the_limit_messages_wait_without_their_content_and_none_is_lost(self) -> None:
        house = House(memory=10_000)
        taken = [house.take() for _ in range(50)]
        self.assertLess(sum(one.content is not None for one in taken), 10)
        sent: list[bytes] = []
        while house.queue_of().size:
            message = house.queue_of().next_message()
            assert message is not None
            content = house.queue_of().content(message)
            sent.append(self.successResultOf(content) if isinstance(content, Deferred) else content)
            house.queue_of().settle(message, Attempt(), [Outcome(Verdict.DELIVERED, message.recipients, OK)])
        self.assertEqual(sent, [b"Subject: hello\r\n\r\nworld\r\n"] * 50)
        self.assertEqual(house.custody._residence.held, 0)


def accounts(house: House) -> tuple[set[str], set[str]]:
    """Ids received, and ids that are either in the spool or have exactly one final record."""
    received = {one["id"] for one in house.records("Reception")}
    final = [one["id"] for one in house.records() if one["type"] in ("Delivery", "Bounce", "Expiration")]
    assert len(final) == len(set(final))
    assert not set(final) & set(house.spool.store.kept)
    return received, set(final) | set(house.spool.store.kept)


class BooksTests(SynchronousTestCase):
    def test_whatever_sessions_do_the_books_balance(self) -> None:
        house = House(memory=20_000)
        house.pool("both", heavy=2, light=1)
        house.queues["example.org"] = QueueSettings(egress_pool="both", retry_interval=30.0, max_age=3600.0)
        house.paths["example.org"] = PathSettings(max_ready=6)
        verdicts: list[tuple[Verdict, Reply]] = [
            (Verdict.DELIVERED, OK), (Verdict.POSTPONED, LATER), (Verdict.BOUNCED, NEVER), (Verdict.POSTPONED, LATER),
        ]  # fmt: skip
        step = 0
        for n in range(400):
            if n < 120:
                house.take(tenant=f"t{n % 7}")
            for session in list(house.sessions):
                step += 1
                if session.ended.called or not session.supply.size:
                    continue
                if step % 11 == 0:
                    message = session.supply.next_message()
                    if message is not None:
                        session.supply.give_back(message, Reason.DISPATCHER_DROP, float(step % 3))
                    session.end()
                elif step % 17 == 0:
                    session.supply.throttled(Reason.MESSAGE_RATE_THROTTLE, 3.0)
                else:
                    message = session.supply.next_message()
                    if message is not None:
                        content = session.supply.content(message)
                        assert not isinstance(content, Deferred) or content.called
                        verdict, answer = verdicts[step % 4]
                        session.supply.settle(message, session.attempt, [Outcome(verdict, message.recipients, answer)])
            house.clock.advance(1.0 if n < 200 else 20.0)
        received, accounted = accounts(house)
        self.assertEqual(len(received), 120)
        self.assertEqual(received, accounted)
        self.assertEqual(house.spool.store.kept, {})
