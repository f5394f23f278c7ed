"""
What classifying a response costs, with thousands of rules: `python benchmarks/bounces.py [RULES]`.

The rules are ours and as many made-up ones as are asked for, in the forms that rules have: a code and words, two words with
anything between them, a choice.  The responses are all different, so nothing comes from the cache; then all the same.  Last
comes what a record costs with and without a classifier, for a Delivery (which has no class) and a Bounce.
"""

import random
import sys
import time
from collections.abc import Callable

from kumotwist.bounces.classifier import Classifier, unclassified
from kumotwist.config.bounces import BounceClassifierSettings, BounceRule
from kumotwist.config.given import GivenParameters
from kumotwist.logs.record import RecordType, RecordWriter
from kumotwist.mail.address import parse_mailbox
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds
from kumotwist.mail.reply import reply


def made_up(count: int, chance: random.Random) -> list[BounceRule]:
    words = ["".join(chance.choices("abcdefghiklmnoprstuvwy", k=chance.randint(3, 9))) for _ in range(400)]
    rules = []
    for number in range(count):
        a, b, c = chance.choices(words, k=3)
        pattern = chance.choice((rf"^5\d\d .*{a} {b}", f"{a}.*{b} {c}", f"(?i){a} ({b}|{c})", f"(?i){b} {c}"))
        rules.append(BounceRule(f"Class{number % 30}", pattern))
    return rules


def responses(count: int, chance: random.Random) -> list[str]:
    texts = ("mailbox full", "user unknown in table", "blocked using a list", "come back later", "no such thing at all")
    return [
        f"55{n % 5} 5.{n % 8}.{n % 40} <u{chance.random()}@example.net>: {chance.choice(texts)} "
        f"{''.join(chance.choices('abcdefgh ', k=80))} ({n:x})"
        for n in range(count)
    ]


def microseconds(act: Callable[[], object], count: int) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        act()
        best = min(best, time.perf_counter() - began)
    return best / count * 1e6


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    chance = random.Random(1)
    ours = GivenParameters("benchmark", {"files": ["builtin:default"]}).bounce_classifier().rules
    rules = (*made_up(count, chance), *ours)
    began = time.perf_counter()
    classifier = Classifier(BounceClassifierSettings(rules=rules))
    lines = responses(5000, chance)
    classifier.classify("550 first of all")
    print(f"{len(rules)} rules made ready: {time.perf_counter() - began:.2f} s")
    print(f"a response never seen:  {microseconds(lambda: [classifier.classify(line) for line in lines], len(lines)):6.1f} us")
    same = [lines[0]] * 5000
    print(f"one that was just seen: {microseconds(lambda: [classifier.classify(line) for line in same], len(same)):6.1f} us")
    ids = MessageIds(lambda: 1_786_104_000.0, lambda bits: 1)
    message = Message(ids.next(), parse_mailbox("a@example.com"), (parse_mailbox("b@example.net"),), b"x" * 1000)
    for kind, answer in ((RecordType.DELIVERY, reply("250 2.0.0 Ok")), (RecordType.BOUNCE, reply("550 5.1.1 no such user"))):
        for name, classify in (("without", unclassified), ("with", classifier.classify)):
            write = RecordWriter("node", (), classify).message
            cost = microseconds(lambda: [write(kind, message, answer, 1_786_104_000.0) for _ in range(5000)], 5000)  # noqa: B023
            print(f"a {kind.value} record {name} a classifier: {cost:.2f} us")


if __name__ == "__main__":
    main()
