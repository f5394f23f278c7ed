"""
The addresses that one session will try, in order; or why there are none.

A lookup that fails for now never bounces a message: its host is left out, and where that leaves no host at all the mail
waits.  RFC 5321 section 5.1 (order of hosts), RFC 7505 (null MX).
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed

from kumotwist.config.egress import IpLookupStrategy
from kumotwist.config.fields import Networks
from kumotwist.config.queues import MxHost
from kumotwist.egress.literal import address_text
from kumotwist.egress.path import EgressPath
from kumotwist.mail.disposition import Peer, Verdict
from kumotwist.mail.reason import Reason
from kumotwist.mail.reply import Reply, reply

SMTP_PORT = 25  # the port that is not worth naming


class Resolver(Protocol):
    """Where addresses of hosts come from."""

    def addresses(self, host: str, strategy: IpLookupStrategy) -> "Deferred[tuple[str, ...]]":
        """
        The host's A and AAAA as `strategy` wants them; empty: the host does not exist or has none.

        Fails where that cannot be known now (time-out, SERVFAIL).
        """


class Address(Struct, frozen=True, kw_only=True):
    """
    One place to connect to.

    name: the host as records name it, absolute for names (`mx.example.com.`), bare for literals.  ip: its text.
    in_clear: no STARTTLS there: a handshake just failed, and the path does not insist.
    given: the address stood with the host in an `mx_list` that is to be taken for secure; no DNS was asked for it.
    """

    name: str
    ip: str
    port: int
    in_clear: bool = False
    given: bool = False

    def __str__(self) -> str:
        return f"{self.name}/{self.ip_port}"

    @property
    def host(self) -> str:
        """The name without the dot at its end, as certificates have it."""
        return self.name.removesuffix(".")

    @property
    def ip_port(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"

    @property
    def peer(self) -> Peer:
        return Peer(self.name, self.ip if self.port == SMTP_PORT else self.ip_port)


class Hopeless(Struct, frozen=True, kw_only=True):
    """There is nowhere to connect to, and that holds for everything that waits on the path."""

    verdict: Verdict
    reply: Reply
    reason: Reason


NULL_MX = Hopeless(
    verdict=Verdict.BOUNCED,
    reply=reply("556 5.1.10 Recipient address has a null MX"),
    reason=Reason.FAILED_DUE_TO_NULL_MX,
)


async def make_plan(path: EgressPath, resolver: Resolver, draw: Callable[[], float]) -> tuple[Address, ...] | Hopeless:
    """
    Look up every host of the path, all at once, and put what is found in order.

    draw: uniform in [0, 1); shuffles the addresses of one preference, never those of an `mx_list`.
    """
    destination = path.destination
    if destination.null_mx:
        return NULL_MX
    lookups = [_look_up(host, path, resolver) for group in destination.groups for host in group]
    results: Sequence[tuple[bool, Any]] = await DeferredList(lookups, consumeErrors=True)
    answers = iter(results)
    found: list[Address] = []
    unknown: list[str] = []
    for group in destination.groups:
        addresses: list[Address] = []
        for host in group:
            known, answer = next(answers)
            if known:
                addresses += [_address(host, ip, path) for ip in answer]
            elif answer.check(CancelledError):
                answer.raiseException()  # nobody waits for the plan any more; that says nothing of the host
            else:
                unknown.append(f"{host.name}: {answer.getErrorMessage()}")
        found += shuffled(addresses, draw) if destination.shuffled else addresses
    return settle_plan(found, unknown, path)


def settle_plan(found: Sequence[Address], unknown: Sequence[str], path: EgressPath) -> tuple[Address, ...] | Hopeless:
    """What remains of the addresses found; unknown: the hosts that could not be looked up, and why."""
    if not found:
        why = f" ({'; '.join(unknown)})" if unknown else ""
        return _postponed(f"451 4.4.4 MX didn't resolve to any hosts{why}", Reason.MX_RESOLVED_TO_ZERO_HOSTS)
    prohibited = path.settings.prohibited_hosts
    for address in found:
        if address.ip in prohibited:
            text = f"550 5.4.4 {address.name}/{address.ip} is on the list of prohibited_hosts {_listed(prohibited)}"
            return Hopeless(verdict=Verdict.BOUNCED, reply=reply(text), reason=Reason.MX_WAS_PROHIBITED)
    wanted = tuple(address for address in found if address.ip not in path.settings.skip_hosts)
    if not wanted:
        text = "451 4.4.4 KumoMTA internal: MX consisted solely of hosts on the skip_hosts list"
        return _postponed(text, Reason.MX_WAS_SKIPPED)
    return wanted


def shuffled(addresses: Sequence[Address], draw: Callable[[], float]) -> list[Address]:
    """The same in an order drawn by lot (Fisher and Yates)."""
    left = list(addresses)
    for last in range(len(left) - 1, 0, -1):
        chosen = int(draw() * (last + 1))
        left[last], left[chosen] = left[chosen], left[last]
    return left


def _look_up(host: MxHost, path: EgressPath, resolver: Resolver) -> "Deferred[tuple[str, ...]]":
    """What needs no lookup, an address given with the host or a literal for its name, gets none."""
    ip = literal_ip(host.name) if host.addr is None else host.addr
    return resolver.addresses(host.name, path.settings.ip_lookup_strategy) if ip is None else succeed((ip,))


def literal_ip(name: str) -> str | None:
    """The address that `10.0.0.1`, `[10.0.0.1]`, `[IPv6:2001:db8::1]` or `[::1]` names; None for the name of a host."""
    text = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    try:
        return address_text(text[5:] if text[:5].lower() == "ipv6:" else text)
    except ValueError:
        return None


def _address(host: MxHost, ip: str, path: EgressPath) -> Address:
    return Address(
        name=literal_ip(host.name) or f"{host.name.rstrip('.')}.",
        ip=address_text(ip),  # also in an answer of the DNS, ::ffff:127.0.0.1 would be a way around prohibited_hosts
        port=path.source.remote_port or host.port or path.settings.smtp_port,
        given=host.secure and host.addr is not None,
    )


def in_clear(address: Address) -> Address:
    """The same place, to be spoken to without TLS."""
    return replace(address, in_clear=True)


def _postponed(text: str, reason: Reason) -> Hopeless:
    return Hopeless(verdict=Verdict.POSTPONED, reply=reply(text), reason=reason)


def _listed(networks: Networks) -> str:
    """`{127.0.0.0/8, ::1}`: the set as operators write it."""
    texts = (str(one.network_address) if one.num_addresses == 1 else str(one) for one in networks.networks)
    return f"{{{', '.join(texts)}}}"
