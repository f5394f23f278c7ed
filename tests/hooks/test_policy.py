"""How handlers are asked: functions, coroutines and Deferreds alike; what they raise; what they find around them."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs

from kumotwist.hooks.context import SERVICES, NoPolicyRuns, services
from kumotwist.hooks.policy import Handler, HookFailed, Policy
from kumotwist.hooks.rejection import Rejection
from kumotwist.mail.reply import Refusal
from tests.hooks.around import PolicyCase


class HandlersCase(PolicyCase):
    """Policies of bare handlers."""

    def policy(self, *handlers: object, event: str = "event") -> Policy:
        return Policy({event: tuple(Handler(one, 1, f"p.py:{n}") for n, one in enumerate(handlers))}, self.clock, self.services)  # type: ignore[arg-type]


class AnswerTests(HandlersCase):
    """Which answer counts, whenever it comes."""

    def test_the_first_answer_that_is_not_none_counts(self) -> None:
        asked: list[str] = []

        def answering(name: str, answer: object) -> object:
            return lambda _: asked.append(name) or answer

        policy = self.policy(answering("a", None), answering("b", 0), answering("c", 2))
        self.assertEqual(policy.first("event", "x"), 0)
        self.assertEqual(asked, ["a", "b"])

    def test_without_handlers_there_is_no_answer(self) -> None:
        policy = self.policy()
        self.assertIsNone(policy.first("other", "x"))
        self.assertIsNone(policy.each("other", "x"))
        self.assertNotIn("other", policy)

    def test_each_runs_all_of_them_whatever_they_answer(self) -> None:
        asked: list[str] = []
        policy = self.policy(lambda _: asked.append("a") or 1, lambda _: asked.append("b"))
        self.assertIsNone(policy.each("event", "x"))
        self.assertEqual(asked, ["a", "b"])

    def test_a_deferred_is_waited_for_before_the_next_is_asked(self) -> None:
        for method in ("first", "each"):
            asked: list[str] = []
            first: Deferred[None] = Deferred()
            policy = self.policy(lambda _, first=first: first, lambda _, asked=asked: asked.append("b"))
            done = getattr(policy, method)("event", "x")
            self.assertEqual(asked, [])
            self.assertNoResult(done)
            first.callback(None)
            self.assertIsNone(self.successResultOf(done))
            self.assertEqual(asked, ["b"])

    def test_an_answer_by_deferred_ends_the_asking(self) -> None:
        first: Deferred[int] = Deferred()
        policy = self.policy(lambda _: first, lambda _: self.fail("asked"))
        done = policy.first("event", "x")
        first.callback(7)
        self.assertEqual(self.successResultOf(done), 7)

    def test_a_coroutine_is_run(self) -> None:
        waiting: Deferred[int] = Deferred()

        async def handler(argument: str) -> tuple[str, int]:
            return argument, await waiting

        done = self.policy(handler).first("event", "x")
        self.assertNoResult(done)
        waiting.callback(3)
        self.assertEqual(self.successResultOf(done), ("x", 3))

    def test_many_deferreds_one_after_the_other_come_to_an_end(self) -> None:
        async def handler(_: str) -> None:
            return None

        policy = self.policy(*[handler] * 500, lambda _: "end")
        self.assertEqual(policy.first("event", "x"), "end")

    def test_a_coroutine_that_waits_for_nothing_answers_at_once(self) -> None:
        async def handler(argument: str) -> str:
            return argument

        self.assertEqual(self.policy(handler).first("event", "x"), "x")
        self.assertIsNone(self.policy(handler).each("event", "x"))

    def test_cancelling_reaches_the_handler(self) -> None:
        seen: list[str] = []

        async def handler(_: str) -> None:
            try:
                await Deferred()
            except CancelledError:
                seen.append("cancelled")
                raise

        done = self.policy(handler).first("event", "x")
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(seen, ["cancelled"])


class FailureTests(HandlersCase):
    """What a handler raises."""

    def test_a_refusal_goes_through_as_it_is(self) -> None:
        refusal = Rejection(550, "no")

        def plain(_: str) -> None:
            raise refusal

        async def later(_: str) -> None:
            raise refusal

        with self.assertRaises(Refusal) as caught:
            self.policy(plain).each("event", "x")
        self.assertIs(caught.exception, refusal)
        failed = self.failureResultOf(self.policy(later).each("event", "x"), Refusal)
        self.assertIs(failed.value, refusal)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_anything_else_is_logged_once_with_its_traceback_and_becomes_hook_failed(self) -> None:
        def plain(_: str) -> None:
            raise KeyError("tenant")

        async def later(_: str) -> None:
            raise KeyError("tenant")

        async def much_later(_: str) -> None:
            await waiting
            raise KeyError("tenant")

        waiting: Deferred[None] = Deferred()
        with self.assertRaises(HookFailed):
            self.policy(plain).first("event", "x")
        self.failureResultOf(self.policy(later).first("event", "x"), HookFailed)
        done = self.policy(much_later).first("event", "x")
        waiting.callback(None)
        self.failureResultOf(done, HookFailed)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 3)

    def test_a_failure_ends_the_asking(self) -> None:
        def plain(_: str) -> None:
            raise KeyError("tenant")

        with self.assertRaises(HookFailed):
            self.policy(plain, lambda _: self.fail("asked")).first("event", "x")
        self.flushLoggedErrors(KeyError)


class SlowTests(HandlersCase):
    """A handler that keeps the reactor is named in the log."""

    def test_a_plain_one(self) -> None:
        with capturedLogs() as logged:
            self.policy(lambda _: self.clock.advance(0.05)).each("event", "x")
            self.policy(lambda _: self.clock.advance(0.2)).each("event", "x")
        self.assertEqual([(one["event"], one["place"], one["took"]) for one in logged], [("event", "p.py:0", 0.2)])

    def test_each_step_of_a_coroutine(self) -> None:
        first: Deferred[None] = Deferred()
        second: Deferred[None] = Deferred()

        async def handler(_: str) -> None:
            self.clock.advance(0.15)
            await first
            self.clock.advance(0.25)
            try:
                await second
            except KeyError:
                self.clock.advance(0.35)

        with capturedLogs() as logged:
            done = self.policy(handler).each("event", "x")
            self.clock.advance(100)  # waiting is not blocking
            first.callback(None)
            self.clock.advance(100)
            second.errback(KeyError())
        self.successResultOf(done)
        self.assertEqual([one["took"] for one in logged], [0.15, 0.25, 0.35])


class ServicesTests(HandlersCase):
    """The services are there in a handler, over its awaits, and not between handlers."""

    def test_in_a_plain_handler(self) -> None:
        self.assertIs(self.policy(lambda _: services("it")).first("event", "x"), self.services)
        self.assertIsNone(SERVICES.get())

    def test_after_one_that_breaks_they_are_gone(self) -> None:
        def handler(_: str) -> None:
            raise KeyError

        with self.assertRaises(HookFailed):
            self.policy(handler).first("event", "x")
        self.assertIsNone(SERVICES.get())
        self.flushLoggedErrors(KeyError)

    def test_in_a_coroutine_after_each_await_even_when_another_policy_resumes_it(self) -> None:
        waiting: Deferred[None] = Deferred()
        other = Policy({"event": (Handler(lambda _: waiting.callback(None), 1, "o.py:1"),)}, self.clock, self.new_services(2))

        async def handler(_: str) -> list[object]:
            before = services("it")
            await waiting
            return [before, services("it")]

        done = self.policy(handler).first("event", "x")
        self.assertIsNone(SERVICES.get())
        other.each("event", "x")
        self.assertEqual([found is self.services for found in self.successResultOf(done)], [True, True])
        self.assertIsNone(SERVICES.get())

    def test_in_what_a_coroutine_calls_and_awaits(self) -> None:
        waiting: Deferred[None] = Deferred()

        async def deeper() -> object:
            await waiting
            return services("it")

        async def handler(_: str) -> object:
            return await deeper()

        done = self.policy(handler).first("event", "x")
        waiting.callback(None)
        self.assertIs(self.successResultOf(done), self.services)

    def test_not_in_a_callback_that_a_handler_adds_to_a_deferred(self) -> None:
        waiting: Deferred[None] = Deferred()
        done = self.policy(lambda _: waiting.addCallback(lambda _: services("make_message"))).first("event", "x")
        waiting.callback(None)
        self.failureResultOf(done, HookFailed)
        self.assertEqual(len(self.flushLoggedErrors(NoPolicyRuns)), 1)
