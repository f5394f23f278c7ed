"""`kumo.dns`: what a policy can ask the DNS, by the server's own resolver and its cache."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Never

from msgspec import Struct
from twisted.internet.defer import Deferred

from kumotwist.egress.path import Destination
from kumotwist.hooks.absent import missing
from kumotwist.hooks.context import services

__all__ = ["MailExchangers", "lookup_mx"]


class MailExchangers(Struct, frozen=True, kw_only=True):
    """
    Where a domain's mail goes.

    hosts: names in order of preference.  site_name: what all domains with these hosts have in common.
    by_pref: rank → the hosts of equal preference, the best first; ranks count from 0, whatever numbers the records have.
    is_mx: there are MX records; without them the domain's own host is meant.  is_domain_literal: it was `[10.0.0.1]`.
    is_secure: whether DNSSEC vouches for it; never, since the resolver does not look.
    """

    domain_name: str
    site_name: str
    hosts: tuple[str, ...]
    by_pref: Mapping[int, tuple[str, ...]]
    is_mx: bool
    is_domain_literal: bool
    is_secure: bool = False


async def lookup_mx(domain: str) -> MailExchangers:
    """
    The hosts that a domain's mail goes to; no hosts, and an empty site name, for a domain that takes no mail (RFC 7505).

    Fails with LookupFailed (`kumotwist.dns.answers`) where the DNS does not say, or the domain does not exist.
    """
    found = services("dns.lookup_mx").resolver.destination(domain)
    return _shown(await found if isinstance(found, Deferred) else found)


def _shown(found: Destination) -> MailExchangers:
    groups = tuple(tuple(host.name for host in group) for group in found.groups)
    return MailExchangers(
        domain_name=found.domain,
        site_name=found.site,
        hosts=tuple(host for group in groups for host in group),
        by_pref=dict(enumerate(groups)),
        is_mx=found.is_mx,
        is_domain_literal=found.domain.startswith("["),
    )


if not TYPE_CHECKING:  # else no name would be unknown to a type checker

    def __getattr__(name: str) -> Never:
        raise missing("kumo.dns", name, __all__)
