"""
The threads in which messages are signed, so that all processors sign while the reactor's loop runs.

An RSA signature costs more than all else that is done with a small message, and it is computed without the interpreter's lock.
What is done is handed back in one go, however much it is: a call from a thread wakes the reactor, and waking it costs more
than taking a result.
"""

import sys
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

T = TypeVar("T")

# Seconds after which a thread that waits for the interpreter's lock gets it, in the whole process; Python's own 5 ms are longer
# than a signature takes.  The loop lets go of the lock with each system call, but has it back before a waiting thread wakes,
# so a signature waited 5 ms three times: measured with 100 KiB messages, half again as many of them a second, and a third of
# the longest waits.
TURN = 0.0005


class Threads(Protocol):
    """Where signing is done."""

    def run(self, work: Callable[[], T]) -> "Deferred[T]":
        """Fires with what `work` returns, or fails with what it raises, in the reactor's thread."""

    def resize(self, count: int) -> None:
        """So many threads, 1 or more, from now on."""


class SigningThreads:
    """
    A fixed number of threads, started when the first work comes.

    They are daemons: what they do is for a client that has not been answered, so nothing is lost with them.
    """

    log = Logger()

    def __init__(
        self,
        call_from_thread: Callable[..., object],
        count: int,
        thread: Callable[..., Any] = Thread,
        queue: Callable[[], Any] = SimpleQueue,
    ) -> None:
        """call_from_thread: has a function called in the reactor's thread.  thread, queue: what threads are made of."""
        self._call_from_thread = call_from_thread
        self._count = count
        self._make = thread
        self._running = 0
        self._work = queue()  # of what to do and whom to tell; None ends a thread
        self._done: deque[tuple[Deferred[Any], Any]] = deque()
        self._told = False

    def run(self, work: Callable[[], T]) -> "Deferred[T]":
        d: Deferred[T] = Deferred()
        self._work.put((work, d))
        if self._running < self._count:
            self._start()
        return d

    def resize(self, count: int) -> None:
        for _ in range(self._running - count):
            self._running -= 1
            self._work.put(None)
        self._count = count

    def stop(self) -> None:
        """The threads end when they have done what waits."""
        self.resize(0)

    def _start(self) -> None:
        self._running += 1
        sys.setswitchinterval(min(TURN, sys.getswitchinterval()))
        self._make(target=self._serve, name=f"signing-{self._running}", daemon=True).start()

    def _serve(self) -> None:
        """In a thread."""
        while (job := self._work.get()) is not None:
            work, d = job
            try:
                outcome = work()
            except Exception:  # noqa: BLE001  whatever it was, it is for whoever waits for the work
                outcome = Failure()
            self._done.append((d, outcome))
            # Whoever sees the flag set has added to what is yet to be taken: it is cleared before the first is.
            if not self._told:
                self._told = True
                self._call_from_thread(self._hand_back)

    def _hand_back(self) -> None:
        self._told = False
        while self._done:
            d, outcome = self._done.popleft()
            try:
                d.callback(outcome)  # a Failure among them makes it fail
            except Exception:  # noqa: BLE001  the others must have theirs
                self.log.failure("a signature could not be handed back")
