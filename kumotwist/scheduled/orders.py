"""
What operators order about scheduled queues: to suspend them, to bounce their mail, to bind it to other queues.

Values, and the index by which the orders for a queue are found: it is asked whenever a message moves.
"""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import QueueName, parse_queue_name


class Criteria(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Which scheduled queues an order is about: those whose parts equal all that is given, letter by letter.

    A part that is given does not equal one that is absent.  queue_names: exactly these, whatever else is given.
    Nothing given: every queue.
    """

    domain: str | None = None
    tenant: str | None = None
    campaign: str | None = None
    routing_domain: str | None = None
    queue_names: tuple[str, ...] = ()

    def fit(self, name: str) -> bool:
        """Whether they are about the queue of that name."""
        if self.queue_names:
            return name in self.queue_names
        return all(wanted is None or wanted == part for wanted, part in zip(self.parts, _parts(name), strict=True))

    @property
    def parts(self) -> tuple[str | None, str | None, str | None, str | None]:
        return self.domain, self.tenant, self.campaign, self.routing_domain

    @property
    def everything(self) -> bool:
        return not self.queue_names and not any(part is not None for part in self.parts)


def _parts(name: str) -> tuple[str | None, str | None, str | None, str | None]:
    parts: QueueName = parse_queue_name(name)
    return parts.domain, parts.tenant, parts.campaign, parts.routing_domain


class Suspension(Struct, frozen=True, kw_only=True):
    """The mail of these queues waits.  expires: epoch seconds."""

    id: str
    reason: str
    criteria: Criteria
    expires: float

    @property
    def subject(self) -> Criteria:
        return self.criteria


class BounceOrder(Struct, frozen=True, kw_only=True):
    """The mail of these queues ends: what is there, and what comes until it expires.  suppress_logging: without records."""

    id: str
    reason: str
    criteria: Criteria
    expires: float
    suppress_logging: bool = False

    @property
    def subject(self) -> Criteria:
        return self.criteria


class AboutQueues(Protocol):
    """An order about scheduled queues."""

    @property
    def id(self) -> str: ...

    @property
    def criteria(self) -> Criteria: ...


About = TypeVar("About", bound=AboutQueues)

_Given = tuple[bool, bool, bool, bool]


class OrderIndex(Generic[About]):
    """
    Finds the order that counts for a queue: one named for exactly this queue first, then the one that gives most parts.

    One dictionary for each set of parts that some order gives: so many look-ups, however many orders there are.
    """

    __slots__ = ("_by_given", "_named")

    def __init__(self) -> None:
        self._named: dict[str, list[About]] = {}
        self._by_given: dict[_Given, dict[tuple[str | None, ...], About]] = {}

    def add(self, order: About) -> None:
        criteria = order.criteria
        if criteria.queue_names:
            for name in criteria.queue_names:
                self._named.setdefault(name, []).append(order)
            return
        given = _given(criteria)
        if given not in self._by_given:
            self._by_given[given] = {}
            self._by_given = dict(sorted(self._by_given.items(), key=lambda entry: (sum(entry[0]), entry[0]), reverse=True))
        self._by_given[given][criteria.parts] = order

    def remove(self, order: About) -> None:
        criteria = order.criteria
        if criteria.queue_names:
            for name in dict.fromkeys(criteria.queue_names):
                others = [other for other in self._named.get(name, ()) if other.id != order.id]
                if others:
                    self._named[name] = others
                else:
                    self._named.pop(name, None)
            return
        given = _given(criteria)
        self._by_given[given].pop(criteria.parts, None)
        if not self._by_given[given]:
            del self._by_given[given]

    def find(self, name: str) -> About | None:
        """The order that counts for the queue of that name."""
        named = self._named.get(name)
        if named is not None:
            return named[-1]
        if not self._by_given:
            return None
        parts = _parts(name)
        for given, orders in self._by_given.items():
            found = orders.get(tuple([part if wanted else None for wanted, part in zip(given, parts, strict=True)]))
            if found is not None and _fits(given, parts):
                return found
        return None

    def __bool__(self) -> bool:
        return bool(self._named or self._by_given)


def _given(criteria: Criteria) -> _Given:
    domain, tenant, campaign, routing_domain = (part is not None for part in criteria.parts)
    return domain, tenant, campaign, routing_domain


def _fits(given: _Given, parts: tuple[str | None, ...]) -> bool:
    """A part that is given must be there."""
    return all(part is not None for wanted, part in zip(given, parts, strict=True) if wanted)


class Rebinding(Struct, frozen=True, kw_only=True):
    """
    Once: the mail that waits in these queues is told where it belongs anew.

    data: written into its metadata, or given to the policy's `rebind_message` where trigger_rebind_event is set.
    change: does what is to be done instead, the due time included.
    always_flush: what stays in its queue is due at once, too.  suppress_logging: no AdminRebind records.
    """

    criteria: Criteria
    reason: str
    data: dict[str, str] = {}
    trigger_rebind_event: bool = False
    always_flush: bool = False
    suppress_logging: bool = False
    change: Callable[[Message], None] | None = None


def criteria_text(criteria: Criteria) -> str:
    """For people: `domain=example.org, tenant=acme`, or `everything`."""
    if criteria.queue_names:
        return ", ".join(criteria.queue_names)
    named = zip(("domain", "tenant", "campaign", "routing_domain"), criteria.parts, strict=True)
    return ", ".join(f"{name}={value}" for name, value in named if value is not None) or "everything"
