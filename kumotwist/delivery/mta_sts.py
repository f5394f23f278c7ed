"""
MTA-STS policies of domains: found in the DNS, fetched over HTTPS, kept for as long as they say.  RFC 8461.

What a policy means is in `sts_policy`.  A policy that was once fetched holds until it is too old, even if its record or its
web server is gone; a DNS that does not answer leaves open whether there is one, and mail then waits.  Where a record names a
policy that cannot be fetched, and none is known from before, section 5.1 wants the mail to go as if there were none.
"""

from collections.abc import Callable
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from kumotwist.config.egress import IpLookupStrategy
from kumotwist.delivery.dnssec import Found
from kumotwist.delivery.plan import Resolver
from kumotwist.delivery.sts_policy import BadPolicy, StsPolicy, read_policy, read_record
from kumotwist.delivery.tls import Handshake, TlsParameters, TlsUnusable, Trust, WrongCertificate, verify_host
from kumotwist.delivery.wire import Reactor
from kumotwist.dns.answers import LookupFailed
from kumotwist.dns.cache import Cache
from kumotwist.dns.lookups import SharedLookups

_MOST_POLICIES = 65536
_LONGEST = 65536  # octets of a policy that are read
_FETCH_TIMEOUT = 20.0  # seconds, as in the model
_CONNECT_TIMEOUT = 10.0  # to one address

# Seconds until a domain's record is looked at again, whatever its TTL says; until one is whose lookup or fetch failed.
_LEAST_KEPT, _MOST_KEPT = 60.0, 86400.0
_AFTER_A_FAILURE = 300.0

_PATH = "/.well-known/mta-sts.txt"


class FetchFailed(Exception):
    """The policy could not be had; the argument says why."""


class _Kept:
    """What is known of a domain.  until: the policy holds; look_again: the DNS is asked anew.  Epoch seconds."""

    __slots__ = ("id", "look_again", "policy", "until")

    def __init__(self) -> None:
        self.policy: StsPolicy | None = None
        self.id: str | None = None
        self.until = 0.0
        self.look_again = 0.0

    def in_force(self, now: float) -> StsPolicy | None:
        return self.policy if self.until > now else None


class StsPolicies:
    """The policies of all domains.  One for all sessions."""

    log = Logger()

    def __init__(
        self, clock: Reactor, find: Callable[[str, str], "Deferred[Found]"], fetch: Callable[[str], "Deferred[bytes]"]
    ) -> None:
        """find: (name, kind) → records.  fetch: a domain's policy as its web server hands it out; fails with FetchFailed."""
        self._seconds = clock.seconds
        self._find = find
        self._fetch = fetch
        self._kept: Cache[_Kept] = Cache(_MOST_POLICIES)
        self._asked: SharedLookups[StsPolicy | None] = SharedLookups()

    def policy(self, domain: str) -> "StsPolicy | Deferred[StsPolicy | None] | None":
        """What a domain publishes, at once where that is known.  Fails with LookupFailed: whether it does is not known."""
        now = self._seconds()
        kept = self._kept.get(domain, now)
        if kept is not None and kept.look_again > now:
            return kept.in_force(now)
        known = kept or _Kept()
        return self._asked.ask(domain, lambda: Deferred.fromCoroutine(self._look(domain, known)))

    async def _look(self, domain: str, kept: _Kept) -> StsPolicy | None:
        try:
            found = await self._find(f"_mta-sts.{domain}", "TXT")
        except LookupFailed:
            if (policy := kept.in_force(self._seconds())) is None:
                raise
            kept.look_again = self._seconds() + _LEAST_KEPT
            return policy
        now = self._seconds()
        named = read_record(b"".join(record.strings).decode("ascii", "replace") for record in found.records)
        kept.look_again = now + min(max(found.ttl, _LEAST_KEPT), _MOST_KEPT)
        if named is not None and (named != kept.id or kept.in_force(now) is None):
            await self._renew(domain, kept, named)
        if kept.policy is not None:  # one that gets too old is fetched anew
            kept.look_again = min(kept.look_again, max(kept.until, now + _LEAST_KEPT))
        self._kept.keep(domain, kept, float("inf"))
        return kept.in_force(self._seconds())

    async def _renew(self, domain: str, kept: _Kept, named: str) -> None:
        try:
            policy = read_policy(await self._fetch(domain))
        except (FetchFailed, BadPolicy) as fault:
            self.log.info("the MTA-STS policy of {domain} cannot be had: {fault}", domain=domain, fault=str(fault))
            kept.look_again = self._seconds() + _AFTER_A_FAILURE
            return
        kept.policy, kept.id = policy, named
        kept.until = self._seconds() + max(policy.max_age, _LEAST_KEPT)


class PolicyServers:
    """The web servers that hand out policies, each asked once and without following where it points (section 3.3)."""

    def __init__(self, reactor: Any, resolver: Resolver, trust: Callable[[], Trust], port: int = 443) -> None:
        """trust: whose signatures on certificates we believe, at the time."""
        self._reactor = reactor
        self._resolver = resolver
        self._trust = trust
        self._port = port

    def fetch(self, domain: str) -> "Deferred[bytes]":
        """Fires with the text; fails with FetchFailed."""
        fetching: Deferred[bytes] = Deferred.fromCoroutine(self._get(f"mta-sts.{domain}"))
        return fetching.addTimeout(_FETCH_TIMEOUT, cast(IReactorTime, self._reactor)).addErrback(_in_words)

    async def _get(self, host: str) -> bytes:
        agent = Agent.usingEndpointFactory(self._reactor, _Endpoints(self._connect))
        url = f"https://{host}{_PATH}".encode("ascii")
        response: IResponse = await agent.request(b"GET", url, Headers({b"User-Agent": [b"KumoTwist"]}))
        if response.code != 200:
            raise FetchFailed(f"{host} answered {response.code}")
        kind = (response.headers.getRawHeaders(b"content-type") or [b""])[0].partition(b";")[0].strip().lower()
        if kind != b"text/plain":
            raise FetchFailed(f"{host} sent {kind.decode('ascii', 'replace') or 'something'} instead of text/plain")
        text: Deferred[bytes] = Deferred(lambda _: body.give_up())
        body = _Body(text)
        response.deliverBody(body)
        return await text

    async def _connect(self, host: str, factory: Any) -> Any:
        """To the first of a host's addresses that will do."""
        parameters = TlsParameters(verify=True)
        try:
            context = await self._trust().context(parameters, None, self._reactor.seconds())
        except TlsUnusable as fault:
            raise FetchFailed(str(fault)) from None
        failures = []
        for ip in await self._resolver.addresses(host, IpLookupStrategy.IPV4_AND_IPV6):
            endpoint = (TCP6ClientEndpoint if ":" in ip else TCP4ClientEndpoint)(self._reactor, ip, self._port, _CONNECT_TIMEOUT)
            try:
                return await wrapClientTLS(_Verified(context.ssl, host), endpoint).connect(factory)
            except CancelledError:
                raise
            except Exception as fault:  # noqa: BLE001  whatever is wrong with one address, another may do
                failures.append(f"{ip}: {fault}")
        raise FetchFailed(f"no connection to {host}: {', '.join(failures) or 'it has no address'}")


def _in_words(failure: Failure) -> Any:
    fault = failure.value
    if isinstance(fault, FetchFailed):
        raise fault
    if isinstance(fault, TimeoutError):
        raise FetchFailed("it took too long")
    raise FetchFailed(f"{type(fault).__name__}: {fault}")


class _Verified(Handshake):
    """A handshake that fails where the certificate is another host's."""

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: N803 Twisted's name
        connection = super().clientConnectionForTLS(tlsProtocol)
        connection.set_info_callback(self._look)
        return connection

    def _look(self, connection: SSL.Connection, where: int, result: int) -> None:
        if where & SSL.SSL_CB_HANDSHAKE_DONE:
            try:
                verify_host(connection, self._host)
            except WrongCertificate:
                connection.get_app_data().failVerification(Failure())


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Leads Twisted's web client to our own way to connect."""

    def __init__(self, connect: Callable[[str, Any], Any]) -> None:
        self._connect = connect

    def endpointForURI(self, uri: URI) -> "_Endpoint":
        return _Endpoint(self._connect, uri.host.decode("ascii"))


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, connect: Callable[[str, Any], Any], host: str) -> None:
        self._connect = connect
        self._host = host

    def connect(self, protocolFactory: Any) -> "Deferred[Any]":  # noqa: N803 Twisted's name
        return Deferred.fromCoroutine(self._connect(self._host, protocolFactory))


class _Body(TwistedProtocol):
    """Collects what a policy may be long."""

    def __init__(self, text: "Deferred[bytes]") -> None:
        self._text = text
        self._came = b""

    def dataReceived(self, data: bytes) -> None:
        self._came += data
        if len(self._came) > _LONGEST:
            self._came = self._came[: _LONGEST + 1]
            self.give_up()

    def give_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._text.called:
            return
        if len(self._came) > _LONGEST:
            self._text.errback(FetchFailed(f"it is longer than {_LONGEST} octets"))
        elif reason.check(ResponseDone, PotentialDataLoss):
            self._text.callback(self._came)
        else:
            self._text.errback(FetchFailed(f"it broke off: {reason.getErrorMessage()}"))
