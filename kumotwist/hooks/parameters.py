"""
The parameters of `kumo.make_…` and of what `init` handlers configure, for editors and type checkers.

What a parameter is and does is said by the Struct in `config` that it becomes, which also reads it: a parameter that is
missing here works all the same, but mypy does not know it.  A test compares the two.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from os import PathLike
from typing import Any, Literal, Required, TypeAlias, TypedDict

Span: TypeAlias = float | str | timedelta  # seconds, or a text such as "5 minutes"
Size: TypeAlias = int | str  # octets, or a text such as "10kb" or "1MiB"
Rate: TypeAlias = str  # "100/s", "1,000/hr", "local:20/30min,max_burst=5"
Limit: TypeAlias = int | str  # 10, "local:10"
Ip: TypeAlias = str | IPv4Address | IPv6Address
Network: TypeAlias = str | IPv4Address | IPv6Address | IPv4Network | IPv6Network
File: TypeAlias = str | PathLike[str]  # relative to the policy file


class KeyDataParameters(TypedDict):
    """A certificate, key or password in the policy itself."""

    key_data: str


class KeyEnvironmentParameters(TypedDict):
    """One in a variable of the server's environment."""

    environment: str


class KeyEventParameters(TypedDict, total=False):
    """One that a handler of the policy gives when it is needed."""

    event_name: str
    event_args: Sequence[str | int | float | bool | None]


KeySource: TypeAlias = File | KeyDataParameters | KeyEnvironmentParameters | KeyEventParameters


class ThresholdParameters(TypedDict):
    """So many events in a period: `5/hr`."""

    Threshold: Rate


class SuspendParameters(TypedDict, total=False):
    """When a source that fails is left alone, and for how long."""

    duration: Span
    trigger: Literal["Immediate"] | ThresholdParameters


class SourceParameters(TypedDict, total=False):
    """`make_egress_source`; `config.egress.EgressSource`."""

    name: str
    source_address: Ip | None
    ehlo_domain: str | None
    remote_port: int | None
    ha_proxy_server: str | None
    ha_proxy_source_address: Ip | None
    socks5_proxy_server: str | None
    socks5_proxy_source_address: Ip | None
    socks5_proxy_username: str | None
    socks5_proxy_password: KeySource | None
    suspend_when_unplumbed: SuspendParameters | None
    suspend_when_proxy_unhealthy: SuspendParameters | None
    ttl: Span | None


class PoolEntryParameters(TypedDict, total=False):
    """One of `entries`; `config.egress.PoolEntry`."""

    name: str
    weight: int | None


class PoolParameters(TypedDict, total=False):
    """`make_egress_pool`; `config.egress.EgressPool`."""

    name: str
    entries: Sequence[PoolEntryParameters] | Sequence[Mapping[str, Any]] | None
    ttl: Span | None


class PathParameters(TypedDict, total=False):
    """`make_egress_path`; `config.egress.PathSettings`."""

    connect_timeout: Span | None
    banner_timeout: Span | None
    ehlo_timeout: Span | None
    starttls_timeout: Span | None
    auth_timeout: Span | None
    mail_from_timeout: Span | None
    rcpt_to_timeout: Span | None
    data_timeout: Span | None
    data_dot_timeout: Span | None
    rset_timeout: Span | None
    idle_timeout: Span | None
    system_shutdown_timeout: Span | None
    dispatcher_progress_watchdog_timeout: Span | None
    connection_limit: Limit | None
    additional_connection_limits: Mapping[str, Limit] | None
    max_connection_rate: Rate | None
    max_message_rate: Rate | None
    additional_message_rate_throttles: Mapping[str, Rate] | None
    source_selection_rate: Rate | None
    additional_source_selection_rates: Mapping[str, Rate] | None
    max_deliveries_per_connection: int | None
    max_recipients_per_batch: int | None
    max_ready: int | None
    consecutive_connection_failures_before_delay: int | None
    smtp_port: int | None
    ehlo_domain: str | None
    ip_lookup_strategy: Literal["Ipv4AndIpv6", "Ipv4Only", "Ipv6Only", "Ipv6ThenIpv4", "Ipv4ThenIpv6"] | None
    prohibited_hosts: Sequence[Network] | None
    skip_hosts: Sequence[Network] | None
    enable_tls: Literal["Disabled", "Opportunistic", "OpportunisticInsecure", "Required", "RequiredInsecure"] | None
    remember_broken_tls: Span | None
    opportunistic_tls_reconnect_on_failed_handshake: bool | None
    tls_prefer_openssl: bool | None
    tls_certificate: KeySource | None
    tls_private_key: KeySource | None
    openssl_cipher_list: str | None
    openssl_cipher_suites: str | None
    openssl_options: str | None
    rustls_cipher_suites: Sequence[str] | None
    enable_dane: bool | None
    enable_mta_sts: bool | None
    smtp_auth_plain_username: str | None
    smtp_auth_plain_password: KeySource | None
    allow_smtp_auth_plain_without_tls: bool | None
    allow_smtp_auth_plain_without_valid_certificate: bool | None
    enable_pipelining: bool | None
    enable_rset: bool | None
    ignore_8bit_checks: bool | None
    use_lmtp: bool | None
    reconnect_strategy: Literal["TerminateSession", "ReconnectSameHost", "ConnectNextHost"] | None
    try_next_host_on_transport_error: bool | None
    aggressive_connection_opening: bool | None
    provider_name: str | None
    refresh_interval: Span | None
    refresh_strategy: Literal["Ttl", "Epoch"] | None
    low_memory_reduction_policy: Literal["ShrinkDataAndMeta", "ShrinkData", "NoShrink"] | None
    no_memory_reduction_policy: Literal["ShrinkDataAndMeta", "ShrinkData", "NoShrink"] | None
    dispatcher_wakeup_strategy: Literal["Aggressive", "Relaxed"] | None
    maintainer_wakeup_strategy: Literal["Aggressive", "Relaxed"] | None
    readyq_pool_name: str | None


class MxHostParameters(TypedDict):
    """One of `mx_list` whose address is known."""

    name: str
    addr: Ip


class SmtpParameters(TypedDict, total=False):
    """`protocol={"smtp": …}`.  mx_list: hosts to deliver to instead of the domain's MX, in this order."""

    mx_list: Sequence[str | MxHostParameters]
    treat_mx_list_as_secure: bool | None


class MaildirParameters(TypedDict, total=False):
    """`protocol={"maildir": …}`; `config.queues.MaildirDelivery`.  Modes are numbers such as 0o750."""

    maildir_path: File
    dir_mode: int | None
    file_mode: int | None


class PolicyDeliveryParameters(TypedDict, total=False):
    """`protocol={"custom_lua": …}`; `config.queues.PolicyDelivery`."""

    constructor: str
    batch_size: int | None
    min_batch_size: int | None
    max_batch_latency: Span | None


class XferParameters(TypedDict, total=False):
    """`protocol={"xfer": …}`; `config.queues.XferDelivery`."""

    target: str


class ProtocolParameters(TypedDict, total=False):
    """`protocol`: one of smtp, custom_lua, xfer, and maildir, whose parameters may stand here directly, too."""

    smtp: SmtpParameters
    maildir: MaildirParameters
    maildir_path: File
    dir_mode: int | None
    file_mode: int | None
    custom_lua: PolicyDeliveryParameters
    xfer: XferParameters


class ShrinkRuleParameters(TypedDict, total=False):
    """One of `shrink_policy`; `config.queues.ShrinkRule`."""

    interval: Span
    policy: Literal["ShrinkDataAndMeta", "ShrinkData", "NoShrink"]


class QueueParameters(TypedDict, total=False):
    """`make_queue_config`; `config.queues.QueueSettings`."""

    retry_interval: Span | None
    max_retry_interval: Span | None
    max_age: Span | None
    egress_pool: str | None
    max_message_rate: Rate | None
    protocol: ProtocolParameters | None
    reap_interval: Span | None
    provider_name: str | None
    refresh_interval: Span | None
    refresh_strategy: Literal["Ttl", "Epoch"] | None
    strategy: Literal["SingletonTimerWheel", "SingletonTimerWheelV2", "TimerWheel", "SkipList"] | None
    timerwheel_tick_interval: Span | None
    shrink_policy: Sequence[ShrinkRuleParameters] | None


class ListenerDomainParameters(TypedDict, total=False):
    """`make_listener_domain`; `config.listeners.ListenerDomain`."""

    relay_to: bool | None
    relay_from: Sequence[Network] | None
    relay_from_authz: Sequence[str] | None
    log_oob: bool | Literal["Ignore", "LogThenRelay", "LogThenDrop"] | None
    log_arf: bool | Literal["Ignore", "LogThenRelay", "LogThenDrop"] | None
    ttl: Span | None


class TraceHeadersParameters(TypedDict, total=False):
    """`trace_headers`; `config.listeners.TraceHeaders`."""

    received_header: bool | None
    supplemental_header: bool | None
    header_name: str | None
    include_meta_names: Sequence[str] | None


class TlsIdentityParameters(TypedDict):
    """One of `sni`."""

    tls_certificate: KeySource
    tls_private_key: KeySource


class ListenerParameters(TypedDict, total=False):
    """`start_esmtp_listener`; `config.listeners.ListenerSettings`.  peer, via: network → parameters that hold there."""

    listen: str | None
    hostname: str | None
    banner: str | None
    relay_hosts: Sequence[Network] | None
    max_connections: int | None
    max_message_size: Size | None
    max_recipients_per_message: int | None
    max_messages_per_connection: int | None
    client_timeout: Span | None
    data_processing_timeout: Span | None
    data_buffer_size: Size | None
    line_length_hard_limit: int | None
    invalid_line_endings: Literal["Deny", "Allow", "Fix"] | None
    batch_handling: Literal["BifurcateAlways", "BatchByDomain"] | None
    trace_headers: TraceHeadersParameters | None
    tls_certificate: KeySource | None
    tls_private_key: KeySource | None
    tls_required_client_ca: KeySource | None
    sni: Mapping[str, TlsIdentityParameters] | None
    deferred_spool: bool | None
    deferred_queue: bool | None
    allow_xclient: bool | None
    require_proxy_protocol: bool | None
    meta: Mapping[str, Any] | None
    peer: "Mapping[str, ListenerParameters] | None"
    via: "Mapping[str, ListenerParameters] | None"


class HttpListenerParameters(TypedDict, total=False):
    """`start_http_listener`; `config.http.HttpListenerSettings`."""

    listen: str
    hostname: str | None
    use_tls: bool | None
    tls_certificate: KeySource | None
    tls_private_key: KeySource | None
    sni: Mapping[str, Mapping[str, Any]] | None
    request_body_limit: Size | None
    trusted_hosts: Sequence[Network] | None


class SpoolParameters(TypedDict, total=False):
    """`define_spool`; `config.server.SpoolSettings`."""

    path: File | None
    kind: Literal["rocksdb", "local_disk"] | None
    flush: bool | None
    min_free_space: Size | None
    min_free_inodes: Size | None


class RecordParameters(TypedDict, total=False):
    """One of `per_record`; `config.server.RecordSettings`."""

    enable: bool | None
    suffix: str | None
    log_dir: File | None


class BounceClassifierParameters(TypedDict, total=False):
    """`configure_bounce_classifier`; `config.bounces.BounceClassifierSettings`."""

    files: Required[Sequence[File]]
    pool_size: int | None
    back_pressure: int | None
    cache_size: int | None
    uncategorized_cache_size: int | None


class LogHookParameters(TypedDict, total=False):
    """`configure_log_hook`; `config.log_hooks.PolicyHook`."""

    name: Required[str]
    record_types: Sequence[str]
    batch_size: int
    max_batch_latency: Span
    retry_interval: Span
    max_retry_interval: Span
    timeout: Span


class LogParameters(TypedDict, total=False):
    """`configure_local_logs`; `config.server.LogSettings`."""

    log_dir: File | None
    compression: Literal["zstd", "none"] | None
    compression_level: int | None
    max_segment_duration: Span | None
    max_file_size: Size | None
    headers: Sequence[str] | None
    meta: Sequence[str] | None
    per_record: Mapping[str, RecordParameters] | None
    min_free_space: Size | None
    min_free_inodes: Size | None
    back_pressure: int | None
