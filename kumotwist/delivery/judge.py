"""
What a reply means: the only place where 421, 450 and 550 acquire a meaning.  Pure.

RFC 5321 section 4.2.1 gives the severities; whom a reply hits, and whether the connection survives it, follows from
the stage at which it came.
"""

from enum import Enum
from functools import lru_cache

from msgspec import Struct

from kumotwist.bounces.classifier import PREDEFINED, UNCATEGORIZED
from kumotwist.mail.disposition import Verdict
from kumotwist.mail.reply import EnhancedCode, Reply
from kumotwist.smtp.client_session import Stage


class Scope(Enum):
    """Whom a reply hits that is not what was hoped for."""

    RECIPIENT = "recipient"
    MESSAGE = "message"
    CONNECTION = "connection"  # the host: the next one is tried, and no message is judged by this reply


class Judgement(Struct, frozen=True):
    """
    verdict: None where the dialogue simply goes on; else what becomes of those in `scope`.

    closes: nothing more can be sent on this connection.
    """

    verdict: Verdict | None
    scope: Scope
    closes: bool = False


_SCOPE = {
    Stage.BANNER: Scope.CONNECTION,
    Stage.EHLO: Scope.CONNECTION,
    Stage.STARTTLS: Scope.CONNECTION,
    Stage.AUTH: Scope.CONNECTION,
    Stage.RSET: Scope.MESSAGE,
    Stage.MAIL: Scope.MESSAGE,
    Stage.RCPT: Scope.RECIPIENT,
    Stage.DATA: Scope.MESSAGE,
    Stage.DOT: Scope.MESSAGE,
    Stage.BDAT: Scope.MESSAGE,
    Stage.QUIT: Scope.CONNECTION,
}
_ONLY_GOOD = {  # elsewhere each 2xx is
    Stage.BANNER: 220,
    Stage.EHLO: 250,
    Stage.STARTTLS: 220,
    Stage.AUTH: 235,
    Stage.DATA: 354,
}
_ENDS_MESSAGE = (Stage.DOT, Stage.BDAT)
_NO_SUCH_COMMAND = range(500, 505)  # RFC 5321 section 4.2.2: unknown, not implemented, out of order, not like this


def judge(answer: Reply, stage: Stage) -> Judgement:
    """Whether the dialogue goes on after this reply, and if not, what ends and for whom."""
    return _judge(answer.code, stage)


@lru_cache(maxsize=1024)
def _judge(code: int, stage: Stage) -> Judgement:
    scope = _SCOPE[stage]
    good = code == _ONLY_GOOD[stage] if stage in _ONLY_GOOD else 200 <= code <= 299
    if good:
        return Judgement(Verdict.DELIVERED if stage in _ENDS_MESSAGE else None, scope, closes=stage is Stage.QUIT)
    if scope is Scope.CONNECTION:
        return Judgement(Verdict.POSTPONED, scope, closes=True)
    if code == 421:  # RFC 5321 section 3.8: the peer closes, whatever was asked
        return Judgement(Verdict.POSTPONED, scope, closes=True)
    if code < 400:
        # A 2xx to DATA, a 3xx elsewhere: the peer is at another place in the dialogue than we are.  Nothing was
        # delivered (the model takes 250 to DATA for a delivery), and what the next reply answers cannot be known.
        return Judgement(Verdict.POSTPONED, scope, closes=True)
    if stage is Stage.BDAT and code in _NO_SUCH_COMMAND:
        # It offered CHUNKING and does not know BDAT (something between us takes it away, say).  That is nothing about the
        # message, and what it made of the octets that followed the command is anybody's guess.
        return Judgement(Verdict.POSTPONED, scope, closes=True)
    if stage is Stage.RSET:
        # It says nothing of the message, so it never bounces one (in the model a 5xx does).
        return Judgement(Verdict.POSTPONED, scope, closes=True)
    if code < 500 or code == 503:  # 503: the order of commands, not the message
        return Judgement(Verdict.POSTPONED, scope)
    return Judgement(Verdict.BOUNCED, scope)


_TOO_MANY = EnhancedCode(4, 5, 3)


def lacks_chunking(answer: Reply) -> bool:
    """Whether a reply to BDAT says that the peer, whatever it offered, cannot do it."""
    return answer.code in _NO_SUCH_COMMAND


class Excess(Enum):
    """Whether a reply to RCPT says that the transaction, not the recipient, is at fault: too many recipients."""

    NO = "no"
    MAYBE = "maybe"  # 452 also means that a disk is full, 552 that a mailbox is
    YES = "yes"


def excess(answer: Reply) -> Excess:
    """For a recipient who was not the first of its transaction.  RFC 5321 section 4.5.3.1.10."""
    if answer.enhanced == _TOO_MANY:
        return Excess.YES
    if answer.enhanced is None and answer.code in (452, 552):
        return Excess.MAYBE
    return Excess.NO


def excess_by_class(label: str) -> Excess:
    """What may be meant, by the class of the reply: one of the operator's own, or none, decides nothing."""
    if label == "TooManyRecipients":
        return Excess.YES
    return Excess.NO if label in PREDEFINED and label != UNCATEGORIZED else Excess.MAYBE
