"""Section `log_hooks`, with what can be wrong about a target beyond the types of its parameters."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from msgspec import NODEFAULT

from kumotwist.config.faults import Place
from kumotwist.config.fields import nearest, shown
from kumotwist.config.log_hooks import HOOKS, LogHook, WebhookHook
from kumotwist.config.placed import Items, Placed, Table, Text, described
from kumotwist.config.read_keys import check_secret
from kumotwist.config.reading import Reading, Settings, fields_of, values_of
from kumotwist.config.server import LogSettings

# kind → (module, extra): what has to be installed for it.
_NEEDS: Mapping[str, tuple[str, str]] = {
    "amqp": ("pika", "amqp"),
    "kafka": ("confluent_kafka", "kafka"),
    "nats": ("nats", "nats"),
}
_SECRETS = ("password", "bearer_token", "signing_key", "token")


def read_log_hooks(reading: Reading, given: Placed) -> tuple[LogHook, ...]:
    """The hooks in the order of the file; those that are faulty are left out."""
    taken: dict[str, Place] = {}
    found = [_hook(reading, reading.table(item, "log_hooks"), taken) for item in reading.items(given, "log_hooks")]
    return tuple(hook for hook in found if hook is not None)


def check_wanted_records(reading: Reading, given: Placed, logs: LogSettings) -> None:
    """What a hook asks for by name must be written as JSON: hooks read the log's files."""
    for item in given.items if isinstance(given, Items) else ():
        entry = item.entries.get("record_types") if isinstance(item, Table) else None
        for wanted in entry.value.items if entry is not None and isinstance(entry.value, Items) else ():
            kind = wanted.text if isinstance(wanted, Text) else ""
            chosen = logs.per_record.get(kind, logs.per_record.get("Any"))
            if kind == "Any" or chosen is None:
                continue
            if not chosen.enable:
                reading.note(wanted, "record_types", f"per_record in section logs switches {kind} off, so there is nothing to send")
            elif chosen.template is not None:
                reading.note(wanted, "record_types", f"per_record in section logs writes {kind} by a template, expected JSON")


def _hook(reading: Reading, table: Table, taken: dict[str, Place]) -> LogHook | None:
    kind = _kind(reading, table)
    if kind is None:
        return None
    settings = reading.settings(HOOKS[kind], table, f"a hook of kind {kind}", leave=("kind",))
    whole = _all_there(reading, table, HOOKS[kind], settings)
    for secret in _SECRETS:
        check_secret(reading, settings.get(secret), secret)
    if HOOKS[kind] is WebhookHook:
        _check_authorization(reading, settings)
    if "name" in settings:
        _check_name(reading, settings, taken)
    if "retry_interval" in settings or "max_retry_interval" in settings:
        _check_intervals(reading, settings, table)
    return HOOKS[kind](**values_of(settings)) if whole else None


def _kind(reading: Reading, table: Table) -> str | None:
    entry = table.entries.get("kind")
    if entry is None:
        reading.note(table, "log_hooks", f"kind is missing, expected one of {', '.join(HOOKS)}")
        return None
    if not isinstance(entry.value, Text) or entry.value.text not in HOOKS:
        said = shown(entry.value.text) if isinstance(entry.value, Text) else described(entry.value)
        meant = nearest(entry.value.text, HOOKS) if isinstance(entry.value, Text) else ""
        hint = f"did you mean {meant}?" if meant else f"expected one of {', '.join(HOOKS)}"
        reading.note(entry.value, "kind", f"{said}, {hint}")
        return None
    kind = entry.value.text
    module, extra = _NEEDS.get(kind, ("", ""))
    if module and find_spec(module) is None:
        reading.note(entry.value, "kind", f"{kind} needs the package {module}, expected kumotwist[{extra}] to be installed")
        return None
    return kind


def _all_there(reading: Reading, table: Table, cls: type[LogHook], settings: Settings) -> bool:
    whole = True
    for key, field in fields_of(cls).items():
        if field.default is NODEFAULT and field.name not in settings:
            whole = False
            if key not in table.entries:
                reading.note(table, "log_hooks", f"{key} is missing")
    return whole


def _check_name(reading: Reading, settings: Settings, taken: dict[str, Place]) -> None:
    setting = settings["name"]
    first = taken.setdefault(setting.value, setting.place)
    if first is not setting.place:
        reading.faults.note(setting.place, f"name: {shown(setting.value)} is the hook in line {first.line} already")


def _check_authorization(reading: Reading, settings: Settings) -> None:
    """Basic or bearer, and basic with both of its parts."""
    keys = ("username", "password", "bearer_token")
    named = {key: settings[key] for key in keys if key in settings and settings[key].value is not None}
    if "bearer_token" in named and len(named) > 1:
        both = "bearer_token: beside username or password, expected one way to authenticate"
        reading.faults.note(named["bearer_token"].place, both)
    elif len(named) == 1 and "bearer_token" not in named:
        [(key, setting)] = named.items()
        reading.faults.note(setting.place, f"{key}: without its counterpart, expected both username and password")


def _check_intervals(reading: Reading, settings: Settings, table: Table) -> None:
    def value(name: str) -> Any:
        return settings[name].value if name in settings else fields_of(LogHook)[name].default

    if value("max_retry_interval") < value("retry_interval"):
        reading.note(table, "log_hooks", "max_retry_interval is shorter than retry_interval, expected it as long or longer")
