"""Sections `esmtp_listeners` and `listener_domains`: where mail comes in, and from whom."""

from collections.abc import Mapping
from enum import Enum
from ipaddress import ip_network
from typing import Annotated

from msgspec import Meta, Struct

from kumotwist.config.fields import DomainText, Duration, FilePath, HeaderName, Networks, Positive, Size


class LineEndings(Enum):
    """What to do with a bare CR or LF in message data."""

    DENY = "Deny"
    ALLOW = "Allow"
    FIX = "Fix"


class BatchHandling(Enum):
    """How a transaction with several recipients becomes messages."""

    BIFURCATE_ALWAYS = "BifurcateAlways"  # one message a recipient
    BATCH_BY_DOMAIN = "BatchByDomain"  # one message a recipient domain


class TraceHeaders(Struct, frozen=True, kw_only=True):
    """Which trace fields a message gets on top: Received, and one that carries chosen metadata, encoded."""

    received_header: bool = True
    supplemental_header: bool = True
    header_name: HeaderName = "X-KumoRef"
    include_meta_names: tuple[str, ...] = ()


Listen = Annotated[str, Meta(description="address and port", extra={"kind": "listen"})]
LOOPBACK = Networks((ip_network("127.0.0.1"), ip_network("::1")))


class ListenerSettings(Struct, frozen=True, kw_only=True):
    """One entry of `esmtp_listeners`; names, units and defaults are the model's."""

    listen: Listen = "127.0.0.1:2025"
    hostname: DomainText = ""  # empty: the server's hostname
    banner: str = "KumoTwist"
    relay_hosts: Networks = LOOPBACK
    max_connections: Positive = 32768
    max_message_size: Size = 20 * 1024 * 1024
    max_recipients_per_message: Positive = 1024
    max_messages_per_connection: Positive = 10000
    client_timeout: Duration = 60.0
    data_processing_timeout: Duration = 300.0
    line_length_hard_limit: Positive = 998
    invalid_line_endings: LineEndings = LineEndings.DENY
    batch_handling: BatchHandling = BatchHandling.BIFURCATE_ALWAYS
    trace_headers: TraceHeaders = TraceHeaders()
    tls_certificate: FilePath | None = None
    tls_private_key: FilePath | None = None


class ListenerDomain(Struct, frozen=True, kw_only=True):
    """What a domain may do here.  relay_to: anyone may send to it.  relay_from: who may send anywhere in its name."""

    relay_to: bool = False
    relay_from: Networks = Networks()


class ListenerDomains(Struct, frozen=True):
    """Section `listener_domains`: domain or `*.domain` or `*` → what holds there."""

    domains: Mapping[str, ListenerDomain] = {}
