"""
Parameters that the model or our own design has and this version does not yet: refused by name rather than as unknown.

Silently ignoring one of them would send mail otherwise than its author meant.  An entry goes when its parameter comes.
"""

from collections.abc import Mapping
from typing import Any

from kumotwist.config.egress import EgressSource, PathSettings, ShapingRule
from kumotwist.config.listeners import ListenerDomain, ListenerSettings
from kumotwist.config.queues import QueueRule, QueueSettings, TenantSettings
from kumotwist.config.server import Config, LogSettings, RecordSettings, SpoolSettings


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_QUEUE = _names(
    """refresh_interval refresh_strategy strategy timerwheel_tick_interval shrink_policy overall_max_message_rate
    campaigns"""
)
_PATH = _names(
    """auth_timeout dispatcher_progress_watchdog_timeout additional_connection_limits additional_message_rate_throttles
    source_selection_rate additional_source_selection_rates remember_broken_tls
    opportunistic_tls_reconnect_on_failed_handshake tls_prefer_openssl tls_certificate tls_private_key sni
    openssl_cipher_list openssl_cipher_suites openssl_options rustls_cipher_suites enable_dane enable_mta_sts
    smtp_auth_plain_username smtp_auth_plain_password allow_smtp_auth_plain_without_tls
    allow_smtp_auth_plain_without_valid_certificate use_lmtp reconnect_strategy try_next_host_on_transport_error
    aggressive_connection_opening refresh_interval refresh_strategy low_memory_reduction_policy
    no_memory_reduction_policy dispatcher_wakeup_strategy maintainer_wakeup_strategy readyq_pool_name"""
)

AWAITED: Mapping[Any, frozenset[str]] = {
    Config: _names("policy http_listeners dkim log_hooks bounce_classifier redis memory workers"),
    ListenerSettings: _names(
        """via peer sni meta deferred_spool deferred_queue allow_xclient require_proxy_protocol tls_required_client_ca
        data_buffer_size"""
    ),
    ListenerDomain: _names("log_oob log_arf relay_from_authz ttl"),
    EgressSource: _names(
        """ha_proxy_server ha_proxy_source_address socks5_proxy_server socks5_proxy_source_address socks5_proxy_username
        socks5_proxy_password suspend_when_unplumbed suspend_when_proxy_unhealthy ttl"""
    ),
    PathSettings: _PATH,
    ShapingRule: _PATH | {"automation", "match", "provider_connection_limit", "provider_max_message_rate"},
    QueueSettings: _QUEUE,
    QueueRule: _QUEUE,
    TenantSettings: _QUEUE | {"domain_to_pool", "require_authz"},
    LogSettings: _names("back_pressure filter_event"),
    RecordSettings: _names("template segment_header"),
    SpoolSettings: frozenset({"rocks_params"}),
    "shaping": _names("automation publish subscribe provider"),
    "shaping.rules": frozenset({"provider"}),
    "listener_domains": frozenset({"listener"}),
    "protocol": _names("maildir_path dir_mode file_mode custom_lua xfer lmtp"),
    "protocol.smtp": frozenset({"treat_mx_list_as_secure"}),
}
