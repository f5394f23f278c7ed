"""Injection joined with custody and queues as in production, on a clock, threads included."""

from collections.abc import Mapping
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from itertools import count
from random import Random
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.egress.throttles import Throttles
from kumotwist.hooks.connection import AuthInfo
from kumotwist.hooks.policy import Handler, Policy
from kumotwist.injection.generator import Generator
from kumotwist.injection.idempotency import Keys
from kumotwist.injection.request import InjectV1Response
from kumotwist.injection.service import Injection
from kumotwist.injection.submission import Submission
from kumotwist.mail.message_id import MessageIds
from kumotwist.reception.intake import Rules
from kumotwist.reception.standing import Standing
from kumotwist.spool.change import decode_message
from tests.support.house import House
from tests.support.memory import MemoryStore

_NODES = count()

TRUSTED = Submission(
    auth=AuthInfo(peer_address="127.0.0.1"), peer="127.0.0.1", local="127.0.0.1", hostname="mta.example", listener="127.0.0.1:8000"
)


class Office:
    """An injection with all around it.  A second one on the same store is the server after a restart."""

    def __init__(
        self, store: MemoryStore | None = None, rules: Rules | None = None, handlers: Mapping[str, Any] | None = None
    ) -> None:
        self.house = House(store=store)
        house = self.house
        found = {event: (Handler(call, 9, "p.py:1"),) for event, call in (handlers or {}).items()}
        for event, (handler,) in found.items():
            takes = handler.call.__code__.co_argcount
            found[event] = (Handler(handler.call, takes, "p.py:1"),)
        self.standing = Standing(rules or Rules(), Policy(found, house.clock))
        self.spool = house.spool
        self.injection = Injection(
            clock=house.clock,
            ids=MessageIds(house.clock.seconds, Random(next(_NODES)).getrandbits),
            randbits=Random(1).getrandbits,
            desk=house.custody,
            keys=Keys(house.spool.shelved, house.clock.seconds),
            standing=lambda: self.standing,
            hostname=lambda: "mta.example",
            in_thread=maybeDeferred,
            throttles=Throttles(),
        )
        self.injection.start()
        self.generator = Generator(
            clock=house.clock,
            injection=self.injection,
            ledger=house.custody,
            load=house.spool.load,
            shelved=house.spool.shelved,
            standing=lambda: self.standing,
            hostname=lambda: "mta.example",
            in_thread=maybeDeferred,
        )
        admit = house.custody._admit
        house.custody._admit = lambda message, reason: (
            self.generator.admit(message) if self.generator.wants(message) else admit(message, reason)
        )

    def ask(self, request: Mapping[str, Any], key: str | None = None) -> "Deferred[InjectV1Response]":
        return Deferred.fromCoroutine(self.injection.inject(msgspec.json.encode(request), TRUSTED, key))

    @property
    def kept(self) -> list[tuple[str, bytes]]:
        """(recipient, content) of every message in the spool, but requests."""
        found = []
        for message_id, (envelope, content) in self.spool.store.kept.items():
            message = decode_message(message_id, envelope)
            if message.queue_name() != "generator.kumomta.internal":
                found.append((message.recipients[0].email, content))
        return found

    def meta(self, at: int = 0) -> dict[str, Any]:
        message_id, (envelope, _) = list(self.spool.store.kept.items())[at]
        return decode_message(message_id, envelope).meta


def parsed(content: bytes) -> EmailMessage:
    return BytesParser(EmailMessage, policy=policy.default).parsebytes(content)


def request(*recipients: str, **more: Any) -> dict[str, Any]:
    """A small whole request."""
    return {
        "envelope_sender": "sender@example.com",
        "recipients": [{"email": one} for one in recipients or ("bob@example.org",)],
        "content": "Subject: hello\nFrom: a@example.com\n\nHello {{ email }}\n",
        **more,
    }


class InjectionTestCase(SynchronousTestCase):
    maxDiff = None

    def answer(self, office: Office, given: Mapping[str, Any], key: str | None = None) -> InjectV1Response:
        return self.successResultOf(office.ask(given, key))

    def message(self, given: Mapping[str, Any], office: Office | None = None) -> EmailMessage:
        """The one message that a request leads to."""
        office = office or Office()
        answer = self.answer(office, given)
        self.assertEqual(answer.errors, [])
        ((_, content),) = office.kept
        return parsed(content)
