"""What all conversations share."""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from kumotwist.hooks.policy import Policy
from kumotwist.mail.message_id import MessageIds
from kumotwist.reception.desk import Desk
from kumotwist.reception.intake import Rules
from kumotwist.reception.standing import Standing
from kumotwist.reception.tls import Certificates


class Reception:
    """
    What all conversations share.

    hostname: the server's, for listeners that have none of their own.  rules, policy: replaced as a whole when the
    configuration changes; a transaction that has begun keeps those that it began with.
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
    ) -> None:
        """policy: None is one without handlers."""
        self.hostname = hostname
        self.clock = clock
        self.ids = ids
        self.randbits = randbits
        self.desk = desk
        self.certificates = Certificates(clock)
        self.standing = Standing(rules, policy or Policy({}, clock))

    @property
    def rules(self) -> Rules:
        return self.standing.intake.rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        self.standing = Standing(rules, self.policy)

    @property
    def policy(self) -> Policy:
        return self.standing.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self.standing = Standing(self.rules, policy)
