"""A listener with custody behind it, and a domain whose reports are logged."""

import json
import re
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from kumotwist.bounces.classifier import Classifier
from kumotwist.config.bounces import BounceClassifierSettings, BounceRule
from kumotwist.config.listeners import ListenerDomain, ListenerDomains, ReportHandling
from kumotwist.config.queues import QueuesSettings
from kumotwist.custody import Custody
from kumotwist.logs.record import RecordType, RecordWriter
from kumotwist.mail.message import Message
from kumotwist.reception.intake import Rules
from kumotwist.spool.residence import Residence
from tests.reception.fakes import Line
from tests.support.memory import InstantSpool

CORPUS = Path(__file__).resolve().parent / "corpus"
NAMES = sorted(path.stem for path in CORPUS.glob("*.eml"))
STRANGER = "192.0.2.99"
NOON = 1_786_104_000.0  # 2026-08-07T12:00:00Z
SHOWN = (
    *("type", "sender", "recipient", "response", "peer_address", "event_time", "bounce_classification", "feedback_report"),
    *("meta", "headers"),
)
RULES = (BounceRule("InvalidRecipient", r"^\d{3} 5\.1\.1 "), BounceRule("QuotaIssues", r"^\d{3} 5\.2\.2 "))


def message(name: str) -> bytes:
    """A message of the corpus as it comes over the wire."""
    return (CORPUS / f"{name}.eml").read_bytes().replace(b"\n", b"\r\n")


def envelope(name: str) -> tuple[str, str]:
    """Who it is from and for."""
    sender, recipient = re.findall(r"<(.*)>", (CORPUS / f"{name}.envelope").read_text("utf-8"))
    return sender, recipient


class Arriving:
    """Where reports arrive: from a stranger, who may not relay."""

    def __init__(
        self,
        log_oob: ReportHandling = ReportHandling.LOG_THEN_DROP,
        log_arf: ReportHandling = ReportHandling.LOG_THEN_DROP,
        *,
        disabled: frozenset[RecordType] = frozenset(),
        relay_to: bool = False,
        queues: QueuesSettings = QueuesSettings(),  # noqa: B008  (a frozen value)
        policy: Any = None,
    ) -> None:
        clock = Clock()
        clock.advance(NOON)
        self.spool = InstantSpool()
        self.admitted: list[Message] = []
        custody = Custody(
            self.spool,  # type: ignore[arg-type]
            RecordWriter("node", ("tenant",), Classifier(BounceClassifierSettings(rules=RULES)).classify),
            Residence(1 << 20),
            clock,
            lambda message, reason: self.admitted.append(message),
            disabled=disabled,
        )
        domain = ListenerDomain(log_oob=log_oob, log_arf=log_arf, relay_to=relay_to)
        rules = Rules(listener_domains=ListenerDomains({"bounces.example.com": domain}), log_headers=("Subject",), queues=queues)
        self.line = Line(desk=custody, rules=rules, peer=STRANGER, policy=policy, connect=False)  # type: ignore[arg-type]
        self.line.clock.advance(NOON - self.line.clock.seconds())
        self.line.connect()
        self.line.heard()
        self.line.say(b"EHLO mx.reporter.example")

    def send(self, content: bytes, sender: str = "", recipient: str = "bounce@bounces.example.com") -> bytes:
        """The reply to the message, or to the command that was refused."""
        for command in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"):
            answer = self.line.say(command.encode())
            if answer[:1] not in b"23":
                return answer
        stuffed = content.replace(b"\r\n.", b"\r\n..")
        return self.line.send((b"." if content.startswith(b".") else b"") + stuffed + b".\r\n")

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.spool.lines]

    @property
    def kept(self) -> int:
        """How many messages are in the spool."""
        return len(self.spool.store.kept)


def told(record: dict[str, Any]) -> dict[str, Any]:
    """What a report decides of a record."""
    return {name: record[name] for name in SHOWN if name in record}


def as_lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(told(record), ensure_ascii=False) + "\n" for record in records)
