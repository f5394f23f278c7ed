"""Virtual time: what is to happen, in order, and strands that wait in it as threads wait in ours."""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from queue import Empty
from random import Random
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet  # type: ignore[import-untyped]  # it comes without annotations
from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from zope.interface import implementer

from kumotwist.spool.threads import Threads

SWITCH = 0.0005  # seconds, at most, until a strand that could go on does


@implementer(IDelayedCall)
class Call:
    """Something that will happen, unless it is cancelled."""

    __slots__ = ("_timeline", "arguments", "call", "cancelled", "done", "number", "owner", "when")

    def __init__(self, timeline: "Timeline", when: float, call: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self._timeline = timeline
        self.owner: Any = None  # the process that it belongs to; what the dead do with it is no matter
        self.when = when
        self.call: Callable[..., object] | None = call
        self.arguments = arguments
        self.cancelled = False
        self.done = False
        self.number = 0

    def getTime(self) -> float:
        return self.when

    def active(self) -> bool:
        return not (self.cancelled or self.done)

    def _of_the_dead(self) -> bool:
        return self.owner is not None and not self.owner.alive

    def cancel(self) -> None:
        if self._of_the_dead():
            return
        if self.cancelled:
            raise AlreadyCancelled
        if self.done:
            raise AlreadyCalled
        self.cancelled = True
        self.call = None  # it may hold much

    def reset(self, delay: float) -> None:
        if self._of_the_dead():
            return
        if not self.active():
            raise AlreadyCalled
        self.when = self._timeline.now + delay
        self._timeline.put(self)

    def delay(self, delay: float) -> None:
        if not self.active():
            raise AlreadyCalled
        self.when += delay
        self._timeline.put(self)


class Timeline:
    """What is to happen.  now: epoch seconds.  steps: how much has happened."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.steps = 0
        self._calls: list[tuple[float, int, Call]] = []
        self._number = 0

    def at(self, when: float, call: Callable[..., object], *arguments: object) -> Call:
        entry = Call(self, max(when, self.now), call, arguments)
        self.put(entry)
        return entry

    def after(self, delay: float, call: Callable[..., object], *arguments: object) -> Call:
        return self.at(self.now + delay, call, *arguments)

    def put(self, entry: Call) -> None:
        """Equal times keep the order in which they were asked for."""
        self._number += 1
        entry.number = self._number
        heappush(self._calls, (entry.when, self._number, entry))

    def step(self, until: float) -> Call | None:
        """Let the next thing happen; None if nothing happens up to then: it is then."""
        calls = self._calls
        while calls and calls[0][0] <= until:
            when, number, entry = heappop(calls)
            if entry.call is None or entry.number != number:
                continue
            self.now = when
            self.steps += 1
            entry.done = True
            entry.call(*entry.arguments)
            return entry
        self.now = max(self.now, until)
        return None


class Strands:
    """Threads of one process, each of which runs alone until it waits.  When the process dies, they never go on."""

    def __init__(self, timeline: Timeline, chance: Random, broke: Callable[[str, Failure], None]) -> None:
        """broke: told which one ended by an exception."""
        self._timeline = timeline
        self._chance = chance
        self._broke = broke
        self._hub = getcurrent()
        self._all: dict[greenlet, None] = {}
        self.alive = True

    def start(self, name: str, target: Callable[[], object]) -> greenlet:
        strand = greenlet(lambda: self._run(name, target), parent=self._hub)
        self._all[strand] = None
        self.wake(strand)
        return strand

    def _run(self, name: str, target: Callable[[], object]) -> None:
        try:
            target()
        except Exception:  # noqa: BLE001  as a thread: it ends, and somebody is told
            self._broke(name, Failure())
        finally:
            self._all.pop(getcurrent(), None)

    def wake(self, strand: greenlet) -> None:
        self._timeline.after(self._chance.random() * SWITCH, self._switch, strand)

    def _switch(self, strand: greenlet) -> None:
        if self.alive and not strand.dead:
            strand.switch()

    def pause(self) -> None:
        """The current strand waits until it is woken."""
        if not self.alive:
            raise GreenletExit
        assert getcurrent() is not self._hub, "the reactor's thread would block"
        self._hub.switch()
        if not self.alive:
            raise GreenletExit

    def sleep(self, seconds: float) -> None:
        strand = getcurrent()
        self._timeline.after(seconds, self._switch, strand)
        self.pause()

    def kill(self) -> None:
        """The process is no more."""
        self.alive = False
        for strand in list(self._all):
            if not strand.dead:
                strand.throw()

    def in_thread(self, call_from_thread: Callable[..., object]) -> "Callable[..., Deferred[Any]]":
        """As deferToThread."""

        def defer(call: Callable[..., Any], *arguments: Any, **named: Any) -> "Deferred[Any]":
            done: Deferred[Any] = Deferred()

            def work() -> None:
                try:
                    result: Any = call(*arguments, **named)
                except Exception:  # noqa: BLE001  whoever asked is told
                    call_from_thread(done.errback, Failure())
                else:
                    call_from_thread(done.callback, result)

            self.start("borrowed", work)
            return done

        return defer

    def threads(self) -> Threads:
        return Threads(
            lambda target, name, daemon: Strand(self, name, target),
            lambda: Queue(self),
            lambda: Event(self, self._timeline),
        )


class Strand:
    """Stands for a threading.Thread."""

    def __init__(self, strands: Strands, name: str, target: Callable[[], object]) -> None:
        self._strands = strands
        self._name = name
        self._target = target
        self._ended = Event(strands, None)

    def start(self) -> None:
        def whole() -> None:
            try:
                self._target()
            finally:
                self._ended.set()

        self._strands.start(self._name, whole)

    def join(self) -> None:
        if not self._ended.is_set():
            self._ended.wait()


class Queue:
    """Stands for a queue.SimpleQueue."""

    def __init__(self, strands: Strands) -> None:
        self._strands = strands
        self._items: deque[Any] = deque()
        self._waiting: deque[greenlet] = deque()

    def put(self, item: Any) -> None:
        self._items.append(item)
        if self._waiting:
            self._strands.wake(self._waiting.popleft())

    def get(self, block: bool = True) -> Any:
        while not self._items:
            if not block:
                raise Empty
            self._waiting.append(getcurrent())
            self._strands.pause()
        return self._items.popleft()

    def get_nowait(self) -> Any:
        return self.get(False)

    def empty(self) -> bool:
        return not self._items


class Event:
    """Stands for a threading.Event."""

    def __init__(self, strands: Strands, timeline: Timeline | None) -> None:
        self._strands = strands
        self._timeline = timeline
        self._set = False
        self._waiting: dict[greenlet, None] = {}

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        waiting, self._waiting = self._waiting, {}
        for strand in waiting:
            self._strands.wake(strand)

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        strand = getcurrent()
        if self._set:
            return True
        self._waiting[strand] = None
        over = None
        if timeout is not None:
            assert self._timeline is not None
            over = self._timeline.after(timeout, self._over, strand)
        self._strands.pause()
        if over is not None and over.active():
            over.cancel()
        return self._set

    def _over(self, strand: greenlet) -> None:
        if self._waiting.pop(strand, False) is None:
            self._strands.wake(strand)
