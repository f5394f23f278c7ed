"""One seed, one history: a day and more of mail, faults and crashes, and what must hold at each step of it."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from kumotwist import reload as reloading
from kumotwist.books import Audit, misplaced
from kumotwist.spool import space
from tests.simulation import names as dns
from tests.simulation import whims
from tests.simulation.clients import Client, Letter
from tests.simulation.ledger import Broken, Ledger
from tests.simulation.machine import ADDRESS, Around, Machine
from tests.simulation.names import Names
from tests.simulation.network import Network, World
from tests.simulation.receivers import Mood, Receiver
from tests.simulation.settings import MAX_AGE, PROMPT, configurations
from tests.simulation.timeline import Timeline

BEGIN = 1_700_000_000.0
HOUR = 3600.0
DAY = 24 * HOUR
MOST_CRASHES = 8
THOROUGH = 20  # of so many seeds, one has its books audited after every single step
_DOMAINS = ("one.test", "two.test", "shared-a.test", "shared-b.test", "null.test", "gone.test", "prompt.test", "prompt.test")
_SIZES = (60, 300, 3000, 150_000)
# What the log may report as broken: these are the faults that we make.
_EXPECTED = (
    "the spool does not take writes", "{event} at {place} failed", "lookup of {key} broke", "message {id} cannot be read",
    "the books could not be audited", "{path}: content of {message} cannot be read", "the spool could not be read through",
)  # fmt: skip


class History:
    """What a seed says.  trace: what happened, for whoever looks into a failure."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = chance = Random(seed)
        self.timeline = Timeline(BEGIN)
        self.ledger = Ledger()
        self.ledger.seconds = lambda: self.timeline.now
        self.names = Names(Random(chance.getrandbits(64)))
        self.network = Network(self.timeline, Random(chance.getrandbits(64)))
        self.around = Around(self.timeline, self.network, Random(chance.getrandbits(64)), self.ledger, self.names)
        self.around.broke = self._strand_broke
        self.around.configuration = chance.choice(configurations())
        self.whims = whims.now = whims.Whims(self.timeline, Random(chance.getrandbits(64)))
        self.machine: Machine | None = None
        self.moods: dict[str, Mood] = {}
        self.trace: list[str] = []
        self.letters = 0
        self.faults = True
        self._broken: list[str] = []
        self._observer: Any = self._observe  # one object, and any callable will do
        self._crash_at_sync = 0
        self._crashes = 0
        self._burying = False
        self._balanced = -1
        # What is stranded stays so: most histories find it a little later, and cost half as much.
        self.audited_every = 1 if seed % THOROUGH == 0 else 20
        self.audits = 0
        self._world = World()
        self._set_up_receivers()
        self.network.reachable = lambda where: self.moods[where[0]].reachable if where[0] in self.moods else None

    def _disturb(self, until: float = 0.0) -> None:
        """Something that may hold up all mail, for so many more seconds."""
        self.ledger.disturbed = max(self.ledger.disturbed, self.timeline.now + until)

    def say(self, what: str) -> None:
        self.trace.append(f"{self.timeline.now - BEGIN:12.3f} {what}")

    # The world

    def _set_up_receivers(self) -> None:
        for host in (*dns.ADDRESSES.values(), PROMPT):
            mood = self.moods[host] = Mood()
            make = partial(Receiver, mood, self.ledger, self.timeline, Random(self.chance.getrandbits(64)))
            self.network.listen((host, 25), make, self._world)

    def run(self) -> "History":
        """The whole history.  Raises Broken."""
        with self._watched():
            self._boot()
            self._plan()
            self._until(BEGIN + DAY)
            self._make_peace()
            self._until(BEGIN + DAY + 2 * MAX_AGE, self._all_ended)
            self._until(self.timeline.now + 60.0)
            self._shut_down()
        return self

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Failures that our log tells of and nobody arranged are failures of the history."""
        gc.disable()  # what dead processes leave behind must not come to life in the middle of this one
        before = reloading.LOOK_AGAIN, space.LOOK_AGAIN
        # A day has 17,280 looks at files and at free space; a few hundred find the same.
        reloading.LOOK_AGAIN, space.LOOK_AGAIN = 1800.0, 300.0
        globalLogPublisher.addObserver(self._observer)
        try:
            yield
        finally:
            globalLogPublisher.removeObserver(self._observer)
            reloading.LOOK_AGAIN, space.LOOK_AGAIN = before
            if self.machine is not None:
                self.machine.crash(power=False)
            gc.enable()

    def _observe(self, event: Any) -> None:
        text = event.get("log_format") or ""
        if self._burying:
            return
        failure = event.get("log_failure")
        serious = event.get("log_level") is LogLevel.critical or (event.get("log_level") is LogLevel.error and failure is not None)
        if serious and not text.startswith(_EXPECTED):
            self._broken.append(f"{text}: {failure.getTraceback() if failure is not None else event}")

    def _strand_broke(self, name: str, failure: Failure) -> None:
        self._broken.append(f"thread {name}: {failure.getTraceback()}")

    def _until(self, when: float, enough: Any = None) -> None:
        step = self.timeline.step
        while step(when) is not None:
            if self._broken:
                raise Broken(self._broken[0])
            self._look()
            if enough is not None and enough():
                return
        if enough is not None:
            raise Broken(f"not ended by then: {sorted(self.ledger.stored)}; {self._sending} letters unanswered")

    def _all_ended(self) -> bool:
        return not self.ledger.stored and self.machine is not None and not self._sending

    def _look(self) -> None:
        """What must hold after each step: the books balance."""
        machine, ledger = self.machine, self.ledger
        if self.timeline.steps % self.audited_every or machine is None or not machine.open_books:
            return
        if not ledger.stored and self._balanced == ledger.writes:
            return
        wrong = next(misplaced(ledger.stored, machine.held(), self.timeline.now), None)
        if wrong is not None:
            raise Broken(f"after step {self.timeline.steps}, {wrong.id}: {wrong.why}")
        self._balanced = ledger.writes
        self.audits += 1

    def _audit(self) -> None:
        """As an operator does it, with time passing."""
        if self.machine is not None and self.machine.open_books:
            Deferred.fromCoroutine(self.machine.server.books.audit()).addBoth(self._audited)

    def _audited(self, found: Any) -> None:
        if not isinstance(found, Audit):
            if not found.check(OSError):  # the disk is in trouble, and whoever asked hears of it
                self._broken.append(f"an audit failed: {found.getTraceback()}")
        elif found.stranded_messages:
            self._broken.append(f"an audit found {found.stranded}")

    # The plan: what happens by chance, and when

    def _plan(self) -> None:
        chance = self.chance
        for _ in range(chance.choice([2, 3, 5, 8, 12, 40])):
            self._at_some_time(self._mail)
        for _ in range(chance.randrange(0, 8)):
            self._at_some_time(self._change_moods)
        for _ in range(chance.randrange(0, 4)):
            self._at_some_time(self._trouble)
        for _ in range(chance.randrange(0, 4)):
            self._at_some_time(self._reload)
        for _ in range(chance.randrange(0, 4)):
            self._at_some_time(self._crash_sometime)
        for _ in range(chance.randrange(0, 3)):
            self._at_some_time(self._restart)
        for _ in range(chance.randrange(0, 5)):
            self._at_some_time(self._have_whims)
        for _ in range(3):
            self._at_some_time(self._audit)

    def _at_some_time(self, act: Any) -> None:
        # Things happen together: most of them at a few moments of the day.
        moment = self.chance.choice([self.chance.random() * DAY, self.chance.randrange(8) * DAY / 8 + self.chance.random() * 30])
        self.timeline.at(BEGIN + moment, act)

    _sending = 0

    def _mail(self) -> None:
        chance = self.chance
        letters = []
        for _ in range(chance.choice([1, 1, 2, 5, 12])):
            self.letters += 1
            recipients = [f"r{n}-{self.letters}@{chance.choice(_DOMAINS)}" for n in range(chance.choice([1, 1, 1, 2, 4]))]
            size = chance.choice(_SIZES[:3]) if chance.random() < 0.98 else _SIZES[3]
            content = f"Subject: {self.letters}\r\n\r\n".encode() + b"0123456789" * (size // 10)
            letters.append(Letter(f"s@from{chance.randrange(3)}.test", recipients, content))
        self._sending += len(letters)
        self._connect(letters)

    def _connect(self, letters: list[Letter]) -> None:
        left = list(letters)
        again: list[Letter] = []
        client = Client(left, again.append, self.ledger, self.timeline, Random(self.chance.getrandbits(64)))
        lost = client.connectionLost

        def ended(reason: Failure) -> None:
            lost(reason)
            self._sending -= len(letters) - len(again)
            if again:
                self.timeline.after(self.chance.uniform(1, 900 if self.faults else 60), self._connect, again)

        client.connectionLost = ended  # type: ignore[method-assign]
        if self.network.connect(client, self._world, f"10.5.0.{self.chance.randrange(1, 250)}", (ADDRESS, 25)) is None:
            self.timeline.after(self.chance.uniform(1, 120), self._connect, letters)

    def _change_moods(self) -> None:
        if self.faults:
            for host, mood in self.moods.items():
                if host != PROMPT:
                    mood.change(self.chance)
            self.names.odd = self.chance.choice([0.0, 0.0, 0.3, 1.0])

    def _trouble(self) -> None:
        if not self.faults:
            return
        chance = self.chance
        trouble = chance.choice([self.around.spool_trouble, self.around.log_trouble])
        kind = chance.choice(["failing", "slow", "full"])
        self.say(f"a disk is {kind}")
        if kind == "failing":
            trouble.failing = chance.choice([5, 28, 30])  # EIO, ENOSPC, EROFS
        elif kind == "slow":
            trouble.slow = chance.choice([0.5, 10.0])
        else:
            trouble.full = True
        lasts = chance.choice([1.0, 60.0, 2 * HOUR]) * chance.random()
        self.timeline.after(lasts, trouble.end)
        if trouble is self.around.spool_trouble:
            self._disturb(lasts)

    def _reload(self) -> None:
        if self.faults:
            self.around.configuration = self.chance.choice(configurations())
            if self.machine is not None:
                self.say("reload")
                self.machine.hang_up()

    def _have_whims(self) -> None:
        if self.faults:
            self.whims.odd = self.chance.choice([0.0, 0.1, 1.0])
            if self.whims.odd:
                self._disturb(2 * DAY)  # a policy is asked about every message

    # Lives of the server

    def _boot(self) -> None:
        if self.machine is None:
            self._disturb()
            self.say("start")
            self.machine = Machine(self.around)
            self.machine.store.at_sync = self._at_sync
            self.machine.start()

    def _crash_sometime(self) -> None:
        """Now, or with one of the next syncs."""
        if self.chance.random() < 0.4:
            self._crash()
        else:
            self._crash_at_sync = self.chance.randrange(1, 6)

    def _at_sync(self) -> None:
        if self._crash_at_sync and self.faults:
            self._crash_at_sync -= 1
            if not self._crash_at_sync:
                self.timeline.after(self.chance.choice([0.0, 0.0, 0.001, 0.05]), self._crash)

    def _crash(self) -> None:
        if self.machine is None or not self.faults or self._crashes >= MOST_CRASHES:
            return
        self._crashes += 1
        power = self.chance.random() < 0.5
        self.say(f"crash, power lost: {power}")
        self._burying = True
        self.machine.crash(power)
        self.machine = None
        self._burying = False
        self.timeline.after(self.chance.choice([0.1, 5.0, 600.0]), self._boot)

    def _restart(self) -> None:
        if self.machine is not None and self.faults:
            self.say("stop in order")
            machine = self.machine
            machine.stop().addBoth(self._stopped, machine)

    def _stopped(self, result: object, machine: Machine) -> None:
        if isinstance(result, Failure):
            self._broken.append(f"it cannot stop: {result.getTraceback()}")
        if self.machine is machine:
            self.say("stopped")
            machine.end()
            self.machine = None
            self.timeline.after(1.0, self._boot)

    def _make_peace(self) -> None:
        """From here on everything works."""
        self.say("peace")
        self.faults = False
        for mood in self.moods.values():
            mood.end()
        self.names.end()
        self.around.spool_trouble.end()
        self.around.log_trouble.end()
        self.whims.odd = 0.0

    def _shut_down(self) -> None:
        machine = self.machine
        assert machine is not None
        ended: list[Any] = []
        machine.stop().addBoth(lambda result: ended.append(result))
        self._until(self.timeline.now + 600.0)
        if not ended or isinstance(ended[0], Failure):
            raise Broken(f"the server does not stop: {ended}")
        machine.end()
        self.machine = None
        if self._broken:
            raise Broken(self._broken[0])
        self.ledger.close(self.around.log_disk.lines(), Counter(self.around.spool_disk.journal.values()))
