"""`kumotwist set-log-filter`, `spool-compact`, `abort-ready-q-conn`, `audit`: looking after the server itself."""

from collections.abc import Mapping
from typing import Any

import click
import msgspec

from kumotwist.cli.api import REFUSED, Api
from kumotwist.cli.asking import as_json, asks
from kumotwist.cli.columns import columns, facts
from kumotwist.cli.terminal import answered, say, width


def _done(answer: bytes, as_json: bool) -> None:
    if as_json:
        answered(answer)
    else:
        click.echo(answer.decode("utf-8", "replace").strip() or "OK")


@click.command("set-log-filter")
@click.argument("filter", metavar="FILTER")
@as_json
@asks
def set_log_filter(api: Api, filter: str, as_json: bool) -> None:
    """Choose what the server's own log says, until it is restarted; FILTER is such as `info` or `kumod=debug`."""
    _done(api.post("/api/admin/set_diagnostic_log_filter/v1", {"filter": filter}), as_json)


@click.command("spool-compact")
@click.option("--name", metavar="SPOOL", required=True, help="Which spool.")
@as_json
@asks
def spool_compact(api: Api, name: str, as_json: bool) -> None:
    """Let the spool give back what deleted messages took."""
    _done(api.post("/api/admin/spool-compact/v1", {"name": name}), as_json)


@click.command("abort-ready-q-conn")
@click.argument("queue_name", metavar="QUEUE")
@click.argument("session_id", metavar="SESSION", type=click.UUID)
@as_json
@asks
def abort_ready_q_conn(api: Api, queue_name: str, session_id: Any, as_json: bool) -> None:
    """End a connection of the ready QUEUE at once; the message in hand waits again.  See `inspect-ready-q --connections`."""
    _done(api.post("/api/admin/abort-ready-q-conn/v1", {"queue_name": queue_name, "session_id": str(session_id)}), as_json)


@click.command("audit")
@as_json
@asks
def audit(api: Api, as_json: bool) -> None:
    """
    Compare what the spool holds with what the queues hold.

    Exit status 1 if a message is where nobody has it.
    """
    answer = api.get("/api/admin/audit/v1")
    found: dict[str, Any] = msgspec.json.decode(answer, type=dict[str, Any])
    if as_json:
        answered(answer)
    else:
        say(audit_lines(found, width()))
    if found.get("stranded_messages"):
        raise SystemExit(REFUSED)


def audit_lines(found: Mapping[str, Any], width: int | None) -> list[str]:
    """Numbers first; what has parts of its own below, each with its heading."""
    lines = facts([(_words(name), _plain(value)) for name, value in found.items() if not isinstance(value, dict | list)], width)
    for name, value in found.items():
        if isinstance(value, dict) and value:
            lines += [
                "",
                f"{_words(name)}:",
                *("  " + line for line in facts([(str(k), _plain(v)) for k, v in value.items()], width)),
            ]
        elif isinstance(value, list) and value:
            rows = [[_plain(cell) for cell in (one.values() if isinstance(one, dict) else [one])] for one in value]
            headings = [_words(one).upper() for one in value[0]] if isinstance(value[0], dict) else [_words(name).upper()]
            lines += ["", f"{_words(name)}:", *columns(headings, rows, width=width)]
    return lines


def _words(name: str) -> str:
    return name.replace("_", " ")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
