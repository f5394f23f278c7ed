"""
Messages that come back: from an attempt, or untried.  Each of them waits again, or ends with a record; none is lost.

A message waits again only once the spool has what changed about it: its count of attempts, its due time, its recipients.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.custody import Custody
from kumotwist.hooks.policy import Policy
from kumotwist.logs.record import RecordType
from kumotwist.mail.address import Mailbox
from kumotwist.mail.disposition import NOT_TRIED, Attempt, Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Refusal, Reply
from kumotwist.scheduled.envelopes import Envelopes
from kumotwist.scheduled.policy import REQUEUE, REWRITE, on_requeue, rewritten
from kumotwist.scheduled.queue import ScheduledQueue
from kumotwist.scheduled.retry import Expired, after_failure, while_waiting
from kumotwist.suppression.entry import Suppressed

_RECORD_OF = {
    Verdict.DELIVERED: RecordType.DELIVERY,
    Verdict.BOUNCED: RecordType.BOUNCE,
    Verdict.POSTPONED: RecordType.TRANSIENT_FAILURE,
    Verdict.TRANSFERRED: RecordType.XFER_OUT,
}

Told = list[tuple[RecordType, Reply, tuple[Mailbox, ...]]]


class Waits(Protocol):
    """Where messages wait: the scheduler."""

    @property
    def policy(self) -> Policy: ...

    def queue(self, name: str) -> ScheduledQueue:
        """The scheduled queue of that name, made if there is none."""

    def admit(self, message: Message, reason: Reason) -> None:
        """It waits until its due time, or not at all."""

    def park(self, queue: ScheduledQueue, message: Message) -> None:
        """It waits until its due time, which lies ahead."""

    def hold(self, queue: ScheduledQueue, message: Message) -> None:
        """It is due, and goes on in a moment."""

    def forget(self, message: Message) -> None:
        """It is no longer on its way to a ready queue."""

    def asking(self, message: Message, then: Callable[..., None]) -> Callable[..., None]:
        """The same `then`; until it is called, the message is known to be somewhere: a policy is asked about it."""


class Returns:
    """What becomes of messages that come back."""

    log = Logger()

    def __init__(
        self, clock: IReactorTime, draw: Callable[[], float], custody: Custody, envelopes: Envelopes, waits: Waits
    ) -> None:
        """draw: a number from 0 to 1, uniformly."""
        self._clock = clock
        self._draw = draw
        self._custody = custody
        self._envelopes = envelopes
        self._waits = waits

    # From an attempt

    def settled(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        policy = self._waits.policy
        if REWRITE in policy:
            heard = self._waits.asking(message, lambda outcomes: self._settle(message, attempt, outcomes))
            rewritten(policy, message, attempt, outcomes, heard)
        else:
            self._settle(message, attempt, outcomes)

    def _settle(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        told: Told = []
        remaining: tuple[Mailbox, ...] = ()
        last: Reply | None = None
        for outcome in outcomes:
            told.append((_RECORD_OF[outcome.verdict], outcome.reply, outcome.recipients))
            if outcome.verdict is Verdict.POSTPONED:
                remaining += outcome.recipients
                last = outcome.reply
        if last is None:
            self._custody.settle(message, told, keep=False, attempt=attempt, egress_pool=self._pool(message))
        else:
            message.recipients = remaining
            self._requeue(message, told, last, attempt)

    def _pool(self, message: Message, queue: str | None = None) -> str | None:
        """The pool that records show: the one that it was last sent through, which its queue may have left since."""
        return message.through or message.pool or self._waits.queue(queue or message.queue).pool

    def went_on(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        """An attempt ended for some, and the session goes on with the others: they are the message's recipients now."""
        told: Told = [(_RECORD_OF[outcome.verdict], outcome.reply, outcome.recipients) for outcome in outcomes]
        self._custody.settle(message, told, keep=True, attempt=attempt, egress_pool=self._pool(message))

    def disposed(self, message: Message, attempt: Attempt, verdict: Verdict, answer: Reply) -> None:
        self._envelopes.of(message, self._dispose, attempt, verdict, answer)

    def _dispose(self, message: Message, attempt: Attempt, verdict: Verdict, answer: Reply) -> None:
        self.settled(message, attempt, [Outcome(verdict, message.recipients, answer)])

    # Untried

    def dropped(self, message: Message, answer: Reply, delay: float) -> None:
        """A session got stuck with the message and was ended: it waits, uncounted."""
        message.due = self._clock.seconds() + delay
        stored = self._custody.settle(message, [(RecordType.DELAYED, answer, message.recipients)], keep=True)
        self._wait_once(stored, message, "putting back a message of a stuck session")

    def returned(self, message: Message, reason: Reason, delay: float) -> None:
        self._envelopes.of(message, self.put_off, reason, delay)

    def put_off(self, message: Message, reason: Reason, delay: float, what_for: str = "") -> None:
        """It waits so long, uncounted, and a record says why; delay 0: it goes on at once."""
        queue = self._waits.queue(message.queue)
        until = self._clock.seconds() + delay
        if self.expired_by(message, queue, until):
            return
        if delay > 0:
            message.due = until
            stored = self._custody.note_delay(message, (reason,), until, what_for, keep_due=True)
            self._wait_once(stored, message, "putting off a message")
        else:
            self._waits.hold(queue, message)

    def expired_by(self, message: Message, queue: ScheduledQueue, until: float) -> bool:
        """Whether waiting until then is too long for it; then it has ended.  Its envelope must be in memory."""
        expired = while_waiting(queue.settings, message, until)
        if expired is not None:
            self.expire(message, expired)
        return expired is not None

    def expire(self, message: Message, expired: Expired) -> None:
        self._waits.forget(message)
        told: Told = [(RecordType.EXPIRATION, expired.reply, message.recipients)]
        self._custody.settle(message, told, keep=False, egress_pool=self._pool(message), site="localhost")

    def bounce(self, message: Message, answer: Reply, *, silently: bool) -> "Deferred[None]":
        """An operator ended it.  silently: without a record.  Fires once it is gone."""
        self._waits.forget(message)
        told: Told = [] if silently else [(RecordType.ADMIN_BOUNCE, answer, message.recipients)]
        return self._custody.settle(message, told, keep=False, egress_pool=self._pool(message), site="localhost")

    def suppressed(self, message: Message, found: Sequence[tuple[Mailbox, Suppressed]]) -> None:
        """These recipients get no mail: the message ends for them, and goes on for the others."""
        answers: dict[Reply, tuple[Mailbox, ...]] = {}
        for recipient, why in found:
            answers[why.bounce] = (*answers.get(why.bounce, ()), recipient)
        told: Told = [(RecordType.BOUNCE, answer, recipients) for answer, recipients in answers.items()]
        ended = {recipient for recipient, _ in found}
        remaining = tuple(one for one in message.recipients if one not in ended)
        message.recipients = remaining or message.recipients
        # They are on the list: from this the rules are to conclude nothing, or no entry would ever expire.
        stored = self._custody.settle(
            message, told, keep=bool(remaining), egress_pool=self._pool(message), site="localhost", learn=False
        )
        if remaining:
            stored.addCallback(lambda _: self._waits.hold(self._waits.queue(message.queue), message))
            stored.addErrback(self._report, "going on without suppressed recipients")
        else:
            self._waits.forget(message)

    # A counted failure

    def fail(self, message: Message, answer: Reply) -> None:
        """A counted failure that no peer caused."""
        self._requeue(message, [(RecordType.TRANSIENT_FAILURE, answer, message.recipients)], answer, NOT_TRIED)

    def _requeue(self, message: Message, told: Told, last: Reply, attempt: Attempt) -> None:
        """A counted failure: the policy may have the message elsewhere, or nowhere."""
        self._waits.forget(message)
        policy = self._waits.policy
        if REQUEUE not in policy:
            self._retry(message, told, last, attempt)
            return
        before = message.queue
        on_requeue(
            policy,
            message,
            last,
            (Reason.LOGGED_TRANSIENT_FAILURE,),
            counted=True,
            delay=None,
            then=self._waits.asking(message, lambda _, refusal: self._requeued(message, before, told, last, attempt, refusal)),
        )

    def _requeued(self, message: Message, before: str, told: Told, last: Reply, attempt: Attempt, refusal: Refusal | None) -> None:
        if refusal is not None:
            told.append((RecordType.BOUNCE, refusal.reply, message.recipients))
            self._custody.settle(message, told, keep=False, attempt=attempt, egress_pool=self._pool(message, before))
            return
        try:
            message.name_queue()
        except ValueError as fault:
            self.log.error("requeue_message left {id} without a queue: {fault}", id=message.id, fault=fault)
            message.queue = before
        if message.queue == before:
            self._retry(message, told, last, attempt)
            return
        moved_to, message.queue = message.queue, before
        attempts = message.attempts
        message.attempts, message.due, message.last_reply = attempts + 1, 0.0, last.single_line
        stored = self._custody.settle(
            message, told, keep=True, attempt=attempt, egress_pool=self._pool(message, before), attempts=attempts
        )
        message.queue = moved_to
        self._wait_once(stored, message, "moving a message to another queue")

    def _retry(self, message: Message, told: Told, last: Reply, attempt: Attempt) -> None:
        queue = self._waits.queue(message.queue)
        before = message.attempts
        decision = after_failure(queue.settings, message, self._clock.seconds(), self._draw())
        if isinstance(decision, Expired):
            told.append((RecordType.EXPIRATION, decision.reply, message.recipients))
            self._custody.settle(message, told, keep=False, attempt=attempt, egress_pool=self._pool(message))
            return
        message.attempts = before + 1
        message.due = decision.due
        message.last_reply = last.single_line
        stored = self._custody.settle(message, told, keep=True, attempt=attempt, egress_pool=self._pool(message), attempts=before)
        self._wait_once(stored, message, "putting a message back into its queue")

    def _wait_once(self, stored: "Deferred[None]", message: Message, doing: str) -> None:
        # Only then, so that reading the message back cannot find what it was before.
        stored.addCallback(lambda _: self._waits.admit(message, Reason.LOGGED_TRANSIENT_FAILURE))
        stored.addErrback(self._report, doing)

    def _report(self, failure: Failure, what: str) -> None:
        self.log.failure("failed while {what}", failure, what=what)
