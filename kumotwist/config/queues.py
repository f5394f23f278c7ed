"""Section `queues`: tenants, campaigns and the retry schedule of scheduled queues, in the model's helper layout."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from kumotwist.config.fields import Duration, HeaderName, Rate, RoutedTo


class MxHost(Struct, frozen=True, kw_only=True):
    """
    One entry of `protocol.smtp.mx_list`: a host to deliver to instead of the domain's MX.

    name: host name (its A and AAAA are looked up) or, with addr, only what it is called.
    addr: IP address already known.  port: None leaves it to the path.  label: how the entry stands in the site's name.
    """

    name: str
    label: str
    addr: str | None = None
    port: int | None = None


RetryInterval = Annotated[float, Meta(description="duration", ge=1.0, extra={"kind": "duration"})]
MxList = Annotated[tuple[MxHost, ...], Meta(extra={"key": "protocol"})]
UnknownTenant = Annotated[bool, Meta(extra={"kind": "unknown_tenant", "key": "unknown_tenant"})]


class QueueSettings(Struct, frozen=True, kw_only=True):
    """What holds for one scheduled queue; names, units and defaults are the model's `make_queue_config`."""

    retry_interval: RetryInterval = 20 * 60.0
    max_retry_interval: RetryInterval | None = None
    max_age: Duration = 7 * 86400.0
    egress_pool: str | None = None
    max_message_rate: Rate | None = None
    mx_list: MxList = ()  # from protocol: {smtp: {mx_list: [...]}}; empty: the domain's MX
    reap_interval: Duration = 600.0
    provider_name: str | None = None


class TenantSettings(Struct, frozen=True, kw_only=True):
    """One tenant.  options: queue parameters that hold for its mail (only those that were named)."""

    options: Mapping[str, object] = {}


class QueueRule(Struct, frozen=True, kw_only=True):
    """`queue.DOMAIN`: its options, and those of its tenants and of their campaigns (each only what was named)."""

    options: Mapping[str, object] = {}
    routing_domain: RoutedTo | None = None
    tenants: Mapping[str, "QueueRule"] = {}  # below a domain: tenants; below a tenant: campaigns


class QueuesSettings(Struct, frozen=True, kw_only=True):
    """Section `queues`."""

    scheduling_header: HeaderName | None = None
    tenant_header: HeaderName | None = None
    remove_tenant_header: bool = False
    campaign_header: HeaderName | None = None
    remove_campaign_header: bool = False
    default_tenant: str | None = None
    require_tenant: bool = False
    unknown_tenant_accepted: UnknownTenant = False  # `unknown_tenant: accept`; matters only where tenants are listed
    tenant: Mapping[str, TenantSettings] = {}
    queue: Mapping[str, QueueRule] = {}  # domain, `*.domain` or `default`
