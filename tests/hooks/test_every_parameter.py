"""Every parameter of the model's four makers is accepted, refused where its value is none, and has the model's default."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kumotwist import kumo
from kumotwist.config.egress import (
    PROHIBITED_HOSTS,
    EnableTls,
    IpLookupStrategy,
    PoolEntry,
    ReconnectStrategy,
    SuspendRule,
    WakeupStrategy,
)
from kumotwist.config.fields import Limit, Networks, Rate
from kumotwist.config.queues import QueueStrategy, RefreshStrategy, Shrinking, ShrinkRule

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
NOTHING: Any = object()  # it has no default, or its value is not compared

# Function → parameter → (its default, a value, what that becomes, a value that is refused).
Parameters = dict[str, tuple[Any, Any, Any, Any]]

_SUSPENSION = {"trigger": {"Threshold": "5/min"}, "duration": "10 minutes"}
_SUSPENDED = SuspendRule(trigger=Rate(5, 60.0), duration=600.0)
_SHRINKING = (Shrinking.SHRINK_DATA_AND_META, "NoShrink", Shrinking.NO_SHRINK, "Shrink")
_SHRINKINGS: Parameters = {"low_memory_reduction_policy": _SHRINKING, "no_memory_reduction_policy": _SHRINKING}
_WAKEUP = (WakeupStrategy.AGGRESSIVE, "Relaxed", WakeupStrategy.RELAXED, "Lazy")
_WAKEUPS: Parameters = {"dispatcher_wakeup_strategy": _WAKEUP, "maintainer_wakeup_strategy": _WAKEUP}
_REFRESH: Parameters = {
    "refresh_interval": (MINUTE, "5 minutes", 300.0, "often"),
    "refresh_strategy": (RefreshStrategy.TTL, "Epoch", RefreshStrategy.EPOCH, "Never"),
}


def _timeouts(**defaults: float | None) -> Parameters:
    return {name: (default, "90 seconds", 90.0, "long") for name, default in defaults.items()}


def _switches(**defaults: bool) -> Parameters:
    return {name: (default, not default, not default, "perhaps") for name, default in defaults.items()}


QUEUE: Parameters = {
    "retry_interval": (20 * MINUTE, "1 hour", HOUR, "0.5s"),
    "max_retry_interval": (None, "2 hours", 2 * HOUR, "a while"),
    "max_age": (7 * DAY, "1 day", DAY, "old"),
    "egress_pool": (None, "pool-1", "pool-1", ["pool-1"]),
    "max_message_rate": (None, "100/s", Rate(100, 1.0), "fast"),
    "protocol": (NOTHING, {"smtp": {"mx_list": ["mx.example.com"]}}, NOTHING, {"pigeon": {}}),
    "reap_interval": (10 * MINUTE, "1m", MINUTE, "never"),
    **_REFRESH,
    "strategy": (QueueStrategy.SINGLETON_TIMER_WHEEL, "SkipList", QueueStrategy.SKIP_LIST, "Heap"),
    "timerwheel_tick_interval": (None, "3s", 3.0, "fast"),
    "provider_name": (None, "google", "google", 7),
    "shrink_policy": (
        (),
        [{"interval": "1 hour", "policy": "ShrinkData"}],
        (ShrinkRule(interval=HOUR, policy=Shrinking.SHRINK_DATA),),
        [{"interval": "1 hour"}],
    ),
}

PATH: Parameters = {
    **_timeouts(connect_timeout=60.0, banner_timeout=60.0, ehlo_timeout=300.0, starttls_timeout=5.0, auth_timeout=60.0),
    **_timeouts(mail_from_timeout=300.0, rcpt_to_timeout=300.0, data_timeout=300.0, data_dot_timeout=300.0, rset_timeout=5.0),
    **_timeouts(idle_timeout=5.0, system_shutdown_timeout=None, dispatcher_progress_watchdog_timeout=None),
    "connection_limit": (Limit(32), "local:10", Limit(10, local=True), 0),
    "additional_connection_limits": ({}, {"google": 5}, {"google": Limit(5)}, {"kumomta.x": 5}),
    "max_connection_rate": (None, "10/m", Rate(10, 60.0), "x"),
    "max_message_rate": (None, "10/m", Rate(10, 60.0), "x"),
    "additional_message_rate_throttles": ({}, {"google": "5/s"}, {"google": Rate(5, 1.0)}, {"google": "x"}),
    "source_selection_rate": (None, "10/day", Rate(10, DAY), "x"),
    "additional_source_selection_rates": ({}, {"google": "5/s"}, {"google": Rate(5, 1.0)}, {"google": "x"}),
    "max_deliveries_per_connection": (1024, 5, 5, 0),
    "max_recipients_per_batch": (100, 5, 5, 0),
    "max_ready": (1024, 5, 5, 0),
    "consecutive_connection_failures_before_delay": (100, 5, 5, -1),
    "enable_tls": (EnableTls.OPPORTUNISTIC, "Required", EnableTls.REQUIRED, "Please"),
    **_timeouts(remember_broken_tls=None),
    **_switches(opportunistic_tls_reconnect_on_failed_handshake=False, tls_prefer_openssl=False),
    "tls_certificate": (None, {"key_data": "x"}, NOTHING, []),
    "tls_private_key": (None, {"key_data": "x"}, NOTHING, []),
    "openssl_cipher_list": (None, "ECDHE+AESGCM", "ECDHE+AESGCM", "NONE-SUCH"),
    "openssl_cipher_suites": (None, "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", []),
    "openssl_options": (None, "OP_NO_TICKET", NOTHING, []),
    "rustls_cipher_suites": ((), ["TLS13_AES_256_GCM_SHA384"], NOTHING, "TLS13_AES_256_GCM_SHA384"),
    **_switches(enable_dane=False, enable_mta_sts=True),
    "smtp_port": (25, 2525, 2525, 0),
    "ehlo_domain": (None, "mta.example.com", "mta.example.com", "not a name"),
    "ip_lookup_strategy": (IpLookupStrategy.IPV4_AND_IPV6, "Ipv6Only", IpLookupStrategy.IPV6_ONLY, "Ipv5"),
    "prohibited_hosts": (PROHIBITED_HOSTS, [], Networks(), ["here"]),
    "skip_hosts": (Networks(), [], Networks(), ["here"]),
    "smtp_auth_plain_username": (None, "user", "user", 7),
    "smtp_auth_plain_password": (None, {"key_data": "x"}, NOTHING, []),
    **_switches(allow_smtp_auth_plain_without_tls=False, allow_smtp_auth_plain_without_valid_certificate=False),
    **_switches(enable_pipelining=True, enable_rset=True, ignore_8bit_checks=False, use_lmtp=False),
    "reconnect_strategy": (
        ReconnectStrategy.CONNECT_NEXT_HOST,
        "TerminateSession",
        ReconnectStrategy.TERMINATE_SESSION,
        "GiveUp",
    ),
    **_switches(try_next_host_on_transport_error=False, aggressive_connection_opening=False),
    "provider_name": (None, "google", "google", 7),
    **_REFRESH,
    **_SHRINKINGS,
    **_WAKEUPS,
    "readyq_pool_name": (None, "pool", "pool", 7),
}

SOURCE: Parameters = {
    "name": (NOTHING, "ip-1", "ip-1", 7),
    "source_address": (None, "10.0.0.1", "10.0.0.1", "10.0.0.256"),
    "ehlo_domain": (None, "mta.example.com", "mta.example.com", "not a name"),
    "remote_port": (None, 587, 587, 65536),
    "ha_proxy_server": (None, "proxy.example.com:5000", "proxy.example.com:5000", "proxy.example.com"),
    "ha_proxy_source_address": (None, "10.0.0.2", "10.0.0.2", "there"),
    "socks5_proxy_server": (None, "[::1]:1080", "[::1]:1080", "[::1]"),
    "socks5_proxy_source_address": (None, "10.0.0.3", "10.0.0.3", "there"),
    "socks5_proxy_username": (None, "mta", "mta", "x" * 256),
    "socks5_proxy_password": (None, {"key_data": "x"}, NOTHING, []),
    "suspend_when_unplumbed": (None, _SUSPENSION, _SUSPENDED, {"trigger": "Sometimes", "duration": 1}),
    "suspend_when_proxy_unhealthy": (None, _SUSPENSION, _SUSPENDED, {"trigger": "Immediate"}),
    "ttl": (MINUTE, "5 minutes", 300.0, "long"),
}

POOL: Parameters = {
    "name": (NOTHING, "pool-1", "pool-1", 7),
    "entries": ((), [{"name": "ip-1", "weight": 0}], (PoolEntry(name="ip-1", weight=0),), [{"weight": 1}]),
    "ttl": (MINUTE, "5 minutes", 300.0, "long"),
}

MAKERS: tuple[tuple[Any, Parameters, dict[str, Any]], ...] = (
    (kumo.make_queue_config, QUEUE, {}),
    (kumo.make_egress_path, PATH, {}),
    (kumo.make_egress_source, SOURCE, {"name": "s"}),
    (kumo.make_egress_pool, POOL, {"name": "p"}),
)


class EveryParameterTests(SynchronousTestCase):
    def test_each_has_the_model_s_default(self) -> None:
        for make, parameters, needed in MAKERS:
            made = make(needed)
            for name, (default, *_) in parameters.items():
                if default is not NOTHING:
                    self.assertEqual(getattr(made, name), default, name)

    def test_each_is_accepted_with_a_value_and_has_it_then(self) -> None:
        for make, parameters, needed in MAKERS:
            for name, (_, given, becomes, _) in parameters.items():
                made = make({**needed, name: given})
                if becomes is not NOTHING:
                    self.assertEqual(getattr(made, name), becomes, name)

    def test_what_is_no_value_is_refused_by_name(self) -> None:
        for make, parameters, needed in MAKERS:
            for name, (*_, refused) in parameters.items():
                with self.assertRaises(kumo.BadParameters, msg=name) as caught:
                    make({**needed, name: refused})
                self.assertNotIn("not implemented yet", str(caught.exception))

    def test_null_is_the_default_said_explicitly(self) -> None:
        for make, parameters, needed in MAKERS:
            for name in parameters:
                if name not in ("name", "protocol", "entries"):
                    self.assertEqual(make({**needed, name: None}), make(needed), name)

    def test_every_variant_of_protocol(self) -> None:
        smtp = kumo.make_queue_config(protocol={"smtp": {"mx_list": ["[10.0.0.1]:2525"], "treat_mx_list_as_secure": True}})
        self.assertEqual([(host.addr, host.port, host.secure) for host in smtp.mx_list], [("10.0.0.1", 2525, True)])
        maildir = {"maildir_path": "/var/mail/{{ email }}", "dir_mode": 0o750, "file_mode": 0o640}
        one, other = kumo.make_queue_config({"protocol": maildir}), kumo.make_queue_config({"protocol": {"maildir": maildir}})
        self.assertEqual(one, other)
        settings: Any = one.instead_of_smtp
        self.assertEqual(
            (settings.dir_mode, settings.file_mode, settings.maildir_path.text), (0o750, 0o640, "/var/mail/{{ email }}")
        )
        webhook: Any = kumo.make_queue_config(protocol={"custom_lua": {"constructor": "make.webhook"}}).instead_of_smtp
        self.assertEqual((webhook.batch_size, webhook.min_batch_size, webhook.max_batch_latency), (1, 1, 0.0))
