"""Section `egress`: where we send from; and all that can be said of an egress path."""

from collections.abc import Mapping
from enum import Enum
from ipaddress import ip_network
from typing import Annotated

from msgspec import Meta, Struct

from kumotwist.config.fields import (
    Count,
    DomainText,
    Duration,
    HostAndPort,
    IpText,
    KeyAbove,
    Limit,
    Networks,
    Port,
    Positive,
    Rate,
)
from kumotwist.config.keys import KeySource
from kumotwist.config.openssl import CipherSuite
from kumotwist.config.queues import RefreshStrategy, Shrinking

UNSPECIFIED = "unspecified"  # the built-in pool and source: the kernel picks the address

# So many events in so long; None is the model's `Immediate`: the first one.
Trigger = Annotated[Rate | None, Meta(description="trigger", extra={"form": "trigger"})]
Credential = Annotated[str, Meta(description="text", extra={"kind": "credential"})]


class SuspendRule(Struct, frozen=True, kw_only=True):
    """When a source that fails is left alone, and for how long."""

    duration: Duration
    trigger: Trigger = None


class EgressSource(Struct, frozen=True, kw_only=True):
    """
    One address that we send from.  source_address: the address to bind; None leaves it to the kernel.

    A proxy is used where both its server and the address that it is to send from are named; HA-PROXY goes before SOCKS5.
    """

    name: KeyAbove
    source_address: IpText | None = None
    ehlo_domain: DomainText | None = None
    remote_port: Port | None = None
    ha_proxy_server: HostAndPort | None = None
    ha_proxy_source_address: IpText | None = None
    socks5_proxy_server: HostAndPort | None = None
    socks5_proxy_source_address: IpText | None = None
    socks5_proxy_username: Credential | None = None
    socks5_proxy_password: KeySource | None = None
    suspend_when_unplumbed: SuspendRule | None = None
    suspend_when_proxy_unhealthy: SuspendRule | None = None
    ttl: Duration = 60.0  # how long the answer of a policy may be kept


class PoolEntry(Struct, frozen=True, kw_only=True):
    """A source in a pool, and its share of the messages; weight 0: none."""

    name: KeyAbove
    weight: Count = 1


class EgressPool(Struct, frozen=True, kw_only=True):
    """Sources that messages are shared among, in this order."""

    name: KeyAbove
    entries: tuple[PoolEntry, ...] = ()
    ttl: Duration = 60.0  # how long the answer of a policy may be kept


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


class ReconnectStrategy(Enum):
    """What a session does when its connection is lost."""

    TERMINATE_SESSION = "TerminateSession"
    RECONNECT_SAME_HOST = "ReconnectSameHost"
    CONNECT_NEXT_HOST = "ConnectNextHost"


class WakeupStrategy(Enum):
    """Whom a message that comes into a ready queue wakes."""

    AGGRESSIVE = "Aggressive"
    RELAXED = "Relaxed"


PROHIBITED_HOSTS = Networks((ip_network("127.0.0.0/8"), ip_network("0.0.0.0"), ip_network("::1"), ip_network("::")))
RESERVED_LIMITS = "kumomta."  # names of additional limits that begin so are the model's own

LimitName = Annotated[str, Meta(description="name of a limit", extra={"kind": "limit_name"})]
CipherList = Annotated[str, Meta(description="ciphers", extra={"kind": "cipher_list"})]
CipherSuites = Annotated[str, Meta(description="ciphers", extra={"kind": "cipher_suites"})]
TlsOptions = Annotated[str, Meta(description="options", extra={"kind": "openssl_options"})]


class PathSettings(Struct, frozen=True, kw_only=True):
    """What holds on one egress path; names, units and defaults are the model's `make_egress_path`."""

    connect_timeout: Duration = 60.0
    banner_timeout: Duration = 60.0
    ehlo_timeout: Duration = 300.0
    starttls_timeout: Duration = 5.0
    auth_timeout: Duration = 60.0
    mail_from_timeout: Duration = 300.0
    rcpt_to_timeout: Duration = 300.0
    data_timeout: Duration = 300.0
    data_dot_timeout: Duration = 300.0
    rset_timeout: Duration = 5.0
    idle_timeout: Duration = 5.0
    system_shutdown_timeout: Duration | None = None  # None: mail + rcpt + data + dot
    dispatcher_progress_watchdog_timeout: Duration | None = None  # None: twice the longest of those four, a minute at least
    connection_limit: Limit = Limit(32)
    additional_connection_limits: Mapping[LimitName, Limit] = {}  # shared by all paths that name them
    max_connection_rate: Rate | None = None
    max_message_rate: Rate | None = None
    additional_message_rate_throttles: Mapping[LimitName, Rate] = {}
    source_selection_rate: Rate | None = None  # how often a pool may choose this source for this site
    additional_source_selection_rates: Mapping[LimitName, Rate] = {}
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
    remember_broken_tls: Duration | None = None
    opportunistic_tls_reconnect_on_failed_handshake: bool = False
    tls_prefer_openssl: bool = False  # there is nothing else here: only that openssl_* count, and not rustls_cipher_suites
    tls_certificate: KeySource | None = None  # with tls_private_key: what we show to a server that asks for it
    tls_private_key: KeySource | None = None
    openssl_cipher_list: CipherList | None = None  # up to TLS 1.2
    openssl_cipher_suites: CipherSuites | None = None  # TLS 1.3
    openssl_options: TlsOptions | None = None
    rustls_cipher_suites: tuple[CipherSuite, ...] = ()  # the same ones of OpenSSL; instead of the two lists
    enable_dane: bool = False
    enable_mta_sts: bool = True
    smtp_auth_plain_username: str | None = None
    smtp_auth_plain_password: KeySource | None = None
    allow_smtp_auth_plain_without_tls: bool = False
    allow_smtp_auth_plain_without_valid_certificate: bool = False
    enable_pipelining: bool = True
    enable_rset: bool = True
    ignore_8bit_checks: bool = False
    use_lmtp: bool = False
    reconnect_strategy: ReconnectStrategy = ReconnectStrategy.CONNECT_NEXT_HOST
    try_next_host_on_transport_error: bool = False
    aggressive_connection_opening: bool = False
    provider_name: str | None = None
    refresh_interval: Duration = 60.0
    refresh_strategy: RefreshStrategy = RefreshStrategy.TTL
    low_memory_reduction_policy: Shrinking = Shrinking.SHRINK_DATA_AND_META
    no_memory_reduction_policy: Shrinking = Shrinking.SHRINK_DATA_AND_META
    dispatcher_wakeup_strategy: WakeupStrategy = WakeupStrategy.AGGRESSIVE
    maintainer_wakeup_strategy: WakeupStrategy = WakeupStrategy.AGGRESSIVE
    readyq_pool_name: str | None = None
