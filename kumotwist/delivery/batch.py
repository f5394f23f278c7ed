"""
One mail transaction, as what was heard of it; and what follows from that for each recipient.  Pure.

Replies come in the order of their commands: RSET (if it was sent), MAIL, one for each recipient, DATA (unless the message
goes in a chunk); then the one to the end of the message, in LMTP one for each recipient who was accepted.  There may be
fewer: the dialogue stopped, or broke.
"""

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache

from kumotwist.bounces.classifier import unclassified
from kumotwist.delivery.judge import Excess, Judgement, excess, excess_by_class, judge
from kumotwist.mail.address import Mailbox
from kumotwist.mail.disposition import Verdict
from kumotwist.mail.reply import Reply
from kumotwist.smtp.client_session import Stage

Decided = list[tuple[Verdict, Mailbox, Reply]]
Classify = Callable[[str], str]


@lru_cache(maxsize=512)
def _stages(recipients: int, rset: bool, chunked: bool, ends: int) -> tuple[Stage, ...]:
    """What the replies answer, in their order.  ends: how many there may be to the message."""
    first = (Stage.RSET, Stage.MAIL) if rset else (Stage.MAIL,)
    last = (Stage.BDAT,) if chunked else (Stage.DATA, *[Stage.DOT] * ends)
    return (*first, *[Stage.RCPT] * recipients, *last)


class Batch:
    """
    recipients: whom the transaction is for.  answers and judgements: what was heard, and what it means, in order.

    rset: it begins with RSET.  chunked: the message goes with BDAT instead of DATA.  ordinary: with DATA, and one reply
    answers it.  sent: a message was written, with somebody to get it.  smooth: all went as hoped so far.  fault: what broke
    the dialogue, as a reply that nobody said.
    """

    __slots__ = (
        "_about_message", "_rcpt", "_stages", "answers", "chunked", "fault", "judgements", "ordinary", "recipients",
        "rset", "sent", "smooth",
    )  # fmt: skip

    shared = True  # one reply is about all whom the peer took

    def __init__(self, recipients: Sequence[Mailbox], *, rset: bool, chunked: bool = False) -> None:
        self.recipients = recipients
        self.rset = rset
        self.chunked = chunked
        self.ordinary = self.shared and not chunked
        self.answers: list[Reply] = []
        self.judgements: list[Judgement] = []
        self.sent = False
        self.smooth = True
        self.fault: Reply | None = None
        self._stages = _stages(len(recipients), rset, chunked, 1)
        self._rcpt = 2 if rset else 1  # the place of the first reply to RCPT
        self._about_message = self._rcpt + len(recipients)  # of the first that is about the message: to DATA, or to its chunk

    def hear(self, answers: Sequence[Reply]) -> None:
        for answer in answers:
            judgement = judge(answer, self._stages[len(self.answers)])
            if judgement.verdict is not None and judgement.verdict is not Verdict.DELIVERED:
                self.smooth = False
            self.judgements.append(judgement)
            self.answers.append(answer)

    @property
    def goes_on(self) -> bool:
        """Whether the last command was answered as hoped."""
        return self.judgements[-1].verdict is None

    @property
    def refusal(self) -> tuple[Verdict, Reply] | None:
        """What RSET or MAIL was answered with, where that ends it all."""
        for answer, judgement in zip(self.answers[: self._rcpt], self.judgements, strict=False):
            if judgement.verdict is not None:
                return judgement.verdict, answer
        return None

    @property
    def anybody(self) -> bool:
        """Whether there is a sender and at least one recipient that the peer takes."""
        if self.smooth:
            return len(self.judgements) > self._rcpt
        return self.refusal is None and self.accepted > 0

    @property
    def accepted(self) -> int:
        """How many recipients the peer took."""
        of_recipients = self.judgements[self._rcpt : self._about_message]
        return sum(judgement.verdict is None for judgement in of_recipients)

    @property
    def peer_is_ready(self) -> bool:
        """Whether the peer now waits for a message, be there anybody to get it or not."""
        if self.chunked:  # it does whenever it took somebody
            return self.anybody and self.last_word is None
        return len(self.judgements) == self._about_message + 1 and self.goes_on

    @property
    def last_word(self) -> Reply | None:
        """What the connection ends with, if it ends with this transaction: a reply of the peer, else the fault."""
        if self.smooth:
            return self.fault
        for answer, judgement in zip(self.answers, self.judgements, strict=True):
            if judgement.closes:
                return answer
        return self.fault

    @property
    def complete(self) -> bool:
        """Whether the message was taken: the peer is then as it was before."""
        return len(self.judgements) == len(self._stages) and self.judgements[-1].verdict is Verdict.DELIVERED

    def fate(self, nth: int) -> tuple[Verdict, Reply]:
        """
        What becomes of the nth recipient whom the peer took, or of whom it said nothing: its answer to the message, or the fault.

        Where the connection broke, a 421 that came first says why better than the break does.
        """
        if len(self.answers) > self._about_message and (verdict := self.judgements[-1].verdict) is not None:
            return verdict, self.answers[-1]
        return self._broken()

    def _broken(self) -> tuple[Verdict, Reply]:
        fault = self.last_word
        if fault is None:
            raise RuntimeError("a transaction that ended without an answer")  # ours: nothing may be concluded from it
        return Verdict.POSTPONED, fault


class LmtpBatch(Batch):
    """The same in LMTP: after the end of the message each recipient who was accepted gets a reply, in order (RFC 2033)."""

    __slots__ = ()

    shared = False

    def __init__(self, recipients: Sequence[Mailbox], *, rset: bool) -> None:
        super().__init__(recipients, rset=rset)
        self._stages = _stages(len(recipients), rset, False, len(recipients))

    @property
    def complete(self) -> bool:
        """Whether every recipient's reply has come and said yes."""
        return self.smooth and len(self.judgements) == self._about_message + 1 + self.accepted

    def fate(self, nth: int) -> tuple[Verdict, Reply]:
        """As the parent's; the reply that is about this recipient, where it came."""
        place = self._about_message + 1 + nth
        if place < len(self.answers) and (verdict := self.judgements[place].verdict) is not None:
            return verdict, self.answers[place]
        if self.fault is not None and self.sent:  # it tells what may have happened, which a 421 to somebody else does not
            return Verdict.POSTPONED, self.fault
        verdict, answer = super().fate(nth)  # DATA was refused, or the message before its end
        return self._broken() if verdict is Verdict.DELIVERED else (verdict, answer)


def conclude(
    batch: Batch, retried: Collection[Mailbox] = (), classify: Classify = unclassified
) -> tuple[Decided, list[tuple[Mailbox, Reply]]]:
    """
    What became of each recipient; and those whom the peer would not take in one transaction with so many others.

    classify: the class of a reply, which settles what a bare 452 or 552 means where it is one of the predefined ones.
    retried: such of the transaction before; from them a bare 452 or 552 is no longer taken for that.
    A recipient's own refusal stands whatever became of the message (in the model a later refusal of the message replaces it).
    Whom the peer put off for a reason of their own waits as told (in the model they ride along with those who were too many).
    """
    if batch.smooth and batch.shared and batch.complete:
        return [(Verdict.DELIVERED, recipient, batch.answers[-1]) for recipient in batch.recipients], []
    if (refusal := batch.refusal) is not None:
        verdict, answer = refusal
        return [(verdict, recipient, answer) for recipient in batch.recipients], []
    decided: Decided = []
    too_many: list[tuple[Mailbox, Reply]] = []
    taken = 0  # recipients so far of whom the peer said nothing bad
    accepted = False
    for place, recipient in enumerate(batch.recipients, batch._rcpt):
        own = batch.judgements[place].verdict if place < len(batch.judgements) else None
        if own is None:
            accepted = accepted or place < len(batch.judgements)
            verdict, answer = batch.fate(taken)
            decided.append((verdict, recipient, answer))
            taken += 1
            continue
        answer = batch.answers[place]
        why = Excess.NO if place == batch._rcpt else excess(answer)
        if why is Excess.MAYBE:
            why = excess_by_class(classify(answer.single_line))
        if accepted and (why is Excess.YES or (why is Excess.MAYBE and recipient not in retried)):
            too_many.append((recipient, answer))
        else:
            decided.append((own if why is Excess.NO else Verdict.POSTPONED, recipient, answer))
    return decided, too_many
