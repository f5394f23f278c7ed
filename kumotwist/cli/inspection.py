"""`kumotwist inspect-message`, `inspect-sched-q`, `inspect-ready-q`, `resolve-egress-path`: look at one thing closely."""

from typing import Any

import click
import msgspec

from kumotwist.cli.api import Api
from kumotwist.cli.asking import as_json, asks
from kumotwist.cli.inspection_text import message_lines, ready_lines, resolved_lines, scheduled_lines
from kumotwist.cli.terminal import answered, say, width


def _read(answer: bytes) -> dict[str, Any]:
    return msgspec.json.decode(answer, type=dict[str, Any])


@click.command("inspect-message")
@click.argument("id", metavar="ID")
@click.option("--want-body", is_flag=True, help="The content, too.")
@as_json
@asks
def inspect_message(api: Api, id: str, want_body: bool, as_json: bool) -> None:
    """Show a message as the spool has it."""
    answer = api.get("/api/admin/inspect-message/v1", {"id": id, **({"want_body": "true"} if want_body else {})})
    answered(answer) if as_json else say(message_lines(_read(answer), width()))


@click.command("inspect-sched-q")
@click.argument("name", metavar="NAME")
@click.option("--want-body", is_flag=True, help="The messages' contents, too.")
@click.option("--limit", metavar="N", type=click.IntRange(0), default=5, show_default=True, help="Show at most so many messages.")
@click.option("--no-limit", is_flag=True, help="Show them all.")
@click.option("--config", "show_config", is_flag=True, help="The queue's parameters, too.")
@as_json
@asks
def inspect_sched_q(api: Api, name: str, want_body: bool, limit: int, no_limit: bool, show_config: bool, as_json: bool) -> None:
    """Show a scheduled queue, and the messages that are due first."""
    query = {"queue_name": name, **({} if no_limit else {"limit": str(limit)}), **({"want_body": "true"} if want_body else {})}
    answer = api.get("/api/admin/inspect-sched-q/v1", query)
    answered(answer) if as_json else say(scheduled_lines(_read(answer), width(), config=show_config))


@click.command("inspect-ready-q")
@click.argument("name", metavar="NAME")
@click.option("--connections", is_flag=True, help="Each connection.")
@click.option("--config", "show_config", is_flag=True, help="The path's parameters.")
@click.option("--sched-q", "sched_q", is_flag=True, help="The scheduled queues whose mail is ready there.")
@as_json
@asks
def inspect_ready_q(api: Api, name: str, connections: bool, show_config: bool, sched_q: bool, as_json: bool) -> None:
    """Show a ready queue: where it sends, what limits it, what it is doing."""
    query = {"queue_name": name, **({"include_scheduled_queues": "true"} if sched_q or as_json else {})}
    answer = api.get("/api/admin/inspect-ready-q/v1", query)
    if as_json:
        answered(answer)
    else:
        say(ready_lines(_read(answer), width(), connections=connections, config=show_config))


@click.command("resolve-egress-path")
@click.argument("domain", metavar="DOMAIN")
@click.argument("source", metavar="[SOURCE]", required=False)
@click.option("--config", "show_config", is_flag=True, help="Only the parameters.")
@click.option("--constraints", is_flag=True, help="Only the limits in effect.")
@as_json
@asks
def resolve_egress_path(api: Api, domain: str, source: str | None, show_config: bool, constraints: bool, as_json: bool) -> None:
    """Show how mail to DOMAIN would go out from SOURCE: hosts, parameters, limits."""
    if show_config + constraints + as_json > 1:
        raise click.UsageError("--config, --constraints, --json: expected one of them")
    answer = api.get("/api/admin/resolve-egress-path/v1", {"domain": domain, **({"source": source} if source else {})})
    if as_json:
        answered(answer)
    else:
        say(
            resolved_lines(
                _read(answer), width(), config=not constraints, ceilings=not show_config, whole=not (show_config or constraints)
            )
        )
