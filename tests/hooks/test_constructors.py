"""Constructors of what a queue's mail is handed over to: events of the policy's own, with a dot in their names."""

from kumotwist import kumo
from tests.hooks.around import PolicyCase


class ConstructorTests(PolicyCase):
    def test_a_class_a_function_and_a_coroutine_may_be_one(self) -> None:
        policy = self.load("""
            @kumo.constructor("make.one")
            class One:
                def __init__(self, domain, tenant):
                    self.names = domain, tenant
            @kumo.constructor("make.two")
            def two(domain):
                return domain
            async def three(domain, tenant, campaign):
                return campaign
            kumo.constructor("make.three", three)
            kumo.on("make.four", lambda: "four")
        """)
        names = ("example.com", "tenant", "campaign")
        self.assertEqual(policy.first("make.one", *names).names, ("example.com", "tenant"))
        self.assertEqual(policy.first("make.two", *names), "example.com")
        self.assertEqual(policy.first("make.three", *names), "campaign")
        self.assertEqual(policy.first("make.four", *names), "four")

    def test_what_is_wrong_with_one_is_said_when_the_policy_loads(self) -> None:
        for line, fault in {
            "kumo.constructor('webhook', print)": (
                "policy.py:2: ValueError: 'webhook' as a constructor, expected a name with a dot, such as make.webhook"
            ),
            "kumo.constructor('make.it', lambda a, b, c, d: 0)": (
                "policy.py:2: kumo.on: <lambda> requires 4 arguments (a, b, c, d), make.it passes 3 (domain, tenant, campaign)"
            ),
            "kumo.constructor('make.it', 3)": "policy.py:2: kumo.on: the handler of make.it is a int, expected a function",
        }.items():
            self.assertEqual(self.faults(line), [fault], line)

    def test_a_second_one_in_one_file_would_never_be_asked(self) -> None:
        faults = self.faults("""
            kumo.constructor("make.it", print)
            kumo.on("make.it", print)
        """)
        self.assertEqual(len(faults), 1)
        self.assertIn("a second handler of make.it", faults[0])

    def test_outside_of_a_policy_there_is_none(self) -> None:
        with self.assertRaises(RuntimeError):
            kumo.constructor("make.it", print)  # type: ignore[type-var]
