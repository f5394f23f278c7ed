"""
What a policy imports: `from kumotwist import kumo`.  Names only; what they do is said where they are defined.

The guide is docs/policy.md; the events and their arguments stand in hooks/points.py.
"""

from typing import TYPE_CHECKING, Never

from kumotwist.authentication.results import AuthenticationResult
from kumotwist.config.egress import EgressPool, EgressSource
from kumotwist.config.egress import PathSettings as EgressPath
from kumotwist.config.given import BadParameters
from kumotwist.config.listeners import ListenerDomain
from kumotwist.config.queues import QueueSettings as QueueConfig
from kumotwist.dns.answers import LookupFailed
from kumotwist.hooks import dkim, dmarc, mail_auth, serde, spf, suppression
from kumotwist.hooks import lookups as dns
from kumotwist.hooks.absent import missing
from kumotwist.hooks.address_header import AddressHeader
from kumotwist.hooks.connection import AuthInfo, ConnMeta, Identity
from kumotwist.hooks.events import constructor, on
from kumotwist.hooks.initial import (
    configure_bounce_classifier,
    configure_local_logs,
    configure_log_hook,
    define_spool,
    start_esmtp_listener,
    start_http_listener,
)
from kumotwist.hooks.injection import inject_message, make_message
from kumotwist.hooks.memoize import memoize
from kumotwist.hooks.message import PolicyMessage as Message
from kumotwist.hooks.notices import generate_rfc3464_message
from kumotwist.hooks.rejection import Rejection, disconnect, reject
from kumotwist.hooks.settings import (
    make_egress_path,
    make_egress_pool,
    make_egress_source,
    make_listener_domain,
    make_queue_config,
)
from kumotwist.hooks.throttle import Throttle, make_throttle, set_httpinject_recipient_rate_limit
from kumotwist.mail.address import Mailbox as Address

__all__ = [
    "Address", "AddressHeader", "AuthInfo", "AuthenticationResult", "BadParameters", "ConnMeta", "EgressPath", "EgressPool",
    "EgressSource", "Identity", "ListenerDomain", "LookupFailed", "Message", "QueueConfig", "Rejection", "Throttle",
    "configure_bounce_classifier", "configure_local_logs", "configure_log_hook", "constructor", "define_spool", "disconnect",
    "dkim", "dmarc", "dns", "generate_rfc3464_message", "inject_message", "mail_auth", "make_egress_path", "make_egress_pool",
    "make_egress_source", "make_listener_domain", "make_message", "make_queue_config", "make_throttle", "memoize", "on",
    "reject", "serde", "set_httpinject_recipient_rate_limit", "spf", "start_esmtp_listener", "start_http_listener", "suppression",
]  # fmt: skip

if not TYPE_CHECKING:  # else no name would be unknown to a type checker

    def __getattr__(name: str) -> Never:
        raise missing("kumo", name, __all__)
