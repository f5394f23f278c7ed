"""
What automation costs with thousands of rules: `python benchmarks/automation.py [RULES]`.

All rules stand in `default`, so every one is about every response: the worst case.  The responses are all different.  Shown is
what hearing and looking at a response costs, and what share of a core 5,000 of them a second would be: first where no rule
fits, then where one in fifty fits a rule with a threshold.  Last comes what a delivery pays, which is nothing but a look at
whether anybody listens.
"""

import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.task import Clock

from kumotwist.automation.service import Automation
from kumotwist.config.fields import Rate
from kumotwist.config.shaping import Action, AutomationAction, AutomationRule, ShapingRule, ShapingSettings
from kumotwist.logs.record import RecordType
from kumotwist.mail.address import parse_mailbox
from kumotwist.mail.disposition import Attempt
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds
from kumotwist.mail.reply import Reply, reply

ASKED = 5000  # responses a second


class NoQueues:
    """No ready queue is there, and none is suspended."""

    orders: dict[str, Any] = {}

    def find(self, _: str) -> None:
        return None


def made_up(count: int, chance: random.Random) -> list[AutomationRule]:
    words = ["".join(chance.choices("abcdefghiklmnoprstuvwy", k=chance.randint(3, 9))) for _ in range(3000)]
    rules = []
    for number in range(count):
        a, b, c = chance.choices(words, k=3)
        pattern = chance.choice((rf"^4\d\d .*{a} {b}", f"{a}.*{b} {c}", rf"\[{a.upper()}{number}\] {b}", rf"{b} \d+\.\d+ {c}"))
        rules.append(rule(pattern))
    return rules


def rule(pattern: str) -> AutomationRule:
    suspend = Action(kind=AutomationAction.SUSPEND)
    return AutomationRule(regex=(pattern,), action=(suspend,), duration=600.0, trigger=Rate(1_000_000_000, 3600.0))


def responses(count: int, share: float, chance: random.Random) -> list[Reply]:
    return [
        reply(
            f"421 4.7.0 [TSS{n % 9}] Messages from 192.0.2.{n % 250} temporarily deferred due to "
            f"{'the measured reason' if chance.random() < share else 'unexpected volume or user complaints'} - "
            f"{chance.random()}; see https://postmaster.example/{n:x}"
        )
        for n in range(count)
    ]


def microseconds(act: Callable[[], object], count: int) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        act()
        best = min(best, time.process_time() - began)
    return best / count * 1e6


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    chance = random.Random(1)
    clock = Clock()
    clock.advance(1.7e9)
    queues: Any = NoQueues()
    sites: dict[str, str] = {}
    automation = Automation(clock, lambda _: succeed(None), lambda: "id", queues, queues, lambda: sites)
    rules = (*made_up(count, chance), rule("the measured reason"))
    began = time.perf_counter()
    automation.configure(ShapingSettings(rules={"default": ShapingRule(automation=rules)}))
    print(f"{len(rules)} rules, made ready in {time.perf_counter() - began:.2f} s")

    message = Message(MessageIds(clock.seconds, random.Random(1).getrandbits).next(), *_envelope(), b"")
    message.queue = "c:t@example.org"
    attempt = Attempt(site="ip-1->mx.example.org@smtp_client", egress_source="ip-1")

    def look(answers: Sequence[Reply]) -> None:
        for start in range(0, len(answers), 50):
            for answer in answers[start : start + 50]:
                automation.hear(message, attempt, [(RecordType.TRANSIENT_FAILURE, answer, message.recipients)])
            clock.advance(0)

    for what, share in (("no rule fits", 0.0), ("one in fifty fits", 0.02)):
        answers = responses(5000, share, chance)
        cost = microseconds(lambda answers=answers: look(answers), len(answers))  # type: ignore[misc]
        print(f"{what:20} {cost:6.1f} us a response: {cost * ASKED / 1e4:5.1f} % of a core at {ASKED} a second")


def _envelope() -> tuple[Any, tuple[Any, ...]]:
    return parse_mailbox("a@example.com"), (parse_mailbox("bob@example.org"),)


if __name__ == "__main__":
    main()
