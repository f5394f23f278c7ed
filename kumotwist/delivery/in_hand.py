"""
The message that a session has in hand, at most one: taken from the supply, answered for exactly once.

Whatever the session does or suffers ends here in `settle` (it was tried) or `give_back` (it was not).
"""

from collections.abc import Awaitable, Callable, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from kumotwist.delivery.means import Means
from kumotwist.delivery.opening import protocol_of
from kumotwist.delivery.sending import Sending
from kumotwist.delivery.stop import Stopped
from kumotwist.delivery.supply import Supply
from kumotwist.egress.path import EgressPath
from kumotwist.mail.disposition import Attempt, Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import INTERNAL, Reply

UNREADABLE_REST = 60.0  # seconds that a message waits whose envelope the spool cannot read just now
Wait = Callable[["Deferred[bytes]"], Awaitable[bytes]]

DROPPED_REST = 60.0  # seconds that a message waits, at most, whose session was stuck


class InHand:
    """
    message: None while there is none.  sending: of that message, while it is sent.

    owed: the message was refused a connection, or an attempt at it was told of, so that it is no longer as if nothing had
    happened: if no other host takes it, that is an attempt.
    """

    log = Logger()

    __slots__ = ("_means", "_path", "_supply", "message", "owed", "sending")

    def __init__(self, supply: Supply, path: EgressPath, means: Means) -> None:
        self._supply = supply
        self._path = path
        self._means = means
        self.message: Message | None = None
        self.sending: Sending | None = None
        self.owed = False

    def take(self) -> bool:
        """The next message, if there is one."""
        self.message = message = self._supply.next_message()
        self.owed = False
        return message is not None

    def hold(self, message: Message | None) -> None:
        self.message = message
        self.owed = False

    # Tried.

    def settle(self, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        message, self.message, self.sending = self.message, None, None
        if message is not None:
            self._supply.settle(message, attempt, outcomes)

    def go_on(self, attempt: Attempt, outcomes: Sequence[Outcome]) -> bool:
        """
        Keep the message for another host, with the recipients who were put off; False: nobody is there to be told of this.

        They all go on, also whom the peer put off by name: it is one message, as in the model.
        """
        message, tell = self.message, self._means.went_on
        if message is None or tell is None:
            return False
        put_off = [outcome.recipients for outcome in outcomes if outcome.verdict is Verdict.POSTPONED]
        message.recipients = tuple(recipient for group in put_off for recipient in group)
        self.sending = None
        self.owed = True
        tell(message, attempt, outcomes)
        return True

    async def settle_unsent(self, verdict: Verdict, answer: Reply, attempt: Attempt, wait: Wait) -> None:
        """The message gets this outcome although no host saw it."""
        message = self.message
        if message is not None and (message.envelope_loaded or await self.read(message, wait, attempt) is not None):
            self.settle(attempt, (Outcome(verdict, message.recipients, answer),))

    async def read(self, message: Message, wait: Wait, attempt: Attempt) -> bytes | None:
        """
        The content, and with it the envelope; None: it cannot be had, and the message is answered for.

        wait: waits as long as the session may.  attempt: what is told of it if it fails.
        """
        try:
            content = self._supply.content(message)
            if isinstance(content, bytes):
                return content
            return await wait(content)
        except (CancelledError, Stopped):
            raise
        except Exception as fault:  # noqa: BLE001 whatever storage fails with costs this message an attempt, and nothing else
            self.log.failure("{path}: content of {message} cannot be read", path=self._path.name, message=message.id)
            self.answer_for_bug(fault, attempt)
            return None

    def answer_for_bug(self, fault: Exception, attempt: Attempt) -> None:
        """Something of ours failed with a message in hand.  Without its envelope nothing can be said of its recipients."""
        message, sending = self.message, self.sending
        if message is None:
            return
        if not message.envelope_loaded:
            self.give_back(Reason.DISPATCHER_DROP, UNREADABLE_REST)
            return
        answer = Reply(400, None, f"{INTERNAL}error in deliver_message: {type(fault).__name__}: {fault}")
        if sending is None:
            self.settle(attempt, (Outcome(Verdict.POSTPONED, message.recipients, answer),))
        else:
            sending.cut_short(Verdict.POSTPONED, answer)
            self.settle(attempt, sending.outcomes)

    # Not tried.

    def give_back(self, reason: Reason, delay: float = 0.0) -> None:
        message, self.message, self.sending = self.message, None, None
        if message is not None:
            self._supply.give_back(message, reason, delay)

    def let_go(self, attempt: Attempt, stuck: Reply | None) -> None:
        """
        The session ends with the message in hand.  stuck: why, where it was the watchdog that ended it.

        What some recipients got stands, the others get it later; where nobody got anything, nothing happened.
        """
        message, sending = self.message, self.sending
        if message is None:
            return
        if sending is not None and sending.anything_done:
            sending.cut_short(Verdict.POSTPONED, sending.ended_early(stuck))
            self.settle(attempt, sending.outcomes)
        elif stuck is None:
            self.give_back(Reason.DISPATCHER_DROP)
        else:
            self._drop(message, stuck)

    def _drop(self, message: Message, why: Reply) -> None:
        rest = self._means.draw() * DROPPED_REST
        if self._means.dropped is None:
            self.give_back(Reason.DISPATCHER_DROP, rest)
            return
        self.message = self.sending = None
        self._means.dropped(message, why, rest)

    @property
    def no_attempt(self) -> Attempt:
        """What records say of an attempt that reached no host."""
        path = self._path
        return Attempt(
            site=path.name,
            egress_source=path.source.name,
            delivery_protocol=protocol_of(path.settings),
            provider_name=path.settings.provider_name,
        )
