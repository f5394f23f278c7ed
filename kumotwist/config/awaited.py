"""
Parameters that the model or our own design has and this version does not yet: refused by name rather than as unknown.

Silently ignoring one of them would send mail otherwise than its author meant.  A line goes when its parameter works; where
the parameter stands in a Struct already, that is all there is to do.
"""

from collections.abc import Mapping
from typing import Any

from kumotwist.config.egress import EgressSource, PathSettings
from kumotwist.config.listeners import ListenerDomain, ListenerSettings
from kumotwist.config.queues import QueueSettings
from kumotwist.config.server import Config, LogSettings, RecordSettings, SpoolSettings


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LISTENER = _names("""
    data_buffer_size
    deferred_queue
    deferred_spool
""")

_SOURCE = _names("""
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

_PATH = _names("""
    dispatcher_wakeup_strategy
    enable_dane
    enable_mta_sts
    low_memory_reduction_policy
    maintainer_wakeup_strategy
    no_memory_reduction_policy
    readyq_pool_name
    refresh_interval
    refresh_strategy
    rustls_cipher_suites
    tls_prefer_openssl
""")

_DOMAIN = _names("""
    log_arf
    log_oob
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
    LogSettings: _names("back_pressure filter_event"),
    RecordSettings: _names("template segment_header"),
    SpoolSettings: frozenset({"rocks_params"}),
    # what is no parameter of one Struct
    "key source": _names("""
        vault_address
        vault_key
        vault_mount
        vault_path
        vault_token
    """),
    "shaping": _names("automation publish subscribe"),
    "protocol": _names("maildir_path dir_mode file_mode custom_lua xfer lmtp"),
    "protocol.smtp": frozenset({"treat_mx_list_as_secure"}),
}
