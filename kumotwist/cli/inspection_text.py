"""Messages, queues and paths in words, from what the API says about them.  Pure: JSON in, lines out."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from kumotwist.cli.columns import columns, cut, facts
from kumotwist.cli.terminal import escaped
from kumotwist.config.fields import BadValue, parse_duration

Told = Mapping[str, Any]

_STUCK, _SLOW = 1.0, 0.75  # shares of the watchdog's patience


def message_lines(told: Told, width: int | None) -> list[str]:
    """A message, its metadata, and its content where that was asked for."""
    message = told["message"]
    lines = facts([("id", told["id"]), *_envelope(message)], width)
    if message.get("meta"):
        lines += ["", "meta:", *_indented(facts([(name, _value(value)) for name, value in message["meta"].items()]), width)]
    if message.get("data") is not None:
        lines += ["", "content:", *content_lines(message["data"])]
    return lines


def _envelope(message: Told) -> Iterator[tuple[str, str]]:
    recipient = message["recipient"]
    yield "sender", f"<{message['sender']}>"
    yield "recipient", recipient if isinstance(recipient, str) else ", ".join(recipient)
    yield "due", message.get("due") or "now"
    if message.get("num_attempts") is not None:
        yield "attempts", str(message["num_attempts"])
    if message.get("scheduling"):
        yield "scheduling", _value(message["scheduling"])


def content_lines(data: str) -> list[str]:
    """A message's text, line by line; nothing in it steers the terminal."""
    return ["  " + "\t".join(map(escaped, line.split("\t"))) for line in data.replace("\r\n", "\n").rstrip("\n").split("\n")]


def scheduled_lines(told: Told, width: int | None, *, config: bool) -> list[str]:
    """A scheduled queue with some of its messages."""
    pairs = [
        ("queue", told["queue_name"]),
        ("messages", f"{told['num_scheduled']:,}"),
        ("not due yet", f"{told['delayed_metric']:,}"),
    ]
    for label, name in (("pool", "egress_pool"), ("site", "site"), ("held up by", "blocked")):
        if told.get(name):
            pairs.append((label, told[name]))
    lines = facts([*pairs, ("last changed", told["last_changed"])], width)
    for queue, count in (told.get("ready") or {}).items():
        lines.append(f"ready:  {count:,} in {escaped(queue)}")
    messages = told["messages"]
    if messages:
        rows = [
            (one["id"], _when(one["message"]), _attempts(one["message"]), one["message"]["sender"], _to(one["message"]))
            for one in messages
        ]
        lines += ["", *columns(("MESSAGE", "DUE", "TRIES", "SENDER", "RECIPIENT"), rows, right={2}, keep={0}, width=width)]
        more = told["num_scheduled"] - len(messages)
        if more > 0:
            lines.append(f"and {more:,} more (--limit N, --no-limit)")
    for one in messages:
        if one["message"].get("data") is not None:
            lines += ["", f"{one['id']}:", *content_lines(one["message"]["data"])]
    return lines + (["", "parameters:", *config_lines(told["queue_config"], width)] if config else [])


def _when(message: Told) -> str:
    return str(message.get("due") or "now").partition(".")[0].removesuffix("Z")


def _attempts(message: Told) -> str:
    attempts = message.get("num_attempts")
    return "" if attempts is None else str(attempts)


def _to(message: Told) -> str:
    recipient = message["recipient"]
    if isinstance(recipient, str):
        return recipient
    return recipient[0] + (f" and {len(recipient) - 1} more" if len(recipient) > 1 else "") if recipient else ""


def ready_lines(told: Told, width: int | None, *, connections: bool, config: bool) -> list[str]:
    """A ready queue, block by block."""
    state = told["state"]
    patience = state["watchdog_threshold"]
    pairs = [("egress pool", told["egress_pool"]), ("egress source", told["egress_source"]), ("protocol", told["protocol"])]
    lines = [escaped(told["queue_name"]), *facts([*pairs, ("watchdog", patience)], width), *mx_lines(told.get("mx"))]
    lines.append(f"ready: {state['ready_count']:,}")
    for label, name in (("throttled", "connection_rate_throttled"), ("limited", "connection_limited")):
        if state.get(name):
            lines.append(f"{label}: {escaped(state[name]['context'])} since {state[name]['since']}")
    if state.get("suspended"):
        suspended = state["suspended"]
        lines.append(f"suspended: {escaped(suspended['reason'])} for {suspended['duration']} (id {suspended['id']})")
    lines += ceiling_lines(told["constraints"])
    feeding = told.get("scheduled_queue_names")
    if feeding is not None:
        lines += [
            f"fed by {len(feeding):,} scheduled queue{'' if len(feeding) == 1 else 's'}",
            *("  " + escaped(one) for one in feeding),
        ]
    lines.append(f"connections: {state['connection_count']:,}")
    if connections:
        lines += connection_lines(told["dispatchers"], patience, width)
    return lines + (["parameters:", *config_lines(told["path_config"], width)] if config else [])


def mx_lines(mx: Told | None) -> list[str]:
    """The hosts, the preferred first."""
    if mx is None:
        return []
    lines = [f"site: {escaped(mx['site_name'])}"]
    for preference, hosts in sorted(mx["by_preference"].items(), key=lambda pair: int(pair[0])):
        lines += [f"  {preference:>3} {escaped(host)}" for host in hosts]
    return lines


_CEILINGS = (
    ("max_concurrent_dispatchers", "connections"),
    ("max_message_rate", "messages"),
    ("max_connection_rate", "new connections"),
    ("max_source_selection_rate", "choices of the source"),
)


def ceiling_lines(constraints: Told) -> list[str]:
    """Each limit in effect, and which option imposes it."""
    lines = ["limits:"]
    for name, label in _CEILINGS:
        ceiling = constraints.get(name)
        if ceiling is not None:
            lines.append(f"  {label}: {ceiling['display']} ({_source(ceiling['source'])})")
    declared = constraints.get("max_message_rate_declared")
    if declared:
        lines.append(f"  the configured {declared} cannot be reached: connections do not allow so many messages")
    return lines


def _source(source: Any) -> str:
    if not isinstance(source, dict):
        return escaped(str(source))
    kind = str(source.get("kind", "")).replace("_", " ")
    return escaped(f"{kind}: {source['name']}" if source.get("name") else kind)


def connection_lines(dispatchers: list[Told], patience: str, width: int | None) -> list[str]:
    """A table of connections; each row is followed by what the connection is doing."""
    if not dispatchers:
        return []
    headings = ("SESSION", "DELIV", "TRANS", "FAIL", "AGE", "RATE", "")
    rows = [
        (
            one["session_id"],
            f"{one['messages_delivered']:,}",
            f"{one['messages_transfailed']:,}",
            f"{one['messages_failed']:,}",
            one["age"],
            f"{one['overall_rate_per_sec']:.1f}/s",
            progress_mark(one["time_in_current_phase"], patience),
        )
        for one in dispatchers
    ]
    heading, *table = columns(headings, rows, right={1, 2, 3, 4, 5}, keep={0}, width=width)
    lines = [heading]
    for line, one in zip(table, dispatchers, strict=True):
        lines += [line, f"  {phase_words(one['phase'])} for {one['time_in_current_phase']}"]
        if one.get("detail"):
            detail = f"  {escaped(one['detail'])}"
            lines.append(detail if width is None else cut(detail, width))
    return lines


def progress_mark(spent: str, patience: str) -> str:
    """Whether a connection has been in one phase for too long."""
    try:
        share = parse_duration(spent) / parse_duration(patience)
    except (BadValue, ZeroDivisionError):
        return ""
    return "STUCK" if share >= _STUCK else "STALL?" if share >= _SLOW else ""


def phase_words(phase: Any) -> str:
    """`AccumulatingBatch (have 1, want 5)`."""
    if isinstance(phase, dict):
        ((name, facts_of),) = phase.items()
        inside = ", ".join(f"{key} {value}" for key, value in facts_of.items()) if isinstance(facts_of, dict) else str(facts_of)
        return escaped(f"{name} ({inside})")
    return escaped(str(phase))


def resolved_lines(told: Told, width: int | None, *, config: bool, ceilings: bool, whole: bool) -> list[str]:
    """An egress path as it would be.  whole: with what identifies it."""
    lines: list[str] = []
    if whole:
        lines += facts([("domain", told["domain"]), ("source", told["source"]), ("queue", told["queue_name"])], width)
        lines += mx_lines(told.get("mx"))
    if ceilings:
        lines += ceiling_lines(told["constraints"])
    if config:
        lines += ["queue parameters:", *config_lines(told["queue_config"], width)]
        lines += ["path parameters:", *config_lines(told["path_config"], width)]
        lines += origin_lines(told.get("origins") or {}, width)
    return lines


def origin_lines(origins: Told, width: int | None) -> list[str]:
    """Who says what is not as by default."""
    lines = []
    for name, one in sorted(origins.items()):
        until = f" until {one['until']}" if one.get("until") else ""
        place = f" ({one['place']})" if one.get("place") else ""
        lines.append(f"{name}: {one['by']}{place}{until}")
    return ["said by:", *_indented(lines, width)] if lines else []


def config_lines(config: Told, width: int | None) -> list[str]:
    """Parameters as they may be written in TOML; JSON's strings, numbers and lists are TOML's, too."""
    return _indented([f"{name} = {_toml(value)}" for name, value in sorted(config.items()) if value is not None], width)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items() if one is not None) + " }" if value else "{}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return msgspec.json.encode(value).decode()


def _value(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _indented(lines: list[str], width: int | None) -> list[str]:
    return ["  " + escaped(line if width is None else cut(line, width - 2)) for line in lines]
