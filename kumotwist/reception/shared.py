"""What all conversations share."""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime

from kumotwist.hooks.policy import Policy
from kumotwist.hooks.signing import Signing
from kumotwist.mail.message_id import MessageIds
from kumotwist.mail.reply import refuse
from kumotwist.reception.counts import ReceptionCounts
from kumotwist.reception.desk import Desk
from kumotwist.reception.intake import Rules
from kumotwist.reception.standing import Standing
from kumotwist.reception.tls import Certificates
from kumotwist.smtp.watching import Dialogues
from kumotwist.spool.memory import Arrivals
from kumotwist.suppression.list import SuppressionList


class Reception:
    """
    What all conversations share.

    hostname: the server's, for listeners that have none of their own.  standing: rules and policy, replaced as a whole when
    the configuration changes; a transaction that has begun keeps what it began with.  dialogues: for who watches them.
    """

    def __init__(
        self,
        *,
        hostname: str,
        clock: IReactorTime,
        ids: MessageIds,
        randbits: Callable[[int], int],
        desk: Desk,
        rules: Rules = Rules(),  # noqa: B008  (a frozen value)
        policy: Policy | None = None,
        directions: Any = None,
        signing: Signing | None = None,
        suppressed: SuppressionList | None = None,
        arrivals: Arrivals | None = None,
        memory_for: Callable[[], bool] = lambda: True,
    ) -> None:
        """
        policy: None is one without handlers.  directions: what messages take along (mail.message.Message).  signing: what
        signs them; None: nobody.  suppressed: who gets no mail; None: everybody does.  arrivals: where what arrives is
        counted; None: there is room for everything.  memory_for: whether there is memory for more mail.
        """
        self.hostname = hostname
        self.clock = clock
        self.ids = ids
        self.randbits = randbits
        self.desk = desk
        self.dialogues = Dialogues(clock.seconds)
        self.counts = ReceptionCounts()
        self.certificates = Certificates(clock)
        self.suppressed = suppressed or SuppressionList()
        self.arrivals = arrivals or Arrivals()
        self._memory_for = memory_for
        self._signing = signing
        self.standing = Standing(rules, policy or Policy({}, clock), directions, signing)

    def check_open(self, hostname: str) -> None:
        """
        Whether a transaction may begin.  Raises Refusal.

        The model looks only when a client connects, but a client may stay for days.  For want of memory, which may be there
        again in a moment, it stays; for other reasons it is sent away.
        """
        if not self._memory_for():
            raise refuse("452 4.3.1 load shedding. Try later")
        closed_for = self.desk.closed_for()
        if closed_for is not None:
            raise refuse(f"421 4.3.2 {hostname} {closed_for}")

    def hold(self, rules: Rules, policy: Policy, directions: Any) -> None:
        """Another configuration: it holds from the next transaction on."""
        self.standing = Standing(rules, policy, directions, self._signing)

    @property
    def rules(self) -> Rules:
        return self.standing.intake.rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        self.standing = Standing(rules, self.policy, signing=self._signing)

    @property
    def policy(self) -> Policy:
        return self.standing.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self.standing = Standing(self.rules, policy, signing=self._signing)
