"""Section `routing`: rules in order, the first that fits sets what it names."""

from collections.abc import Mapping

from msgspec import Struct

from kumotwist.config.fields import DomainPattern, HeaderName, Networks


class RoutingMatch(Struct, frozen=True, kw_only=True):
    """All that are named must fit; texts are shell patterns (`*`, `?`, `[]`); an absent header fits nothing."""

    recipient_domain: DomainPattern | None = None
    sender_domain: DomainPattern | None = None
    tenant: str | None = None
    campaign: str | None = None
    listener: str | None = None
    peer: Networks | None = None
    header: Mapping[HeaderName, str] = {}


class RoutingRule(Struct, frozen=True, kw_only=True):
    """What fits, and the metadata that it gets: routing_domain, queue, tenant, campaign, or any other."""

    match: RoutingMatch = RoutingMatch()
    set: Mapping[str, object] = {}
