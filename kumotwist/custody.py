"""
The one place where spool and mail log change together.

    take       a message becomes ours: stored with its Reception record, then 250, then admitted to its queue
    settle     an attempt ended: the message goes, or stays with fewer recipients and a later due time, with its records
    note       nothing changed but something is to be told: a Delayed or a Rejection record
    shelve     something small that must outlive us, such as an operator's order

Each is one change to the spool, so one sync covers message and records:
    Crash before it: as if it had not happened.  After a delivery whose change was not yet durable the message is sent again.
    Crash after it: the record says what happened, the message is where the record says.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import format_duration
from kumotwist.config.queues import Shrinking
from kumotwist.logs.record import RecordType, RecordWriter, rfc3339
from kumotwist.mail.address import Mailbox
from kumotwist.mail.disposition import NOT_TRIED, Arrival, Attempt, Peer
from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import NULL_QUEUE
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Reply, refuse, reply
from kumotwist.reports.arrived import Report, Reported
from kumotwist.reports.feedback import Complaint
from kumotwist.spool.change import Change
from kumotwist.spool.residence import Memory, Residence
from kumotwist.spool.service import Spool

AFTER_A_FAULT = 60.0  # seconds until a message that a fault of ours kept from its queue is let in again

_ACCEPTED = Reply(250, None, "")
_NO_REPORTS: Mapping[str, Reported] = {}

Admit = Callable[[Message, Reason], None]
Told = Sequence[tuple[RecordType, Reply, tuple[Any, ...]]]
Hears = Callable[[Message, Attempt, Told], None]  # must return at once; the message is as it was in the attempt


class Learns(Protocol):
    """Who draws conclusions about recipients from what is recorded; the suppression list.  What it is given is opaque here."""

    def of_failure(self, kind: str, answer: Reply, recipients: Sequence[Mailbox], message: Message, now: float) -> Sequence[Any]:
        """From a record of that type about these recipients."""

    def of_report(self, report: Report, now: float) -> Sequence[Any]:
        """From a report that came in as mail."""

    def shelving(self, conclusions: Sequence[Any]) -> Sequence[tuple[str, bytes | None]]:
        """What of it goes on the spool's shelf, with the record."""

    def learn(self, conclusions: Sequence[Any]) -> None:
        """That is on disk, or will be."""


class Custody:
    """Takes messages and lets them go; see the module."""

    log = Logger()

    def __init__(
        self,
        spool: Spool,
        records: RecordWriter,
        residence: Residence,
        clock: IReactorTime,
        admit: Admit,
        *,
        disabled: frozenset[RecordType] = frozenset(),
        obstacles: Callable[[], str | None] = lambda: None,
    ) -> None:
        """
        admit: puts a stored message into its scheduled queue.
        disabled: record types that no log file wants, so that they need not be written.
        obstacles: why nothing may be accepted now, beside a failing spool; None: nothing.
        """
        self._spool = spool
        self._records = records
        self._residence = residence
        self._clock = clock
        self._admit = admit
        self._disabled = disabled
        self._obstacles = obstacles
        self._learns: Learns | None = None
        self._hears: Hears | None = None

    def write(self, records: RecordWriter, disabled: frozenset[RecordType]) -> None:
        """How records are written from now on."""
        self._records = records
        self._disabled = disabled

    def learn_by(self, learns: Learns | None) -> None:
        """Who is asked of each failure and each report from now on; None: nobody."""
        self._learns = learns

    def tell_failures(self, hears: "Hears | None") -> None:
        """Who is told of each failure from now on, beside the log; None: nobody."""
        self._hears = hears

    # Coming

    def take(
        self,
        messages: Sequence[Message],
        arrival: Arrival,
        *,
        shelve: Sequence[tuple[str, bytes | None]] = (),
        must: bool = False,
    ) -> "Deferred[None]":
        """
        Make the messages ours.  Fires once all are on disk: then, and only then, 250 may be said.

        Fails with Refusal if they cannot be kept now; none of them is then kept.
        shelve: what goes on the shelf, or off it, in the same change.  must: try until the disk takes them.
        """
        return self.take_reports(messages, arrival, _NO_REPORTS, shelve=shelve, must=must)

    def take_reports(
        self,
        messages: Sequence[Message],
        arrival: Arrival,
        reports: Mapping[str, Reported],
        *,
        shelve: Sequence[tuple[str, bytes | None]] = (),
        must: bool = False,
    ) -> "Deferred[None]":
        """
        As `take`, where some of the messages are reports, by id: what they tell is in the same write.

        A report that is consumed is not kept: 250 means that its records are on disk.
        """
        change = Change()
        for key, value in shelve:
            change.shelve(key, value)
        now = self._clock.seconds()
        staying = []
        learned: list[Any] = []
        for message in messages:
            self._name_queue(message)
            if message.schedule is not None:
                message.due = message.schedule.adjust(max(message.due, now))
            reported = reports.get(message.id)
            if message.queue != NULL_QUEUE and (reported is None or not reported.consumed):
                change.store(message)
                staying.append(message)
            if reported is None:
                self._tell_reception(change, message, arrival, now)
            else:
                self._tell_report(change, message, reported, arrival, now)
                if self._learns is not None:
                    learned += self._learns.of_report(reported.report, now)
        if learned:
            self._shelve_learned(change, learned)
        done = self._spool.must_commit(change) if must else self._spool.commit(change)
        done.addCallbacks(self._taken, self._not_taken, callbackArgs=(staying,))
        if learned and self._learns is not None:
            done.addCallback(_and_then, self._learns.learn, learned)
        return done

    def adopt(self, message: Message) -> "Deferred[None]":
        """A message that nobody sent us but policy made: ours once this fires.  It has no Reception record."""
        self._name_queue(message)
        if message.schedule is not None:
            message.due = message.schedule.adjust(max(message.due, self._clock.seconds()))
        change = Change()
        if message.queue != NULL_QUEUE:
            change.store(message)
        done = self._spool.commit(change)
        done.addCallbacks(self._taken, self._not_taken, callbackArgs=([message],))
        return done

    def take_over(self, message: Message, answer: Reply, shelve: Sequence[tuple[str, bytes | None]]) -> "Deferred[None]":
        """A message that another node of ours had: ours once this fires, with its XferIn record and what is shelved about it."""
        self._name_queue(message)
        change = Change()
        for key, value in shelve:
            change.shelve(key, value)
        change.store(message)
        self._tell(change, RecordType.XFER_IN, message, answer, self._clock.seconds())
        done = self._spool.commit(change)
        done.addCallbacks(self._taken, self._not_taken, callbackArgs=([message],))
        return done

    def _name_queue(self, message: Message) -> None:
        try:
            message.name_queue()
        except ValueError as fault:
            raise refuse("451 4.3.0 internal error", f"no queue for {message.id}: {fault}") from None

    def _tell_reception(self, change: Change, message: Message, arrival: Arrival, now: float) -> None:
        attempt = Attempt(peer=arrival.peer, tls=arrival.tls, session_id=arrival.session_id)
        self._tell(change, RecordType.RECEPTION, message, _ACCEPTED, now, attempt=attempt)
        if message.due > now:
            text = delayed_reply((Reason.RECEIVED, Reason.SCHEDULED_FOR_LATER), message.due, now)
            self._tell(change, RecordType.DELAYED, message, text, now)

    def _tell_report(self, change: Change, message: Message, reported: Reported, arrival: Arrival, now: float) -> None:
        """A complaint is told instead of the reception, a bounce beside it, each if its own type of record is wanted."""
        if reported.consumed:
            message.due = 0.0  # it waits for nothing
        report = reported.report
        if isinstance(report, Complaint):
            attempt = Attempt(peer=arrival.peer, tls=arrival.tls, session_id=arrival.session_id)
            self._tell(change, RecordType.FEEDBACK, message, _ACCEPTED, now, attempt=attempt, complaint=report)
            return
        self._tell_reception(change, message, arrival, now)
        if RecordType.OOB not in self._disabled:
            told = (self._records.out_of_band(message, report, one, arrival.peer, arrival.session_id, now) for one in report.failed)
            change.records += [(RecordType.OOB.value, line) for line in told]

    def _taken(self, _: None, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.queue != NULL_QUEUE:
                self._residence.lodge(message)
                self._let_in(message)

    def _let_in(self, message: Message) -> None:
        """Admit a message that is on disk: whatever goes wrong, 250 is right, and the message must not be forgotten."""
        try:
            self._admit(message, Reason.RECEIVED)
        except Exception:  # noqa: BLE001  a bug of ours
            self.log.failure("{id} could not be put into its queue; trying again", id=message.id)
            self._clock.callLater(AFTER_A_FAULT, self._let_in, message)

    def _not_taken(self, failure: Failure) -> None:
        raise refuse("451 4.3.2 the spool is not accepting writes. Try later", failure.getErrorMessage())

    def refused(self, answer: Reply, *, sender: str, recipient: str, peer: Peer, session_id: str, meta: Mapping[str, Any]) -> None:
        """Note a 4xx or 5xx that was said to a client."""
        if RecordType.REJECTION in self._disabled or self._spool.fault is not None:
            return  # with a failing spool there is no message behind it that could go missing, and it must not pile up
        line = self._records.rejection(sender, recipient, answer, peer, session_id, meta, self._clock.seconds())
        change = Change()
        change.records.append((RecordType.REJECTION.value, line))
        self._spool.must_commit(change)

    def closed_for(self) -> str | None:
        """Why nothing can be accepted just now, as the text of a 421 4.3.2; None: all is well."""
        if self._spool.fault is not None:
            return "the spool is not accepting writes. Try later"
        return self._obstacles()

    # Staying and going

    def settle(
        self,
        message: Message,
        told: Told,
        *,
        keep: bool,
        attempt: Attempt = NOT_TRIED,
        egress_pool: str | None = None,
        site: str | None = None,
        attempts: int | None = None,
        shelve: Sequence[tuple[str, bytes | None]] = (),
        learn: bool = True,
    ) -> "Deferred[None]":
        """
        What became of a message: `told` are the records, each with the recipients it is about.  Fires once it is on disk.

        keep: the message stays, as it is now (its recipients, attempts and due time are stored); else it goes.
        attempts: the count that the records show, where the message's own was already raised.
        learn: whether the records say anything of their recipients.
        """
        change = Change()
        for key, value in shelve:
            change.shelve(key, value)
        now = self._clock.seconds()
        raised, message.attempts = message.attempts, message.attempts if attempts is None else attempts
        for kind, answer, recipients in told:
            self._tell(
                change, kind, message, answer, now, attempt=attempt, egress_pool=egress_pool, recipients=recipients, site=site
            )
        message.attempts = raised
        if self._learns is not None and learn:
            self._learn_of_failures(self._learns, change, message, told, now)
        if self._hears is not None and told and (len(told) > 1 or told[0][0] is not RecordType.DELIVERY):
            self._hears(message, attempt, told)
        if keep:
            change.update(message)
        else:
            change.removals.append(message.id)
            self._residence.leave(message)
        return self._spool.must_commit(change)

    def _learn_of_failures(self, learns: Learns, change: Change, message: Message, told: Told, now: float) -> None:
        found = [
            one
            for kind, answer, recipients in told
            if kind not in (RecordType.DELIVERY, RecordType.XFER_OUT)
            for one in learns.of_failure(kind.value, answer, recipients, message, now)
        ]
        self._shelve_learned(change, found)
        learns.learn(found)  # at once: this change gets to the disk, however long that takes

    def _shelve_learned(self, change: Change, found: Sequence[Any]) -> None:
        if found and self._learns is not None:
            for key, value in self._learns.shelving(found):
                change.shelve(key, value)

    def note_delay(
        self,
        message: Message,
        reasons: tuple[Reason, ...],
        until: float | None,
        what_for: str = "",
        *,
        keep_due: bool = False,
        site: str | None = None,
    ) -> "Deferred[None]":
        """
        A Delayed record: why the message waits, and until when (None: until what it waits for is there).

        keep_due: its due time is stored too, so that a restart changes nothing about it.
        """
        change = Change()
        now = self._clock.seconds()
        self._tell(change, RecordType.DELAYED, message, delayed_reply(reasons, until, now, what_for), now, site=site)
        if keep_due:
            change.update(message)
        return self._spool.must_commit(change) if change.records or keep_due else succeed(None)

    def note(self, message: Message, kind: RecordType, answer: Reply) -> None:
        """A record about a message that stays as it is."""
        change = Change()
        self._tell(change, kind, message, answer, self._clock.seconds())
        if change.records:
            self._spool.must_commit(change)

    def shelve(self, entries: Sequence[tuple[str, bytes | None]]) -> "Deferred[None]":
        """Put small things on the spool's shelf, or take them off (None).  Fires once that is on disk."""
        change = Change()
        for key, value in entries:
            change.shelve(key, value)
        return self._spool.must_commit(change)

    def rest(self, message: Message, shrinking: Shrinking = Shrinking.SHRINK_DATA_AND_META) -> None:
        """The message waits for long from now on: usually only the spool keeps its envelope and content."""
        self._residence.reduce(message, shrinking)

    def ease(self, message: Message, settings: PathSettings) -> None:
        """The message goes on to a path: what it may keep there depends on how much memory there is."""
        memory = self._residence.memory
        if memory is not Memory.ENOUGH and message.resident:
            low = memory is Memory.LOW
            self._residence.reduce(message, settings.low_memory_reduction_policy if low else settings.no_memory_reduction_policy)

    def _tell(self, change: Change, kind: RecordType, message: Message, answer: Reply, now: float, **facts: Any) -> None:
        if kind not in self._disabled:
            change.records.append((kind.value, self._records.message(kind, message, answer, now, **facts)))


def _and_then(_: None, call: Callable[[Sequence[Any]], None], found: Sequence[Any]) -> None:
    call(found)


def delayed_reply(reasons: tuple[Reason, ...], until: float | None, now: float, what_for: str = "") -> Reply:
    """The text of a Delayed record."""
    context = ", ".join(reason.value for reason in reasons)
    if until is None:
        return reply(f"400 Context: {context}. Next due as soon as {what_for}")
    for_it = f" for {what_for}" if what_for else ""
    return reply(f"400 Context: {context}. Next due in {format_duration(round(until - now, 3))} at {rfc3339(until)}{for_it}")
