"""
A configuration file with all that it includes → `Config`, or every fault with its place.

`read_config` reads, checks and decides nothing else: no name is looked up, no directory made, no address bound.
"""

import os
import socket
from collections.abc import Mapping
from typing import Any

from kumotwist.config.egress import EgressSettings
from kumotwist.config.faults import ConfigFaults, Fault, Place
from kumotwist.config.fields import BadValue
from kumotwist.config.kinds import domain_name
from kumotwist.config.placed import Placed, Table, Text
from kumotwist.config.read_egress import EgressReading, read_shaping
from kumotwist.config.read_listeners import read_listener_domains, read_listeners, read_tls
from kumotwist.config.read_queues import QueuesReading, read_routing
from kumotwist.config.reading import Reading, values_of
from kumotwist.config.server import Config, DnsSettings, LogSettings, SpoolSettings

__all__ = ["ConfigFaults", "Fault", "read_config"]

_SECTIONS = (
    "spool", "logs", "dns", "esmtp_listeners", "listener_domains", "egress", "queues", "routing", "shaping", "tls",
)  # fmt: skip


def read_config(path: str | os.PathLike[str]) -> Config:
    """The whole configuration.  Raises ConfigFaults, with everything that is wrong in any of its files."""
    file = os.fspath(path)
    reading = Reading()
    document = reading.document(file)
    if not reading.faults and (document is None or (isinstance(document, Text) and document.is_null)):
        # A file that is just being written again is empty too: that must not end a running configuration.
        reading.faults.note(Place(file, 1, 1), "the file is empty, expected a mapping of sections")
    values = {} if document is None else _values(reading, reading.table(document, "configuration"))
    if reading.faults:
        raise ConfigFaults(reading.faults.in_order())
    values.setdefault("hostname", own_name())
    return Config(**values, files=tuple(dict.fromkeys(map(os.path.abspath, reading.faults.files))))


def own_name() -> str:
    """The machine's name, if it can stand in a greeting."""
    try:
        return domain_name(socket.gethostname())
    except BadValue:
        return "localhost"


def _values(reading: Reading, root: Table) -> dict[str, Any]:
    """The fields of Config; those without a value in the file are left to their defaults."""
    named = reading.settings(Config, root, "the configuration", leave=_SECTIONS)
    values = values_of({key: setting for key, setting in named.items() if setting.value is not None})
    given = {key: entry.value for key, entry in root.entries.items() if key in _SECTIONS}
    for key, read in _READERS.items():
        if key in given:
            values[key] = read(reading, given[key])
    values |= _egress_and_queues(reading, given, root.place)
    return values


def _egress_and_queues(reading: Reading, given: Mapping[str, Placed], place: Place) -> dict[str, Any]:
    """Together, since queues name pools."""
    nothing = Text("", place, plain=True)
    egress_reading = EgressReading(reading)
    egress: EgressSettings = egress_reading.read(given.get("egress", nothing))
    queues = QueuesReading(reading).read(given.get("queues", nothing), egress, pools_known=egress_reading.whole)
    return {"egress": egress, "queues": queues}


_READERS: Mapping[str, Any] = {
    "spool": lambda reading, given: reading.struct(SpoolSettings, given, "spool"),
    "logs": lambda reading, given: reading.struct(LogSettings, given, "logs"),
    "dns": lambda reading, given: reading.struct(DnsSettings, given, "dns"),
    "esmtp_listeners": read_listeners,
    "listener_domains": read_listener_domains,
    "routing": read_routing,
    "shaping": read_shaping,
    "tls": read_tls,
}
