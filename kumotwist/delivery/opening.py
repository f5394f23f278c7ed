"""From an address to a connection that takes mail: connect, perhaps through a proxy, and greet."""

import errno
from collections.abc import Sequence
from enum import Enum

from msgspec.structs import replace
from twisted.internet.address import IPv6Address

from kumotwist.config.egress import EgressSource, EnableTls, PathSettings
from kumotwist.delivery.broken import Offer
from kumotwist.delivery.dane import tlsa_of
from kumotwist.delivery.greeting import Refused, TlsFailed, greet
from kumotwist.delivery.means import Means
from kumotwist.delivery.plan import Address
from kumotwist.delivery.proxy import ProxyFailed, Unplumbed, connect_through, proxy_of
from kumotwist.delivery.sts_policy import allows
from kumotwist.delivery.tls_policy import Agreed, Demand, Terms, terms_of
from kumotwist.delivery.wire import ClientWire, ConnectFailed, WireBroken, connect
from kumotwist.dns.answers import LookupFailed
from kumotwist.egress.path import EgressPath
from kumotwist.mail.disposition import Attempt, SourceAddress
from kumotwist.smtp.client_session import PeerBrokeProtocol, Stage

ESMTP, LMTP = "ESMTP", "LMTP"  # the names of what we speak, in records


class Why(Enum):
    """Kinds of failure that all hosts of a plan may have in common."""

    HANDSHAKE = "handshake"
    GREETING = "greeting after TLS"
    PROXY = "proxy"
    PROXY_SOURCE = "proxy source address"


class HostFailed(Exception):
    """This host will not do; the argument says why.  mode: what held for encryption there, where that matters."""

    def __init__(self, text: str, why: Why | None = None, mode: EnableTls = EnableTls.REQUIRED) -> None:
        super().__init__(text)
        self.why = why
        self.mode = mode


class SourceUnplumbed(Exception):
    """The source's address is not on this machine."""


class Connection:
    """
    A connection that is ready for mail, and what its records say of it.

    demand: what it was made for.  agreed: how it is protected.  used: transactions begun.  rset_due: the last one was left
    unfinished.  pipelining, chunking: offered, allowed, and not known to be broken.
    """

    __slots__ = (
        "address", "agreed", "attempt", "chunking", "demand", "lmtp", "pipelining", "rset_due", "session", "used", "wire",
    )  # fmt: skip

    def __init__(
        self,
        wire: ClientWire,
        address: Address,
        attempt: Attempt,
        settings: PathSettings,
        *,
        chunking: bool,
        demand: Demand,
        agreed: Agreed,
    ) -> None:
        """chunking: it may be used where it is offered."""
        offered = wire.session.capabilities
        self.wire = wire
        self.session = wire.session
        self.address = address
        self.attempt = attempt
        self.lmtp = settings.use_lmtp
        self.pipelining = offered.pipelining and settings.enable_pipelining
        self.chunking = offered.chunking and chunking and not self.lmtp
        self.demand = demand
        self.agreed = agreed
        self.used = 0
        self.rset_due = False


def patience_of(settings: PathSettings) -> tuple[float, ...]:
    """Seconds to wait for each reply, by `Stage`."""
    by_stage = {
        Stage.BANNER: settings.banner_timeout,
        Stage.EHLO: settings.ehlo_timeout,
        Stage.STARTTLS: settings.starttls_timeout,
        Stage.AUTH: settings.auth_timeout,
        Stage.RSET: settings.rset_timeout,
        Stage.MAIL: settings.mail_from_timeout,
        Stage.RCPT: settings.rcpt_to_timeout,
        Stage.DATA: settings.data_timeout,
        Stage.DOT: settings.data_dot_timeout,
        Stage.BDAT: settings.data_dot_timeout,
        Stage.QUIT: settings.idle_timeout,
    }
    return tuple(by_stage[stage] for stage in Stage)


async def open_connection(
    wire: ClientWire, path: EgressPath, address: Address, means: Means, session_id: str, demand: Demand
) -> Connection:
    """
    Connect and greet.  wire: a new one.  demand: what the first message needs.

    Raises HostFailed, or SourceUnplumbed where no host could be reached from this source.
    """
    ready = False
    terms, dane = await _terms(address, means, demand)
    try:
        source = await _connect(wire, path, address, means)
        agreed = replace(await greet(wire, path, address, means, terms), dane=dane)
        ready = True
    except (WireBroken, PeerBrokeProtocol) as fault:
        raise HostFailed(f"{address}: {fault}") from None
    except TlsFailed as fault:
        raise HostFailed(str(fault), Why.HANDSHAKE if fault.handshake else Why.GREETING, terms.mode) from None
    except Refused as refused:
        await wire.part()
        raise HostFailed(f"{address}: {refused}") from None
    finally:
        if not ready:
            wire.abort()
    chunking = not means.broken.holds(path.name, Offer.CHUNKING, means.reactor.seconds())
    attempt = _attempt(path, address, source, agreed, session_id)
    return Connection(wire, address, attempt, path.settings, chunking=chunking, demand=demand, agreed=agreed)


async def _terms(address: Address, means: Means, demand: Demand) -> tuple[Terms, bool]:
    """What holds for encryption with this host; and whether its TLSA records were heeded.  Raises HostFailed."""
    host = address.host
    if not allows(demand.policy, host):
        named = ", ".join(demand.policy.hosts[:8]) if demand.policy is not None else ""
        raise HostFailed(f"{address}: the MTA-STS policy of {demand.domain} names other hosts: {named}")
    if demand.secure_hosts is None or means.secured is None:
        return Terms(mode=demand.mode), False
    if host not in demand.secure_hosts:
        raise HostFailed(f"{address}: the secure MX of {demand.domain} does not name it")
    try:
        tlsa = await tlsa_of(means.secured.find, host, address)
    except LookupFailed as fault:
        raise HostFailed(f"{address}: whether it has TLSA records is not known: {fault}") from None
    return replace(terms_of(demand, tlsa), names=(host, demand.domain) if demand.domain else (host,)), True


async def _connect(wire: ClientWire, path: EgressPath, address: Address, means: Means) -> SourceAddress:
    """Make the connection; what it comes from, as records name it."""
    source, timeout = path.source, path.settings.connect_timeout
    proxy = proxy_of(source)
    try:
        if proxy is not None:
            return await connect_through(proxy, wire, address, source.source_address, timeout, means)
        await connect(means.reactor, wire, address.ip, address.port, source.source_address, timeout)
    except Unplumbed:
        raise _unplumbed(source) from None
    except ProxyFailed as fault:
        why = Why.PROXY_SOURCE if fault.cannot_bind else Why.PROXY
        raise HostFailed(f"connect to {address}: {fault}", why if fault.unhealthy else None) from None
    except ConnectFailed as fault:
        if fault.bind_errno == errno.EADDRNOTAVAIL:
            raise _unplumbed(source) from None
        raise HostFailed(f"connect to {address}: {fault}") from None
    host = wire.transport.getHost()
    return SourceAddress(f"[{host.host}]:{host.port}" if isinstance(host, IPv6Address) else f"{host.host}:{host.port}")


def _unplumbed(source: EgressSource) -> SourceUnplumbed:
    return SourceUnplumbed(f"{source.source_address} is not an address of this machine")


def _attempt(path: EgressPath, address: Address, source: SourceAddress, agreed: Agreed, session_id: str) -> Attempt:
    return Attempt(
        site=path.name,
        egress_source=path.source.name,
        peer=address.peer,
        source_address=source,
        delivery_protocol=protocol_of(path.settings),
        tls=agreed.tls,
        provider_name=path.settings.provider_name,
        session_id=session_id,
    )


def protocol_of(settings: PathSettings) -> str:
    return LMTP if settings.use_lmtp else ESMTP


# What is the matter, where every host failed for the same reason: it is then hardly the hosts'.
_SUMMARIES = {
    Why.PROXY: "no connection to the proxy came about: ",
    Why.PROXY_SOURCE: "the proxy cannot send from the address that the source names: ",
}


def summary(failures: Sequence[HostFailed]) -> str:
    """What begins the list of the failures, if they have all one cause."""
    causes = {failure.why for failure in failures}
    why = causes.pop() if len(causes) == 1 else None
    return _SUMMARIES.get(why, "") if why is not None else ""
