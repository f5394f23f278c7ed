"""
From an address to a connection that takes mail: connect, greeting, EHLO, STARTTLS, EHLO again.

Nothing here judges a message: a host that will not do is a reason to try the next one.
"""

import errno

from OpenSSL import SSL
from twisted.internet.address import IPv6Address
from twisted.internet.defer import Deferred

from kumotwist.config.egress import PathSettings
from kumotwist.delivery.judge import judge
from kumotwist.delivery.plan import Address
from kumotwist.delivery.tls import Handshake, Trust, WrongCertificate, in_words, tls_facts, verify_host
from kumotwist.delivery.tls_policy import TlsChoice, tls_choice
from kumotwist.delivery.wire import ClientWire, ConnectFailed, ConnectionEnded, Reactor, WireBroken, connect
from kumotwist.egress.path import EgressPath
from kumotwist.mail.disposition import Attempt, SourceAddress, TlsFacts
from kumotwist.mail.reply import Reply
from kumotwist.smtp.client_session import ClientSession, PeerBrokeProtocol, Stage, read_capabilities

ESMTP = "ESMTP"  # the name of what we speak, in records


class HostFailed(Exception):
    """This host will not do; the argument says why."""


class HandshakeFailed(HostFailed):
    """It would perhaps do without TLS."""


class SourceUnplumbed(Exception):
    """The source's address is not on this machine."""


class Connection:
    """
    A connection that is ready for mail, and what its records say of it.

    used: transactions begun.  rset_due: the last one was left unfinished.  pipelining: offered and allowed.
    """

    __slots__ = ("address", "attempt", "pipelining", "rset_due", "session", "used", "wire")

    def __init__(self, wire: ClientWire, address: Address, attempt: Attempt, *, pipelining: bool) -> None:
        self.wire = wire
        self.session = wire.session
        self.address = address
        self.attempt = attempt
        self.pipelining = pipelining
        self.used = 0
        self.rset_due = False


def patience_of(settings: PathSettings) -> tuple[float, ...]:
    """Seconds to wait for each reply, by `Stage`."""
    by_stage = {
        Stage.BANNER: settings.banner_timeout,
        Stage.EHLO: settings.ehlo_timeout,
        Stage.STARTTLS: settings.starttls_timeout,
        Stage.RSET: settings.rset_timeout,
        Stage.MAIL: settings.mail_from_timeout,
        Stage.RCPT: settings.rcpt_to_timeout,
        Stage.DATA: settings.data_timeout,
        Stage.DOT: settings.data_dot_timeout,
        Stage.QUIT: settings.idle_timeout,
    }
    return tuple(by_stage[stage] for stage in Stage)


async def open_connection(
    path: EgressPath, address: Address, *, reactor: Reactor, trust: Trust, hostname: str, session_id: str
) -> Connection:
    """
    Connect and greet.  hostname: what EHLO says where neither path nor source names something else.

    Raises HostFailed, or SourceUnplumbed where no host could be reached from this source.
    """
    wire = ClientWire(reactor, ClientSession(), patience_of(path.settings))
    ready = False
    try:
        await _connect(wire, path, address, reactor)
        tls = await _greet(wire, path, address, trust, hostname)
        ready = True
    except (WireBroken, PeerBrokeProtocol) as fault:
        raise HostFailed(f"{address}: {fault}") from None
    except _Refused as refused:
        await wire.part()
        raise HostFailed(f"{address}: {refused}") from None
    finally:
        if not ready:
            wire.abort()
    offered = wire.session.capabilities
    attempt = _attempt(path, address, wire, tls, session_id)
    return Connection(wire, address, attempt, pipelining=offered.pipelining and path.settings.enable_pipelining)


class _Refused(Exception):
    """The peer, or our own rules, ended the greeting in an orderly way."""


async def _connect(wire: ClientWire, path: EgressPath, address: Address, reactor: Reactor) -> None:
    source = path.source
    try:
        await connect(reactor, wire, address, source.source_address, path.settings.connect_timeout)
    except ConnectFailed as fault:
        if fault.bind_errno == errno.EADDRNOTAVAIL:
            raise SourceUnplumbed(f"{source.source_address} is not an address of this machine") from None
        raise HostFailed(f"connect to {address}: {fault}") from None


async def _greet(wire: ClientWire, path: EgressPath, address: Address, trust: Trust, hostname: str) -> TlsFacts | None:
    """The dialogue up to the first MAIL; returns what was agreed about TLS."""
    settings, session = path.settings, wire.session
    name = settings.ehlo_domain or path.source.ehlo_domain or hostname
    await _hoped_for(wire.replies(), Stage.BANNER)
    session.capabilities = read_capabilities(await _hoped_for(wire.exchange(session.ehlo(name)), Stage.EHLO))
    offered = session.capabilities.starttls
    choice = TlsChoice.PLAIN if address.in_clear else tls_choice(settings.enable_tls, offered=offered)
    if choice is TlsChoice.PLAIN:
        return None
    if choice is TlsChoice.REFUSE:
        raise _Refused(f"tls policy is {settings.enable_tls.value} but STARTTLS is not advertised by {address}")
    await _hoped_for(wire.exchange(session.starttls()), Stage.STARTTLS)
    tls = await _encrypt(wire, address, trust, verify=choice is TlsChoice.VERIFIED)
    session.capabilities = read_capabilities(await _hoped_for(wire.exchange(session.ehlo(name)), Stage.EHLO))
    return tls


async def _hoped_for(coming: "Deferred[list[Reply]]", stage: Stage) -> Reply:
    answer = (await coming)[0]
    if judge(answer, stage).verdict is not None:
        about = "the greeting" if answer.command is None else answer.command
        raise _Refused(f"{about} was answered {answer.single_line}")
    return answer


async def _encrypt(wire: ClientWire, address: Address, trust: Trust, *, verify: bool) -> TlsFacts:
    host = address.name.removesuffix(".")
    failed = f"TLS handshake with {address} failed"
    try:
        context = trust.context(verify=verify)
    except (SSL.Error, OSError) as fault:
        raise _Refused(f"{failed}: the trusted certificates cannot be read: {in_words(fault)}") from None
    # What the peer sent in clear after its 220 would be taken for encrypted (RFC 3207 section 6): start_tls refuses.
    try:
        await wire.start_tls(Handshake(context, host))
    except ConnectionEnded as fault:
        raise HandshakeFailed(f"{failed}: {in_words(fault.cause) if fault.cause else fault}") from None
    connection = wire.transport.getHandle()
    try:
        if verify:
            verify_host(connection, host)
    except WrongCertificate as fault:
        raise HandshakeFailed(f"{failed}: {fault}") from None
    return tls_facts(connection)


def _attempt(path: EgressPath, address: Address, wire: ClientWire, tls: TlsFacts | None, session_id: str) -> Attempt:
    host = wire.transport.getHost()
    local = f"[{host.host}]:{host.port}" if isinstance(host, IPv6Address) else f"{host.host}:{host.port}"
    return Attempt(
        site=path.name,
        egress_source=path.source.name,
        peer=address.peer,
        source_address=SourceAddress(local),
        delivery_protocol=ESMTP,
        tls=tls,
        provider_name=path.settings.provider_name,
        session_id=session_id,
    )
