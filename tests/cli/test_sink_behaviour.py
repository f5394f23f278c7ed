"""How a sink decides what to answer, and how its file is read."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.sink_behaviour import Answer, Behaviour, Kind, Rule, Stage, load_behaviour
from kumotwist.config.faults import ConfigFaults

DESIGN = """
default: {delay: 0}
domains:
  gmail.com: {defer: {share: 5, replies: ["421 4.7.0 Try again later"]}, refuse: {share: 1, replies: ["550 5.1.1 No such user"]}}
  slow.example: {delay: 200 ms, disconnect: {share: 1, stage: data}}
local_parts:
  tempfail: {defer: {share: 100}}
  permfail: {refuse: {share: 100}}
"""
DESIGN_IN_TOML = """
default = {delay = 0}
[domains."gmail.com"]
defer = {share = 5, replies = ["421 4.7.0 Try again later"]}
refuse = {share = 1, replies = ["550 5.1.1 No such user"]}
[domains."slow.example"]
delay = "200 ms"
disconnect = {share = 1, stage = "data"}
[local_parts]
tempfail = {defer = {share = 100}}
permfail = {refuse = {share = 100}}
"""
OF_THE_DESIGN = Behaviour(
    default=Rule(),
    domains={
        "gmail.com": Rule(
            answers={
                Stage.RCPT: (
                    Answer(Kind.REFUSED, 1.0, (b"550 5.1.1 No such user\r\n",)),
                    Answer(Kind.DEFERRED, 5.0, (b"421 4.7.0 Try again later\r\n",)),
                )
            }
        ),
        "slow.example": Rule(delay=0.2, answers={Stage.DATA: (Answer(Kind.DISCONNECTED, 1.0),)}),
    },
    local_parts={
        "tempfail": Rule(answers={Stage.RCPT: (Answer(Kind.DEFERRED, 100.0, (b"451 4.7.1 Try again later\r\n",)),)}),
        "permfail": Rule(answers={Stage.RCPT: (Answer(Kind.REFUSED, 100.0, (b"550 5.1.1 No such user\r\n",)),)}),
    },
)


def drawn(*numbers: float) -> Iterator[float]:
    return iter(numbers)


class RuleTests(SynchronousTestCase):
    """Decisions: chance in, answer out."""

    rule = Rule(
        answers={
            Stage.RCPT: (Answer(Kind.REFUSED, 1.0, (b"550\r\n",)), Answer(Kind.DEFERRED, 5.0, (b"421 a\r\n", b"451 b\r\n"))),
        }
    )

    def test_shares_lie_side_by_side(self) -> None:
        for point, kind in (
            (0.0, Kind.REFUSED),
            (0.0099, Kind.REFUSED),
            (0.01, Kind.DEFERRED),
            (0.0599, Kind.DEFERRED),
            (0.06, None),
            (0.99, None),
        ):
            answer = self.rule.answer(Stage.RCPT, drawn(point).__next__)
            self.assertEqual(answer and answer.kind, kind, point)

    def test_chance_is_asked_only_where_something_can_happen(self) -> None:
        self.assertIs(self.rule.answer(Stage.DOT, drawn().__next__), None)

    def test_all_replies_get_their_turn(self) -> None:
        deferral = self.rule.answers[Stage.RCPT][1]
        self.assertEqual(deferral.reply(drawn(0.0).__next__), b"421 a\r\n")
        self.assertEqual(deferral.reply(drawn(0.99).__next__), b"451 b\r\n")

    def test_a_seed_gives_the_same_answers_again(self) -> None:
        def answers(seed: int) -> list[Answer | None]:
            draw = Random(seed).random
            return [self.rule.answer(Stage.RCPT, draw) for _ in range(500)]

        self.assertEqual(answers(7), answers(7))
        self.assertNotEqual(answers(7), answers(8))

    def test_shares_are_kept_over_many(self) -> None:
        draw = Random(1).random
        kinds = [answer.kind for _ in range(20_000) if (answer := self.rule.answer(Stage.RCPT, draw))]
        self.assertApproximates(kinds.count(Kind.DEFERRED), 1000, 150)
        self.assertApproximates(kinds.count(Kind.REFUSED), 200, 60)


class PrecedenceTests(SynchronousTestCase):
    """Whose rule holds."""

    def test_the_local_part_wins_over_the_domain_and_the_domain_over_the_default(self) -> None:
        for local, domain, rule in (
            ("tempfail", "gmail.com", OF_THE_DESIGN.local_parts["tempfail"]),
            ("someone", "gmail.com", OF_THE_DESIGN.domains["gmail.com"]),
            ("permfail", "elsewhere.example", OF_THE_DESIGN.local_parts["permfail"]),
            ("someone", "elsewhere.example", OF_THE_DESIGN.default),
        ):
            self.assertIs(OF_THE_DESIGN.rule(local, domain), rule, (local, domain))


class FileTests(SynchronousTestCase):
    """Reading a file."""

    maxDiff = None

    def read(self, text: str, ending: str = "yaml") -> Behaviour:
        path = Path(self.mktemp()).with_suffix(f".{ending}")
        path.write_text(text)
        return load_behaviour(str(path))

    def faults(self, text: str) -> list[str]:
        """Line:column and text of each fault."""
        found = self.assertRaises(ConfigFaults, self.read, text)
        return [f"{fault.line}:{fault.column}: {fault.what}" for fault in found.faults]

    def test_the_design_s_example(self) -> None:
        self.assertEqual(self.read(DESIGN), OF_THE_DESIGN)

    def test_toml_says_the_same(self) -> None:
        self.assertEqual(self.read(DESIGN_IN_TOML, "toml"), OF_THE_DESIGN)

    def test_an_empty_file_accepts_everything(self) -> None:
        self.assertEqual(self.read(""), Behaviour())

    def test_domains_and_local_parts_are_found_in_any_case(self) -> None:
        behaviour = self.read("domains: {Bücher.Example: {delay: 1}}\nlocal_parts: {TempFail: {delay: 2}}")
        self.assertEqual(list(behaviour.domains), ["xn--bcher-kva.example"])
        self.assertEqual(list(behaviour.local_parts), ["tempfail"])

    def test_replies_may_have_several_lines_or_be_one_text(self) -> None:
        behaviour = self.read('default: {refuse: {replies: "550 5.7.1 No\\nreally not"}}')
        self.assertEqual(behaviour.default.answers[Stage.RCPT][0].replies, (b"550-5.7.1 No\r\n550 5.7.1 really not\r\n",))

    def test_the_default_may_speak_before_a_recipient_is_known(self) -> None:
        behaviour = self.read("default: {delay: {time: 1 s, stage: banner}, defer: {share: 50%, stage: ehlo}}")
        self.assertEqual((behaviour.default.delay, behaviour.default.delay_stage), (1.0, Stage.BANNER))
        self.assertEqual(behaviour.default.answers[Stage.EHLO][0].share, 50.0)

    def test_every_fault_of_a_file_at_once_with_place_and_key(self) -> None:
        self.assertEqual(
            self.faults(
                "defualt: 3\n"
                "domains:\n"
                "  a..b: {defer: {share: x, stage: rctp, replies: [550 no, 4]}}\n"
                "  b.c: {refuse: {share: 60}, disconnect: {share: 60}, delay: {time: 3x, stage: banner}}\n"
                "  c.d: [1]\n"
                "local_parts:\n"
                "  x: {refuse: {replies: [], shre: 3}, disconnect: {share: 101}, delay: -1}\n"
            ),
            [
                '1:1: unknown key "defualt" in the behaviour, did you mean "default"?',
                '3:9: domains: "a..b" is not a domain name, expected a name such as example.com',
                '3:25: domains.a..b.defer.share: "x" is not a number, expected a percentage from 0 to 100',
                '3:35: domains.a..b.defer.stage: "rctp" is no stage of a dialogue, '
                "expected one of banner, ehlo, mail, rcpt, data, dot",
                '3:51: domains.a..b.defer.replies: "550 no" is no 4xx reply, expected a reply such as "451 4.7.1 Try again later"',
                '3:59: domains.a..b.defer.replies: "4" is no reply, expected a reply such as "451 4.7.1 Try again later"',
                "4:8: domains.b.c: the shares at rcpt add up to 120 percent, expected at most 100",
                '4:69: domains.b.c.delay.time: unknown unit "x" in "3x", expected a duration such as 200 ms',
                "4:80: domains.b.c.delay.stage: banner comes before any recipient is known, expected it in `default` only",
                "5:8: domains.c.d: a list, expected a mapping",
                '7:25: local_parts.x.refuse.replies: an empty list, expected a reply such as "550 5.1.1 No such user"',
                '7:29: unknown key "shre" in local_parts.x.refuse, did you mean "share"?',
                '7:59: local_parts.x.disconnect.share: "101" is out of range, expected a percentage from 0 to 100',
                '7:72: local_parts.x.delay: "-1" is not a duration, expected a duration such as 200 ms',
            ],
        )

    def test_a_key_that_stands_twice_is_a_fault(self) -> None:
        self.assertEqual(
            self.faults("default: {delay: 1}\ndefault: {delay: 2}\n"), ['2:1: duplicate key "default", first in line 1']
        )

    def test_a_file_that_is_not_there(self) -> None:
        found = self.assertRaises(ConfigFaults, load_behaviour, "/nowhere/behaviour.yaml")
        self.assertEqual(str(found), "/nowhere/behaviour.yaml:1:1: cannot be read: No such file or directory")
