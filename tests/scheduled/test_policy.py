"""Queues and paths as a policy would have them: at once, awaited, broken, and mended."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import EgressPool, EgressSource, PathSettings, PoolEntry
from kumotwist.config.fields import parse_rate
from kumotwist.config.queues import QueueSettings
from kumotwist.egress.throttles import Throttles
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.policy import Handler
from kumotwist.hooks.throttle import Throttle
from kumotwist.mail.disposition import Attempt, Outcome, Peer, Verdict
from kumotwist.mail.reply import reply
from kumotwist.spool.change import decode_message
from tests.support.house import LATER, NEVER, OK, House


class Broken(Exception):
    """What a policy of these tests raises."""


class PolicyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.house.pool("mine", ours=1)

    def on(self, event: str, handler: Callable[..., Any], takes: int = 4) -> None:
        self.house.handlers[event] = (Handler(handler, takes, "policy.py:1"),)

    def test_a_policy_chooses_the_pool_by_tenant(self) -> None:
        pools = {"acme": "mine"}
        self.on("get_queue_config", lambda _, tenant, *__: QueueSettings(egress_pool=pools.get(tenant)))
        self.house.take(tenant="acme")
        self.house.take(tenant="other")
        self.assertEqual((self.house.queue_of("ours").size, self.house.queue_of("unspecified").size), (1, 1))

    def test_none_leaves_it_to_the_configuration(self) -> None:
        self.house.queues["example.org"] = QueueSettings(egress_pool="mine")
        self.on("get_queue_config", lambda *_: None)
        self.house.take()
        self.assertEqual(self.house.queue_of("ours").size, 1)

    def test_messages_wait_in_order_for_an_answer_that_takes_its_time(self) -> None:
        answer: Deferred[QueueSettings] = Deferred()
        self.on("get_queue_config", lambda *_: answer)
        taken = [self.house.take().id for _ in range(3)]
        self.assertEqual(self.house.sessions, [])
        answer.callback(QueueSettings(egress_pool="mine"))
        self.house.clock.advance(0)
        self.assertEqual([one.id for one in self.house.sessions[0].drain()], taken)

    def test_a_coroutine_that_waits_for_nothing_is_an_answer_at_once(self) -> None:
        async def config(*_: Any) -> QueueSettings:
            return QueueSettings(egress_pool="mine")

        self.on("get_queue_config", config)
        self.house.take()
        self.house.clock.advance(0)
        self.assertEqual(self.house.queue_of("ours").size, 1)

    def _is_kept_and_goes_on(self, repair: Callable[[], None], logged: type[Exception] | None) -> None:
        """Two messages are accepted whatever the policy does, wait uncounted, and go once it is mended."""
        taken = [self.house.take().id for _ in range(2)]
        self.house.clock.advance(0)
        self.assertEqual(self.house.sessions, [])
        self.assertEqual(set(self.house.spool.store.kept), set(taken))
        self.assertEqual(self.house.records("Bounce") + self.house.records("TransientFailure"), [])
        self.assertTrue(self.house.records("Delayed"))
        if logged is not None:
            self.assertTrue(self.flushLoggedErrors(logged))
        repair()
        self.house.forward(1300, 10.0)
        sent = [message for session in self.house.sessions for message in session.drain()]
        self.assertEqual(sorted(message.id for message in sent), sorted(taken))
        self.assertEqual({message.attempts for message in sent}, {0})

    def test_a_policy_that_raises_costs_time_and_no_message(self) -> None:
        def broken(*_: Any) -> Any:
            raise Broken

        for event in ("get_queue_config", "get_egress_path_config"):
            with self.subTest(event):
                self.setUp()
                self.on(event, broken)
                self._is_kept_and_goes_on(self.house.handlers.clear, Broken)

    def test_a_policy_that_fails_later_costs_time_and_no_message(self) -> None:
        async def broken(*_: Any) -> Any:
            await waiting[-1]
            raise Broken

        for event in ("get_queue_config", "get_egress_path_config"):
            with self.subTest(event):
                self.setUp()
                waiting: list[Deferred[None]] = [Deferred()]
                waiting[0].callback(None)
                self.on(event, broken)
                self._is_kept_and_goes_on(self.house.handlers.clear, Broken)

    def test_an_answer_of_the_wrong_kind_is_no_answer(self) -> None:
        for event, nonsense in (("get_queue_config", {"egress_pool": "mine"}), ("get_egress_path_config", 7)):
            with self.subTest(event):
                self.setUp()
                self.on(event, lambda *_, nonsense=nonsense: nonsense)
                self._is_kept_and_goes_on(self.house.handlers.clear, None)

    def test_a_pool_that_nobody_knows_holds_its_queue_until_somebody_does(self) -> None:
        self.on("get_queue_config", lambda *_: QueueSettings(egress_pool="unknown"))

        def repair() -> None:
            self.house.pool("unknown", found=1)

        self._is_kept_and_goes_on(repair, None)

    def test_pools_and_sources_can_come_from_the_policy_too(self) -> None:
        self.on("get_queue_config", lambda *_: QueueSettings(egress_pool="made"))
        entries = (PoolEntry(name="a", weight=2), PoolEntry(name="b"))
        self.on("get_egress_pool", lambda name: EgressPool(name=name, entries=entries), 1)
        self.on("get_egress_source", lambda name: EgressSource(name=name, source_address="127.0.0.1"), 1)
        for _ in range(30):
            self.house.take()
        self.assertEqual((self.house.queue_of("a").size, self.house.queue_of("b").size), (20, 10))

    def test_path_settings_are_asked_for_by_domain_source_and_site(self) -> None:
        asked: list[Any] = []

        def path(*arguments: Any) -> PathSettings:
            asked.append(arguments)
            return PathSettings(max_ready=3)

        self.on("get_egress_path_config", path)
        for _ in range(5):
            self.house.take(routing_domain="relay.example")
        self.assertEqual(asked, [("relay.example", "unspecified", "mx.relay.example")])
        self.assertEqual(self.house.queue_of(site="mx.relay.example").size, 3)

    def test_a_queue_asks_again_after_a_minute_and_keeps_what_it_has_if_that_fails(self) -> None:
        answers: list[Any] = [QueueSettings(egress_pool="mine"), Broken(), QueueSettings()]

        def config(*_: Any) -> QueueSettings:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, QueueSettings)
            return answer

        self.on("get_queue_config", config)
        self.house.take()
        self.house.take()
        self.house.forward(61)
        self.house.take()
        self.assertEqual(self.house.queue_of("ours").size, 3)
        self.assertEqual(len(self.flushLoggedErrors(Broken)), 1)
        self.house.forward(61)
        self.house.take()
        self.assertEqual(self.house.queue_of("unspecified").size, 1)

    def test_a_fault_of_ours_costs_its_queue_a_minute_and_no_other_anything(self) -> None:
        whole = self.house.directions._configured_path

        def broken(domain: str, *others: Any) -> PathSettings:
            if domain == "example.org":
                raise ZeroDivisionError
            found = whole(domain, *others)
            assert isinstance(found, PathSettings)
            return found

        self.house.directions._configured_path = broken
        self.house.take()
        self.house.take("x@example.net")
        self.assertEqual([queue.path.destination.domain for queue in self.house.ready], ["example.net"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.house.directions._configured_path = whole
        self.house.forward(61)
        self.assertEqual(self.house.queue_of().size, 1)

    def test_a_message_that_cannot_be_admitted_is_accepted_and_admitted_later(self) -> None:
        admit, self.house.scheduler.admit = self.house.scheduler.admit, lambda *_: 1 // 0  # type: ignore[method-assign,assignment]
        message = self.house.take()
        self.assertIn(message.id, self.house.spool.store.kept)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.house.scheduler.admit = admit  # type: ignore[method-assign]
        self.house.forward(61)
        self.assertEqual(self.house.queue_of().size, 1)

    def test_a_message_may_name_its_own_pool(self) -> None:
        self.house.take(egress_pool="mine")
        self.house.take()
        self.assertEqual((self.house.queue_of("ours").size, self.house.queue_of("unspecified").size), (1, 1))
        for session in self.house.sessions:
            session.drain()
        self.assertEqual({one["egress_pool"] for one in self.house.records("Delivery")}, {"mine", "unspecified"})

    def test_a_message_with_a_pool_that_nobody_knows_holds_up_only_itself(self) -> None:
        self.house.take(egress_pool="nowhere")
        self.house.take()
        self.assertEqual(self.house.queue_of("unspecified").size, 1)
        [failure] = self.house.records("TransientFailure")
        self.assertIn("there is no 'nowhere'", failure["response"]["content"])

    def test_a_new_configuration_holds_from_the_next_message_on(self) -> None:
        from tests.support.house import Directed

        self.house.take()
        self.house.queues["example.org"] = QueueSettings(egress_pool="mine")
        self.house.take()
        self.assertEqual(self.house.queue_of("unspecified").size, 2)
        self.house.paths["example.org"] = PathSettings(max_ready=2)
        directions: Any = Directed(self.house, 1)
        self.house.ready.direct(directions)
        self.house.scheduler.direct(directions)
        self.house.take()
        self.assertEqual(self.house.queue_of("ours").size, 1)
        self.assertEqual(self.house.queue_of("unspecified").path.settings.max_ready, 2)


class QueueEventTests(SynchronousTestCase):
    """What a policy is told about messages that wait, and what its answers do."""

    def setUp(self) -> None:
        self.house = House()

    def on(self, event: str, handler: Callable[..., Any], takes: int) -> None:
        self.house.handlers[event] = (Handler(handler, takes, "policy.py:1"),)

    def test_a_message_can_be_put_off_before_it_is_ready_and_is_asked_about_again(self) -> None:
        asked: list[str] = []

        def throttle(message: PolicyMessage) -> None:
            asked.append(message.id)
            if len(asked) == 1:
                message._message.due = self.house.clock.seconds() + 90

        self.on("throttle_insert_ready_queue", throttle, 1)
        message = self.house.take()
        self.assertEqual(self.house.sessions, [])
        [delayed] = self.house.records("Delayed")
        self.assertIn("ThrottledByThrottleInsertReadyQueue. Next due in 1m 30s", delayed["response"]["content"])
        self.house.forward(91)
        self.assertEqual(self.house.queue_of().size, 1)
        self.assertEqual(asked, [message.id] * 2)

    def test_what_a_throttle_of_a_policy_puts_off_has_a_record_that_names_the_throttle(self) -> None:
        limit = Throttles().get("policy:bulk", parse_rate("1/min"))
        throttle = Throttle("bulk", parse_rate("1/min"), limit, self.house.clock)
        self.on("throttle_insert_ready_queue", throttle.delay_message_if_throttled, 1)
        self.house.take()
        self.house.take()
        [delayed] = self.house.records("Delayed")
        self.assertIn("Next due in 1m at 2023-11-14T22:14:20.000000Z for throttle bulk (1/m)", delayed["response"]["content"])

    def test_a_slow_answer_holds_only_its_message_and_a_broken_one_nothing(self) -> None:
        answers: list[Any] = [Deferred(), None, Broken()]
        slow = answers[0]

        def throttle(_: PolicyMessage) -> Any:
            answer = answers.pop(0)
            if isinstance(answer, Broken):
                raise answer
            return answer

        self.on("throttle_insert_ready_queue", throttle, 1)
        for _ in range(3):
            self.house.take()
        self.assertEqual(self.house.queue_of().size, 2)
        slow.callback(None)
        self.assertEqual(self.house.queue_of().size, 3)
        self.assertEqual(len(self.flushLoggedErrors(Broken)), 1)

    def test_a_message_that_was_let_through_is_not_asked_about_again_when_there_was_no_room(self) -> None:
        asked: list[str] = []
        self.on("throttle_insert_ready_queue", lambda message: asked.append(message.id), 1)
        self.house.paths["example.org"] = PathSettings(max_ready=1)
        for _ in range(3):
            self.house.take()
        while any(session.supply.size for session in self.house.sessions):
            for session in list(self.house.sessions):
                session.drain()
            self.house.clock.advance(0.01)
        self.assertEqual(len(asked), 3)
        self.assertEqual(self.house.spool.store.kept, {})

    def test_a_failed_message_can_be_moved_to_another_queue(self) -> None:
        def move(message: PolicyMessage, response: str, context: list[str], counted: bool, delay: float | None) -> None:
            self.assertEqual((response, context, counted, delay), ("451 4.7.0 later", ["LoggedTransientFailure"], True, None))
            message.set_meta("routing_domain", "relay.example")

        self.on("requeue_message", move, 5)
        message = self.house.take()
        self.house.sessions[0].answer(Verdict.POSTPONED, LATER)
        relay = self.house.queue_of(site="mx.relay.example")
        self.assertEqual(relay.size, 1)
        kept = decode_message(message.id, self.house.spool.store.kept[message.id][0])
        self.assertEqual((kept.attempts, kept.meta["routing_domain"]), (1, "relay.example"))
        self.assertEqual(self.house.records("TransientFailure")[0]["queue"], "example.org")

    def test_a_failed_message_can_be_rejected_for_good(self) -> None:
        def never(*_: Any) -> None:
            from kumotwist.hooks.rejection import reject

            reject(451, "enough of it")

        self.on("requeue_message", never, 5)
        self.house.take()
        self.house.sessions[0].answer(Verdict.POSTPONED, LATER)
        self.assertEqual([one["type"] for one in self.house.records()], ["Reception", "TransientFailure", "Bounce"])
        self.assertEqual(self.house.spool.store.kept, {})

    def test_a_broken_requeue_changes_nothing(self) -> None:
        def broken(*_: Any) -> None:
            raise Broken

        self.on("requeue_message", broken, 5)
        message = self.house.take()
        self.house.sessions[0].answer(Verdict.POSTPONED, LATER)
        self.assertEqual(len(self.flushLoggedErrors(Broken)), 1)
        self.assertIn(message.id, self.house.spool.store.kept)
        self.house.handlers.clear()
        self.house.forward(1202)
        self.assertEqual(self.house.queue_of().size, 1)

    def _settle(self, *outcomes: tuple[Verdict, Any]) -> None:
        self.house.take("bob@example.org", "carol@example.org", tenant="acme")
        session = self.house.sessions[0]
        message = session.supply.next_message()
        assert message is not None
        attempt = Attempt(site=session.supply.name, peer=Peer("mx.example.org.", "192.0.2.1"))
        found = [
            Outcome(verdict, (recipient,), answer)
            for (verdict, answer), recipient in zip(outcomes, message.recipients, strict=True)
        ]
        session.supply.settle(message, attempt, found)

    def test_a_refusal_can_be_read_as_not_now(self) -> None:
        asked: list[Any] = []

        def rewrite(*arguments: Any) -> int | None:
            asked.append(arguments)
            return 451

        self.on("smtp_client_rewrite_delivery_status", rewrite, 5)
        self._settle((Verdict.DELIVERED, OK), (Verdict.BOUNCED, NEVER))
        self.assertEqual(asked, [("550 5.1.1 no such user", "example.org", "acme", None, "example.org")])
        [failure] = self.house.records("TransientFailure")
        self.assertEqual(failure["response"]["code"], 451)
        self.assertTrue(failure["response"]["content"].endswith(" (kumomta: status was rewritten from 550 -> 451)"))
        self.assertEqual(len(self.house.spool.store.kept), 1)

    def test_nonsense_and_our_own_texts_are_left_as_they_are(self) -> None:
        self.on("smtp_client_rewrite_delivery_status", lambda *_: "soon", 5)
        ours = reply("421 4.4.2 KumoMTA internal: failed to send message to x: Timed Out")
        self._settle((Verdict.BOUNCED, NEVER), (Verdict.POSTPONED, ours))
        self.assertEqual([one["type"] for one in self.house.records()][1:], ["Bounce", "TransientFailure"])

    def test_stored_messages_are_shown_to_the_policy_at_start(self) -> None:
        self.house.take()
        after = House(store=self.house.spool.store)

        def enumerated(message: PolicyMessage) -> None:
            message.set_meta("tenant", "found")

        after.handlers["spool_message_enumerated"] = (Handler(enumerated, 1, "policy.py:1"),)
        [(message_id, envelope)] = after.spool.store.envelopes()
        found = decode_message(message_id, envelope)
        found.name_queue()
        found.shrink()
        after.scheduler.admit_stored([found])
        self.assertEqual(after.sessions[0].drain()[0].queue, "found@example.org")
