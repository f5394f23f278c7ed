"""
Orders of an operator that stand until they expire or are cancelled, over restarts too: they lie on the spool's shelf.

A new order about the same subject takes the place of the old one.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

Shelve = Callable[[Sequence[tuple[str, bytes | None]]], "Deferred[None]"]

STANDS_FOR = 300.0  # seconds, where nobody says how long (the model's)


class Order(Protocol):
    """What an operator wants for a time."""

    @property
    def id(self) -> str: ...

    @property
    def reason(self) -> str: ...

    @property
    def expires(self) -> float: ...

    @property
    def subject(self) -> Hashable:
        """What it is about."""


Kind = TypeVar("Kind", bound=Order)


class Standing(Generic[Kind]):
    """The orders of one kind that are in force."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        shelve: Shelve,
        shelf: str,
        kind: type[Kind],
        begins: Callable[[Kind], None],
        ends: Callable[[Kind], None],
    ) -> None:
        """
        shelf: what their keys on the spool's shelf begin with.
        begins: told of each order that is in force from now on.  ends: of each that is not any more.
        """
        self._clock = clock
        self._shelve = shelve
        self._shelf = shelf
        self._kind = kind
        self._begins = begins
        self._ends = ends
        self._orders: dict[str, Kind] = {}
        self._by_subject: dict[Hashable, Kind] = {}
        self._alarms: dict[str, IDelayedCall] = {}

    def load(self, shelved: Iterable[tuple[str, bytes]]) -> None:
        """What lies on the shelf under our keys; for the start, before anything is admitted."""
        stale: list[tuple[str, bytes | None]] = []
        for key, value in shelved:
            if not key.startswith(self._shelf):
                continue
            try:
                order = msgspec.json.decode(value, type=self._kind)
            except msgspec.DecodeError as fault:
                self.log.error("{key} on the spool's shelf is no order of ours: {fault}; it is left there", key=key, fault=fault)
                continue
            if order.expires <= self._clock.seconds():
                stale.append((key, None))
            else:
                self._begin(order)
        if stale:
            self._keep(stale)

    def add(self, order: Kind) -> "Deferred[Kind]":
        """In force at once, in the place of what stood about the same subject.  Fires with it once it is on disk."""
        changed: list[tuple[str, bytes | None]] = []
        former = self._by_subject.get(order.subject)
        if former is not None:
            changed.append((self._shelf + former.id, None))
            self._end(former)
        changed.append((self._shelf + order.id, msgspec.json.encode(order)))
        self._begin(order)
        return self._shelve(changed).addCallback(lambda _: order)

    def cancel(self, id: str) -> "Deferred[bool] | None":
        """Not in force any more.  Fires once that is on disk; None: there is no such order."""
        order = self._orders.get(id)
        if order is None:
            return None
        self._end(order)
        return self._shelve([(self._shelf + id, None)]).addCallback(lambda _: True)

    def stop(self) -> None:
        """Look at no clock any more; the orders stay on the shelf."""
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()

    def about(self, subject: Hashable) -> Kind | None:
        """The order about exactly this."""
        return self._by_subject.get(subject)

    def __iter__(self) -> Iterator[Kind]:
        return iter(list(self._orders.values()))

    def __len__(self) -> int:
        return len(self._orders)

    def _begin(self, order: Kind) -> None:
        self._orders[order.id] = order
        self._by_subject[order.subject] = order
        left = max(0.0, order.expires - self._clock.seconds())
        self._alarms[order.id] = self._clock.callLater(left, self._expire, order)
        self._begins(order)

    def _end(self, order: Kind) -> None:
        del self._orders[order.id], self._by_subject[order.subject]
        alarm = self._alarms.pop(order.id)
        if alarm.active():
            alarm.cancel()
        self._ends(order)

    def _expire(self, order: Kind) -> None:
        self._end(order)
        self._keep([(self._shelf + order.id, None)])

    def _keep(self, changed: Sequence[tuple[str, bytes | None]]) -> None:
        kept = self._shelve(changed)
        kept.addErrback(lambda failure: self.log.failure("the spool's shelf could not be changed", failure))
