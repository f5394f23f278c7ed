"""
The servers that answer our DNS questions.  Everything here blocks and is called from threads only.

What is asked: the configured servers or the system's, in their order, over UDP with EDNS and again over TCP where the
answer was cut off, until one answers or `dns.timeout` is over.  A server that kept silent is asked last for a while.
Garbage, and answers to questions that we did not put, are not answers.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from kumotwist.config.server import DnsSettings
from kumotwist.dns.answers import (
    MOST_HOSTS,
    MOST_KEPT,
    MOST_NOTHING_KEPT,
    NO_SUCH_DOMAIN_KEPT,
    NOTHING_WITHOUT_SOA_KEPT,
    Family,
    HostAddresses,
    LookupFailed,
    MailExchangers,
    NoSuchDomain,
)

_PORT = 53
_PAYLOAD = 1232  # octets of a UDP answer that no path has to fragment (DNS flag day 2020)
_MOST_PATIENCE = 2.0  # seconds for one try at one server
_SILENCE_REMEMBERED = 30.0  # seconds in which a server that did not answer is asked after the others
_MOST_ALIASES = 8  # CNAMEs that we follow ourselves, for servers that do not
_LOOPBACK = {Family.A: "127.0.0.1", Family.AAAA: "::1"}


def parse_nameserver(text: str) -> tuple[str, int]:
    """`192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1`, `[2001:db8::1]:5353` → address and port.  Raises ValueError."""
    address, port = text, ""
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if rest or not bracket:
            port = rest.removeprefix(":") or "?"
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
        port = port or "?"
    try:
        number = int(port) if port else _PORT
        if not 0 < number < 65536:
            raise ValueError
        return str(ip_address(address)), number
    except ValueError:
        raise ValueError(f"not a name server's address: {text!r}") from None


class _TooManyAliases(Exception):
    """A name that leads to an alias, and that to another, and so on."""


class _Nameserver(dns.nameserver.Do53Nameserver):
    """One server, and until when we doubt that it answers."""

    def __init__(self, address: str, port: int, seconds: Callable[[], float]) -> None:
        super().__init__(address, port)
        self.silent_until = 0.0
        self._seconds = seconds

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def query(
        self,
        request: dns.message.QueryMessage,
        timeout: float,
        source: str | None,
        source_port: int,
        max_size: bool,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        """As the parent's, remembering whether anything came."""
        try:
            response = super().query(request, timeout, source, source_port, max_size, one_rr_per_rrset, ignore_trailing)
        except (dns.exception.Timeout, OSError):
            self.silent_until = self._seconds() + _SILENCE_REMEMBERED
            raise
        self.silent_until = 0.0
        if max_size and response.flags & dns.flags.TC:
            # Cut off even over TCP.  What is missing may be the MX: it must not be taken for "no MX".
            raise dns.message.Truncated(message=response)
        return response


class Nameservers:
    """Puts questions to the DNS.  Safe to call from several threads at once; each call blocks up to `dns.timeout`."""

    def __init__(self, settings: DnsSettings, seconds: Callable[[], float]) -> None:
        """seconds: the time, callable from any thread.  Raises ValueError for a server's address that is none."""
        self._seconds = seconds
        self._timeout = settings.timeout
        self._servers = [_Nameserver(*parse_nameserver(text), seconds) for text in settings.nameservers or _of_the_system()]
        self._stub = dns.resolver.Resolver(configure=False)
        self._stub.use_edns(0, payload=_PAYLOAD)
        # Short enough that every server gets its turn before the whole time is over.
        self._stub.timeout = min(_MOST_PATIENCE, settings.timeout / (len(self._servers) + 1))

    def mail_exchangers(self, domain: str) -> MailExchangers:
        """The MX records of a domain; none if it exists without any.  Raises LookupFailed."""
        if _is_localhost(domain):
            return MailExchangers((), MOST_KEPT)
        answer, ttl = self._ask("MX", domain, dns.rdatatype.MX)
        hosts = tuple((record.preference, _text(record.exchange)) for record in answer)
        return MailExchangers(hosts, ttl)

    def addresses(self, host: str, family: Family) -> HostAddresses:
        """A host's addresses of one family; none if it has none or does not exist.  Raises LookupFailed."""
        if _is_localhost(host):
            return HostAddresses((_LOOPBACK[family],), MOST_KEPT)
        try:
            answer, ttl = self._ask(family.value, host, dns.rdatatype.from_text(family.value))
        except NoSuchDomain:
            return HostAddresses((), NO_SUCH_DOMAIN_KEPT)
        found = (ip_address(record.address) for record in list(answer)[:MOST_HOSTS])
        return HostAddresses(tuple(str(address) for address in found if not _is_mapped(address)), ttl)

    def _ask(self, kind: str, text: str, rdtype: dns.rdatatype.RdataType) -> tuple[dns.resolver.Answer, float]:
        """The answer, which may be empty, and its TTL in seconds."""
        start = self._seconds()
        try:
            return self._follow(dns.name.from_text(text), rdtype)
        except dns.resolver.NXDOMAIN:
            raise NoSuchDomain(f"{kind} lookup for {text} failed after {self._seconds() - start:.3f}s: NXDOMAIN") from None
        except (dns.exception.DNSException, _TooManyAliases, UnicodeError) as fault:
            raise LookupFailed(f"{kind} lookup for {text} failed after {self._seconds() - start:.3f}s: {_why(fault)}") from None

    def _follow(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> tuple[dns.resolver.Answer, float]:
        """
        Resolve, and go on with the alias if the answer ends in one.

        Resolvers follow CNAMEs themselves, and servers that do not (an authoritative one, a poor forwarder) leave the end
        of the chain out: taken for "no MX" that would send the mail to the wrong host.
        """
        ends = self._seconds() + self._timeout
        ttl = MOST_KEPT
        for _ in range(_MOST_ALIASES):
            self._stub.nameservers = self._in_order()
            answer = self._stub.resolve(
                name, rdtype, raise_on_no_answer=False, lifetime=max(0.0, ends - self._seconds()), search=False
            )
            ttl = min(ttl, _ttl(answer))
            if answer.rrset is not None or answer.canonical_name == name:
                return answer, ttl
            name = answer.canonical_name
        raise _TooManyAliases(f"more than {_MOST_ALIASES} aliases")

    def _in_order(self) -> list[_Nameserver]:
        now = self._seconds()
        return sorted(self._servers, key=lambda server: server.silent_until > now)


def _of_the_system() -> tuple[str, ...]:
    """The addresses in the system's configuration; the local host if there are none, as in resolv.conf(5)."""
    try:
        return tuple(str(server) for server in dns.resolver.Resolver().nameservers)
    except dns.resolver.NoResolverConfiguration:
        return ("127.0.0.1",)


def _is_localhost(name: str) -> bool:
    # RFC 6761 section 6.3: known without a question, and not every server that we may be told to ask knows it.
    return name == "localhost" or name.endswith(".localhost")


def _is_mapped(address: IPv4Address | IPv6Address) -> bool:
    """::ffff:127.0.0.1 would reach 127.0.0.1 past every list of networks; it has no business in an AAAA record."""
    return isinstance(address, IPv6Address) and address.ipv4_mapped is not None


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower().removesuffix(".")


def _ttl(answer: dns.resolver.Answer) -> float:
    ttl = float(answer.chaining_result.minimum_ttl)
    if answer.rrset is not None:
        return ttl
    has_soa = any(rrset.rdtype == dns.rdatatype.SOA for rrset in answer.response.authority)
    return min(ttl, MOST_NOTHING_KEPT if has_soa else NOTHING_WITHOUT_SOA_KEPT)


def _why(fault: Exception) -> str:
    """What went wrong, on one line: each server that did not help, and how it did not."""
    errors = fault.kwargs.get("errors", ()) if isinstance(fault, dns.exception.DNSException) and fault.kwargs else ()
    said = dict.fromkeys(f"{server}: {_on_one_line(what)}" for server, _tcp, _port, what, _response in errors)
    if isinstance(fault, dns.exception.Timeout):
        return f"timeout ({'; '.join(said)})" if said else "timeout"
    return "; ".join(said) or _on_one_line(fault)


def _on_one_line(what: object) -> str:
    return " ".join(str(what).split()) or type(what).__name__
