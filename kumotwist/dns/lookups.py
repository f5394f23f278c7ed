"""
Lookups under way: who waits for them, in which order they start, and the threads in which they block.

A lookup that fails holds its thread for the whole timeout, and in a large mailing thousands of domains are dead.  So that
they do not hold up the living, names whose last lookup failed get at most half of the threads as soon as anything else
waits, and at least one always.
"""

from collections import deque
from collections.abc import Callable
from threading import Thread
from typing import Any, Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from kumotwist.dns.answers import LookupFailed, NotAsked

T = TypeVar("T")

THREADS = 32
_MOST_DOUBTFUL = THREADS // 2
_MOST_WAITING = 32768  # lookups; some 2 KiB each
_STOPPED = "not looked up: the resolver has been stopped"


class RunInThread(Protocol):
    """Calls `work`, which may block, in a thread; fires with what it returns, in the reactor's."""

    def __call__(self, work: Callable[[], T]) -> "Deferred[T]": ...


class LookupThreads:
    """
    A pool of threads that only look up names, started when the first is needed.

    They are daemons: an abandoned lookup keeps no process from ending.
    """

    def __init__(self, reactor: IReactorFromThreads, most: int = THREADS) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, most, name="dns")
        self._pool.threadFactory = _daemon  # type: ignore[assignment]  # called as a factory, declared as a class

    def run(self, work: Callable[[], T]) -> "Deferred[T]":
        if not self._pool.started:
            self._pool.start()
        return deferToThreadPool(self._reactor, self._pool, work)

    def stop(self) -> None:
        """Waits for lookups that still run; call it when none does."""
        if self._pool.started:
            self._pool.stop()


def _daemon(*args: Any, **kwargs: Any) -> Thread:
    return Thread(*args, daemon=True, **kwargs)


class LookupQueue:
    """Starts lookups as threads become free.  The order of starting is kept within the doubtful and within the others."""

    def __init__(self, run_in_thread: RunInThread, most_waiting: int = _MOST_WAITING) -> None:
        self._run_in_thread = run_in_thread
        self._most_waiting = most_waiting
        self._hopeful: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self._doubtful: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self._running = 0
        self._running_doubtful = 0
        self._stopped = False
        self._on_quiet: list[Deferred[None]] = []

    @property
    def in_progress(self) -> int:
        """Lookups that run or wait for a thread."""
        return self._running + len(self._hopeful) + len(self._doubtful)

    def run(self, work: Callable[[], T], *, doubtful: bool = False) -> "Deferred[T]":
        """Fires as `work` ends, or fails with NotAsked.  doubtful: the last lookup of this name failed."""
        if self._stopped:
            return fail(NotAsked(_STOPPED))
        if len(self._hopeful) + len(self._doubtful) >= self._most_waiting:
            return fail(NotAsked(f"not looked up: {self._most_waiting} DNS lookups are waiting already"))
        d: Deferred[T] = Deferred()
        (self._doubtful if doubtful else self._hopeful).append((work, d))
        self._fill()
        return d

    def stop(self) -> "Deferred[None]":
        """What waits fails with NotAsked; fires when what runs has ended."""
        self._stopped = True
        waiting = [*self._hopeful, *self._doubtful]
        self._hopeful.clear()
        self._doubtful.clear()
        for _, d in waiting:
            d.errback(NotAsked(_STOPPED))
        if not self._running:
            return succeed(None)
        quiet: Deferred[None] = Deferred()
        self._on_quiet.append(quiet)
        return quiet

    def _fill(self) -> None:
        while self._running < THREADS:
            if self._doubtful and self._running_doubtful < (1 if self._hopeful else _MOST_DOUBTFUL):
                self._start(*self._doubtful.popleft(), doubtful=True)
            elif self._hopeful:
                self._start(*self._hopeful.popleft(), doubtful=False)
            else:
                return

    def _start(self, work: Callable[[], Any], d: "Deferred[Any]", *, doubtful: bool) -> None:
        self._running += 1
        self._running_doubtful += doubtful
        self._run_in_thread(work).addBoth(self._ended, d, doubtful)

    def _ended(self, result: object, d: "Deferred[Any]", doubtful: bool) -> None:
        self._running -= 1
        self._running_doubtful -= doubtful
        self._fill()
        if isinstance(result, Failure):
            d.errback(result)
        else:
            d.callback(result)
        while self._on_quiet and not self._running:
            self._on_quiet.pop().callback(None)


class SharedLookups(Generic[T]):
    """Askers for the same name wait for one lookup, each with a Deferred of its own that it may cancel."""

    def __init__(self) -> None:
        self._askers: dict[str, deque[Deferred[T]]] = {}

    def ask(self, name: str, start: Callable[[], "Deferred[T]"]) -> "Deferred[T]":
        """Fires or fails as the lookup of this name does; `start` begins one if none is under way."""
        askers = self._askers.get(name)
        if askers is not None:
            return self._join(askers)
        askers = self._askers[name] = deque()
        d = self._join(askers)
        start().addCallbacks(self._answer, self._fail, callbackArgs=(name,), errbackArgs=(name,))
        return d

    @staticmethod
    def _join(askers: "deque[Deferred[T]]") -> "Deferred[T]":
        d: Deferred[T] = Deferred(askers.remove)
        askers.append(d)
        return d

    # An asker's callback may cancel another asker, or ask again: they are ours alone by then, and taken from one by one.

    def _answer(self, result: T, name: str) -> None:
        askers = self._askers.pop(name)
        while askers:
            askers.popleft().callback(result)

    def _fail(self, failure: Failure, name: str) -> None:
        askers = self._askers.pop(name)
        fault = failure.value
        while askers:
            askers.popleft().errback(fault.again() if isinstance(fault, LookupFailed) else failure)
