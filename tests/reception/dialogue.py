r"""
Dialogues in text files: what a client says, what the server answers, one behaviour a file.

A file has a head, a line `--`, and a body.  Lines that begin with `#` are comments.  The head is YAML:

    listener      the listener's settings; trace fields are always off
    rules         queues, domains
    peer          the client's address (127.0.0.1)
    closed        why the desk is closed
    connections   how many clients are there already
    leaving       the server is about to stop
    policy        Python that has `on(event)`, `reject`, `disconnect`, `later(seconds, answer)`, and what policies are made of
    logs_failure  a fault is logged
    ways          in which it is played (written bytes pipelined)

The body:

    C: text     the client says text and CRLF              S: text     the server says text and CRLF
    C| text     ... without CRLF                           S~ pattern  ... something that fits the shell pattern
    M: sender -> recipient, recipient                      S!          the server closes the connection
       a message is accepted; its content follows:         R: command => reply
    B: text     a line of it; B| without CRLF                 a refusal was recorded, for this command
    @ 60                 so many seconds pass              @ shutdown, @ shutdown now    the server stops
    @ tls                the TLS handshake is done         @ desk holds | keeps | breaks | closed TEXT | refuses REPLY

Text knows the escapes \r \n \t \\ and \xHH, and {{N*text}} for N times that text.

It is played as written (each C line a chunk), byte by byte, and pipelined (all C lines in one chunk, all answers compared).
"""

import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import yaml
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from kumotwist.config.fields import Networks
from kumotwist.config.listeners import BatchHandling, LineEndings, ListenerDomain, ListenerDomains, ListenerSettings, TraceHeaders
from kumotwist.config.queues import QueuesSettings
from kumotwist.hooks.connection import AuthInfo, Identity
from kumotwist.hooks.rejection import disconnect, reject
from kumotwist.mail.reply import refuse
from kumotwist.reception.intake import Rules
from tests.reception.fakes import Line, policy_of

WAYS = ("written", "bytes", "pipelined")
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))")
_TIMES = re.compile(r"\{\{(\d+)\*(.*?)\}\}")
_CHARACTERS = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}


def octets(text: str) -> bytes:
    """The octets that a line of a dialogue stands for."""
    text = _TIMES.sub(lambda found: found[2] * int(found[1]), text)
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()) if found[1] else _CHARACTERS[found[2]], text.encode())


class Dialogue:
    """One file."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        head, _, body = path.read_text(encoding="utf-8").partition("\n--\n")
        self.head: dict[str, Any] = yaml.safe_load(head) or {}
        self.ways = self.head.get("ways", " ".join(WAYS)).split()
        lines = (line for line in body.split("\n") if line.strip() and not line.startswith("#"))
        self.steps = [(line[:2], line[2:].removeprefix(" ")) for line in lines]

    def said_by(self, *marks: str) -> Iterator[str]:
        return (text for mark, text in self.steps if mark in marks)


def _policy(text: str, clock: Clock) -> dict[str, list[Callable[..., Any]]]:
    """The handlers of a policy in a dialogue's head."""
    handlers: dict[str, list[Callable[..., Any]]] = {}

    def on(event: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def register(call: Callable[..., Any]) -> Callable[..., Any]:
            handlers.setdefault(event, []).append(call)
            return call

        return register

    def later(seconds: float, answer: Any = None) -> "Deferred[Any]":
        return deferLater(clock, seconds, lambda: answer)

    names = {"on": on, "reject": reject, "disconnect": disconnect, "later": later, "ListenerDomain": ListenerDomain}
    exec(text, {**names, "AuthInfo": AuthInfo, "Identity": Identity})
    return handlers


def _networks(given: list[str]) -> Networks:
    return Networks(tuple(ip_network(one) for one in given))


def _settings(given: dict[str, Any]) -> ListenerSettings:
    kinds = {"relay_hosts": _networks, "invalid_line_endings": LineEndings, "batch_handling": BatchHandling}
    told = {key: kinds[key](value) if key in kinds else value for key, value in given.items()}
    return ListenerSettings(trace_headers=TraceHeaders(received_header=False, supplemental_header=False), **told)


def _rules(given: dict[str, Any]) -> Rules:
    domains = {
        name: ListenerDomain(
            relay_to=facts.get("relay_to", False),
            relay_from=_networks(facts.get("relay_from", [])),
            relay_from_authz=tuple(facts.get("relay_from_authz", ())),
        )
        for name, facts in given.get("domains", {}).items()
    }
    return Rules(
        queues=msgspec.convert(given.get("queues", {}), QueuesSettings),
        listener_domains=ListenerDomains(domains),
    )


class Played:
    """A dialogue while it is played in one way; `faults` is what went differently."""

    def __init__(self, dialogue: Dialogue, way: str) -> None:
        self._dialogue = dialogue
        self._way = way
        head = dialogue.head
        self.line = Line(
            _settings(head.get("listener", {})),
            rules=_rules(head.get("rules", {})),
            peer=head.get("peer", "127.0.0.1"),
            connect=False,
        )
        self.line.reception.policy = policy_of(_policy(head.get("policy", ""), self.line.clock), self.line.clock)
        self.line.desk.closed = head.get("closed")
        for _ in range(head.get("connections", 0)):
            other = self.line.factory.buildProtocol(None)
            other.makeConnection(type(self.line.transport)())
        self._heard = b""
        self._expected: list[str] = []
        self._wanted_messages: list[tuple[str, bytes]] = []
        self._wanted_records: list[str] = []
        self.faults: list[str] = []

    def play(self) -> list[str]:
        """The differences between what was written and what was heard."""
        if self._dialogue.head.get("leaving"):
            self.line.factory.leave()
        self.line.connect()
        if self._way == "pipelined":
            self._send(
                b"".join(octets(text) + (b"\r\n" if mark == "C:" else b"") for mark, text in self._dialogue.steps if mark[0] == "C")
            )
        before = ""
        for mark, text in self._dialogue.steps:
            if mark[0] in "C@" and before == "S" and self._way != "pipelined":
                self._compare()  # what is answered must be answered before the client goes on
            self._step(mark, text)
            before = mark[0]
        self._compare()
        self._compare_messages()
        self._compare_records()
        return self.faults

    def _step(self, mark: str, text: str) -> None:
        if mark in ("C:", "C|"):
            if self._way != "pipelined":
                self._send(octets(text) + (b"\r\n" if mark == "C:" else b""))
        elif mark in ("S:", "S~"):
            self._expected.append(mark[1] + (text if mark == "S~" else octets(text).decode()))
        elif mark == "S!":
            self._compare()
            if not self.line.closed:
                self.faults.append("the server should have closed the connection")
        elif mark == "M:":
            self._wanted_messages.append((text, b""))
        elif mark in ("B:", "B|"):
            envelope, content = self._wanted_messages[-1]
            self._wanted_messages[-1] = (envelope, content + octets(text) + (b"\r\n" if mark == "B:" else b""))
        elif mark == "R:":
            self._wanted_records.append(text)
        elif mark == "@ ":
            self._happen(text)
        else:
            raise ValueError(f"{self._dialogue.name}: no such line: {mark} {text}")

    def _happen(self, what: str) -> None:
        desk = self.line.desk
        if what.replace(".", "").isdigit():
            self.line.clock.advance(float(what))
        elif what == "tls":
            self.line.wire.handshakeCompleted()
        elif what == "shutdown":
            self.line.factory.leave()
        elif what == "shutdown now":
            self.line.factory.leave_now()
        elif what == "desk holds":
            desk.holds = True
        elif what == "desk keeps":
            desk.keep()
        elif what.startswith("desk closed "):
            desk.closed = what.removeprefix("desk closed ")
        elif what == "desk breaks":
            desk.fault = RuntimeError("the desk broke")
        elif what.startswith("desk refuses "):
            desk.fail(refuse(what.removeprefix("desk refuses ")))
        else:
            raise ValueError(f"{self._dialogue.name}: nothing happens by {what!r}")

    def _send(self, sent: bytes) -> None:
        for piece in [sent] if self._way != "bytes" else [sent[at : at + 1] for at in range(len(sent))]:
            self._heard += self.line.send(piece)

    def _compare(self) -> None:
        self._heard += self.line.heard()
        heard = self._heard.decode().split("\r\n")
        if heard.pop() != "":
            self.faults.append("a reply does not end in CRLF")
        fits = len(heard) == len(self._expected) and all(
            fnmatchcase(line, wanted[1:]) if wanted[0] == "~" else line == wanted[1:]
            for line, wanted in zip(heard, self._expected, strict=True)
        )
        if not fits:
            self.faults.append("\n  ".join(["expected", *self._expected, "heard", *heard]))
        if self._way != "pipelined":
            self._heard, self._expected = b"", []

    def _compare_messages(self) -> None:
        taken = [
            (f"{message.sender.email} -> {', '.join(one.email for one in message.recipients)}", message.content)
            for message in self.line.desk.taken
        ]
        if taken != self._wanted_messages:
            self.faults.append(f"messages expected\n  {self._wanted_messages}\naccepted\n  {taken}")

    def _compare_records(self) -> None:
        """Every refusal is recorded except 421 4.3.2; those that the file tells of, in their order, with their commands."""
        records = [f"{reply.command or ''} => {reply.single_line}" for reply, _ in self.line.desk.refusals]
        if self._wanted_records and records != self._wanted_records:
            self.faults.append(f"records expected\n  {self._wanted_records}\nwritten\n  {records}")
        said = [
            text
            for text in self._dialogue.said_by("S:", "S~")
            if text[:1] in "45"
            and text[3:4] == " "
            and not text.startswith("421 4.3.2 ")
            and not text.endswith("disconnecting due to previous error")
        ]
        if len(records) != len(said):
            self.faults.append(f"{len(said)} refusals, but recorded: {records}")
