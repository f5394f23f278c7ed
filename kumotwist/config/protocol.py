"""
`protocol` of a queue: SMTP and to which hosts, a maildir, delivery by the policy, or another node.

The model writes the parameters of a maildir directly below `protocol`; they may also stand together below `maildir`.
"""

from typing import Any

from kumotwist.config.fields import BadValue, parse_whole, shown
from kumotwist.config.kinds import Kind
from kumotwist.config.mx_list import read_protocol as read_smtp
from kumotwist.config.path_template import PathTemplate, parse_path_template
from kumotwist.config.placed import Placed, Table, Text
from kumotwist.config.queues import MaildirDelivery, PolicyDelivery, XferDelivery
from kumotwist.config.reading import UNFIT, Reading, values_of
from kumotwist.config.xfer import parse_target

_MAILDIR_KEYS = ("maildir_path", "dir_mode", "file_mode")
_MOST_MODE = 0o7777


def read_protocol(reading: Reading, given: Placed) -> dict[str, Any]:
    """The fields of QueueSettings that it means, all of them: one protocol replaces the other."""
    table = reading.table(given, "protocol")
    smtp: dict[str, Any] = {}
    flat: dict[str, Any] = {}
    instead: list[MaildirDelivery | PolicyDelivery | XferDelivery | None] = []
    for key, entry in table.entries.items():
        if key in _MAILDIR_KEYS:
            flat[key] = entry
        elif key == "maildir":
            instead.append(_maildir(reading, reading.table(entry.value, key)))
        elif key == "custom_lua":
            instead.append(_by_policy(reading, reading.table(entry.value, key)))
        elif key == "xfer":
            instead.append(_xfer(reading, reading.table(entry.value, key)))
        else:
            smtp[key] = entry
    if flat:
        instead.append(_maildir(reading, Table(flat, table.place)))
    if len(instead) + ("smtp" in smtp) > 1:
        reading.faults.note(table.place, "protocol: more than one of smtp, maildir, custom_lua and xfer, expected one of them")
    hosts = read_smtp(reading, Table(smtp, table.place))
    return {"mx_list": hosts, "instead_of_smtp": instead[0] if instead else None}


def _maildir(reading: Reading, table: Table) -> MaildirDelivery | None:
    found: dict[str, Any] = {}
    for key, entry in table.entries.items():
        if key == "maildir_path":
            found[key] = reading.scalar(_PATH, entry.value, key)
        elif key in _MAILDIR_KEYS:
            null = isinstance(entry.value, Text) and entry.value.is_null
            found[key] = None if null else reading.scalar(_MODE, entry.value, key)
        else:
            reading.unknown(key, entry, "protocol.maildir", _MAILDIR_KEYS, "protocol")
    if "maildir_path" not in table.entries:
        reading.faults.note(table.place, f"maildir_path is missing, expected {_PATH.expected}")
    path = found.pop("maildir_path", UNFIT)
    if not isinstance(path, PathTemplate) or UNFIT in found.values():
        return None
    return MaildirDelivery(maildir_path=path, **found)


def _by_policy(reading: Reading, table: Table) -> PolicyDelivery | None:
    settings = reading.settings(PolicyDelivery, table, "protocol.custom_lua")
    constructor = settings.get("constructor")
    if constructor is None or not constructor.value:
        if "constructor" not in table.entries or constructor is not None:
            reading.faults.note(table.place, "constructor is missing, expected the name of an event of the policy")
        return None
    entry = table.entries["constructor"]
    reading.asks_policy(entry.value, "constructor", str(constructor.value))
    made = PolicyDelivery(**values_of(settings))
    if made.min_batch_size > made.batch_size:
        what = f"min_batch_size: {made.min_batch_size} is more than batch_size {made.batch_size}, expected no more than that"
        reading.faults.note(table.place, what)
    return made


def _xfer(reading: Reading, table: Table) -> XferDelivery | None:
    target: object = UNFIT
    for key, entry in table.entries.items():
        if key == "target":
            target = reading.scalar(_NODE, entry.value, key)
        else:
            reading.unknown(key, entry, "protocol.xfer", ("target",), "protocol")
    if "target" not in table.entries:
        reading.faults.note(table.place, f"target is missing, expected {_NODE.expected}")
    return XferDelivery(target=target) if isinstance(target, str) else None


def _template(given: Text) -> PathTemplate:
    return parse_path_template(given.text, given.place.file)


def _mode(given: Text) -> int:
    """Octal as YAML and TOML write it (0750, 0o750), else decimal, as the model has it: 488."""
    text = given.text.lower()
    octal = text.startswith("0") and text != "0"
    digits = text.removeprefix("0o") if octal else text
    if octal and not (digits.isdigit() and digits.isascii() and not set(digits) & set("89")):
        raise BadValue(f"{shown(given.text)} is no mode")
    mode = int(digits, 8) if octal else parse_whole(text)
    if not octal and mode > 0o777:
        meant = f"0o{text}" if not set(text) & set("89") and len(text) == 3 else ""
        raise BadValue(f"{shown(given.text)} is no mode", meant)
    if mode > _MOST_MODE:
        raise BadValue(f"{shown(given.text)} is no mode")
    return mode


_PATH = Kind("the name of a directory such as /var/mail/{{ domain_part }}/{{ local_part }}", _template)
_MODE = Kind("a mode such as 0o750", _mode)
_NODE = Kind("the URL of another node, such as https://mta2.example.com:8000", lambda given: parse_target(given.text))
