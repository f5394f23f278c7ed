"""Messages handed over to an object of the policy: what it says is what became of them, and none is lost over it."""

from typing import Any

from twisted.internet.defer import Deferred

from kumotwist.config.egress import EgressSource, PathSettings
from kumotwist.config.queues import PolicyDelivery
from kumotwist.delivery.by_policy import ByPolicy
from kumotwist.delivery.hand_over import Around, hand_over
from kumotwist.delivery.stop import Stop
from kumotwist.egress.path import EgressPath
from kumotwist.egress.site import destination_without_hosts
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.policy import Handler, Policy
from kumotwist.hooks.rejection import Rejection
from kumotwist.mail.disposition import Peer
from kumotwist.mail.message import Message
from tests.delivery.case import BOUNCED, CONTENT, DELIVERED, POSTPONED, SessionCase, Supply, message, settled

NAME = "make.webhook"
BROKEN = "400 KumoMTA internal: error in deliver_message: "


def queued(number: int, *to: str) -> Message:
    made = message(number, *to)
    made.queue = "campaign:tenant@example.com"
    return made


class Webhook:
    """answers: what `send` does with one message after the other; a text is returned, an error raised, anything else too."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.seen: list[Any] = []

    def send(self, view: PolicyMessage) -> Any:
        self.seen.append((int(view.id, 16), view.get_data()))
        return self.answer()

    def answer(self) -> Any:
        answer = self.answers.pop(0) if self.answers else "taken"
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.seen.append("close")


class Batches:
    """The same for batches."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    async def send_batch(self, views: list[PolicyMessage]) -> str:
        self.seen.append([int(view.id, 16) for view in views])
        return "taken"


class ByPolicyCase(SessionCase):
    """A session with an object that the test makes."""

    given = PolicyDelivery(constructor=NAME)

    def setUp(self) -> None:
        super().setUp()
        self.contents: dict[str, Any] = {}
        self.connect_waits: list[float] = []
        self.send_waits: list[float] = []

    def begin(self, made: Any, *messages: Message, given: PolicyDelivery | None = None, **settings: Any) -> Supply:
        """made: what the constructor returns; an exception is raised."""
        self.asked: list[tuple[Any, ...]] = []
        self.dropped: list[tuple[Any, ...]] = []

        def construct(*names: Any) -> Any:
            self.asked.append(names)
            if isinstance(made, Exception):
                raise made
            return made

        given = given or self.given
        policy = Policy({NAME: (Handler(construct, 3, "policy.py:1"),)}, self.network)
        path = EgressPath(
            source=EgressSource(name="source-1"),
            destination=destination_without_hosts("example.com", given),
            settings=PathSettings(**settings),
        )
        supply = self.supply(*messages, path=path)
        supply.contents, supply.connect_waits, supply.send_waits = self.contents, self.connect_waits, self.send_waits
        reactor: Any = self.network
        around = Around(
            reactor=reactor, draw=lambda: 0.5, session_id=lambda: "s-1", stop=self.stop,
            dropped=lambda one, why, rest: self.dropped.append((int(one.id, 16), why.single_line, rest)),
        )  # fmt: skip
        self.ended.append(Deferred.fromCoroutine(hand_over(supply, ByPolicy(policy, given), around)))
        self.network.run()
        return supply

    def end(self, supply: Supply) -> list[Any]:
        return self.finish(supply, self.ended[-1])


class SingleTests(ByPolicyCase):
    def test_what_it_says_is_what_became_of_the_message(self) -> None:
        for answer, verdict, text in (
            ("taken as 17", DELIVERED, "200 taken as 17"),
            (Rejection(450, "4.2.1 later"), POSTPONED, "450 4.2.1 later"),
            (Rejection(421, "busy"), POSTPONED, "421 busy"),
            (Rejection(550, "5.1.1 nobody"), BOUNCED, "550 5.1.1 nobody"),
            (RuntimeError("no\nroute"), POSTPONED, f"{BROKEN}RuntimeError: no route"),
            (None, POSTPONED, f"{BROKEN}make.webhook must return a text, not NoneType"),
            (b"taken", POSTPONED, f"{BROKEN}make.webhook must return a text, not bytes"),
        ):
            with self.subTest(text):
                supply = self.begin(Webhook(answer), queued(1))
                self.assertEqual(self.end(supply), [("connected",), settled(1, verdict, text)])
                self.flushLoggedErrors(RuntimeError)

    def test_functions_coroutines_and_deferreds_are_alike(self) -> None:
        async def slowly(later: "Deferred[str]") -> str:
            return await later

        for form in ("function", "coroutine", "deferred"):
            later: Deferred[str] = Deferred()
            answers: dict[str, Any] = {"function": "taken", "coroutine": slowly(later), "deferred": later}
            hook = Webhook(answers[form])
            supply = self.begin(hook, queued(1))
            if form != "function":
                self.assertEqual(supply.calls, [("connected",)])
            later.callback("taken")
            answers["coroutine"].close()
            self.assertEqual(self.end(supply)[1:], [settled(1, DELIVERED, "200 taken")])
            self.assertEqual(hook.seen, [(1, CONTENT), "close"])

    def test_a_failure_that_comes_late_is_a_failure_too(self) -> None:
        later: Deferred[str] = Deferred()
        supply = self.begin(Webhook(later), queued(1))
        later.errback(Rejection(550, "never"))
        self.assertEqual(self.end(supply)[1:], [settled(1, BOUNCED, "550 never")])

    def test_a_timeout_of_its_own_is_a_failure_and_no_end_of_the_session_s(self) -> None:
        async def slowly(later: "Deferred[str]") -> str:
            return await later

        for _ in range(2):
            later: Deferred[str] = Deferred()
            answer = later if len(self.ended) else slowly(later)
            supply = self.begin(Webhook(answer), queued(1))
            later.cancel()
            self.network.run()
            text = f"{BROKEN}it took too long, and was cancelled"
            self.assertEqual(self.end(supply)[1:], [settled(1, POSTPONED, text)])

    def test_one_object_takes_message_after_message_and_is_closed_at_the_end(self) -> None:
        hook = Webhook("first", Rejection(550, "second"), "third")
        supply = self.begin(hook, queued(1), queued(2), queued(3))
        outcomes = [call[2][0][2] for call in self.end(supply)[1:]]
        self.assertEqual(outcomes, ["200 first", "550 second", "200 third"])
        self.assertEqual(self.asked, [("example.com", "tenant", "campaign")])
        self.assertEqual(hook.seen[-1], "close")

    def test_after_a_421_and_after_an_error_it_gets_no_more(self) -> None:
        for answer in (Rejection(421, "busy"), RuntimeError("broken")):
            supply = self.begin(Webhook(answer), queued(1), queued(2))
            self.end(supply)
            self.assertEqual((supply.answered, len(supply.ready)), ([f"{1:032x}"], 1))
            self.flushLoggedErrors(RuntimeError)

    def test_it_serves_max_deliveries_per_connection(self) -> None:
        supply = self.begin(Webhook(), *map(queued, range(1, 6)), max_deliveries_per_connection=3)
        self.end(supply)
        self.assertEqual(len(supply.ready), 2)

    def test_it_waits_for_more_as_long_as_a_connection_would(self) -> None:
        supply = self.begin(Webhook(), queued(1), idle_timeout=7.0)
        self.network.wait(6.0)
        supply.offer(queued(2))
        self.network.wait(6.0)
        self.assertTrue(supply.idle)
        self.network.wait(2.0)
        self.successResultOf(self.ended[-1])
        self.assertEqual(len(supply.answered), 2)

    def test_records_say_who_took_it(self) -> None:
        supply = self.begin(Webhook(), queued(1), provider_name="hooks")
        self.end(supply)
        (attempt,) = supply.attempts
        self.assertEqual(attempt.site, "source-1->example.com@lua:make.webhook")
        self.assertEqual((attempt.delivery_protocol, attempt.session_id, attempt.provider_name), ("Lua", "s-1", "hooks"))
        self.assertEqual(attempt.peer, Peer("Lua via make.webhook", "0.0.0.0"))

    def test_what_it_does_to_recipients_of_its_view_is_no_news_of_the_message(self) -> None:
        class Rewriting:
            def send(self, view: PolicyMessage) -> str:
                view.set_recipient("other@example.com")
                return "taken"

        supply = self.begin(Rewriting(), queued(1, "a@example.com", "b@example.com"))
        self.assertEqual(self.end(supply)[1], settled(1, DELIVERED, "200 taken", "a@example.com", "b@example.com"))


class ConstructorTests(ByPolicyCase):
    def test_where_none_is_made_the_message_was_tried_in_vain(self) -> None:
        for made, why in (
            (RuntimeError("down"), "RuntimeError: down"),
            (Rejection(550, "5.7.1 no"), "550 5.7.1 no"),
            (None, "nobody answers make.webhook"),
        ):
            supply = self.begin(made, queued(1), queued(2))
            text = f"400 KumoMTA internal: failed to connect to any candidate hosts: {why}"
            self.assertEqual(self.end(supply), [settled(1, POSTPONED, text), ("connection_failed",)])
            self.assertEqual(len(supply.ready), 1)
            self.flushLoggedErrors(RuntimeError)

    def test_what_has_no_method_to_send_with_sends_nothing(self) -> None:
        for batch, method in ((1, "send"), (5, "send_batch")):
            given = PolicyDelivery(constructor=NAME, batch_size=batch)
            supply = self.begin(object(), queued(1), given=given)
            text = f"{BROKEN}what make.webhook made has no method {method}"
            self.assertEqual(self.end(supply)[1:], [settled(1, POSTPONED, text)])

    def test_it_keeps_to_the_rates_of_the_path(self) -> None:
        for waits, reason in ((self.connect_waits, "ConnectionRateThrottle"), (self.send_waits, "MessageRateThrottle")):
            waits += [3.0, 30.0]
            hook = Webhook()
            supply = self.begin(hook, queued(1))
            self.assertEqual(supply.answered, [])
            self.network.wait(3.0)
            self.successResultOf(self.ended[-1])
            said = [call for call in supply.calls if call != ("connected",)]
            self.assertEqual(said, [("give_back", 1, reason, 30.0), ("throttled", reason, 30.0)])
            self.assertEqual([one for one in hook.seen if one != "close"], [])


class BatchTests(ByPolicyCase):
    given = PolicyDelivery(constructor=NAME, batch_size=3)

    def test_messages_are_handed_over_together_as_many_as_there_are(self) -> None:
        hook = Batches()
        supply = self.begin(hook, *map(queued, range(1, 8)))
        self.end(supply)
        self.assertEqual(hook.seen, [[1, 2, 3], [4, 5, 6], [7]])
        self.assertEqual(len(supply.answered), 7)

    def test_too_few_wait_for_more_but_not_for_long(self) -> None:
        given = PolicyDelivery(constructor=NAME, batch_size=3, min_batch_size=2, max_batch_latency=2.0)
        hook = Batches()
        supply = self.begin(hook, queued(1), given=given)
        self.assertEqual(hook.seen, [])
        supply.offer(queued(2), queued(3))
        self.network.run()
        self.assertEqual(hook.seen, [[1, 2]])
        self.network.wait(1.9)
        self.assertEqual(len(hook.seen), 1)
        self.network.wait(0.2)
        self.assertEqual(hook.seen, [[1, 2], [3]])
        self.end(supply)

    def test_a_refusal_is_for_all_of_a_batch(self) -> None:
        class Refusing:
            def send_batch(self, views: list[PolicyMessage]) -> str:
                raise Rejection(550, "never")

        supply = self.begin(Refusing(), *map(queued, range(1, 4)))
        self.assertEqual(self.end(supply)[1:], [settled(n, BOUNCED, "550 never") for n in (1, 2, 3)])

    def test_one_that_cannot_be_read_costs_the_others_nothing(self) -> None:
        hook = Batches()
        messages = [queued(n) for n in (1, 2, 3)]
        self.contents = {messages[1].id: OSError("disk")}
        supply = self.begin(hook, *messages)
        self.end(supply)
        self.assertEqual(hook.seen, [[1, 3]])
        self.assertEqual(len(supply.answered), 3)
        self.flushLoggedErrors(OSError)


class EndTests(ByPolicyCase):
    """However a session ends, each message is answered for (the case looks)."""

    def test_a_stop_between_messages_ends_it_at_once(self) -> None:
        hook = Webhook()
        supply = self.begin(hook, queued(1))
        self.stop.give()
        self.network.run()
        self.successResultOf(self.ended[-1])
        self.assertEqual(hook.seen[-1], "close")
        self.assertEqual(len(supply.answered), 1)

    def test_a_stop_lets_it_finish_what_it_has_but_not_for_ever(self) -> None:
        for finishes in (True, False):
            self.stop = Stop()
            later: Deferred[str] = Deferred()
            supply = self.begin(Webhook(later), queued(1), queued(2), system_shutdown_timeout=10.0)
            self.stop.give()
            self.network.wait(9.0)
            self.assertNoResult(self.ended[-1])
            if finishes:
                later.callback("taken")
            self.network.wait(2.0)
            self.successResultOf(self.ended[-1])
            ((_, _, [(verdict, _, text)]),) = supply.calls[1:]
            self.assertEqual(verdict, DELIVERED if finishes else POSTPONED)
            self.assertEqual("not known whether" in text, not finishes)

    def test_one_that_gets_stuck_is_ended_and_its_message_waits(self) -> None:
        supply = self.begin(Webhook(Deferred()), queued(1), dispatcher_progress_watchdog_timeout=60.0)
        self.network.pump([10.0] * 10)
        self.successResultOf(self.ended[-1])
        ((number, text, rest),) = self.dropped
        self.assertEqual((number, rest), (1, 30.0))
        self.assertIn("dispatcher watchdog aborted task; phase=DeliveringMessage detail=make.webhook", text)
        supply.answered.append(f"{1:032x}")

    def test_a_session_that_is_aborted_answers_for_what_it_had(self) -> None:
        supply = self.begin(Webhook(Deferred()), queued(1))
        self.ended[-1].cancel()
        self.failureResultOf(self.ended[-1])
        self.assertEqual(supply.calls[1][2][0][0], POSTPONED)
