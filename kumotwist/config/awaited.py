"""
Parameters that the model or our own design has and this version does not yet: refused by name rather than as unknown.

Silently ignoring one of them would send mail otherwise than its author meant.  A line goes when its parameter works; where
the parameter stands in a Struct already, that is all there is to do.
"""

from collections.abc import Mapping
from typing import Any

from kumotwist.config.egress import EgressSource, PathSettings
from kumotwist.config.listeners import ListenerDomain, ListenerSettings
from kumotwist.config.queues import QueueSettings, TenantSettings
from kumotwist.config.server import Config, LogSettings, RecordSettings, SpoolSettings


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LISTENER = _names("""
    allow_xclient
    data_buffer_size
    deferred_queue
    deferred_spool
    meta
    peer
    require_proxy_protocol
    sni
    tls_required_client_ca
    via
""")

_SOURCE = _names("""
    ha_proxy_server
    ha_proxy_source_address
    socks5_proxy_password
    socks5_proxy_server
    socks5_proxy_source_address
    socks5_proxy_username
    suspend_when_proxy_unhealthy
    suspend_when_unplumbed
    ttl
""")

_QUEUE = _names("""
    refresh_interval
    refresh_strategy
    shrink_policy
    strategy
    timerwheel_tick_interval
""")

_TENANT = _names("""
    campaigns
    domain_to_pool
    overall_max_message_rate
    require_authz
""")

_PATH = _names("""
    additional_connection_limits
    additional_message_rate_throttles
    additional_source_selection_rates
    aggressive_connection_opening
    allow_smtp_auth_plain_without_tls
    allow_smtp_auth_plain_without_valid_certificate
    auth_timeout
    dispatcher_progress_watchdog_timeout
    dispatcher_wakeup_strategy
    enable_dane
    enable_mta_sts
    low_memory_reduction_policy
    maintainer_wakeup_strategy
    no_memory_reduction_policy
    openssl_cipher_list
    openssl_cipher_suites
    openssl_options
    opportunistic_tls_reconnect_on_failed_handshake
    readyq_pool_name
    reconnect_strategy
    refresh_interval
    refresh_strategy
    remember_broken_tls
    rustls_cipher_suites
    smtp_auth_plain_password
    smtp_auth_plain_username
    source_selection_rate
    tls_certificate
    tls_prefer_openssl
    tls_private_key
    try_next_host_on_transport_error
    use_lmtp
""")

_DOMAIN = _names("""
    log_arf
    log_oob
    relay_from_authz
""")

AWAITED: Mapping[Any, frozenset[str]] = {
    Config: _names("""
        bounce_classifier
        dkim
        http_listeners
        log_hooks
        memory
        redis
        workers
    """),
    ListenerSettings: _LISTENER,
    ListenerDomain: _DOMAIN,
    EgressSource: _SOURCE,
    PathSettings: _PATH,
    QueueSettings: _QUEUE,
    TenantSettings: _TENANT,
    LogSettings: _names("back_pressure filter_event"),
    RecordSettings: _names("template segment_header"),
    SpoolSettings: frozenset({"rocks_params"}),
    # what is no parameter of one Struct
    "key source": _names("""
        event_args
        event_name
        key_data
        vault_address
        vault_key
        vault_mount
        vault_path
        vault_token
    """),
    "listener_domains": _names("""
        listener
    """),
    "shaping": _names("automation publish subscribe"),
    "shaping.rules": _names("""
        provider
    """),
    "protocol": _names("maildir_path dir_mode file_mode custom_lua xfer lmtp"),
    "protocol.smtp": frozenset({"treat_mx_list_as_secure"}),
}
