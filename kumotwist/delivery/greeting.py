"""
What is said before the first message: the greeting, EHLO, STARTTLS and EHLO again, AUTH.

Nothing here judges a message: a host that will not do is a reason to try the next one.
"""

from twisted.internet.defer import Deferred

from kumotwist.config.egress import PathSettings
from kumotwist.delivery.broken import Offer
from kumotwist.delivery.judge import judge
from kumotwist.delivery.keys import KeyUnavailable, read_key
from kumotwist.delivery.means import Means
from kumotwist.delivery.plan import Address
from kumotwist.delivery.tls import (
    Handshake,
    TlsContext,
    TlsUnusable,
    WrongCertificate,
    in_words,
    peer_chain,
    tls_facts,
    tls_parameters,
    verify_host,
)
from kumotwist.delivery.tls_policy import Agreed, Terms, TlsChoice, tls_choice
from kumotwist.delivery.tlsa import vouched_for
from kumotwist.delivery.wire import ClientWire, ConnectionEnded, WireBroken
from kumotwist.egress.path import EgressPath
from kumotwist.mail.reply import Reply
from kumotwist.smtp.client_session import PeerBrokeProtocol, Stage, read_capabilities


class Refused(Exception):
    """The peer, or our own rules, ended the greeting in an orderly way."""


class TlsFailed(Exception):
    """STARTTLS led nowhere.  handshake: that is what failed; else it was the first EHLO after it."""

    def __init__(self, text: str, *, handshake: bool) -> None:
        super().__init__(text)
        self.handshake = handshake


async def greet(wire: ClientWire, path: EgressPath, address: Address, means: Means, terms: Terms) -> Agreed:
    """
    The dialogue up to the first MAIL.  terms: what holds for encryption.

    Raises Refused, TlsFailed, WireBroken, PeerBrokeProtocol.
    """
    settings, session = path.settings, wire.session
    name = settings.ehlo_domain or path.source.ehlo_domain or means.hostname
    say_hello = session.lhlo if settings.use_lmtp else session.ehlo
    await _hoped_for(wire.replies(), Stage.BANNER)
    session.capabilities = read_capabilities(await _hoped_for(wire.exchange(say_hello(name)), Stage.EHLO))
    broken = address.in_clear or means.broken.holds(path.name, Offer.STARTTLS, means.reactor.seconds())
    choice = tls_choice(terms.mode, offered=session.capabilities.starttls, broken=broken)
    if choice is TlsChoice.REFUSE:
        raise Refused(f"tls policy is {terms.mode.value} but STARTTLS is not advertised by {address}")
    agreed = Agreed()
    if choice is not TlsChoice.PLAIN:
        await _hoped_for(wire.exchange(session.starttls()), Stage.STARTTLS)
        verify = choice is TlsChoice.VERIFIED and not terms.tlsa
        context = await _encrypt(wire, address, settings, means, terms, verify=verify)
        agreed = Agreed(tls=tls_facts(wire.transport.getHandle()), verified=verify, vouched_for=bool(terms.tlsa))
        try:
            session.capabilities = read_capabilities(await _hoped_for(wire.exchange(say_hello(name)), Stage.EHLO))
        except (Refused, WireBroken, PeerBrokeProtocol) as fault:
            raise TlsFailed(f"after the TLS handshake with {address}: {fault}", handshake=False) from None
        context.keep_session(str(address), wire.transport.getHandle(), means.reactor.seconds())
    if settings.smtp_auth_plain_username is not None:
        await _log_in(wire, settings, means, agreed)
    return agreed


async def _hoped_for(coming: "Deferred[list[Reply]]", stage: Stage) -> Reply:
    answer = (await coming)[0]
    if judge(answer, stage).verdict is not None:
        about = "the greeting" if answer.command is None else answer.command
        raise Refused(f"{about} was answered {answer.single_line}")
    return answer


async def _encrypt(
    wire: ClientWire, address: Address, settings: PathSettings, means: Means, terms: Terms, *, verify: bool
) -> TlsContext:
    """verify: by whom we trust; else TLSA records count, where there are any."""
    host = address.host
    failed = f"TLS handshake with {address} failed"
    now = means.reactor.seconds()
    try:
        context = await means.trust.context(tls_parameters(settings, verify=verify), means.ask_policy, now)
    except TlsUnusable as fault:
        raise Refused(f"{failed}: {fault}") from None
    # What the peer sent in clear after its 220 would be taken for encrypted (RFC 3207 section 6): start_tls refuses.
    try:
        await wire.start_tls(Handshake(context.ssl, host, context.sessions.get(str(address), now)))
    except ConnectionEnded as fault:
        raise TlsFailed(f"{failed}: {in_words(fault.cause) if fault.cause else fault}", handshake=True) from None
    try:
        if verify:
            verify_host(wire.transport.getHandle(), host)
        elif terms.tlsa and not vouched_for(terms.tlsa, peer_chain(wire.transport.getHandle()), terms.names):
            raise WrongCertificate(f"no TLSA record of {host} means its certificate")
    except WrongCertificate as fault:
        raise TlsFailed(f"{failed}: {fault}", handshake=True) from None
    return context


async def _log_in(wire: ClientWire, settings: PathSettings, means: Means, agreed: Agreed) -> None:
    """AUTH PLAIN, where the connection is fit for a password."""
    if agreed.tls is None and not settings.allow_smtp_auth_plain_without_tls:
        raise Refused("AUTH PLAIN is required, but the connection is not encrypted")
    good = agreed.verified or agreed.vouched_for
    if agreed.tls is not None and not good and not settings.allow_smtp_auth_plain_without_valid_certificate:
        raise Refused("AUTH PLAIN is required, but the certificate is not verified")
    if "PLAIN" not in wire.session.capabilities.auth:
        raise Refused("AUTH PLAIN is required, but not advertised")
    try:
        password = await _password(settings, means)
    except KeyUnavailable as fault:
        raise Refused(f"AUTH PLAIN is required, but there is no password: {fault}") from None
    login = wire.session.auth_plain(settings.smtp_auth_plain_username or "", password)
    await _hoped_for(wire.exchange(login), Stage.AUTH)


async def _password(settings: PathSettings, means: Means) -> str:
    source = settings.smtp_auth_plain_password
    if source is None:
        return ""
    try:
        return (await read_key(source, means.ask_policy)).decode()
    except UnicodeDecodeError:
        raise KeyUnavailable("it is not UTF-8") from None
