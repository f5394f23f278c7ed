"""
The message that a session has in hand, at most one: taken from the supply, answered for exactly once.

Whatever the session does or suffers ends here in `settle` (it was tried) or `give_back` (it was not).
"""

from collections.abc import Sequence

from kumotwist.delivery.means import Means
from kumotwist.delivery.opening import protocol_of
from kumotwist.delivery.sending import Sending
from kumotwist.delivery.supply import Supply
from kumotwist.egress.path import EgressPath
from kumotwist.mail.disposition import Attempt, Outcome, Verdict
from kumotwist.mail.message import Message
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import INTERNAL, Reply

UNREADABLE_REST = 60.0  # seconds that a message waits whose envelope the spool cannot read just now
DROPPED_REST = 60.0  # seconds that a message waits, at most, whose session was stuck


class InHand:
    """
    message: None while there is none.  sending: of that message, while it is sent.

    told: an attempt of this message in this session was told of already, and it goes on with another host.
    """

    __slots__ = ("_means", "_path", "_supply", "message", "sending", "told")

    def __init__(self, supply: Supply, path: EgressPath, means: Means) -> None:
        self._supply = supply
        self._path = path
        self._means = means
        self.message: Message | None = None
        self.sending: Sending | None = None
        self.told = False

    def take(self) -> bool:
        """The next message, if there is one."""
        self.message = message = self._supply.next_message()
        self.told = False
        return message is not None

    def hold(self, message: Message | None) -> None:
        self.message = message
        self.told = False

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
        self.told = True
        tell(message, attempt, outcomes)
        return True

    def settle_unsent(self, verdict: Verdict, answer: Reply, attempt: Attempt) -> None:
        """The message gets this outcome although no host saw it; its envelope is here."""
        if self.message is not None:
            self.settle(attempt, (Outcome(verdict, self.message.recipients, answer),))

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
            self.settle_unsent(Verdict.POSTPONED, answer, attempt)
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
