"""`kumo.memoize`: answers kept for a while, asked for once, never failures."""

from datetime import timedelta

from twisted.internet.defer import CancelledError, Deferred, TimeoutError

from kumotwist import kumo
from kumotwist.hooks.context import NoPolicyRuns, entered
from kumotwist.hooks.memoize import LONGEST_WAIT
from tests.hooks.around import PolicyCase


class PlainTests(PolicyCase):
    """Plain functions."""

    def setUp(self) -> None:
        super().setUp()
        self.use_services()
        self.asked: list[object] = []

    def ask(self, *arguments: object, **named: object) -> tuple[object, ...]:
        self.asked.append((arguments, named))
        return (*arguments, *named.items())

    def test_an_answer_is_kept_for_its_time(self) -> None:
        get = kumo.memoize(self.ask, name="n", ttl="5 minutes", capacity=10)
        self.assertEqual([get("a"), get("a")], [("a",), ("a",)])
        self.clock.advance(299.9)
        get("a")
        self.assertEqual(len(self.asked), 1)
        self.clock.advance(0.1)
        get("a")
        self.assertEqual(len(self.asked), 2)

    def test_as_a_decorator(self) -> None:
        @kumo.memoize(name="n", ttl=timedelta(minutes=5), capacity=10)
        def get(key: str) -> str:
            """What it says."""
            self.asked.append(key)
            return key * 2

        self.assertEqual([get("a"), get("a"), get("b")], ["aa", "aa", "bb"])
        self.assertEqual(self.asked, ["a", "b"])
        self.assertEqual((get.__name__, get.__doc__), ("get", "What it says."))

    def test_the_least_recently_used_goes_first(self) -> None:
        get = kumo.memoize(self.ask, name="n", ttl=300, capacity=2)
        for key in ("a", "b", "a", "c", "a", "b"):
            get(key)
        self.assertEqual([arguments[0] for arguments, _ in self.asked], ["a", "b", "c", "b"])  # type: ignore[misc]

    def test_arguments_of_the_same_value_are_the_same(self) -> None:
        get = kumo.memoize(self.ask, name="n", ttl=300, capacity=100)
        table = [
            (("a",), {}), (("a", 1), {}), ((["a"],), {}), (({"a": [1, {"b": 2}]},), {}), (({1, 2},), {}), ((), {"x": 1, "y": [2]}),
            ((), {}),
        ]  # fmt: skip
        for arguments, named in table * 2:
            get(*arguments, **named)
        get(y=[2], x=1)
        self.assertEqual(len(self.asked), len(table))
        with self.assertRaises(TypeError):
            get(bytearray(b"x"))

    def test_none_is_an_answer(self) -> None:
        get = kumo.memoize(lambda: self.asked.append(1), name="n", ttl=300, capacity=2)
        self.assertEqual([get(), get()], [None, None])
        self.assertEqual(len(self.asked), 1)

    def test_a_failure_is_not_kept(self) -> None:
        def broken() -> None:
            self.asked.append(1)
            raise KeyError

        get = kumo.memoize(broken, name="n", ttl=300, capacity=2)
        for _ in range(2):
            with self.assertRaises(KeyError):
                get()
        self.assertEqual(len(self.asked), 2)

    def test_a_new_epoch_begins_without_answers(self) -> None:
        get = kumo.memoize(self.ask, name="n", ttl=300, capacity=2)
        get("a")
        with entered(self.new_services(2)):
            get("a")
            get("a")
        get("a")
        self.assertEqual(len(self.asked), 2)

    def test_a_function_that_is_made_in_a_handler_finds_its_answers_again(self) -> None:
        def handler() -> object:
            return kumo.memoize(lambda: self.asked.append(1) or 7, name="n", ttl=300, capacity=2)()

        self.assertEqual([handler(), handler()], [7, 7])
        self.assertEqual(len(self.asked), 1)

    def test_another_function_cannot_have_the_same_name(self) -> None:
        kumo.memoize(lambda: 1, name="n", ttl=300, capacity=2)
        with self.assertRaisesRegex(ValueError, "'n' is taken by another function"):
            kumo.memoize(lambda: 2, name="n", ttl=300, capacity=2)

    def test_parameters_that_make_no_sense(self) -> None:
        table: list[dict[str, object]] = [
            {"name": "", "ttl": 1, "capacity": 1},
            {"name": 3, "ttl": 1, "capacity": 1},
            {"name": "n", "ttl": 0, "capacity": 1},
            {"name": "n", "ttl": "5 minits", "capacity": 1},
            {"name": "n", "ttl": None, "capacity": 1},
            {"name": "n", "ttl": float("nan"), "capacity": 1},
            {"name": "n", "ttl": 1, "capacity": 0},
            {"name": "n", "ttl": 1, "capacity": 1.5},
            {"name": "n", "ttl": 1, "capacity": True},
        ]
        for parameters in table:
            with self.assertRaises(ValueError, msg=repr(parameters)):
                kumo.memoize(self.ask, **parameters)  # type: ignore[call-overload]
        with self.assertRaises(ValueError):
            kumo.memoize(3, name="n", ttl=1, capacity=1)  # type: ignore[call-overload]


class LateTests(PolicyCase):
    """Functions whose answers have to be waited for."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[str] = []
        self.waiting: Deferred[str] = Deferred()

    def remembering(self, kind: str) -> "object":
        async def later(key: str) -> str:
            self.asked.append(key)
            return await self.waiting

        def deferred(key: str) -> "Deferred[str]":
            self.asked.append(key)
            return self.waiting.addCallback(lambda answer: answer)

        functions = {"async": later, "deferred": deferred, "lambda": lambda key: later(key)}
        return kumo.memoize(functions[kind], name=kind, ttl=300, capacity=2)

    def start(self, get: object, key: str = "a") -> "Deferred[str]":
        async def handler() -> str:
            return str(await get(key))  # type: ignore[operator]

        with entered(self.services):
            return Deferred.fromCoroutine(handler())

    def test_those_that_come_meanwhile_wait_for_the_same_answer(self) -> None:
        for kind in ("async", "deferred", "lambda"):
            self.setUp()
            get = self.remembering(kind)
            first, second = self.start(get), self.start(get)
            self.assertNoResult(first)
            self.waiting.callback("it")
            self.assertEqual((self.successResultOf(first), self.successResultOf(second)), ("it", "it"))
            self.assertEqual(self.successResultOf(self.start(get)), "it")
            self.assertEqual(self.asked, ["a"])
            self.clock.advance(300)
            self.successResultOf(self.start(get))
            self.assertEqual(self.asked, ["a", "a"])

    def test_a_failure_reaches_all_of_them_and_is_not_kept(self) -> None:
        for kind in ("async", "deferred", "lambda"):
            self.setUp()
            get = self.remembering(kind)
            first, second = self.start(get), self.start(get)
            self.waiting.errback(KeyError())
            self.failureResultOf(first, KeyError)
            self.failureResultOf(second, KeyError)
            self.waiting = Deferred()
            self.waiting.callback("it")
            self.assertEqual(self.successResultOf(self.start(get)), "it")

    def test_who_goes_away_takes_the_answer_from_nobody(self) -> None:
        get = self.remembering("async")
        first, second = self.start(get), self.start(get)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.waiting.callback("it")
        self.assertEqual(self.successResultOf(second), "it")

    def test_an_answer_that_nobody_waits_for_any_more_is_kept(self) -> None:
        get = self.remembering("async")
        first = self.start(get)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.waiting.callback("it")
        self.assertEqual(self.successResultOf(self.start(get)), "it")
        self.assertEqual(self.asked, ["a"])

    def test_an_answer_that_never_comes_is_given_up_and_asked_for_again(self) -> None:
        get = self.remembering("async")
        first = self.start(get)
        self.clock.advance(LONGEST_WAIT)
        self.failureResultOf(first, TimeoutError)
        self.waiting = Deferred()
        second = self.start(get)
        self.waiting.callback("it")
        self.assertEqual(self.successResultOf(second), "it")

    def test_different_questions_are_asked_each(self) -> None:
        get = self.remembering("async")
        first, second = self.start(get, "a"), self.start(get, "b")
        self.waiting.callback("it")
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.asked, ["a", "b"])


class HomeTests(PolicyCase):
    """Where the answers are kept."""

    def test_outside_a_policy_there_is_nowhere(self) -> None:
        get = kumo.memoize(lambda: 1, name="n", ttl=300, capacity=2)
        with self.assertRaises(NoPolicyRuns):
            get()

    def test_in_a_callback_it_is_where_the_function_was_made(self) -> None:
        with entered(self.services):
            get = kumo.memoize(lambda: 1, name="n", ttl=300, capacity=2)
        self.assertEqual(get(), 1)

    def test_a_policy_that_is_loaded_again_begins_with_nothing(self) -> None:
        self.write("COUNT = []\n", "count.py")
        text = """
            import tests.hooks.test_memoize as here
            @kumo.memoize(name="pools", ttl="5 minutes", capacity=10)
            def pools():
                here.CALLS.append(1)
                return "x"
            kumo.on("get_egress_pool", lambda: kumo.make_egress_pool(name=pools()))
        """
        CALLS.clear()
        first = self.load(text)
        first.first("get_egress_pool", "x")
        first.first("get_egress_pool", "x")
        self.services = self.new_services(2)
        second = self.load(text)
        second.first("get_egress_pool", "x")
        self.assertEqual(len(CALLS), 2)


CALLS: list[int] = []
