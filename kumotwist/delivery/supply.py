"""What a delivery session needs from whoever opened it.  The ready queue implements it; tests use a list."""

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from kumotwist.delivery.shown import Shown
from kumotwist.egress.path import EgressPath
from kumotwist.mail.disposition import Attempt, Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Reply


class Supply(Protocol):
    """
    The ready queue of one egress path, as one session sees it.

    Whoever takes a message answers for it with exactly one of `settle` and `give_back`, on every way out.
    """

    @property
    def path(self) -> EgressPath: ...

    def show(self, session: Shown) -> None:
        """A session that begins shows itself, so that operators can look at it; before it does anything else."""

    def next_message(self) -> Message | None:
        """The next message that is due now, or None.  Its content may still be in the spool: see `content`."""

    def message_or_none(self, patience: float) -> "Deferred[Message | None]":
        """
        Fires with the next message as soon as there is one; with None after `patience` seconds, or when the session is to end.

        Cancelled when the idle connection breaks: then no message is taken.
        """

    def content(self, message: Message) -> "bytes | Deferred[bytes]":
        """The message as it was received: at once where it is in memory.  Fails with KeyError if the spool lost it."""

    def may_connect(self) -> float:
        """Spend one connection of `max_connection_rate`: 0.0 if it may be opened now, else seconds until it may (none spent)."""

    def may_send(self) -> float:
        """Spend one message of `max_message_rate`: 0.0 if it may be sent now, else seconds until it may (none spent)."""

    def settle(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        """An attempt ended; the outcomes together name each recipient of the message once."""

    def give_back(self, message: Message, reason: Reason, delay: float = 0.0) -> None:
        """The message was not tried: it waits again, `delay` seconds, and no attempt is counted."""

    def throttled(self, reason: Reason, delay: float) -> None:
        """Nothing more can be sent on this path for `delay` seconds: everything ready waits that long, nothing is counted."""

    def dispose_all(self, verdict: Verdict, reply: Reply, reason: Reason) -> None:
        """Everything ready on this path gets this outcome without being tried (null MX, prohibited host, no hosts)."""

    def connected(self) -> None:
        """A session was established: the count of successive failures starts anew."""

    def connection_failed(self) -> None:
        """A whole plan of hosts was tried in vain."""
