"""What the domains of a session's messages demand of connections: learnt once for each scheduled queue, then remembered."""

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from kumotwist.delivery.dane import secure_hosts
from kumotwist.delivery.means import Means
from kumotwist.delivery.sts_policy import mode_under
from kumotwist.delivery.tls_policy import Demand
from kumotwist.dns.answers import LookupFailed
from kumotwist.egress.literal import split_port
from kumotwist.egress.path import EgressPath
from kumotwist.mail.address import parse_domain
from kumotwist.mail.message import Message
from kumotwist.mail.queue_name import parse_queue_name


class DemandUnknown(Exception):
    """It cannot be known now; the argument says why.  The mail waits: what it demands may be more than we would give."""


class Demands:
    """
    Those of one path.  usual: what holds where a domain says nothing.  differ: a domain may say something.

    A ready queue is for many domains, as long as their hosts are the same.  Each is heeded for its own mail only (in the
    model the domain that came first speaks for all), so that none can keep another's mail from going.
    The hosts of an `mx_list` have no domain behind them; they are secure if the operator says so.
    """

    __slots__ = ("_dane", "_known", "_means", "_policies", "differ", "usual")

    def __init__(self, path: EgressPath, means: Means) -> None:
        self._means = means
        self._known: dict[str, Demand] = {}
        self.usual = Demand(mode=path.settings.enable_tls)
        destination = path.destination
        hosts = [host for group in destination.groups for host in group]
        by_dns = destination.shuffled and not any(host.addr for host in hosts)
        self._policies = means.policies if path.settings.enable_mta_sts and destination.is_mx else None
        self._dane = means.secured if path.settings.enable_dane and by_dns else None
        if path.settings.enable_dane and means.secured is not None and any(host.secure for host in hosts):
            self.usual = replace(self.usual, secure_hosts=frozenset(host.name for host in hosts))
        self.differ = self._policies is not None or self._dane is not None

    def known(self, message: Message) -> Demand | None:
        """Of this message's domain, once it was learnt."""
        return self._known.get(message.queue)

    async def learn(self, message: Message) -> Demand:
        """Of this message's domain.  Raises DemandUnknown."""
        domain = _domain(parse_queue_name(message.queue).routed_to)
        demand = self.usual if domain is None else await self._of_domain(domain)
        self._known[message.queue] = demand
        return demand

    async def _of_domain(self, domain: str) -> Demand:
        policy = hosts = None
        try:
            if self._policies is not None:
                found = self._policies.policy(domain)
                policy = await found if isinstance(found, Deferred) else found
            if self._dane is not None:
                hosts = await secure_hosts(self._dane.find, domain)
        except LookupFailed as fault:
            raise DemandUnknown(f"what {domain} demands of connections is not known: {fault}") from None
        if policy is None and hosts is None:
            return self.usual
        return Demand(mode=mode_under(policy, self.usual.mode), domain=domain, policy=policy, secure_hosts=hosts)


def _domain(text: str) -> str | None:
    """The domain in the form in which the DNS has it, without a port; None for what is no domain."""
    try:
        return parse_domain(split_port(text)[0].removesuffix("."))
    except ValueError:
        return None
