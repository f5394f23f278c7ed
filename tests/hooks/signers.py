"""What signing needs around it, for tests: threads that are none, or that wait until the test lets them work."""

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from kumotwist.authentication.results import AuthenticationResult
from kumotwist.authentication.verification import verify
from kumotwist.config.dkim import NO_DKIM, DkimSettings
from kumotwist.hooks.signing import Signing
from tests.authentication.keys import Table, answer

T = TypeVar("T")


class NoThreads:
    """Does all work at once; with `holds`, when it is told to.  done: how much that was."""

    def __init__(self) -> None:
        self.holds = False
        self.done = 0
        self.count = 1
        self._held: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def run(self, work: Callable[[], T]) -> "Deferred[T]":
        self.done += 1
        if not self.holds:
            return execute(work)
        waiting: Deferred[T] = Deferred()
        self._held.append((work, waiting))
        return waiting

    def resize(self, count: int) -> None:
        self.count = count

    def work(self) -> None:
        """Do what is held."""
        held, self._held = self._held, []
        for work, waiting in held:
            execute(work).chainDeferred(waiting)


def signing(clock: Clock, settings: DkimSettings = NO_DKIM, ask_policy: Callable[[Any], Any] = lambda event: None) -> Signing:
    return Signing(clock, NoThreads(), ask_policy, settings)


def verdicts(content: bytes, dns: Table, now: float) -> list[AuthenticationResult]:
    return answer(verify(content, dns, now))
