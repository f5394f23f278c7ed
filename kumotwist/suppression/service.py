"""
The suppression list as the server has it: kept on the spool's shelf, filled by rules, by operators and by the policy.

    of_failure, of_report   what a record puts on the list: custody shelves it in the same change as the record
    add, cancel             what somebody wants on it, or off it: durable when the Deferred fires, in force at once

An entry is never shortened by a rule: a second bounce makes it last longer or changes nothing, and then costs no write.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.suppression import SuppressionSettings
from kumotwist.mail.address import Mailbox, parse_mailbox
from kumotwist.mail.message import Message
from kumotwist.mail.reply import Reply
from kumotwist.metrics.family import Family, counter, gauge
from kumotwist.reports.delivery_status import BounceReport
from kumotwist.reports.feedback import Complaint
from kumotwist.suppression.entry import LONGEST_REASON, NO_TENANT, SHELF, Entry, id_of, parse_subject, restored_entry, stored_entry
from kumotwist.suppression.list import SuppressionList
from kumotwist.suppression.rules import Classify, Rules

SWEEP = 3600.0  # seconds between looks for what has expired
_AT_A_TIME = 500  # entries that are looked at, or taken off the shelf, in one turn
_PORTIONS = "0123456789abcdef"  # the list is read in as many parts as there are first digits
_MANY_IN_PORTION = 2000  # entries that `kept` reads at a time, about

Shelving = Sequence[tuple[str, bytes | None]]
Shelve = Callable[[Shelving], "Deferred[None]"]
Shelved = Callable[[str], Sequence[tuple[str, bytes]]]


class Suppression:
    """listed: whom reception and queues ask.  learned: entries that rules have made since the start."""

    log = Logger()

    def __init__(self, clock: IReactorTime, shelve: Shelve, shelved: Shelved) -> None:
        """shelve: puts things on the spool's shelf.  shelved: reads it; blocks."""
        self.listed = SuppressionList()
        self.learned = 0
        self._clock = clock
        self._shelve = shelve
        self._shelved = shelved
        self._rules = Rules((), str)
        self._sweeping: IDelayedCall | None = None
        self._stopped = False
        self._expired: list[str] = []  # keys that a start found expired

    # Start and stop

    def load(self) -> None:
        """What the shelf has, before anything is admitted; blocks."""
        now = self._clock.seconds()
        for digit in _PORTIONS:
            entries = list(self._read(SHELF + digit))
            self.listed.hold(one for one in entries if one.expires is None or one.expires > now)
            self._expired += [one.key for one in entries if one.expires is not None and one.expires <= now]
        if self.listed.size:
            self.log.info("suppression: {count} entries", count=self.listed.size)

    def _read(self, prefix: str) -> Iterator[Entry]:
        for key, value in self._shelved(prefix):
            try:
                yield restored_entry(value)
            except msgspec.DecodeError as fault:
                self.log.error("{key} on the spool's shelf is no entry of ours: {fault}; it is left there", key=key, fault=fault)

    def start(self) -> None:
        """Before anything is admitted: what the shelf has is read at once."""
        self.load()
        expired, self._expired = self._expired, []
        for at in range(0, len(expired), _AT_A_TIME):
            self._shelve([(key, None) for key in expired[at : at + _AT_A_TIME]]).addErrback(self._not_swept)
        self._sweeping = self._clock.callLater(SWEEP, self._sweep)

    def stop(self) -> None:
        self._stopped = True
        if self._sweeping is not None and self._sweeping.active():
            self._sweeping.cancel()

    def configure(self, settings: SuppressionSettings, classify: Classify) -> None:
        """The rules that hold from now on.  classify: the class of a response on one line."""
        self._rules = Rules(settings.rules, classify)

    def heed(self, settings: SuppressionSettings, classify: Classify, learn_by: "Callable[[Suppression | None], None]") -> None:
        """The same, with custody told whom to ask: nobody, where there are no rules."""
        self.configure(settings, classify)
        learn_by(self if settings.rules else None)

    # What records put on it (custody.Learns)

    @property
    def kinds(self) -> frozenset[str]:
        """The types of records that some rule is about."""
        return self._rules.kinds

    def of_failure(self, kind: str, answer: Reply, recipients: Iterable[Mailbox], message: Message, now: float) -> Sequence[Entry]:
        tenant = message.meta.get("tenant")
        whose = tenant if isinstance(tenant, str) else NO_TENANT
        return self._news(self._rules.of_failure(kind, answer, recipients, whose, message.id, now))

    def of_report(self, report: BounceReport | Complaint, now: float) -> Sequence[Entry]:
        return self._news(self._rules.of_report(report, now))

    def _news(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those that say more than the list does, each subject once."""
        news: dict[str, Entry] = {}
        for entry in entries:
            lasts = self.listed.lasts(entry.subject, entry.tenant)
            until = float("inf") if entry.expires is None else entry.expires
            other = news.get(entry.id)
            if other is not None and (other.expires is None or other.expires >= until):
                continue
            if lasts is None or lasts < until:
                news[entry.id] = entry
        return list(news.values())

    @staticmethod
    def shelving(entries: Iterable[Entry]) -> list[tuple[str, bytes | None]]:
        """The change of the shelf that keeps them."""
        return [(entry.key, stored_entry(entry)) for entry in entries]

    def learn(self, entries: Sequence[Entry]) -> None:
        """What rules made is on the shelf, or will be."""
        self.learned += len(entries)
        self.listed.hold(entries)

    # What people put on it

    def add(self, entries: Sequence[Entry]) -> "Deferred[None]":
        """In force at once, each in the place of what stood for its subject and tenant.  Fires once they are on disk."""
        self.listed.hold(entries)
        return self._shelve(self.shelving(entries))

    def cancel(self, subject: str, tenant: str | None) -> "Deferred[None] | None":
        """No longer on the list, at once.  Fires once that is on disk; None: it was not on it."""
        if not self.listed.drop(subject, tenant):
            return None
        return self._shelve([(SHELF + id_of(subject, tenant), None)])

    # What a policy uses (hooks.context.Suppressing)

    def why(self, recipient: str, tenant: str | None) -> str | None:
        found = self.listed.find(parse_mailbox(recipient), tenant, self._clock.seconds())
        return None if found is None else found.reason

    def forbid(self, subject: str, domain: bool, tenant: str | None, reason: str, lasts: float | None) -> "Deferred[None]":
        now = self._clock.seconds()
        expires = None if lasts is None else now + lasts
        return self.add([Entry(parse_subject(subject, domain=domain), tenant, reason[:LONGEST_REASON], now, expires)])

    def allow(self, subject: str, domain: bool, tenant: str | None) -> "Deferred[bool]":
        cancelled = self.cancel(parse_subject(subject, domain=domain), tenant)
        return succeed(False) if cancelled is None else cancelled.addCallback(lambda _: True)

    # Looking; these block, for a thread

    def entry(self, entry_id: str) -> Entry | None:
        """The whole of one."""
        return next(self._read(SHELF + entry_id), None)

    def entries(self, ids: Sequence[str]) -> list[Entry]:
        """The whole of some; those that are gone are left out."""
        return [found for one in ids if (found := self.entry(one)) is not None]

    def kept(self, most: int, after: str, wanted: Callable[[Entry], bool]) -> list[Entry]:
        """Wanted entries in the order of their ids, behind the id `after`, as many as there are and at most so many."""
        found: list[Entry] = []
        for prefix in _prefixes(self.listed.size):
            if prefix < after[: len(prefix)]:
                continue
            some = [one for one in self._read(SHELF + prefix) if one.id > after and wanted(one)]
            found += some[: most - len(found)]
            if len(found) >= most:
                break
        return found

    def measures(self) -> Iterator[Family]:
        """For the metrics."""
        yield gauge("suppression_entries", "addresses and domains on the suppression list", self.listed.size)
        yield counter("suppression_learned_total", "entries that rules have put on the suppression list", self.learned)

    # What has expired

    def _sweep(self) -> None:
        self._sweep_on(self.listed.expired(self._clock.seconds(), _AT_A_TIME))

    def _sweep_on(self, portions: Iterator[list[tuple[str, str | None]]]) -> None:
        """One portion a turn, so that nobody waits for a long list."""
        if self._stopped:
            return
        portion = next(portions, None)
        if portion is None:
            self._sweeping = self._clock.callLater(SWEEP, self._sweep)
            return
        for subject, tenant in portion:
            self.listed.drop(subject, tenant)
        if portion:
            kept = self._shelve([(SHELF + id_of(subject, tenant), None) for subject, tenant in portion])
            kept.addErrback(self._not_swept)
        self._sweeping = self._clock.callLater(0, self._sweep_on, portions)

    def _not_swept(self, failure: Failure) -> None:
        self.log.failure("suppression: expired entries could not be taken off the shelf", failure)


def _prefixes(size: int) -> Iterator[str]:
    """What keys begin with, in order, so that each stands for a bearable number of entries."""
    digits = 0
    while size > _MANY_IN_PORTION * 16**digits:
        digits += 1
    for n in range(16**digits):
        yield f"{n:0{digits}x}" if digits else ""
