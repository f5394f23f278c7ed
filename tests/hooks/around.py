"""What a policy finds around it, for tests: a clock, a resolver from a table, a list of what was injected; policies from text."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.faults import ConfigFaults
from kumotwist.config.queues import MxHost
from kumotwist.dns.answers import NoSuchDomain
from kumotwist.egress.path import Destination
from kumotwist.egress.site import site_name
from kumotwist.egress.throttles import Throttles
from kumotwist.hooks.context import Services, entered
from kumotwist.hooks.loading import load_policy
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.policy import Policy
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds
from tests.support.memory import Messages

START = 1_700_000_000.0


class Answers:
    """A resolver with a table: domain → the hosts of each preference; `late` holds answers back until `come`."""

    def __init__(self, table: Mapping[str, tuple[tuple[str, ...], ...]] | None = None) -> None:
        self.table = dict(table or {})
        self.asked: list[str] = []
        self.late = False
        self._waiting: list[tuple[Deferred[Destination], str]] = []

    def destination(self, domain: str) -> "Destination | Deferred[Destination]":
        self.asked.append(domain)
        if self.late:
            waiting: Deferred[Destination] = Deferred()
            self._waiting.append((waiting, domain))
            return waiting
        return self._destination(domain) if domain in self.table else fail(NoSuchDomain(f"no such domain: {domain}"))

    def _destination(self, domain: str) -> Destination:
        groups = self.table[domain]
        return Destination(
            domain=domain,
            site=site_name([name for group in groups for name in group]),
            groups=tuple(tuple(MxHost(name=name, label=name) for name in group) for group in groups),
            is_mx=True,
            expires=START + 3600,
        )

    def come(self) -> None:
        waiting, self._waiting = self._waiting, []
        for deferred, domain in waiting:
            deferred.callback(self._destination(domain))


class PolicyCase(SynchronousTestCase):
    """Tests of what a policy sees and does."""

    maxDiff = None

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.resolver = Answers()
        self.injected: list[Message] = []
        self.throttles = Throttles()
        self.messages = Messages(self.clock.seconds)
        self.ids = MessageIds(self.clock.seconds, lambda bits: 5)
        self.services = self.new_services(1)
        self.place = Path(self.mktemp()).resolve()
        self.place.mkdir(parents=True)

    def new_services(self, epoch: int) -> Services:
        return Services(
            clock=self.clock,
            resolver=self.resolver,
            inject=self._inject,
            message_id=self.ids.next,
            epoch=epoch,
            throttles=self.throttles,
        )

    def _inject(self, message: Message) -> "Deferred[None]":
        self.injected.append(message)
        return succeed(None)

    def use_services(self) -> None:
        """For the rest of the test, the services are there as in a handler."""
        inside = entered(self.services)
        inside.__enter__()
        self.addCleanup(inside.__exit__, None, None, None)

    # Policies

    def write(self, text: str, name: str = "policy.py") -> Path:
        file = self.place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")
        return file

    def load(self, *texts: str, **more: Any) -> Policy:
        """The policy of these texts, in files policy.py, policy1.py …"""
        names = ["policy.py", *(f"policy{n}.py" for n in range(1, len(texts)))]
        files = [
            self.write("from kumotwist import kumo\n" + textwrap.dedent(text), name)
            for text, name in zip(texts, names, strict=True)
        ]
        return load_policy(files, self.clock, self.services, **more)

    def faults(self, *texts: str, **more: Any) -> list[str]:
        """What is wrong with these texts, without the directory."""
        with self.assertRaises(ConfigFaults) as caught:
            self.load(*texts, **more)
        return [str(fault).replace(f"{self.place}/", "") for fault in caught.exception.faults]

    # Messages

    def message(self, content: bytes = b"Subject: hello\r\n\r\nworld\r\n", **more: Any) -> PolicyMessage:
        return PolicyMessage(self.messages.make(content=content, **more))
