"""The whole configuration, and the sections of one or two keys."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from kumotwist.config.bounces import BounceClassifierSettings
from kumotwist.config.dkim import DkimSettings
from kumotwist.config.egress import EgressSettings
from kumotwist.config.faults import Fault
from kumotwist.config.fields import DomainText, FilePath, FreeSpace, HeaderName, Positive, Size
from kumotwist.config.http import AccessControl, HttpListenerSettings
from kumotwist.config.listeners import ListenerDomains, ListenerSettings
from kumotwist.config.log_hooks import LogHook
from kumotwist.config.queues import QueuesSettings
from kumotwist.config.record_names import RecordName
from kumotwist.config.routing import RoutingRule
from kumotwist.config.shaping import ShapingSettings
from kumotwist.config.suppression import SuppressionSettings

SpoolKind = Annotated[str, Meta(extra={"kind": "choice", "of": ("rocksdb", "local_disk")})]
Compression = Annotated[str, Meta(extra={"kind": "choice", "of": ("zstd", "none")})]
CompressionLevel = Annotated[int, Meta(ge=0, le=22, extra={"kind": "whole"})]  # zstd's; 0: its default
Nameserver = Annotated[str, Meta(extra={"kind": "nameserver"})]
NotInFiles = Annotated[tuple[str, ...], Meta(extra={"key": ""})]
NotInOctets = Annotated[int | None, Meta(extra={"key": ""})]
Doubts = Annotated[tuple[Fault, ...], Meta(extra={"key": ""})]
RecordTemplate = Annotated[str, Meta(extra={"kind": "record_template"})]
Lines = Annotated[str, Meta(extra={"kind": "lines"})]
Suffix = Annotated[str, Meta(extra={"kind": "suffix"})]
SegmentDuration = Annotated[float, Meta(ge=1.0, extra={"kind": "duration"})]
AnswerTime = Annotated[float, Meta(ge=0.001, extra={"kind": "duration"})]


class SpoolSettings(Struct, frozen=True, kw_only=True):
    """
    Section `spool`.  flush: nothing is acknowledged before it is on disk.

    buffers: octets that the store may use; None: as many as are good for it.  The server sets it by what memory there is.
    """

    path: FilePath = "/var/spool/kumotwist"
    kind: SpoolKind = "rocksdb"  # or local_disk
    flush: bool = True
    min_free_space: FreeSpace = "10%"
    min_free_inodes: FreeSpace = "10%"
    buffers: NotInOctets = None


class RecordSettings(Struct, frozen=True, kw_only=True):
    """`per_record`: whether records of one type are written, how, and to files with which suffix in which directory."""

    enable: bool = True
    suffix: Suffix = ""
    log_dir: FilePath | None = None
    template: RecordTemplate | None = None  # Jinja's; None: JSON
    segment_header: Lines = ""  # what each file begins with


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
    back_pressure: Positive = 128_000  # records kept in memory while files are slow; those beyond are read from the journal


class DnsSettings(Struct, frozen=True, kw_only=True):
    """Section `dns`.  nameservers: `ip` or `ip:port`; empty: the system's."""

    nameservers: tuple[Nameserver, ...] = ()
    timeout: AnswerTime = 5.0


class TlsSettings(Struct, frozen=True, kw_only=True):
    """Section `tls`.  ca_file: whom we trust; None: $SSL_CERT_FILE, else the system's."""

    ca_file: FilePath | None = None


class MemorySettings(Struct, frozen=True, kw_only=True):
    """
    Section `memory`.  None: hard is what the machine or our control group has, soft 75 % of it, low 80 % of that.

    low_threshold: above it, messages that are ready wait on disk.  soft_limit: above it, new mail is refused.
    """

    hard_limit: Size | None = None
    soft_limit: Size | None = None
    low_threshold: Size | None = None


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
    memory: MemorySettings = MemorySettings()
    logs: LogSettings = LogSettings()
    dns: DnsSettings = DnsSettings()
    esmtp_listeners: tuple[ListenerSettings, ...] = ()
    http_listeners: tuple[HttpListenerSettings, ...] = ()
    access_control: AccessControl = {}
    listener_domains: ListenerDomains = ListenerDomains()
    egress: EgressSettings = EgressSettings()
    queues: QueuesSettings = QueuesSettings()
    routing: tuple[RoutingRule, ...] = ()
    shaping: ShapingSettings = ShapingSettings()
    tls: TlsSettings = TlsSettings()
    dkim: DkimSettings = DkimSettings()
    bounce_classifier: BounceClassifierSettings = BounceClassifierSettings()
    log_hooks: tuple[LogHook, ...] = ()
    suppression: SuppressionSettings = SuppressionSettings()
    files: NotInFiles = ()
    doubts: Doubts = ()
    own_events: NotInFiles = ()
