"""The whole configuration, and the sections of one or two keys."""

from collections.abc import Mapping

from msgspec import Struct

from kumotwist.config.egress import EgressSettings, ShapingSettings
from kumotwist.config.fields import Count, Duration, FilePath, FreeSpace, Size
from kumotwist.config.listeners import ListenerDomains, ListenerSettings
from kumotwist.config.queues import QueuesSettings
from kumotwist.config.routing import RoutingRule


class SpoolSettings(Struct, frozen=True, kw_only=True):
    """Section `spool`.  flush: nothing is acknowledged before it is on disk."""

    path: FilePath = "/var/spool/kumotwist"
    kind: str = "rocksdb"  # or local_disk
    flush: bool = True
    min_free_space: FreeSpace = "10%"
    min_free_inodes: FreeSpace = "10%"


class RecordSettings(Struct, frozen=True, kw_only=True):
    """`per_record`: whether records of one type are written, and to files with which suffix in which directory."""

    enable: bool = True
    suffix: str = ""
    log_dir: FilePath | None = None


class LogSettings(Struct, frozen=True, kw_only=True):
    """Section `logs`."""

    log_dir: FilePath = "/var/log/kumotwist"
    compression: str = "zstd"  # or none
    compression_level: Count = 0
    max_segment_duration: Duration | None = None
    max_file_size: Size = 1_000_000_000
    headers: tuple[str, ...] = ()
    meta: tuple[str, ...] = ()
    per_record: Mapping[str, RecordSettings] = {}
    min_free_space: FreeSpace = "10%"
    min_free_inodes: FreeSpace = "10%"


class DnsSettings(Struct, frozen=True, kw_only=True):
    """Section `dns`.  nameservers: `ip` or `ip:port`; empty: the system's."""

    nameservers: tuple[str, ...] = ()
    timeout: Duration = 5.0


class TlsSettings(Struct, frozen=True, kw_only=True):
    """Section `tls`.  ca_file: whom we trust; None: $SSL_CERT_FILE, else the system's."""

    ca_file: FilePath | None = None


class Config(Struct, frozen=True, kw_only=True):
    """A whole valid configuration."""

    hostname: str
    node_id: str | None = None
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
