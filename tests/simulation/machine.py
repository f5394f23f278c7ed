"""One life of the server: a process that starts on what the disks have, and ends in order or in the middle of anything."""

from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from kumotwist.books import Holding
from kumotwist.config.server import Config
from kumotwist.outermost import Outermost
from kumotwist.service import Server
from kumotwist.spool.memory import Machine as Memory
from tests.simulation.disk import Files, Kept, SimulatedDisk, SimulatedStore, Trouble
from tests.simulation.ledger import Ledger
from tests.simulation.names import Names
from tests.simulation.network import Connecting, Listening, Network
from tests.simulation.timeline import Call, Strands, Timeline

ADDRESS = "10.0.0.1"


class Around:
    """What outlives the server."""

    def __init__(self, timeline: Timeline, network: Network, chance: Random, ledger: Ledger, names: Names) -> None:
        self.timeline = timeline
        self.network = network
        self.chance = chance
        self.ledger = ledger
        self.names = names
        self.spool_disk = Kept()
        self.log_disk = Files()
        self.spool_trouble = Trouble()
        self.log_trouble = Trouble()
        self.configuration: Config
        self.broke: Callable[[str, Any], None]


class Ample(Memory):
    """A machine with memory for everything."""

    def used(self, own: bool) -> int:
        return 0


class Machine:
    """The process, and the reactor that it sees."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self.alive = True
        self.running = True
        self._timeline: Timeline = around.timeline
        self.strands = Strands(around.timeline, around.chance, around.broke)
        own = Random(around.chance.getrandbits(64))  # what a dead process draws must not matter to the living
        self.store = SimulatedStore(around.spool_disk, around.ledger, self.strands, around.chance, around.spool_trouble)
        self.hang_up: Callable[[], None] = lambda: None
        in_thread = self.strands.in_thread(self.callFromThread)
        questions = around.names.questions(self.strands)
        outermost = Outermost(
            read=lambda path: around.configuration,
            open_store=lambda settings: self.store,
            log_disk=SimulatedDisk(around.log_disk, self.strands, around.chance, around.log_trouble),
            measure=self._measure,
            machine=Ample(),
            threads=self.strands.threads(),
            in_thread=in_thread,
            look_up=in_thread,
            questions=questions,
            find=questions.find,
            draw=own.random,
            randbits=own.getrandbits,
            secret_bits=own.getrandbits,
            on_hangup=lambda call: setattr(self, "hang_up", call),
        )
        self.server = Server(around.configuration, "simulated", self, outermost)

    def _measure(self, path: str) -> Any:
        around = self._around
        return (around.spool_trouble if path.endswith("spool") else around.log_trouble).measure(path)

    def start(self) -> None:
        self.server.startService()

    @property
    def open_books(self) -> bool:
        """Whether every message must be somewhere: not while it reads the spool, nor while it stops."""
        enumerated = getattr(self.server, "enumerated", None)
        return self.running and enumerated is not None and enumerated.called

    def held(self) -> Iterator[Holding]:
        return self.server._held()

    def stop(self) -> "Deferred[None]":
        self.running = False
        return self.server.stopService()

    def crash(self, power: bool) -> None:
        """Nothing of this process happens any more."""
        around = self._around
        self.alive = False
        self.strands.kill()
        self.store.crash(power)
        around.log_disk.crash(power, around.chance)
        around.network.kill(self, lambda: around.chance.random() < 0.5)
        around.ledger.crashed()

    def end(self) -> None:
        """It has stopped in order."""
        self.crash(power=False)

    # What it sees of the reactor

    def seconds(self) -> float:
        return self._timeline.now

    def callLater(self, delay: float, call: Callable[..., object], *arguments: object, **named: object) -> Call:
        assert delay >= 0, f"{call} is to happen {delay} s from now"
        act = partial(call, **named) if named else call
        entry = self._timeline.after(delay, self._run, act, *arguments)
        entry.owner = self
        return entry

    def callFromThread(self, call: Callable[..., object], *arguments: object, **named: object) -> None:
        if self.alive:
            self.callLater(0, call, *arguments, **named)

    def _run(self, call: Callable[..., object], *arguments: object) -> None:
        if self.alive:
            call(*arguments)

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Listening:
        return self._around.network.listen((interface or ADDRESS, port), lambda: factory.buildProtocol(None), self)

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Connecting:  # noqa: N803
        source = bindAddress[0] if bindAddress else ADDRESS
        return Connecting(self._around.network, self, factory, (host, port), source, timeout)

    def stop_reactor(self) -> None:
        raise AssertionError("the server gave up")
