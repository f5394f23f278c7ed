"""
A configuration file with all that it includes → `Config`, or every fault with its place.

`read_config` reads, checks and decides nothing else: no name is looked up, no directory made, no address bound.
"""

import os
import socket
from collections.abc import Container, Mapping
from typing import Any

from msgspec import Struct

from kumotwist.config.bounces import BounceClassifierSettings
from kumotwist.config.egress import EgressSettings
from kumotwist.config.faults import ConfigFaults, Fault, Place
from kumotwist.config.fields import BadValue, shown
from kumotwist.config.kinds import domain_name
from kumotwist.config.placed import Placed, Table, Text
from kumotwist.config.read_bounces import read_bounce_classifier
from kumotwist.config.read_dkim import read_dkim
from kumotwist.config.read_egress import EgressReading
from kumotwist.config.read_http import check_addresses, read_access_control, read_http_listeners
from kumotwist.config.read_listeners import read_listener_domains, read_listeners, read_tls
from kumotwist.config.read_log_hooks import check_wanted_records, read_log_hooks
from kumotwist.config.read_memory import read_memory
from kumotwist.config.read_policy import read_policy
from kumotwist.config.read_queues import QueuesReading, read_routing
from kumotwist.config.read_shaping import read_shaping
from kumotwist.config.read_suppression import read_suppression
from kumotwist.config.reading import Reading, values_of
from kumotwist.config.server import Config, DnsSettings, LogSettings, SpoolSettings

__all__ = ["ConfigFaults", "Examined", "Fault", "examine", "read_config", "unanswered"]

_SECTIONS = (
    "policy", "spool", "memory", "logs", "dns", "esmtp_listeners", "http_listeners", "access_control", "listener_domains", "egress",
    "queues", "routing", "shaping", "tls",
    "bounce_classifier", "log_hooks", "dkim", "suppression",
)  # fmt: skip


class Examined(Struct, frozen=True, kw_only=True):
    """
    What reading a configuration found.

    config: None where there are faults.  doubts: what is wrong unless the policy says otherwise.  policy: the files of the
    policy that it names, known also where there are faults.  own_events: events by which it asks the policy for values.
    """

    config: Config | None
    faults: tuple[Fault, ...]
    doubts: tuple[Fault, ...]
    policy: tuple[str, ...]
    own_events: tuple[str, ...]


def read_config(path: str | os.PathLike[str]) -> Config:
    """
    The whole configuration.  Raises ConfigFaults, with everything that is wrong in any of its files.

    Who loads its policy then asks `unanswered` what is still wrong.
    """
    found = examine(path)
    if found.config is None:
        raise ConfigFaults(found.faults)
    return found.config


def examine(path: str | os.PathLike[str]) -> Examined:
    """The same without raising."""
    file = os.fspath(path)
    reading = Reading()
    document = reading.document(file)
    if not reading.faults and (document is None or (isinstance(document, Text) and document.is_null)):
        # A file that is just being written again is empty too: that must not end a running configuration.
        reading.faults.note(Place(file, 1, 1), "the file is empty, expected a mapping of sections")
    values = {} if document is None else _values(reading, reading.table(document, "configuration"))
    policy: tuple[str, ...] = values.get("policy", ())
    said = reading.faults.in_order()
    has_policy = bool(policy) or not reading.policy_is_whole
    faults = tuple(fault for fault in said if not (fault.unless and has_policy))
    # Half a policy says nothing of what the other half would answer.
    doubts = tuple(fault for fault in said if fault.unless and has_policy and reading.policy_is_whole)
    own_events = tuple(dict.fromkeys(event for _, _, event in reading.asked))
    config = None
    if not faults:
        values.setdefault("hostname", own_name())
        files = tuple(dict.fromkeys(map(os.path.abspath, (*reading.faults.files, *policy))))
        config = Config(**values, files=files, doubts=doubts, own_events=own_events)
    return Examined(config=config, faults=faults, doubts=doubts, policy=policy, own_events=own_events)


def unanswered(doubts: tuple[Fault, ...], events: Container[str]) -> tuple[Fault, ...]:
    """The doubts that are faults, with a policy that has handlers for these events."""
    return tuple(fault for fault in doubts if fault.unless not in events)


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
    given = {key: entry.value for key in _SECTIONS if (entry := reading.entry(root, key, Config)) is not None}
    for key, read in _READERS.items():
        if key in given:
            values[key] = read(reading, given[key])
    decided = "policy" not in root.entries  # else the policy may be who configures log and classifier
    if "log_hooks" in given and "logs" in values and decided:
        check_wanted_records(reading, given["log_hooks"], values["logs"])
    if "suppression" in given:
        classifier = values.get("bounce_classifier", BounceClassifierSettings()) if decided else None
        values["suppression"] = read_suppression(reading, given["suppression"], classifier)
    if "http_listeners" in given:
        check_addresses(reading, given["http_listeners"].place, values.get("esmtp_listeners", ()), values["http_listeners"])
    values |= _egress_and_queues(reading, given, root.place)
    for place, name, event in reading.asked:
        what = f"{name}: nobody answers {shown(event)}, expected a handler for it in the policy"
        reading.faults.note(place, what, unless=event)
    return values


def _egress_and_queues(reading: Reading, given: Mapping[str, Placed], place: Place) -> dict[str, Any]:
    """Together, since queues name pools."""
    nothing = Text("", place, plain=True)
    egress_reading = EgressReading(reading)
    egress: EgressSettings = egress_reading.read(given.get("egress", nothing))
    queues = QueuesReading(reading).read(given.get("queues", nothing), egress, pools_known=egress_reading.whole)
    return {"egress": egress, "queues": queues}


_READERS: Mapping[str, Any] = {
    "policy": read_policy,
    "spool": lambda reading, given: reading.struct(SpoolSettings, given, "spool"),
    "memory": read_memory,
    "logs": lambda reading, given: reading.struct(LogSettings, given, "logs"),
    "dns": lambda reading, given: reading.struct(DnsSettings, given, "dns"),
    "esmtp_listeners": read_listeners,
    "http_listeners": read_http_listeners,
    "access_control": read_access_control,
    "listener_domains": read_listener_domains,
    "routing": read_routing,
    "shaping": read_shaping,
    "tls": read_tls,
    "bounce_classifier": read_bounce_classifier,
    "log_hooks": read_log_hooks,
    "dkim": read_dkim,
}
