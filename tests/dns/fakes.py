"""A DNS from a table, and threads that run when they are told to."""

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, execute

from kumotwist.dns.answers import Family, HostAddresses, MailExchangers

T = TypeVar("T")


class Table:
    """
    Answers questions from what it is given, and notes what it is asked.

    An answer is a value, or an exception to be raised; what is not in the table exists and has no records.
    """

    def __init__(self) -> None:
        self.mx: dict[str, MailExchangers | Exception] = {}
        self.hosts: dict[tuple[str, Family], HostAddresses | Exception] = {}
        self.asked: list[str] = []

    def mail_exchangers(self, domain: str) -> MailExchangers:
        self.asked.append(domain)
        return _answer(self.mx.get(domain, MailExchangers((), 60.0)))

    def addresses(self, host: str, family: Family) -> HostAddresses:
        self.asked.append(f"{host} {family.value}")
        return _answer(self.hosts.get((host, family), HostAddresses((), 60.0)))


def _answer(found: T | Exception) -> T:
    if isinstance(found, Exception):
        raise found
    return found


class Threads:
    """Keeps work until `run` is called for it; stands for a RunInThread."""

    def __init__(self) -> None:
        self.started: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def __call__(self, work: Callable[[], T]) -> "Deferred[T]":
        d: Deferred[T] = Deferred()
        self.started.append((work, d))
        return d

    def run(self, most: int | None = None) -> int:
        """Do what has been started (so many), in order; returns how much that was."""
        ended = 0
        while self.started and ended != most:
            work, d = self.started.pop(0)
            execute(work).addBoth(d.callback)
            ended += 1
        return ended
