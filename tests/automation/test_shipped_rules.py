"""Rules of files, each of them: a response that fits it acts, one that almost does not; and all is undone in its time."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SkipTest

from kumotwist.automation.rules import Layer, Rule
from kumotwist.config.read_shaping import builtin_files
from kumotwist.config.shaping import AutomationAction, Matcher, ShapingSettings
from kumotwist.mail.disposition import Verdict
from tests.automation.samples import almost, fitting
from tests.automation.support import ReactingHouse
from tests.config.files import ConfigTestCase, use_all_values
from tests.config.test_shaping import SHARED

MODELS = tuple(SHARED / name for name in ("policy-extras-shaping.toml", "community-shaping.toml"))


class RulesCase(ConfigTestCase):
    """All rules of some files, one after the other."""

    def loaded(self, files: "tuple[Path | str, ...]", more: str = "") -> ShapingSettings:
        use_all_values(self)
        names = [str(name) for name in files]
        return self.read(f"shaping:\n  files: {names}\n  rules: {{{more}}}\n").shaping

    def alone(self, shaping: ShapingSettings, rule: Rule) -> ShapingSettings:
        """The same with this rule only: several fit one response, and the first that suspends a path hides the others."""
        name = rule.whose.removeprefix("provider ")
        rules = {one: replace(block, automation=()) for one, block in shaping.rules.items()}
        providers = {one: replace(block, automation=()) for one, block in shaping.provider.items()}
        blocks: Any = providers if rule.layer is Layer.PROVIDER else rules
        blocks[name] = replace(blocks[name], automation=(rule.said,))
        return replace(shaping, rules=rules, provider=providers)

    def house_for(self, shaping: ShapingSettings, rule: Rule) -> tuple[ReactingHouse, str]:
        """A house, and a domain that the rule is about."""
        house = ReactingHouse(shaping)
        domain, host = "somebody.example", "mx.somebody.example"
        if rule.layer is Layer.PROVIDER:
            match = shaping.provider[rule.whose.removeprefix("provider ")].match[0]
            if match.by is Matcher.DOMAIN_SUFFIX:
                domain = "some" + match.text
            host = match.text if match.by is Matcher.HOST_NAME else "mx" + match.text
        elif rule.layer is not Layer.DEFAULT:
            host = f"mx.{rule.whose}"
            house.sites = {rule.whose: host}
        house.domain_at(domain, host)
        return house, domain

    def answer(self, house: ReactingHouse, domain: str, text: str, rule: Rule) -> None:
        """As often as the rule wants it."""
        for _ in range(rule.said.trigger.limit if rule.said.trigger else 1):
            house.answered(text, to=f"bob@{domain}", verdict=Verdict.BOUNCED, tenant="t")

    def standing(self, house: ReactingHouse, rule: Rule) -> list[str]:
        """What the rule has done, by action."""
        orders = [one.order for one in house.ready.suspensions()]
        queues = [one.order for one in house.scheduler.administration.suspensions()]
        found = [AutomationAction.SUSPEND.value for one in orders if rule.id in one.reason]
        found += [AutomationAction.SUSPEND_TENANT.value for one in queues if rule.id in one.reason]
        for ready in house.ready:
            path, source = ready.path, ready.path.source.name
            for one in house.automation.overrides.in_force(source, path.destination.site, path.destination.domain):
                if one.rule.id == rule.id:
                    found.append(AutomationAction.SET_CONFIG.value)
                    self.assertEqual(getattr(path.settings, one.name), one.value)
        return sorted(found)

    def check(self, shaping: ShapingSettings, rule: Rule) -> None:
        actions = sorted(action.kind.value for action in rule.said.action)
        shaping = self.alone(shaping, rule)
        for pattern in rule.said.regex:
            house, domain = self.house_for(shaping, rule)
            self.answer(house, domain, almost(pattern), rule)
            self.assertEqual(self.standing(house, rule), [], f"{pattern} is found in {almost(pattern)}")
            house, domain = self.house_for(shaping, rule)
            self.answer(house, domain, fitting(pattern), rule)
            self.assertEqual(self.standing(house, rule), actions, f"{rule.shown}: {fitting(pattern)}")
            house.run(rule.said.duration - 1)
            self.assertEqual(self.standing(house, rule), actions)
            house.run(2)
            self.assertEqual(self.standing(house, rule), [])


class ModelsRulesTests(RulesCase):
    def test_each_rule_of_the_models_files_acts_on_its_response_and_on_no_other(self) -> None:
        if not SHARED.is_dir():
            raise SkipTest("KumoMTA's shaping files are not beside this checkout")
        # They have rules for a provider `gmail` that nothing is known by: whoever wants those says what it is known by.
        shaping = self.loaded(MODELS, "provider: {gmail: {match: [{MXSuffix: .gmail-hosts.test}]}}")
        rules = list(ReactingHouse(shaping).automation._book.rules.values())
        self.assertEqual(len(rules), 51)
        for rule in rules:
            with self.subTest(rule.shown):
                self.check(shaping, rule)

    def test_as_they_are_all_but_those_of_gmail_can_fit(self) -> None:
        if not SHARED.is_dir():
            raise SkipTest("KumoMTA's shaping files are not beside this checkout")
        self.assertEqual(ReactingHouse(self.loaded(MODELS)).automation._book.idle, ["gmail"])

    def test_the_test_sees_it_where_a_rule_does_not_act(self) -> None:
        shaping = self.read(f"shaping: {{rules: {_ONE}}}\n").shaping
        (rule,) = ReactingHouse(shaping).automation._book.rules.values()
        self.check(shaping, rule)
        other = replace(rule, said=replace(rule.said, regex=("quite another",)))
        self.assertRaises(AssertionError, self.check, shaping, other)


_ONE = "{default: {automation: [{regex: slow down, action: Suspend, duration: 1 min}]}}"


# What providers are known to say, each with the number of our rule for it, by provider, from 0; None: no rule.
SAID = {
    "google": (
        ("421 4.7.28 [192.0.2.1] Our system has detected an unusual rate of unsolicited mail originating from your IP address.", 0),
        ("421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your DKIM domain [x.example].", 1),
        ("421 4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your SPF domain [x.example].", 1),
        ("421 4.7.28 Gmail has detected an unusual rate of unsolicited mail containing one of your URL domains.", 1),
        ("550 5.1.1 The email account that you tried to reach does not exist.", None),
    ),
    "yahoo": (
        ("421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints", 0),
        ("421 4.7.0 [TS01] Messages from 192.0.2.1 temporarily deferred", 1),
        ("421 4.7.0 [TS02] Messages from 192.0.2.1 temporarily deferred", 1),
        ("421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred", 2),
        ("553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1", 3),
        ("421 Max message per connection reached, closing transmission channel", None),
    ),
    "outlook": (
        ("451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation.", 0),
        ("421 RP-001 The mail server IP connecting to Outlook.com server has exceeded the rate limit allowed.", 0),
        ("451 4.7.652 The mail server [192.0.2.1] has exceeded the maximum number of connections. (S3115)", 1),
        ("421 RP-003 The mail server IP connecting to Outlook.com server has exceeded the connection limit allowed.", 1),
        ("421 RP-002 The mail server IP has exceeded the rate limit allowed on this connection.", 2),
        ("550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. part of their network is on our block list (S3150).", 3),
        ("550 5.5.0 Requested action not taken: mailbox unavailable", None),
    ),
    "office365": (
        ("451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719)", 0),
        ("550 5.7.606 Access denied, banned sending IP [192.0.2.1].", 1),
        ("550 5.4.1 Recipient address rejected: Access denied.", None),
    ),
}


class OwnRulesTests(RulesCase):
    """`builtin:providers`."""

    def shaping(self) -> ShapingSettings:
        return self.read('shaping: {files: ["builtin:providers"]}\n').shaping

    def test_each_rule_acts_on_what_it_is_for_and_on_nothing_else(self) -> None:
        shaping = self.shaping()
        for rule in ReactingHouse(shaping).automation._book.rules.values():
            with self.subTest(rule.shown):
                self.check(shaping, rule)

    def test_each_rule_is_for_something_that_its_provider_says(self) -> None:
        book = ReactingHouse(self.shaping()).automation._book
        for name, said in SAID.items():
            rules = [rule for rule in book.rules.values() if rule.whose == f"provider {name}"]
            (scope,) = [scope for scope in book._providers.values() if scope.rules[0] in rules]
            for text, number in said:
                expected = [] if number is None else [rules[number].id]
                self.assertEqual([rule.id for rule in scope.fitting(text, internal=False)], expected, text)
            self.assertEqual({number for _, number in said} - {None}, set(range(len(rules))), name)
        self.assertEqual(sum(len(scope.rules) for scope in book._providers.values()), len(book.rules))

    def test_each_value_and_each_rule_has_its_source(self) -> None:
        blocks = Path(builtin_files()["builtin:providers"]).read_text("utf-8").split("# --- ")[1:]
        self.assertEqual(len(blocks), len(SAID))
        for block in blocks:
            parameters = [line for line in block.splitlines() if line[:1].islower() and " = " in line]
            sourced = block.count("https://")
            own = [
                line for line in parameters if line.partition(" =")[0] not in ("match", "regex", "trigger", "action", "duration")
            ]
            self.assertEqual(sourced, len(own) + 1, block)

    def test_a_file_after_it_extends_it(self) -> None:
        shaping = self.read(
            'shaping: {files: ["builtin:providers", mine.yaml]}\n',
            mine_yaml="provider: {yahoo: {max_deliveries_per_connection: 5,"
            " automation: [{regex: a, action: Suspend, duration: 1}]}}\n",
        ).shaping
        yahoo = shaping.provider["yahoo"]
        self.assertEqual((yahoo.options["max_deliveries_per_connection"], len(yahoo.automation)), (5, 5))
        self.assertTrue(yahoo.match)

    def test_one_that_does_not_come_with_us_is_a_fault(self) -> None:
        self.assertEqual(
            self.faults('shaping: {files: ["builtin:provider"]}\n'),
            ['main.yaml:1:19: files: "builtin:provider" does not come with this version, expected builtin:providers'],
        )
