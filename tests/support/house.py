"""Custody, scheduled and ready queues joined as in production, on a clock, with a spool in memory and scripted sessions."""

import json
from collections.abc import Callable
from itertools import count
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kumotwist.config.egress import EgressPool, EgressSettings, EgressSource, PathSettings, PoolEntry
from kumotwist.config.queues import MxHost, QueueSettings
from kumotwist.config.server import Config
from kumotwist.custody import Custody
from kumotwist.egress.leases import Leases
from kumotwist.egress.path import Destination
from kumotwist.egress.sharing import SharedLeases, SharedRates
from kumotwist.egress.throttles import Throttles
from kumotwist.hooks.directions import Directions
from kumotwist.hooks.policy import Handler, Policy
from kumotwist.logs.record import RecordWriter
from kumotwist.mail.disposition import Arrival, Attempt, Outcome, Peer, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import QueueName
from kumotwist.mail.reply import Reply, reply
from kumotwist.mail.schedule import Schedule
from kumotwist.ready.queue import ReadyQueue
from kumotwist.ready.service import ReadyQueues
from kumotwist.scheduled.service import Scheduler
from kumotwist.spool.residence import Residence
from kumotwist.suppression.service import Suppression
from tests.support.memory import InstantSpool, MemoryStore, Messages

START = 1_700_000_000.0
OK = reply("250 2.0.0 taken", ".")
LATER = reply("451 4.7.0 later", "RCPT TO:<bob@example.org>")
NEVER = reply("550 5.1.1 no such user", "RCPT TO:<bob@example.org>")
ARRIVAL = Arrival(peer=Peer("client.example", "192.0.2.7"), session_id="s-1")


class Session:
    """A delivery session that does what the test says."""

    def __init__(self, supply: ReadyQueue) -> None:
        self.supply = supply
        self.ended: Deferred[None] = Deferred()
        self.attempt = Attempt(site=supply.name, egress_source=supply.path.source.name, delivery_protocol="ESMTP")

    def answer(self, verdict: Verdict, answer: Reply) -> Message:
        message = self.supply.next_message()
        assert message is not None
        content = self.supply.content(message)
        if isinstance(content, Deferred):
            assert content.called
        self.supply.settle(message, self.attempt, [Outcome(verdict, message.recipients, answer)])
        return message

    def drain(self, verdict: Verdict = Verdict.DELIVERED, answer: Reply = OK) -> list[Message]:
        done = []
        while self.supply.size:
            done.append(self.answer(verdict, answer))
        return done

    def end(self) -> None:
        self.ended.callback(None)


class Destinations:
    """Every domain has a site of its own, unless a test says otherwise."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}

    def destination(self, domain: str) -> Any:
        found = self.answers.get(domain)
        if callable(found):
            return found()
        if found is not None:
            return found
        host = MxHost(name=f"mx.{domain}", label=f"mx.{domain}")
        return Destination(domain=domain, site=f"mx.{domain}", groups=((host,),), expires=1e12)


class Directed(Directions):
    """Directions from the house's tables instead of a configuration; handlers of the house's policy have the first word."""

    def __init__(self, house: "House", epoch: int = 0) -> None:
        super().__init__(Config(hostname="mta.example"), Policy(house.handlers, house.clock), dict, epoch)
        self._house = house

    def configured_queue(self, name: QueueName) -> QueueSettings:
        return self._house.queues.get(name.domain, QueueSettings())

    def pool(self, name: str | None) -> Any:
        self._config = replace(self._config, egress=EgressSettings(source=self._house.sources, pool=self._house.pools))
        return super().pool(name)

    def _configured_path(self, domain: str, source: str, destination: Destination) -> PathSettings:
        return self._house.paths.get(domain, PathSettings())


class House:
    """Custody, scheduled and ready queues as the composition root joins them."""

    def __init__(
        self,
        *,
        store: MemoryStore | None = None,
        memory: int = 1 << 20,
        throttles: SharedRates | None = None,
        leases: SharedLeases | None = None,
        started: float = START,
        clock: Clock | None = None,
    ) -> None:
        """store: what a house before this one left.  started: epoch seconds.  Orders of operators have ids from `order-1` on."""
        self.clock = clock or Clock()
        self.clock.advance(started)
        ids = count(1)
        self._new_id = lambda: f"order-{next(ids)}"
        self.spool = InstantSpool(store)
        self.sessions: list[Session] = []
        self._opened: Callable[[ReadyQueue], Deferred[None]] | None = None
        self.paths: dict[str, PathSettings] = {}
        self.queues: dict[str, QueueSettings] = {}
        self.pools = {"unspecified": EgressPool(name="unspecified", entries=(PoolEntry(name="unspecified"),))}
        self.sources = {"unspecified": EgressSource(name="unspecified")}
        self.destinations = Destinations()
        self.messages = Messages(self.clock.seconds)
        self.handlers: dict[str, tuple[Handler, ...]] = {}
        self.directions: Any = Directed(self)
        self.custody = Custody(
            self.spool,  # type: ignore[arg-type]
            RecordWriter("node"),
            Residence(memory),
            self.clock,
            lambda message, reason: self.scheduler.admit(message, reason),
        )
        self.suppression = Suppression(self.clock, self.custody.shelve, self.spool.shelved)
        self.suppression.load()
        self.throttles = throttles or Throttles()
        self.ready = ReadyQueues(
            self.clock,
            self.spool.load,
            self._open,
            self.directions,
            self.throttles,
            leases or Leases(),
            self.custody.shelve,
            self._new_id,
        )
        self.scheduler = Scheduler(
            self.clock,
            lambda: 0.5,
            self.custody,
            lambda message: self.spool.load(message, False),
            self.ready,
            self.destinations,
            self.directions,
            self.throttles,
            self._new_id,
            self.suppression.listed,
        )
        self.ready.home = self.scheduler
        shelved = self.spool.store.shelved("orders/")
        self.ready.load(shelved)
        self.scheduler.administration.load(shelved)
        self.ready.start()
        self.scheduler.start()

    def open_with(self, opened: Callable[[ReadyQueue], "Deferred[None]"]) -> None:
        """Sessions of the test's own from now on; see tests.support.senders."""
        self._opened = opened

    def _open(self, supply: ReadyQueue) -> "Deferred[None]":
        if self._opened is not None:
            return self._opened(supply)
        session = Session(supply)
        self.sessions.append(session)
        return session.ended

    def pool(self, name: str, **weights: int) -> None:
        entries = tuple(PoolEntry(name=source, weight=weight) for source, weight in weights.items())
        self.pools[name] = EgressPool(name=name, entries=entries)
        for n, source in enumerate(weights):
            self.sources[source] = EgressSource(name=source, source_address=f"127.0.0.{n + 11}")

    def take(self, *recipients: str, schedule: Schedule | None = None, **meta: Any) -> Message:
        message = self.messages.make(*recipients or ("bob@example.org",), **meta)
        message.schedule = schedule
        taken = self.custody.take([message], ARRIVAL)
        assert taken.called
        return message

    def records(self, kind: str | None = None) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.spool.lines]
        return [one for one in found if kind is None or one["type"] == kind]

    def queue_of(self, source: str = "unspecified", site: str = "mx.example.org") -> ReadyQueue:
        return next(one for one in self.ready if one.name == f"{source}->{site}@smtp_client")

    def run(self, seconds: float) -> None:
        """Let the time pass as a reactor would: each call at its own moment, not a whole step later."""
        end = self.clock.seconds() + seconds
        while (calls := self.clock.calls) and (first := calls[0].getTime()) <= end:  # they lie in order
            self.clock.advance(max(0.0, first - self.clock.seconds()))
        self.clock.advance(max(0.0, end - self.clock.seconds()))

    def forward(self, seconds: float, step: float = 1.0) -> None:
        for _ in range(int(seconds / step)):
            self.clock.advance(step)
