"""Sections `esmtp_listeners` and `listener_domains`: where mail comes in, and from whom."""

from collections.abc import Mapping
from enum import Enum
from ipaddress import ip_network
from typing import Annotated

from msgspec import Meta, Struct

from kumotwist.config.fields import DomainText, Duration, HeaderName, Networks, Positive, Size
from kumotwist.config.keys import KeySource
from kumotwist.config.networks import ByNetwork


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


class TlsIdentity(Struct, frozen=True, kw_only=True):
    """A certificate with its chain, and the key of it."""

    tls_certificate: KeySource
    tls_private_key: KeySource


class ListenerOverrides(Struct, frozen=True, kw_only=True):
    """
    What holds otherwise for some connections of a listener; only what was named.

    options: parameter of ListenerSettings → value, each whole.  meta: added to what holds already.  peer, via: what is
    laid over that for clients, then for local addresses, in a network; the smallest network around an address counts.
    """

    options: Mapping[str, object] = {}
    meta: Mapping[str, object] = {}
    peer: "ByNetwork[ListenerOverrides]" = ByNetwork()
    via: "ByNetwork[ListenerOverrides]" = ByNetwork()


Listen = Annotated[str, Meta(description="address and port", extra={"kind": "listen"})]
ServerName = Annotated[str, Meta(description="host name", extra={"kind": "server_name"})]
LOOPBACK = Networks((ip_network("127.0.0.1"), ip_network("::1")))


class ListenerSettings(Struct, frozen=True, kw_only=True):
    """
    One entry of `esmtp_listeners`; names, units and defaults are the model's.

    What holds for one connection: `config.virtual_hosts.effective`.
    """

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
    data_buffer_size: Size = 128 * 1024
    line_length_hard_limit: Positive = 998
    invalid_line_endings: LineEndings = LineEndings.DENY
    batch_handling: BatchHandling = BatchHandling.BIFURCATE_ALWAYS
    trace_headers: TraceHeaders = TraceHeaders()
    tls_certificate: KeySource | None = None  # with tls_private_key; None: self-signed, for the hostname
    tls_private_key: KeySource | None = None
    tls_required_client_ca: KeySource | None = None  # whose certificate a client needs
    sni: Mapping[ServerName, TlsIdentity] = {}  # the name that a client asks for, in lower case → what it is shown
    deferred_spool: bool = False  # here and in the next line never anything else: see config.read_overrides
    deferred_queue: bool = False
    allow_xclient: bool = False
    require_proxy_protocol: bool = False
    meta: Mapping[str, object] = {}  # what a connection's metadata begins with
    peer: ByNetwork[ListenerOverrides] = ByNetwork()
    via: ByNetwork[ListenerOverrides] = ByNetwork()


class ReportHandling(Enum):
    """What to do with a report of a bounce or a complaint that comes in as mail."""

    IGNORE = "Ignore"  # it is mail as any other
    LOG_THEN_RELAY = "LogThenRelay"
    LOG_THEN_DROP = "LogThenDrop"


# The model's older form too: true is LogThenRelay, false is Ignore.
Reports = Annotated[ReportHandling, Meta(extra={"kind": "reports"})]


class ListenerDomain(Struct, frozen=True, kw_only=True):
    """
    What a domain may do here.  relay_to: anyone may send to it.  relay_from: who may send anywhere in its name.

    relay_from_authz: as whom one may log in to do that from anywhere.  ttl: the model's, where it means nothing either.
    """

    relay_to: bool = False
    relay_from: Networks = Networks()
    relay_from_authz: tuple[str, ...] = ()
    log_oob: Reports = ReportHandling.IGNORE
    log_arf: Reports = ReportHandling.IGNORE
    ttl: Duration = 60.0


class ListenerDomains(Struct, frozen=True):
    """
    Section `listener_domains`: domain or `*.domain` or `*` → what holds there.

    by_listener: the same for what came in on one local address, `ip:port`; asked first.
    """

    domains: Mapping[str, ListenerDomain] = {}
    by_listener: Mapping[Listen, Mapping[str, ListenerDomain]] = {}
