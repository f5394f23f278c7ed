"""A policy is asked again what holds, after the time that its answers name; until then it is left in peace."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import EgressPool, EgressSource, PathSettings, PoolEntry
from kumotwist.config.fields import Limit
from kumotwist.config.queues import QueueSettings, RefreshStrategy
from kumotwist.hooks.policy import Handler
from kumotwist.ready.refresh import Refresh
from tests.support.house import Directed, House


class RefreshTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[str, float]] = []
        self.refresh = Refresh(self.clock, lambda name: self.asked.append((name, self.clock.seconds())))

    def test_each_name_is_due_at_its_time_and_then_forgotten(self) -> None:
        for name, seconds in (("slow", 30.0), ("fast", 5.0), ("none", 0.0)):
            self.refresh.after(name, seconds)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([1.0] * 100)
        self.assertEqual(self.asked, [("none", 1.0), ("fast", 5.0), ("slow", 30.0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_only_what_was_said_last_of_a_name_counts(self) -> None:
        self.refresh.after("a", 5.0)
        self.refresh.after("a", 20.0)
        self.refresh.after("b", 5.0)
        self.refresh.forget("b")
        self.clock.pump([1.0] * 100)
        self.assertEqual(self.asked, [("a", 20.0)])

    def test_it_stops(self) -> None:
        self.refresh.after("a", 5.0)
        self.refresh.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AskingAgainTests(SynchronousTestCase):
    """In the house, with a policy that counts how often it is asked."""

    def setUp(self) -> None:
        self.house = House()
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {}

    def answer(self, event: str, answer: Any) -> None:
        """Each event's handler gives what `answers` says now."""
        self.answers[event] = answer

        def handler(*_: object) -> Any:
            self.asked.append(event)
            found = self.answers[event]
            if isinstance(found, Exception):
                raise found
            return found

        self.house.handlers[event] = (Handler(handler, 4, "policy.py:1"),)

    def begin(self) -> None:
        self.house.directions = Directed(self.house)
        self.house.ready.direct(self.house.directions)
        self.house.scheduler.direct(self.house.directions)

    def count(self, event: str) -> int:
        return self.asked.count(event)

    def take_for(self, seconds: int) -> None:
        """A message a second."""
        for _ in range(seconds):
            self.house.take()
            self.house.clock.advance(1.0)

    def test_a_queue_asks_again_after_its_refresh_interval_or_never(self) -> None:
        for settings, times in (
            (QueueSettings(refresh_interval=5.0), 4),
            (QueueSettings(), 1),
            (QueueSettings(refresh_interval=5.0, refresh_strategy=RefreshStrategy.EPOCH), 1),
        ):
            self.setUp()
            self.answer("get_queue_config", settings)
            self.begin()
            self.take_for(20)
            self.assertEqual(self.count("get_queue_config"), times, settings)

    def test_a_new_answer_holds_from_then_on(self) -> None:
        self.answer("get_queue_config", QueueSettings(refresh_interval=10.0, retry_interval=100.0))
        self.begin()
        self.take_for(1)
        queue = self.house.scheduler.queue("example.org")
        self.answers["get_queue_config"] = QueueSettings(refresh_interval=10.0, retry_interval=200.0)
        self.take_for(5)
        self.assertEqual(queue.settings.retry_interval, 100.0)
        self.take_for(6)
        self.assertEqual(queue.settings.retry_interval, 200.0)

    def test_a_path_asks_again_after_its_refresh_interval_also_without_mail(self) -> None:
        for settings, times in (
            (PathSettings(refresh_interval=5.0), 4),
            (PathSettings(), 1),
            (PathSettings(refresh_interval=5.0, refresh_strategy=RefreshStrategy.EPOCH), 1),
        ):
            self.setUp()
            self.answer("get_egress_path_config", settings)
            self.begin()
            self.house.take()
            self.house.forward(19)
            self.assertEqual(self.count("get_egress_path_config"), times, settings)

    def test_what_a_path_is_told_holds_at_once_and_a_policy_that_breaks_changes_nothing(self) -> None:
        self.answer("get_egress_path_config", PathSettings(refresh_interval=5.0, connection_limit=Limit(3)))
        self.begin()
        self.house.take()
        self.answers["get_egress_path_config"] = RuntimeError("broken")
        self.house.forward(11)
        self.flushLoggedErrors(RuntimeError)
        self.assertEqual(self.house.queue_of().path.settings.connection_limit, Limit(3))
        self.answers["get_egress_path_config"] = PathSettings(refresh_interval=5.0, connection_limit=Limit(7))
        self.house.forward(5)
        self.assertEqual(self.house.queue_of().path.settings.connection_limit, Limit(7))

    def test_pools_and_sources_are_asked_for_again_after_their_ttl(self) -> None:
        pool = EgressPool(name="p", entries=(PoolEntry(name="s"),), ttl=10.0)
        self.house.queues["example.org"] = QueueSettings(egress_pool="p")
        self.answer("get_egress_pool", pool)
        self.answer("get_egress_source", EgressSource(name="s", ttl=5.0))
        self.begin()
        self.take_for(20)
        self.assertEqual((self.count("get_egress_pool"), self.count("get_egress_source")), (2, 4))

    def test_another_pool_is_used_once_the_answer_is_known(self) -> None:
        entries = {name: EgressPool(name="p", entries=(PoolEntry(name=name),), ttl=10.0) for name in ("one", "two")}
        self.house.queues["example.org"] = QueueSettings(egress_pool="p")
        for name in entries:
            self.house.sources[name] = EgressSource(name=name)
        self.answer("get_egress_pool", entries["one"])
        self.begin()
        self.take_for(3)
        self.answers["get_egress_pool"] = entries["two"]
        self.take_for(9)
        sizes = {queue.path.source.name: queue.size for queue in self.house.ready}
        self.assertEqual(sizes, {"one": 10, "two": 2})

    def test_a_source_that_is_answered_otherwise_changes_its_path(self) -> None:
        self.house.pool("p", s=1)
        self.house.queues["example.org"] = QueueSettings(egress_pool="p")
        self.answer("get_egress_source", EgressSource(name="s", ttl=5.0, ehlo_domain="one.example"))
        self.answer("get_egress_path_config", PathSettings(refresh_interval=5.0))
        self.begin()
        self.house.take()
        self.answers["get_egress_source"] = EgressSource(name="s", ttl=5.0, ehlo_domain="two.example")
        self.house.forward(11)
        self.assertEqual(self.house.queue_of("s").path.source.ehlo_domain, "two.example")
