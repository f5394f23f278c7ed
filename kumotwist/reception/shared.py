"""What all conversations share."""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime

from kumotwist.hooks.policy import Policy
from kumotwist.hooks.signing import Signing
from kumotwist.mail.message_id import MessageIds
from kumotwist.reception.desk import Desk
from kumotwist.reception.intake import Rules
from kumotwist.reception.standing import Standing
from kumotwist.reception.tls import Certificates
from kumotwist.smtp.watching import Dialogues
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
    ) -> None:
        """
        policy: None is one without handlers.  directions: what messages take along (mail.message.Message).  signing: what
        signs them; None: nobody.  suppressed: who gets no mail; None: everybody does.
        """
        self.hostname = hostname
        self.clock = clock
        self.ids = ids
        self.randbits = randbits
        self.desk = desk
        self.dialogues = Dialogues(clock.seconds)
        self.certificates = Certificates(clock)
        self.suppressed = suppressed or SuppressionList()
        self._signing = signing
        self.standing = Standing(rules, policy or Policy({}, clock), directions, signing)

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
