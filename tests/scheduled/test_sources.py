"""Sources that fail are left alone as their rules say, and used again as soon as that makes sense."""

from typing import Any

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import EgressSource, PathSettings, SuspendRule
from kumotwist.config.fields import Rate
from kumotwist.config.queues import QueueSettings
from kumotwist.mail.reason import Reason
from kumotwist.scheduled.sources import Ailment, Sources
from tests.support.house import House

ADDRESS = "192.0.2.9"
UNPLUMBED, PROXY = Ailment.UNPLUMBED, Ailment.PROXY_UNHEALTHY


def source(**rules: SuspendRule) -> EgressSource:
    return EgressSource(name="s", source_address=ADDRESS, **rules)  # type: ignore[arg-type]  # the rules are settings


class RuleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000.0)
        self.back: list[str] = []
        self.here = False
        self.sources = Sources(self.clock, self.back.append, lambda address: self.here)

    def fail_times(self, one: EgressSource, ailment: Ailment, times: int, apart: float) -> list[bool]:
        told = []
        for _ in range(times):
            told.append(self.sources.failed(one, ailment))
            self.clock.advance(apart)
        return told

    def test_when_a_source_is_left_alone(self) -> None:
        at_once = SuspendRule(duration=60.0)
        third = SuspendRule(duration=60.0, trigger=Rate(3, 60.0))
        for rules, ailment, apart, told in (
            ({}, UNPLUMBED, 1.0, [True, True, True]),
            ({}, PROXY, 1.0, [False, False, False]),
            ({"suspend_when_unplumbed": at_once}, UNPLUMBED, 1.0, [True, True, True]),
            ({"suspend_when_unplumbed": third}, UNPLUMBED, 1.0, [False, False, True]),
            ({"suspend_when_unplumbed": third}, UNPLUMBED, 31.0, [False, False, False]),
            ({"suspend_when_unplumbed": third}, PROXY, 1.0, [False, False, False]),
            ({"suspend_when_proxy_unhealthy": third}, PROXY, 30.0, [False, False, True]),
            ({"suspend_when_proxy_unhealthy": at_once}, PROXY, 1.0, [True, True, True]),
        ):
            self.setUp()
            one = source(**rules)
            self.assertEqual(self.fail_times(one, ailment, 3, apart), told, (rules, ailment, apart))
            self.assertEqual((self.sources.usable("s"), self.sources.all_usable), (not told[-1], not told[-1]))
            self.assertEqual(self.sources.failures["s", ailment], 3)
            self.sources.renew()
            self.assertTrue(self.sources.usable("s"))

    def test_a_threshold_counts_anew_when_it_was_reached(self) -> None:
        one = source(suspend_when_proxy_unhealthy=SuspendRule(duration=10.0, trigger=Rate(2, 60.0)))
        self.assertEqual(self.fail_times(one, PROXY, 2, 0.0), [False, True])
        self.clock.advance(10.0)
        self.assertEqual(self.fail_times(one, PROXY, 2, 0.0), [False, True])

    def test_a_missing_address_that_is_back_is_used_within_half_a_minute_whatever_the_rule(self) -> None:
        for rules in ({}, {"suspend_when_unplumbed": SuspendRule(duration=86400.0)}):
            self.setUp()
            self.sources.failed(source(**rules), UNPLUMBED)
            self.clock.pump([1.0] * 100)
            self.assertEqual(self.back, [])
            self.here = True
            self.clock.pump([1.0] * 30)
            self.assertEqual((self.back, self.sources.usable("s")), (["s"], True))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failures_of_others_do_not_put_the_look_off(self) -> None:
        self.sources.failed(source(), UNPLUMBED)
        self.here = True
        for n in range(30):
            self.sources.failed(replace(source(), name=f"other-{n}"), UNPLUMBED)
            self.clock.advance(1.0)
        self.assertIn("s", self.back)

    def test_when_its_time_is_over_it_is_tried_again(self) -> None:
        for rule, ailment in (("suspend_when_unplumbed", UNPLUMBED), ("suspend_when_proxy_unhealthy", PROXY)):
            self.setUp()
            self.sources.failed(source(**{rule: SuspendRule(duration=7.0)}), ailment)
            self.assertEqual(self.sources.earliest(["s", "t"]), 1_700_000_007.0)
            self.clock.advance(6.9)
            self.assertEqual(self.back, [])
            self.clock.advance(0.1)
            self.assertEqual(self.back, ["s"])

    def test_an_address_says_nothing_of_a_proxy(self) -> None:
        self.here = True
        self.sources.failed(source(suspend_when_proxy_unhealthy=SuspendRule(duration=100.0)), PROXY)
        self.clock.pump([1.0] * 99)
        self.assertEqual(self.back, [])

    def test_one_that_is_defined_anew_has_another_chance(self) -> None:
        self.sources.failed(source(), UNPLUMBED)
        self.sources.heed([source(), EgressSource(name="t")])
        self.assertEqual(self.back, [])
        self.sources.heed([replace(source(), source_address="192.0.2.10")])
        self.assertEqual(self.back, ["s"])

    def test_a_source_without_an_address_is_never_missing(self) -> None:
        self.assertFalse(self.sources.failed(EgressSource(name="s"), UNPLUMBED))


class ChoosingTests(SynchronousTestCase):
    """In the house: messages choose afresh where a source is full or left alone."""

    def setUp(self) -> None:
        self.house = House()
        self.house.pool("pair", one=1, two=1)
        self.house.queues["example.org"] = QueueSettings(egress_pool="pair")
        self.here: dict[str, bool] = {}
        self.house.scheduler._promotion.sources._here = lambda address: self.here.get(address, False)

    def sizes(self) -> dict[str, int]:
        return {queue.path.source.name: queue.size for queue in self.house.ready}

    def rule(self, **rules: Any) -> None:
        for name in ("one", "two"):
            self.house.sources[name] = replace(self.house.sources[name], **rules)

    def take(self, count: int) -> None:
        for _ in range(count):
            self.house.take()
        self.house.clock.advance(0)

    def test_what_is_ready_for_a_source_that_is_suspended_goes_another_way_uncounted(self) -> None:
        self.rule(suspend_when_proxy_unhealthy=SuspendRule(duration=60.0))
        self.take(6)
        self.assertEqual(self.sizes(), {"one": 3, "two": 3})
        self.assertTrue(self.house.scheduler.proxy_unhealthy("one"))
        self.house.clock.advance(0.1)
        self.assertEqual(self.sizes(), {"one": 0, "two": 6})
        self.assertEqual((self.house.scheduler.source_usable("one"), self.house.records("TransientFailure")), (False, []))
        self.house.forward(61)
        self.take(4)
        self.assertEqual(self.sizes(), {"one": 2, "two": 8})

    def test_below_the_threshold_the_source_stays(self) -> None:
        self.rule(suspend_when_unplumbed=SuspendRule(duration=60.0, trigger=Rate(2, 60.0)))
        self.take(2)
        self.assertFalse(self.house.scheduler.source_missing("one"))
        self.assertEqual(self.sizes(), {"one": 1, "two": 1})
        self.assertTrue(self.house.scheduler.source_missing("one"))

    def test_with_none_left_they_wait_and_the_record_says_until_when(self) -> None:
        self.rule(suspend_when_proxy_unhealthy=SuspendRule(duration=90.0))
        self.take(2)
        for name in ("one", "two"):
            self.house.scheduler.proxy_unhealthy(name)
        self.house.clock.advance(1.0)
        [told] = [one for one in self.house.records("Delayed") if "NoSourceIsUsable" in one["response"]["content"]]
        self.assertIn("for a source of pool pair can be used", told["response"]["content"])
        self.house.forward(90)
        self.assertEqual(sum(self.sizes().values()), 2)
        self.assertEqual(self.house.records("TransientFailure"), [])

    def test_who_waits_for_room_with_one_source_takes_another_that_is_back(self) -> None:
        self.house.paths["example.org"] = PathSettings(max_ready=2)
        self.take(1)
        self.house.scheduler.source_missing("two" if "two" in self.sizes() else "one")
        self.take(6)
        full = self.sizes()
        self.assertEqual(sorted(full.values())[-1], 2)
        for address in ("127.0.0.11", "127.0.0.12"):
            self.here[address] = True
        self.house.forward(6)
        self.assertEqual(self.sizes(), {"one": 2, "two": 2})

    def test_another_configuration_gives_every_source_a_chance(self) -> None:
        self.take(2)
        self.house.scheduler.source_missing("one")
        self.assertFalse(self.house.scheduler.source_usable("one"))
        self.house.scheduler.direct(self.house.directions)
        self.assertTrue(self.house.scheduler.source_usable("one"))

    def test_the_reason_in_the_record_is_the_model_s(self) -> None:
        self.assertEqual(Reason.SOURCE_IS_UNHEALTHY_AND_SUSPENDED.value, "SourceIsUnhealthyAndSuspended")
