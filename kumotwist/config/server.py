"""The whole configuration, and the sections of one or two keys."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from kumotwist.config.egress import EgressSettings
from kumotwist.config.faults import Fault
from kumotwist.config.fields import DomainText, FilePath, FreeSpace, HeaderName, Size
from kumotwist.config.listeners import ListenerDomains, ListenerSettings
from kumotwist.config.queues import QueuesSettings
from kumotwist.config.routing import RoutingRule
from kumotwist.config.shaping import ShapingSettings

SpoolKind = Annotated[str, Meta(extra={"kind": "choice", "of": ("rocksdb", "local_disk")})]
Compression = Annotated[str, Meta(extra={"kind": "choice", "of": ("zstd", "none")})]
CompressionLevel = Annotated[int, Meta(ge=0, le=22, extra={"kind": "whole"})]  # zstd's; 0: its default
# The model's types, and `Any` for those that have no entry of their own.
RecordName = Annotated[str, Meta(extra={"kind": "choice", "of": (
    "Any", "Reception", "Delivery", "Bounce", "TransientFailure", "Expiration", "AdminBounce", "OOB", "Feedback", "Rejection",
    "AdminRebind", "DeferredInjectionRebind", "Delayed", "XferOut", "XferIn",
)})]  # fmt: skip
Nameserver = Annotated[str, Meta(extra={"kind": "nameserver"})]
NotInFiles = Annotated[tuple[str, ...], Meta(extra={"key": ""})]
Doubts = Annotated[tuple[Fault, ...], Meta(extra={"key": ""})]
Suffix = Annotated[str, Meta(extra={"kind": "suffix"})]
SegmentDuration = Annotated[float, Meta(ge=1.0, extra={"kind": "duration"})]
AnswerTime = Annotated[float, Meta(ge=0.001, extra={"kind": "duration"})]


class SpoolSettings(Struct, frozen=True, kw_only=True):
    """Section `spool`.  flush: nothing is acknowledged before it is on disk."""

    path: FilePath = "/var/spool/kumotwist"
    kind: SpoolKind = "rocksdb"  # or local_disk
    flush: bool = True
    min_free_space: FreeSpace = "10%"
    min_free_inodes: FreeSpace = "10%"


class RecordSettings(Struct, frozen=True, kw_only=True):
    """`per_record`: whether records of one type are written, and to files with which suffix in which directory."""

    enable: bool = True
    suffix: Suffix = ""
    log_dir: FilePath | None = None


class LogSettings(Struct, frozen=True, kw_only=True):
    """Section `logs`."""

    log_dir: FilePath = "/var/log/kumotwist"
    compression: Compression = "zstd"  # or none
    compression_level: CompressionLevel = 0
    max_segment_duration: SegmentDuration | None = None
    max_file_size: Size = 1_000_000_000
    headers: tuple[HeaderName, ...] = ()  # a `*` at the end stands for any ending; so in meta
    meta: tuple[str, ...] = ()
    per_record: Mapping[RecordName, RecordSettings] = {}
    min_free_space: FreeSpace = "10%"
    min_free_inodes: FreeSpace = "10%"


class DnsSettings(Struct, frozen=True, kw_only=True):
    """Section `dns`.  nameservers: `ip` or `ip:port`; empty: the system's."""

    nameservers: tuple[Nameserver, ...] = ()
    timeout: AnswerTime = 5.0


class TlsSettings(Struct, frozen=True, kw_only=True):
    """Section `tls`.  ca_file: whom we trust; None: $SSL_CERT_FILE, else the system's."""

    ca_file: FilePath | None = None


class Config(Struct, frozen=True, kw_only=True):
    """
    A whole valid configuration.

    policy: the absolute names of its policy files, in order.  files: all that it was read from, the policy among them, as
    absolute names: what to watch for changes.  doubts: what is wrong with it unless the policy says otherwise
    (`config.read.unanswered`).  own_events: events, beside the known ones, by which it asks the policy for values.
    """

    hostname: DomainText
    node_id: str | None = None
    policy: tuple[str, ...] = ()
    spool: SpoolSettings = SpoolSettings()
    logs: LogSettings = LogSettings()
    dns: DnsSettings = DnsSettings()
    esmtp_listeners: tuple[ListenerSettings, ...] = ()
    listener_domains: ListenerDomains = ListenerDomains()
    egress: EgressSettings = EgressSettings()
    queues: QueuesSettings = QueuesSettings()
    routing: tuple[RoutingRule, ...] = ()
    shaping: ShapingSettings = ShapingSettings()
    tls: TlsSettings = TlsSettings()
    files: NotInFiles = ()
    doubts: Doubts = ()
    own_events: NotInFiles = ()
