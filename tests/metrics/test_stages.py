"""What the stages tell of themselves: true numbers, under the model's names, and nothing of what is gone."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.api.loop_lag import LOOK_AGAIN, LoopLag
from kumotwist.api.metrics import MOST_SAMPLES, Metrics, ProcessTimes
from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import parse_rate
from kumotwist.config.queues import QueueSettings
from kumotwist.hooks.policy import Handler, HookFailed, Policy
from kumotwist.mail.disposition import Verdict
from kumotwist.metrics.exposition import as_text
from kumotwist.metrics.family import Family, counter, gauges
from kumotwist.ready.service import IDLE_BEFORE_DROPPED, SWEEP
from kumotwist.scheduled.measures import measures
from kumotwist.scheduled.orders import Criteria
from kumotwist.spool.residence import Residence
from tests.support.house import LATER, NEVER, OK, House
from tests.support.memory import Messages

Found = dict[tuple[str, ...], float]


class Told(SynchronousTestCase):
    def read(self, clock: Clock, *measured: Callable[[], Iterable[Family | None]]) -> Found:
        """Name and label values → number."""
        families: Deferred[Iterator[Family]] = Deferred.fromCoroutine(Metrics(clock, measured).families())
        while not families.called:
            clock.advance(0)
        told = self.successResultOf(families)
        text = "".join(as_text(told))
        parsed = text_string_to_metric_families(text)
        return {(sample.name, *sample.labels.values()): sample.value for family in parsed for sample in family.samples}

    def of(self, house: House) -> Found:
        return self.read(house.clock, lambda: measures(house.scheduler, house.ready), house.ready.measures)


class QueueTests(Told):
    def test_outcomes_are_counted_by_protocol_queue_provider_source_and_pool(self) -> None:
        house = House()
        house.paths["example.org"] = PathSettings(provider_name="org")
        for n in range(4):
            house.take(f"user{n}@example.org")
        session = house.sessions[0]
        for verdict, answer in (
            (Verdict.DELIVERED, OK),
            (Verdict.DELIVERED, OK),
            (Verdict.POSTPONED, LATER),
            (Verdict.BOUNCED, NEVER),
        ):
            session.answer(verdict, answer)
        found = self.of(house)
        queue = "smtp_client:unspecified->mx.example.org@smtp_client"
        for name, count in (("delivered", 2), ("transfail", 1), ("fail", 1)):
            for labels in (("smtp_client",), (queue,)):
                self.assertEqual(found[f"total_messages_{name}_total", *labels], count)
            self.assertEqual(found[f"total_messages_{name}_by_provider_total", "org"], count)
            self.assertEqual(
                found[f"total_messages_{name}_by_provider_and_source_total", "org", "unspecified", "unspecified"], count
            )
        self.assertEqual(found["scheduled_count", "example.org"], 1)
        self.assertEqual(found["queued_count_by_provider", "org"], 1)
        self.assertEqual(found["message_count",], 1)

    def test_scheduled_mail_is_counted_by_domain_tenant_and_campaign(self) -> None:
        house = House()
        house.scheduler.administration.suspend(Criteria(), "test", duration=3600.0)
        house.take("a@one.example", tenant="t1", campaign="c1")
        house.take("b@one.example", tenant="t1", campaign="c2")
        house.take("c@two.example", tenant="t2")
        house.take("d@two.example")
        found = self.of(house)
        self.assertEqual(found["scheduled_count_total",], 4)
        self.assertEqual(found["scheduled_queue_count",], 4)
        self.assertEqual(found["scheduled_count", "c1:t1@one.example"], 1)
        self.assertEqual(
            {key[1]: count for key, count in found.items() if key[0] == "scheduled_by_domain"}, {"one.example": 2, "two.example": 2}
        )
        self.assertEqual({key[1]: count for key, count in found.items() if key[0] == "scheduled_by_tenant"}, {"t1": 2, "t2": 1})
        self.assertEqual(found["scheduled_by_tenant_campaign", "t1", "c1"], 1)

    def test_a_full_ready_queue_and_a_rate_are_counted_where_they_hold_mail_up(self) -> None:
        house = House()
        house.paths["full.example"] = PathSettings(max_ready=1)
        house.queues["slow.example"] = QueueSettings(max_message_rate=parse_rate("1/min"))
        for domain in ("full.example", "slow.example"):
            for n in range(3):
                house.take(f"user{n}@{domain}")
        found = self.of(house)
        self.assertGreaterEqual(found["ready_full_total", "smtp_client"], 1)
        self.assertEqual(found["ready_count", "smtp_client"], 2)
        self.assertGreaterEqual(found["delayed_due_to_ready_queue_full_total", "full.example"], 1)
        self.assertGreaterEqual(found["delayed_due_to_message_rate_throttle_total", "slow.example"], 1)
        self.assertNotIn(("delayed_due_to_ready_queue_full_total", "slow.example"), found)

    def test_a_queue_that_is_gone_is_not_told_of_and_its_protocol_forgets_nothing(self) -> None:
        house = House()
        house.take("user@example.org")
        house.sessions[0].answer(Verdict.DELIVERED, OK)
        house.sessions[0].end()
        before = self.of(house)
        house.forward(IDLE_BEFORE_DROPPED + 2 * SWEEP, SWEEP)
        found = self.of(house)
        queue = ("total_messages_delivered_total", "smtp_client:unspecified->mx.example.org@smtp_client")
        self.assertEqual(before[queue], 1)
        self.assertNotIn(queue, found)
        self.assertEqual(before["total_messages_delivered_by_provider_total", "mx.example.org"], 1)
        self.assertNotIn(("total_messages_delivered_by_provider_total", "mx.example.org"), found)
        self.assertEqual(found["total_messages_delivered_total", "smtp_client"], 1)


class JoiningTests(Told):
    def test_two_stages_may_speak_of_one_metric(self) -> None:
        one = gauges("open", "now", ("service",), [(("in",), 1)])
        other = gauges("open", "now", ("service",), [(("out",), 2)])
        found = self.read(Clock(), lambda: [one], lambda: [other])
        self.assertEqual((found["open", "in"], found["open", "out"]), (1, 2))

    def test_a_stage_that_fails_hides_no_other(self) -> None:
        def broken() -> Iterable[Family]:
            yield counter("before", "told", 1)
            raise RuntimeError("a fault of ours")

        found = self.read(Clock(), broken, lambda: [counter("after", "told", 2)])
        self.assertEqual((found["before_total",], found["after_total",]), (1, 2))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_more_queues_than_can_be_told_of_are_counted(self) -> None:
        many = gauges("many", "queues", ("queue",), [((str(n),), 1) for n in range(MOST_SAMPLES + 7)])
        found = self.read(Clock(), lambda: [many])
        self.assertEqual(sum(key[0] == "many" for key in found), MOST_SAMPLES)
        self.assertEqual(found["metrics_samples_left_out",], 7)


class PolicyTimesTests(Told):
    def test_handlers_are_timed_until_they_answer(self) -> None:
        clock = Clock()
        late: Deferred[Any] = Deferred()

        def broken() -> None:
            raise ValueError("no")

        handlers = {"now": lambda: clock.advance(0.02), "late": lambda: late, "broken": broken}
        policy = Policy({event: (Handler(call, 0, "here"),) for event, call in handlers.items()}, clock)
        policy.first("now")
        answer = policy.first("late")
        with self.assertRaises(HookFailed):
            policy.first("broken")
        self.flushLoggedErrors(ValueError)
        waiting = self.read(clock, policy.times.measures)
        self.assertEqual(waiting["lua_event_started_total", "late"], 1)
        self.assertEqual(waiting["lua_event_latency_count", "late"], 0)
        clock.advance(3.0)
        late.callback("well")
        self.assertEqual(self.successResultOf(answer), "well")
        found = self.read(clock, policy.times.measures)
        self.assertEqual((found["lua_event_latency_count", "late"], found["lua_event_latency_sum", "late"]), (1, 3.0))
        self.assertEqual(found["lua_event_latency_count", "broken"], 1)
        self.assertAlmostEqual(found["hook_busy_seconds_total", "now"], 0.02)
        self.assertEqual(found["hook_busy_seconds_total", "late"], 0)


class ProcessTests(Told):
    def test_a_late_timer_shows_how_late_the_loop_is(self) -> None:
        clock = Clock()
        lag = LoopLag(clock)
        self.assertEqual(self.read(clock, lag.measures)["loop_lag_seconds_count",], 0)
        clock.advance(LOOK_AGAIN)
        clock.advance(LOOK_AGAIN + 0.5)
        found = self.read(clock, lag.measures)
        self.assertEqual(found["loop_lag_seconds_count",], 2)
        self.assertAlmostEqual(found["loop_lag_worst_seconds",], 0.5)
        self.assertEqual(self.read(clock, lag.measures)["loop_lag_worst_seconds",], 0)
        lag.stop()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_where_nobody_looks_the_loop_is_not_measured_for_ever(self) -> None:
        clock = Clock()
        lag = LoopLag(clock)
        self.read(clock, lag.measures)
        clock.pump([1.0] * 700)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_the_share_of_the_processors_is_that_since_the_last_look(self) -> None:
        clock = Clock()
        times = type("Times", (), {"user": 1.0, "system": 0.5})()
        process = ProcessTimes(clock, lambda: times)
        clock.advance(10.0)
        times.user = 6.0
        found = self.read(clock, process.measures)
        self.assertEqual(found["process_cpu_usage_sum",], 50.0)
        self.assertEqual(found["process_cpu_seconds_total",], 6.5)

    def test_what_waits_in_memory_is_counted_by_what_of_it_does(self) -> None:
        clock = Clock()
        residence, messages = Residence(1 << 20), Messages(clock.seconds)
        waiting = [messages.make() for _ in range(3)]
        for message in waiting:
            residence.lodge(message)
        residence.leave(waiting[0])
        found = self.read(clock, residence.measures)
        self.assertEqual((found["message_data_resident_count",], found["message_meta_resident_count",]), (2, 2))
