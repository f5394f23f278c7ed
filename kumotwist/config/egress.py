"""Sections `egress` and `shaping`: where we send from, and how a receiving site is treated."""

from collections.abc import Mapping
from enum import Enum
from ipaddress import ip_network

from msgspec import Struct

from kumotwist.config.fields import Count, DomainText, Duration, IpText, KeyAbove, Limit, Networks, Port, Positive, Rate

UNSPECIFIED = "unspecified"  # the built-in pool and source: the kernel picks the address


class EgressSource(Struct, frozen=True, kw_only=True):
    """One address that we send from.  source_address: the address to bind; None leaves it to the kernel."""

    name: KeyAbove
    source_address: IpText | None = None
    ehlo_domain: DomainText | None = None
    remote_port: Port | None = None


class PoolEntry(Struct, frozen=True, kw_only=True):
    """A source in a pool, and its share of the messages; weight 0: none."""

    name: KeyAbove
    weight: Count = 1


class EgressPool(Struct, frozen=True, kw_only=True):
    """Sources that messages are shared among, in this order."""

    name: KeyAbove
    entries: tuple[PoolEntry, ...] = ()


class EgressSettings(Struct, frozen=True, kw_only=True):
    """Section `egress`.  Both maps by name; `unspecified` is in them always."""

    source: Mapping[str, EgressSource] = {}
    pool: Mapping[str, EgressPool] = {}


class EnableTls(Enum):
    """When a connection is encrypted, and whether the certificate must be valid."""

    DISABLED = "Disabled"
    OPPORTUNISTIC = "Opportunistic"
    OPPORTUNISTIC_INSECURE = "OpportunisticInsecure"
    REQUIRED = "Required"
    REQUIRED_INSECURE = "RequiredInsecure"


class IpLookupStrategy(Enum):
    """Which of a host's addresses are tried, in which order."""

    IPV4_AND_IPV6 = "Ipv4AndIpv6"
    IPV4_ONLY = "Ipv4Only"
    IPV6_ONLY = "Ipv6Only"
    IPV6_THEN_IPV4 = "Ipv6ThenIpv4"
    IPV4_THEN_IPV6 = "Ipv4ThenIpv6"


PROHIBITED_HOSTS = Networks((ip_network("127.0.0.0/8"), ip_network("0.0.0.0"), ip_network("::1"), ip_network("::")))


class PathSettings(Struct, frozen=True, kw_only=True):
    """What holds on one egress path; names, units and defaults are the model's `make_egress_path`."""

    connect_timeout: Duration = 60.0
    banner_timeout: Duration = 60.0
    ehlo_timeout: Duration = 300.0
    starttls_timeout: Duration = 5.0
    mail_from_timeout: Duration = 300.0
    rcpt_to_timeout: Duration = 300.0
    data_timeout: Duration = 300.0
    data_dot_timeout: Duration = 300.0
    rset_timeout: Duration = 5.0
    idle_timeout: Duration = 5.0
    system_shutdown_timeout: Duration | None = None  # None: mail + rcpt + data + dot
    connection_limit: Limit = Limit(32)
    max_connection_rate: Rate | None = None
    max_message_rate: Rate | None = None
    max_deliveries_per_connection: Positive = 1024
    max_recipients_per_batch: Positive = 100
    max_ready: Positive = 1024
    consecutive_connection_failures_before_delay: Count = 100
    smtp_port: Port = 25
    ehlo_domain: DomainText | None = None
    ip_lookup_strategy: IpLookupStrategy = IpLookupStrategy.IPV4_AND_IPV6
    prohibited_hosts: Networks = PROHIBITED_HOSTS
    skip_hosts: Networks = Networks()
    enable_tls: EnableTls = EnableTls.OPPORTUNISTIC
    enable_pipelining: bool = True
    enable_rset: bool = True
    ignore_8bit_checks: bool = False
    provider_name: str | None = None


class ShapingRule(Struct, frozen=True, kw_only=True):
    """
    One block of `shaping.rules`: what it sets, and for which sources it sets more.

    options: only the parameters that the block names.  mx_rollup: holds for the whole site that the domain's MX name.
    replace_base: forgets what `default` said.  sources: source name → its parameters.
    """

    options: Mapping[str, object] = {}
    sources: Mapping[str, Mapping[str, object]] = {}
    mx_rollup: bool = True
    replace_base: bool = False


class ShapingSettings(Struct, frozen=True, kw_only=True):
    """Section `shaping`: `default` and domain → rule, in the order in which they were read."""

    rules: Mapping[str, ShapingRule] = {}
