"""From an address to a connection that takes mail: connect, perhaps through a proxy, and greet."""

import errno
from collections.abc import Sequence
from enum import Enum

from twisted.internet.address import IPv6Address

from kumotwist.config.egress import EnableTls, PathSettings
from kumotwist.delivery.broken import Offer
from kumotwist.delivery.greeting import Agreed, Refused, TlsFailed, greet
from kumotwist.delivery.means import Means
from kumotwist.delivery.plan import Address
from kumotwist.delivery.proxy import ProxyFailed, connect_through, proxy_of
from kumotwist.delivery.wire import ClientWire, ConnectFailed, WireBroken, connect
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
    """This host will not do; the argument says why."""

    def __init__(self, text: str, why: Why | None = None) -> None:
        super().__init__(text)
        self.why = why


class SourceUnplumbed(Exception):
    """The source's address is not on this machine."""


class Connection:
    """
    A connection that is ready for mail, and what its records say of it.

    used: transactions begun.  rset_due: the last one was left unfinished.  pipelining, chunking: offered, allowed, and not
    known to be broken.  verified: its certificate is the host's.
    """

    __slots__ = ("address", "attempt", "chunking", "lmtp", "pipelining", "rset_due", "session", "used", "verified", "wire")

    def __init__(
        self, wire: ClientWire, address: Address, attempt: Attempt, settings: PathSettings, *, chunking: bool, verified: bool
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
        self.verified = verified
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
    wire: ClientWire, path: EgressPath, address: Address, means: Means, session_id: str, mode: EnableTls
) -> Connection:
    """
    Connect and greet.  wire: a new one.  mode: what holds for encryption.

    Raises HostFailed, or SourceUnplumbed where no host could be reached from this source.
    """
    ready = False
    try:
        source = await _connect(wire, path, address, means)
        agreed = await greet(wire, path, address, means, mode)
        ready = True
    except (WireBroken, PeerBrokeProtocol) as fault:
        raise HostFailed(f"{address}: {fault}") from None
    except TlsFailed as fault:
        raise HostFailed(str(fault), Why.HANDSHAKE if fault.handshake else Why.GREETING) from None
    except Refused as refused:
        await wire.part()
        raise HostFailed(f"{address}: {refused}") from None
    finally:
        if not ready:
            wire.abort()
    chunking = not means.broken.holds(path.name, Offer.CHUNKING, means.reactor.seconds())
    attempt = _attempt(path, address, source, agreed, session_id)
    return Connection(wire, address, attempt, path.settings, chunking=chunking, verified=agreed.verified)


async def _connect(wire: ClientWire, path: EgressPath, address: Address, means: Means) -> SourceAddress:
    """Make the connection; what it comes from, as records name it."""
    source, timeout = path.source, path.settings.connect_timeout
    proxy = proxy_of(source)
    if proxy is not None:
        try:
            return await connect_through(proxy, wire, address, source.source_address, timeout, means)
        except ProxyFailed as fault:
            why = None
            if fault.unhealthy:
                why = Why.PROXY_SOURCE if fault.cannot_bind else Why.PROXY
            raise HostFailed(f"connect to {address}: {fault}", why) from None
    try:
        await connect(means.reactor, wire, address.ip, address.port, source.source_address, timeout)
    except ConnectFailed as fault:
        if fault.bind_errno == errno.EADDRNOTAVAIL:
            raise SourceUnplumbed(f"{source.source_address} is not an address of this machine") from None
        raise HostFailed(f"connect to {address}: {fault}") from None
    host = wire.transport.getHost()
    return SourceAddress(f"[{host.host}]:{host.port}" if isinstance(host, IPv6Address) else f"{host.host}:{host.port}")


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
    Why.HANDSHAKE: "every host that was tried failed at the TLS handshake, which `enable_tls=Disabled` would avoid: ",
    Why.PROXY: "no connection to the proxy came about: ",
    Why.PROXY_SOURCE: "the proxy cannot send from the address that the source names: ",
}


def summary(failures: Sequence[HostFailed], mode: EnableTls) -> str:
    """What begins the list of the failures, if they have all one cause; mode: what held for encryption."""
    causes = {failure.why for failure in failures}
    why = causes.pop() if len(causes) == 1 else None
    if why is Why.HANDSHAKE and mode is not EnableTls.OPPORTUNISTIC_INSECURE:
        return ""  # there somebody wants to have handshakes, and valid certificates
    return _SUMMARIES.get(why, "") if why is not None else ""
