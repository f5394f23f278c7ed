"""Responses, and what the rules make of them: in the queues as they are joined in production, on a clock."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.automation.effects import Seen
from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Limit, Rate
from kumotwist.config.shaping import AutomationAction, Matcher, Provider, ProviderMatch, ShapingRule, ShapingSettings
from kumotwist.hooks.policy import Handler
from kumotwist.mail.disposition import Outcome, Verdict
from kumotwist.mail.queue_name import parse_queue_name
from kumotwist.mail.reply import INTERNAL, reply
from kumotwist.ready.service import ReadyQueues
from tests.automation.support import ReactingHouse, action, of_default, rule

SLOW = "421 4.7.0 please slow down"
PATH = "unspecified->mx.example.org@smtp_client"
SET_LIMIT = action(AutomationAction.SET_CONFIG, "connection_limit", Limit(1))


class SuspendTests(SynchronousTestCase):
    def test_a_response_that_fits_suspends_the_path_for_as_long_as_the_rule_says(self) -> None:
        house = ReactingHouse(of_default(rule(duration=600.0)))
        house.answered(SLOW)
        self.assertEqual(house.suspended(), [(PATH, 600.0)])
        house.run(599)
        self.assertEqual(house.suspended(), [(PATH, 1.0)])
        house.run(2)
        self.assertEqual(house.suspended(), [])

    def test_one_that_does_not_fit_leads_to_nothing(self) -> None:
        house = ReactingHouse(of_default(rule()))
        for text in ("421 4.7.0 hurry up", "451 4.7.1 slow  down", "550 5.1.1 no such user"):
            house.answered(text)
        self.assertEqual((house.suspended(), house.automation.heard, house.automation.fitted), ([], 3, 0))

    def test_so_does_a_refusal_for_good(self) -> None:
        house = ReactingHouse(of_default(rule()))
        house.answered("550 5.7.1 slow down", verdict=Verdict.BOUNCED)
        self.assertEqual(house.suspended(), [(PATH, 600.0)])

    def test_a_delivery_is_not_even_looked_at(self) -> None:
        house = ReactingHouse(of_default(rule("")))
        house.answered("250 2.0.0 slow down", verdict=Verdict.DELIVERED)
        self.assertEqual((house.suspended(), house.automation.heard), ([], 0))

    def test_what_was_ready_waits_meanwhile_and_goes_on_afterwards(self) -> None:
        house = ReactingHouse(of_default(rule(duration=60.0)))
        house.take("bob@example.org")
        house.take("carol@example.org")
        house.run(0)
        session = house.sessions[0]
        session.answer(Verdict.BOUNCED, reply("550 slow down"))
        house.run(0)
        self.assertEqual((session.supply.size, house.suspended()), (0, [(PATH, 60.0)]))
        house.run(61)
        self.assertEqual(sum(len(one.drain()) for one in house.sessions), 1)

    def test_another_source_of_the_pool_goes_on(self) -> None:
        house = ReactingHouse(of_default(rule()))
        house.pool("two", a=1, b=1)
        house.answered(SLOW, egress_pool="two")
        ((name, _),) = house.suspended()
        before = len(house.sessions)
        house.take("dora@example.org", egress_pool="two")
        house.run(0)
        busy = {one.supply.name for one in house.sessions if one.supply.size}
        self.assertEqual((len(busy), name in busy, before > 0), (1, False, True))

    def test_postmasters_are_nobodys_measure(self) -> None:
        house = ReactingHouse(of_default(rule()))
        house.answered(SLOW, to="Postmaster@example.org")
        self.assertEqual(house.suspended(), [])

    def test_a_later_response_makes_it_last_longer_and_an_operators_order_is_not_shortened(self) -> None:
        house = ReactingHouse(of_default(rule(duration=60.0)))
        house.take("bob@example.org")
        house.take("carol@example.org")
        house.run(0)
        first, session = house.sessions[0].supply, house.sessions[0]
        message = first.next_message()
        assert message is not None
        session.answer(Verdict.BOUNCED, reply("550 slow down"))
        house.run(30)
        self.assertEqual(house.suspended(), [(PATH, 30.0)])
        first.settle(message, session.attempt, [Outcome(Verdict.BOUNCED, message.recipients, reply("550 slow down"))])
        house.run(0)
        self.assertEqual(house.suspended(), [(PATH, 60.0)])
        house.ready.suspend(PATH, "by hand", duration=1000.0)
        house.automation.look_at(_seen(house))
        self.assertEqual(house.suspended(), [(PATH, 1000.0)])

    def test_a_flood_of_responses_writes_one_order_a_second(self) -> None:
        house = ReactingHouse(of_default(rule(duration=60.0)))
        for _ in range(100):
            house.automation.look_at(_seen(house))
        self.assertEqual(house.automation.effects.done, {"Suspend": 1})
        house.clock.advance(1.5)
        house.automation.look_at(_seen(house))
        self.assertEqual(house.automation.effects.done, {"Suspend": 2})
        self.assertEqual(house.suspended(), [(PATH, 60.0)])


def _seen(house: ReactingHouse, line: str = SLOW, **more: Any) -> Any:
    facts: dict[str, Any] = {"domain": "example.org", "queue": parse_queue_name("example.org"), "path": PATH}
    facts |= {"line": line, "source": "unspecified", "at": house.clock.seconds(), **more}
    return Seen(**facts)


class InternalTests(SynchronousTestCase):
    """Our own words must not lead to what they tell of."""

    def test_only_rules_that_say_so_are_about_our_own_responses(self) -> None:
        for match_internal, text, acts in (
            (False, f"400 {INTERNAL}failed: slow down", False),
            (False, f"451 4.4.4 {INTERNAL}slow down", False),
            (True, f"400 {INTERNAL}failed: slow down", True),
            (True, "421 slow down", True),
            (False, f"421 4.7.0 you said {INTERNAL}slow down", True),
        ):
            with self.subTest(text=text, match_internal=match_internal):
                house = ReactingHouse(of_default(rule(match_internal=match_internal)))
                house.answered(text)
                self.assertEqual(bool(house.suspended()), acts)

    def test_a_bounce_for_its_own_reason_does_not_feed_itself(self) -> None:
        house = ReactingHouse(of_default(rule("slow down", action(AutomationAction.BOUNCE), duration=60.0)))
        house.answered(SLOW)
        house.run(0)
        heard = house.automation.heard
        for _ in range(3):
            house.take("bob@example.org")
            house.run(0)
        self.assertEqual([one["type"] for one in house.records() if one["type"] == "AdminBounce"], ["AdminBounce"] * 4)
        self.assertEqual((house.automation.heard, heard), (1, 1))


class ThresholdTests(SynchronousTestCase):
    """Design section 9: over the threshold's own period, whatever the rule's duration."""

    def house(self, **more: Any) -> ReactingHouse:
        return ReactingHouse(of_default(rule(trigger=Rate(3, 3600.0), duration=60.0)), **more)

    def test_the_third_within_its_period_acts(self) -> None:
        house = self.house()
        for waited, acts in ((0, False), (1200, False), (1200, True)):
            house.run(waited)
            house.answered(SLOW)
            self.assertEqual(bool(house.suspended()), acts)

    def test_those_from_longer_ago_do_not_count(self) -> None:
        house = self.house()
        for waited in (0, 1800, 1800, 1800, 1800):  # never three within an hour
            house.run(waited)
            house.answered(SLOW, to="nobody@example.org", verdict=Verdict.BOUNCED)
            self.assertEqual(house.suspended(), [])

    def test_it_stays_reached_while_they_do(self) -> None:
        house = self.house()
        for _ in range(3):
            house.answered(SLOW, verdict=Verdict.BOUNCED)
        house.run(120)
        self.assertEqual(house.suspended(), [])
        house.answered(SLOW, verdict=Verdict.BOUNCED)
        self.assertEqual(house.suspended(), [(PATH, 60.0)])

    def test_each_path_has_its_own_count(self) -> None:
        house = self.house()
        for domain in ("example.org", "example.net", "example.com"):
            house.answered(SLOW, to=f"bob@{domain}", verdict=Verdict.BOUNCED)
        self.assertEqual(house.suspended(), [])

    def test_counts_survive_a_restart_in_order(self) -> None:
        house = self.house()
        for _ in range(2):
            house.answered(SLOW, verdict=Verdict.BOUNCED)
        house.automation.stop()
        another = self.house(store=house.spool.store)
        another.answered(SLOW, verdict=Verdict.BOUNCED)
        self.assertEqual(another.suspended(), [(PATH, 60.0)])

    def test_and_a_crash_once_a_few_seconds_have_gone(self) -> None:
        house = self.house()
        for _ in range(2):
            house.answered(SLOW, verdict=Verdict.BOUNCED)
        house.run(6)
        another = self.house(store=house.spool.store)
        another.answered(SLOW, verdict=Verdict.BOUNCED)
        self.assertEqual(another.suspended(), [(PATH, 60.0)])

    def test_what_counts_no_more_leaves_the_shelf(self) -> None:
        house = self.house()
        house.answered(SLOW, verdict=Verdict.BOUNCED)
        house.run(10)
        self.assertEqual(len(house.spool.store.shelved("automation/count/")), 1)
        house.run(3600)
        self.assertEqual(house.spool.store.shelved("automation/count/"), [])


class ScheduledQueueTests(SynchronousTestCase):
    """What is suspended or bounced, by action; the message that is answered is of tenant t and campaign c."""

    MAIL = ("t:c", "t:other", "u:c", "elsewhere")
    QUEUES = {"t:c": "c:t@example.org", "t:other": "other:t@example.org", "u:c": "c:u@example.org", "elsewhere": "c:t@example.net"}

    def touched(self, kind: AutomationAction, **meta: Any) -> list[str]:
        house = ReactingHouse(of_default(rule("slow down", action(kind))))
        house.answered(SLOW, **meta)
        orders = house.scheduler.administration.orders
        return [
            name
            for name, queue in self.QUEUES.items()
            if orders.suspensions.find(queue) is not None or orders.bounces.find(queue) is not None
        ]

    def test_each_action_is_about_its_queues(self) -> None:
        both = {"tenant": "t", "campaign": "c"}
        for kind, meta, expected in (
            (AutomationAction.SUSPEND_TENANT, both, ["t:c", "t:other"]),
            (AutomationAction.SUSPEND_CAMPAIGN, both, ["t:c"]),
            (AutomationAction.SUSPEND_CAMPAIGN, {"tenant": "t"}, ["t:c", "t:other"]),
            (AutomationAction.BOUNCE, both, ["t:c", "t:other", "u:c"]),
            (AutomationAction.BOUNCE_TENANT, both, ["t:c", "t:other"]),
            (AutomationAction.BOUNCE_CAMPAIGN, both, ["t:c"]),
            (AutomationAction.SUSPEND_TENANT, {}, []),
            (AutomationAction.BOUNCE_TENANT, {}, []),
            (AutomationAction.BOUNCE_CAMPAIGN, {"campaign": "c"}, []),
            (AutomationAction.BOUNCE, {}, ["t:c", "t:other", "u:c"]),
        ):
            with self.subTest(kind=kind, meta=meta):
                self.assertEqual(self.touched(kind, **meta), expected)
                self.flushLoggedErrors()

    def test_a_suspended_tenants_mail_waits_and_goes_on(self) -> None:
        house = ReactingHouse(of_default(rule("slow down", action(AutomationAction.SUSPEND_TENANT), duration=60.0)))
        house.answered(SLOW, verdict=Verdict.BOUNCED, tenant="t")
        house.take("carol@example.org", tenant="t")
        house.run(30)
        self.assertEqual(house.queue_of().size, 0)
        house.run(31)
        self.assertEqual(house.queue_of().size, 1)


class SetConfigTests(SynchronousTestCase):
    def limit(self, house: ReactingHouse, site: str = "mx.example.org", source: str = "unspecified") -> int:
        return house.queue_of(source, site).path.settings.connection_limit.limit

    def test_it_holds_for_its_duration_and_then_what_held_before(self) -> None:
        house = ReactingHouse(of_default(rule("slow down", SET_LIMIT, duration=60.0)))
        house.answered(SLOW)
        self.assertEqual(self.limit(house), 1)
        house.run(59)
        self.assertEqual(self.limit(house), 1)
        house.run(2)
        self.assertEqual(self.limit(house), 32)

    def test_it_survives_a_restart_and_ends_in_time(self) -> None:
        shaping = of_default(rule("slow down", SET_LIMIT, duration=60.0))
        house = ReactingHouse(shaping)
        house.answered(SLOW)
        house.automation.stop()
        another = ReactingHouse(shaping, store=house.spool.store, started=house.clock.seconds() + 20)
        another.take("bob@example.org")
        another.run(0)
        self.assertEqual(self.limit(another), 1)
        another.run(41)
        self.assertEqual(self.limit(another), 32)
        self.assertEqual(another.spool.store.shelved("automation/"), [])

    def test_a_rule_that_is_configured_no_more_sets_nothing(self) -> None:
        house = ReactingHouse(of_default(rule("slow down", SET_LIMIT)))
        house.answered(SLOW)
        self.assertEqual(self.limit(house), 1)
        house.hold(of_default(rule("another", SET_LIMIT)))
        self.assertEqual(self.limit(house), 32)

    def test_it_lies_over_what_the_policy_answers(self) -> None:
        house = ReactingHouse(of_default(rule("slow down", SET_LIMIT)))
        answer = PathSettings(connection_limit=Limit(7))
        house.handlers = {"get_egress_path_config": (Handler(lambda *_: answer, 3, "policy.py:1"),)}
        house.hold(house.shaping)
        house.answered(SLOW)
        self.assertEqual(self.limit(house), 1)

    def test_several_actions_of_one_rule_all_hold(self) -> None:
        slower = action(AutomationAction.SET_CONFIG, "max_message_rate", Rate(1, 60.0))
        house = ReactingHouse(of_default(rule("slow down", SET_LIMIT, slower, action())))
        house.answered(SLOW)
        settings = house.queue_of().path.settings
        self.assertEqual((settings.connection_limit, settings.max_message_rate), (Limit(1), Rate(1, 60.0)))
        self.assertEqual(len(house.suspended()), 1)

    def test_limits_by_name_are_joined(self) -> None:
        named = action(AutomationAction.SET_CONFIG, "additional_connection_limits", {"b": Limit(2)})
        shaping = ShapingSettings(
            rules={
                "default": ShapingRule(
                    options={"additional_connection_limits": {"a": Limit(1)}}, automation=(rule("slow down", named),)
                )
            }
        )
        house = ReactingHouse(shaping)
        house.answered(SLOW)
        self.assertEqual(house.queue_of().path.settings.additional_connection_limits, {"a": Limit(1), "b": Limit(2)})

    def test_of_several_rules_the_one_nearest_to_the_domain_wins(self) -> None:
        def setting(limit: int) -> ShapingRule:
            return ShapingRule(automation=(rule("slow down", action(SET_LIMIT.kind, "connection_limit", Limit(limit))),))

        provider = Provider(name="p", match=(ProviderMatch(Matcher.MX_SUFFIX, ".example.org"),), automation=setting(2).automation)
        for rules, expected in (
            ({"default": setting(1)}, 2),
            ({"default": setting(1), "example.org": setting(3)}, 3),
            ({"example.org": setting(3), "default": setting(1)}, 3),
        ):
            house = ReactingHouse(ShapingSettings(rules=rules, provider={"p": provider}))
            house.domain_at("example.org", "mx.example.org")
            house.answered(SLOW)
            self.assertEqual(self.limit(house), expected)

    def test_where_it_is_for_the_domain_alone_another_domain_of_the_site_has_its_own(self) -> None:
        of_domain = action(AutomationAction.SET_DOMAIN_CONFIG, "connection_limit", Limit(1))
        for first, second, expected in (("a.example", "b.example", 1), ("b.example", "a.example", 32)):
            house = ReactingHouse(of_default(rule("slow down", of_domain)))
            for domain in (first, second):
                house.domain_at(domain, "mx.both.example")
            house.answered(SLOW, to=f"bob@{first}", verdict=Verdict.BOUNCED)
            house.answered("250 ok", to=f"bob@{second}", verdict=Verdict.DELIVERED)
            # The domain that sorts first speaks for the site.
            self.assertEqual(self.limit(house, "mx.both.example"), expected)


class WhoseTests(SynchronousTestCase):
    """Which rules are about which destination."""

    def acts(self, shaping: ShapingSettings, to: str = "bob@example.org", **more: Any) -> bool:
        house = ReactingHouse(shaping, **more)
        house.sites = {"gmail.test": "mx.google.test"}
        house.domain_at("example.org", "mx.google.test")
        house.domain_at("example.net", "a.mx.example.net", "b.mx.example.net", site="(a|b).mx.example.net")
        house.answered(SLOW, to=to)
        return bool(house.suspended())

    def test_by_site_by_domain_and_by_provider(self) -> None:
        own = ShapingRule(mx_rollup=False, automation=(rule(),))
        site = ShapingRule(automation=(rule(),))

        def provider(by: Matcher, text: str) -> ShapingSettings:
            return ShapingSettings(provider={"p": Provider(name="p", match=(ProviderMatch(by, text),), automation=(rule(),))})

        for what, shaping, to, expected in (
            ("the rule for the site of another domain", ShapingSettings(rules={"gmail.test": site}), "example.org", True),
            ("the site's rule, and another site", ShapingSettings(rules={"gmail.test": site}), "example.net", False),
            ("without a known site, the domain itself", ShapingSettings(rules={"example.net": site}), "example.net", True),
            ("the domain alone", ShapingSettings(rules={"example.org": own}), "EXAMPLE.org", True),
            ("the domain alone, and another of the site", ShapingSettings(rules={"gmail.test": own}), "example.org", False),
            ("all hosts are the provider's", provider(Matcher.MX_SUFFIX, ".mx.example.net"), "example.net", True),
            ("one host is not", provider(Matcher.HOST_NAME, "a.mx.example.net"), "example.net", False),
            ("the provider's domain", provider(Matcher.DOMAIN_SUFFIX, "ple.org"), "example.org", True),
            ("another provider", provider(Matcher.MX_SUFFIX, ".yahoo.test"), "example.org", False),
        ):
            with self.subTest(what):
                self.assertEqual(self.acts(shaping, to=f"bob@{to}"), expected)

    def test_nothing_acts_where_it_is_switched_off(self) -> None:
        self.assertFalse(self.acts(of_default(rule(), automation=False)))

    def test_rules_of_another_configuration_act_from_then_on(self) -> None:
        house = ReactingHouse(of_default(rule("other words")))
        house.answered(SLOW)
        self.assertEqual(house.suspended(), [])
        house.hold(of_default(rule()))
        house.answered(SLOW)
        self.assertEqual(len(house.suspended()), 1)

    def test_a_provider_that_nothing_is_known_by_is_told_of(self) -> None:
        shaping = ShapingSettings(provider={"p": Provider(name="p", automation=(rule(),))})
        self.assertEqual(ReactingHouse(shaping).automation._book.idle, ["p"])


class FaultTests(SynchronousTestCase):
    def test_a_bug_over_one_response_leaves_the_others_their_rules(self) -> None:
        house = ReactingHouse(of_default(rule()))
        broken = iter([ZeroDivisionError("a bug")])
        find = ReadyQueues.find

        def once(queues: ReadyQueues, name: str) -> Any:
            for fault in broken:
                raise fault
            return find(queues, name)

        self.patch(ReadyQueues, "find", once)
        house.answered(SLOW, verdict=Verdict.BOUNCED)
        self.assertEqual((len(self.flushLoggedErrors(ZeroDivisionError)), house.suspended()), (1, []))
        house.answered(SLOW)
        self.assertEqual(house.suspended(), [(PATH, 600.0)])

    def test_what_is_no_count_on_the_shelf_stays_there_and_harms_nothing(self) -> None:
        house = ReactingHouse(of_default(rule()))
        house.spool.store.shelf["automation/count/x"] = b"{"
        another = ReactingHouse(of_default(rule()), store=house.spool.store)
        another.answered(SLOW)
        self.assertEqual((another.suspended(), "automation/count/x" in house.spool.store.shelf), ([(PATH, 600.0)], True))
