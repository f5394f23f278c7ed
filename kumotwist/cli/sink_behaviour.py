"""
How a sink answers: rules by recipient, each with delays and with shares of deferrals, refusals and disconnections.

Pure: a file becomes frozen rules, or all of its faults at once, each with its place and its key.  Chance is given.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from msgspec import Struct

from kumotwist.config.faults import ConfigFaults
from kumotwist.config.fields import BadValue, parse_duration, shown
from kumotwist.config.kinds import Kind as Scalar
from kumotwist.config.kinds import domain_name
from kumotwist.config.placed import Entry, Items, Placed, Table, Text
from kumotwist.config.reading import UNFIT, Reading
from kumotwist.mail.reply import reply


class Stage(Enum):
    """The moments at which a receiver can answer."""

    BANNER = "banner"
    EHLO = "ehlo"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"


# Until RCPT nobody knows whom the mail is for: only the default rule can say what happens then.
BEFORE_RECIPIENT = frozenset({Stage.BANNER, Stage.EHLO, Stage.MAIL})


class Kind(Enum):
    """What became of a recipient; the value is how it is counted."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REFUSED = "refused"
    DISCONNECTED = "disconnected"


class Answer(Struct, frozen=True):
    """
    One thing other than yes that a receiver may do, and how often.

    share: percent of those who come to this stage.  replies: encoded, one of them is said; none for a disconnection.
    """

    kind: Kind
    share: float
    replies: tuple[bytes, ...] = ()

    def reply(self, draw: Callable[[], float]) -> bytes:
        """What is said this time."""
        if len(self.replies) < 2:
            return self.replies[0] if self.replies else b""
        return self.replies[int(draw() * len(self.replies))]


class Rule(Struct, frozen=True, kw_only=True):
    """delay: seconds before the answer at `delay_stage`.  answers: by stage; who meets none of them is accepted."""

    delay: float = 0.0
    delay_stage: Stage = Stage.DOT
    answers: Mapping[Stage, tuple[Answer, ...]] = {}

    def answer(self, stage: Stage, draw: Callable[[], float]) -> Answer | None:
        """
        What happens at this stage other than acceptance; None: nothing.

        draw: uniform in [0, 1); asked only where something may happen, so a seed gives the same run again.
        """
        answers = self.answers.get(stage)
        if not answers:
            return None
        point = draw() * 100
        for one in answers:
            point -= one.share
            if point < 0:
                return one
        return None


class Behaviour(Struct, frozen=True, kw_only=True):
    """A local part's rule wins over its domain's, a domain's over the default; each replaces the other whole."""

    default: Rule = Rule()
    domains: Mapping[str, Rule] = {}
    local_parts: Mapping[str, Rule] = {}

    def rule(self, local: str, domain: str) -> Rule:
        """The rule for a recipient; both parts in lower case."""
        return self.local_parts.get(local) or self.domains.get(domain) or self.default


def load_behaviour(file: str) -> Behaviour:
    """Read a file in TOML (`.toml`) or YAML.  Raises ConfigFaults with every fault of it."""
    behaviour_file = _BehaviourFile()
    behaviour = behaviour_file.read(file)
    if len(behaviour_file.reading.faults):
        raise ConfigFaults(behaviour_file.reading.faults.in_order())
    return behaviour


def _percent(given: Text) -> float:
    try:
        share = float(given.text.strip().removesuffix("%"))
    except ValueError:
        raise BadValue(f"{shown(given.text)} is not a number") from None
    if not 0 <= share <= 100:
        raise BadValue(f"{shown(given.text)} is out of range")
    return share


def _stage(given: Text) -> Stage:
    if given.text not in _STAGES:
        raise BadValue(f"{shown(given.text)} is no stage of a dialogue")
    return _STAGES[given.text]


def _replies_of(digit: str, example: str) -> Scalar:
    """Replies of one class: their first digit."""

    def read(given: Text) -> bytes:
        code = given.text[:3]
        if len(code) < 3 or not code.isascii() or not code.isdigit() or given.text[3:4] not in ("", " ") or "\r" in given.text:
            raise BadValue(f"{shown(given.text)} is no reply")
        if code[0] != digit:
            raise BadValue(f"{shown(given.text)} is no {digit}xx reply")
        return reply(given.text).encode()

    return Scalar(f"a reply such as {shown(example)}", read)


_STAGES = {stage.value: stage for stage in Stage}
SHARE = Scalar("a percentage from 0 to 100", _percent)
STAGE = Scalar(f"one of {', '.join(_STAGES)}", _stage)
DELAY = Scalar("a duration such as 200 ms", lambda given: parse_duration(given.text))
DOMAIN = Scalar("a name such as example.com", lambda given: domain_name(given.text))
REPLIES = {
    "defer": (Kind.DEFERRED, "451 4.7.1 Try again later", _replies_of("4", "451 4.7.1 Try again later")),
    "refuse": (Kind.REFUSED, "550 5.1.1 No such user", _replies_of("5", "550 5.1.1 No such user")),
}


class _BehaviourFile:
    """One reading of a file.  Paths of keys are for the faults."""

    def __init__(self) -> None:
        self.reading = Reading()

    def read(self, file: str) -> Behaviour:
        document = self.reading.document(file)
        if document is None:
            return Behaviour()
        top = self._known(self.reading.table(document, "the behaviour"), "the behaviour", ("default", "domains", "local_parts"))
        default = self.reading.table(top["default"].value, "default") if "default" in top else None
        domains = {}
        for name, table in self._rules(top, "domains"):
            domain = self.reading.scalar(DOMAIN, Text(name, table.place), "domains")
            domains[name if domain is UNFIT else domain] = self._rule(f"domains.{name}", table)
        return Behaviour(
            default=Rule() if default is None else self._rule("default", default, early=True),
            domains=domains,
            local_parts={name.lower(): self._rule(f"local_parts.{name}", table) for name, table in self._rules(top, "local_parts")},
        )

    def _rules(self, top: Mapping[str, Entry], key: str) -> list[tuple[str, Table]]:
        if key not in top:
            return []
        entries = self.reading.table(top[key].value, key).entries
        return [(name, self.reading.table(entry.value, f"{key}.{name}")) for name, entry in entries.items()]

    def _known(self, table: Table, path: str, keys: tuple[str, ...]) -> dict[str, Entry]:
        """The entries of a table, each of which must be one of the keys."""
        for key, entry in table.entries.items():
            if key not in keys:
                self.reading.unknown(key, entry, path, keys)
        return {key: entry for key, entry in table.entries.items() if key in keys}

    def _rule(self, path: str, table: Table, early: bool = False) -> Rule:
        """early: the rule may speak before a recipient is known."""
        given = self._known(table, path, ("delay", "defer", "refuse", "disconnect"))
        delay, delay_stage = self._delay(f"{path}.delay", given.get("delay"), early)
        answers: dict[Stage, list[Answer]] = {}
        for word in ("disconnect", "refuse", "defer"):
            if word in given:
                stage, answer = self._answer(f"{path}.{word}", given[word], word, early)
                answers.setdefault(stage, []).append(answer)
        for stage, several in answers.items():
            if (total := sum(one.share for one in several)) > 100:
                self.reading.note(table, path, f"the shares at {stage.value} add up to {total:g} percent, expected at most 100")
        return Rule(delay=delay, delay_stage=delay_stage, answers={stage: tuple(several) for stage, several in answers.items()})

    def _delay(self, path: str, entry: Entry | None, early: bool) -> tuple[float, Stage]:
        """`200 ms`, or `{time: 200 ms, stage: banner}`."""
        if entry is None:
            return 0.0, Stage.DOT
        if not isinstance(entry.value, Table):
            return self._scalar(DELAY, entry.value, path, 0.0), Stage.DOT
        given = self._known(entry.value, path, ("time", "stage"))
        time = self._scalar(DELAY, given["time"].value, f"{path}.time", 0.0) if "time" in given else 0.0
        return time, self._stage(path, given, Stage.DOT, early)

    def _answer(self, path: str, entry: Entry, word: str, early: bool) -> tuple[Stage, Answer]:
        keys = ("share", "stage") if word == "disconnect" else ("share", "stage", "replies")
        given = self._known(self.reading.table(entry.value, path), path, keys)
        share = self._scalar(SHARE, given["share"].value, f"{path}.share", 0.0) if "share" in given else 100.0
        stage = self._stage(path, given, Stage.RCPT, early)
        if word == "disconnect":
            return stage, Answer(Kind.DISCONNECTED, share)
        kind, usual, scalar = REPLIES[word]
        if "replies" not in given:
            return stage, Answer(kind, share, (reply(usual).encode(),))
        return stage, Answer(kind, share, self._replies(f"{path}.replies", given["replies"].value, scalar))

    def _replies(self, path: str, given: Placed, scalar: Scalar) -> tuple[bytes, ...]:
        """One reply, or a list of them."""
        items = given.items if isinstance(given, Items) else (given,)
        if not items:
            self.reading.note(given, path, f"an empty list, expected {scalar.expected}")
        found = [self.reading.scalar(scalar, item, path) for item in items]
        return tuple(one for one in found if one is not UNFIT)

    def _stage(self, path: str, given: Mapping[str, Entry], usual: Stage, early: bool) -> Stage:
        if "stage" not in given:
            return usual
        at = given["stage"].value
        stage: Stage = self._scalar(STAGE, at, f"{path}.stage", usual)
        if stage in BEFORE_RECIPIENT and not early:
            what = f"{stage.value} comes before any recipient is known, expected it in `default` only"
            self.reading.note(at, f"{path}.stage", what)
        return stage

    def _scalar(self, scalar: Scalar, given: Placed, path: str, otherwise: Any) -> Any:
        value = self.reading.scalar(scalar, given, path)
        return otherwise if value is UNFIT else value
