"""Who may send what through us, for one client: no relay without authority."""

from kumotwist.config.compose import listener_domain
from kumotwist.config.fields import Networks
from kumotwist.config.listeners import ListenerDomain, ListenerDomains, ReportHandling
from kumotwist.hooks.connection import ConnMeta
from kumotwist.hooks.policy import Policy
from kumotwist.mail.address import Mailbox
from kumotwist.reception.waits import Ask, BadAnswer

_MOST_LEARNED = 1024  # domains whose answers are kept; a client that sends to more of them asks again


class Relay:
    """
    What one client may do, as long as it is who it is.

    Made anew when it proves who it is, when a proxy says where it comes from, and when rules or policy change.
    """

    __slots__ = ("_authz_id", "_conn_meta", "_domains", "_learned", "_listener", "_peer", "_policy", "_trusted")

    def __init__(
        self,
        peer: str,
        relay_hosts: Networks,
        domains: ListenerDomains,
        *,
        listener: str = "",
        authz_id: str | None = None,
        policy: Policy | None = None,
        conn_meta: ConnMeta | None = None,
    ) -> None:
        """peer: the client's IP address.  listener: the local `ip:port`.  policy: one that is asked for domains."""
        self._peer = peer
        self._trusted = peer in relay_hosts
        self._domains = domains
        self._listener = listener
        self._authz_id = authz_id
        self._policy = policy
        self._conn_meta = conn_meta
        self._learned: dict[str, ListenerDomain] = {}

    def permits(self, sender: Mailbox, recipient: Mailbox) -> bool:
        """
        One of three is enough: the client may relay; it may in the name of this sender's domain; anyone may send to this
        recipient's domain.

        `relay_to: false` of a recipient's domain forbids nothing that the others permit.
        """
        if self._trusted:
            return True
        if not (self._domains.domains or self._domains.by_listener or self._learned):
            return False
        of_sender = self._of(sender.domain)
        if of_sender is not None and (
            self._peer in of_sender.relay_from or (self._authz_id is not None and self._authz_id in of_sender.relay_from_authz)
        ):
            return True
        of_recipient = self._of(recipient.domain)
        return of_recipient is not None and of_recipient.relay_to

    def accepts(self, sender: Mailbox, recipient: Mailbox) -> bool:
        """Whether a recipient may be named: mail may go there, or reports are awaited there, from whomever they come."""
        return self.permits(sender, recipient) or self.reports_for(recipient) is not None

    def reports_for(self, recipient: Mailbox) -> ListenerDomain | None:
        """What holds for reports to a recipient's domain; None where none are looked for."""
        if not (self._domains.domains or self._domains.by_listener or self._learned):
            return None
        domain = self._of(recipient.domain)
        if domain is None or (domain.log_oob is ReportHandling.IGNORE and domain.log_arf is ReportHandling.IGNORE):
            return None
        return domain

    async def learn(self, domain: str, ask: Ask) -> None:
        """What the policy, or else the configuration, says of a domain.  Raises Refusal, HookFailed and BadAnswer."""
        if self._policy is None or domain in self._learned:
            return
        answer = await ask(self._policy.first("get_listener_domain", domain, self._listener, self._conn_meta))
        if answer is None:
            answer = listener_domain(self._domains, domain, self._listener) or _NOTHING
        elif not isinstance(answer, ListenerDomain):
            raise BadAnswer(f"get_listener_domain answered a {type(answer).__name__}, expected what make_listener_domain makes")
        if len(self._learned) >= _MOST_LEARNED:
            self._learned.clear()
        self._learned[domain] = answer

    def _of(self, domain: str) -> ListenerDomain | None:
        learned = self._learned.get(domain)
        return learned if learned is not None else listener_domain(self._domains, domain, self._listener)


_NOTHING = ListenerDomain()
