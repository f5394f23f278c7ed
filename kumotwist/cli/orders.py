"""`kumotwist suspend`, `bounce` and what belongs to them: orders that stand until they expire or are cancelled."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

from kumotwist.cli.api import Api
from kumotwist.cli.asking import as_json, asks, duration_text
from kumotwist.cli.columns import columns
from kumotwist.cli.criteria import PARTS, Chosen, choosing, confirm, described
from kumotwist.cli.options import Kind
from kumotwist.cli.terminal import answered, say, width

BOUNCE, SUSPEND, SUSPEND_READY = "/api/admin/bounce/v1", "/api/admin/suspend/v1", "/api/admin/suspend-ready-q/v1"

Order = Mapping[str, Any]

reason = click.option("--reason", metavar="TEXT", required=True, help="Why; it stands in the log and in the lists.")
duration = click.option(
    "--duration",
    metavar="TIME",
    type=Kind("duration", duration_text),
    help="How long it holds, such as 1h 30m; 5 minutes if not said.",
)
yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
order_id = click.option("--id", "id", metavar="ID", required=True, type=click.UUID, help="Which one, as it was printed.")


def ordered(api: Api, path: str, asked: Order, as_json: bool) -> None:
    """Give an order; prints its id."""
    answer = api.post(path, {name: value for name, value in asked.items() if value is not None})
    if as_json:
        answered(answer)
    else:
        click.echo(msgspec.json.decode(answer)["id"])


def cancelled(api: Api, path: str, id: Any, as_json: bool) -> None:
    """End an order; prints the server's words."""
    answer = api.delete(path, {"id": str(id)})
    if as_json:
        answered(answer)
    else:
        click.echo(answer.decode("utf-8", "replace").strip() or f"removed {id}")


def listed(answer: bytes) -> list[dict[str, Any]]:
    """Some servers answer one object where their description draws one."""
    found = msgspec.json.decode(answer)
    return found if isinstance(found, list) else [found]


def rough(duration: str) -> str:
    """A remaining time, to two units: `4m 58s`."""
    return " ".join(duration.split()[:2])


def suspension_lines(orders: Sequence[Order], width: int | None) -> list[str]:
    rows = [(one["id"], one["reason"], rough(one["duration"]), described(one)) for one in orders]
    return columns(("ID", "REASON", "REMAIN", "CRITERIA"), rows, keep={0}, width=width)


def bounce_lines(orders: Sequence[Order], width: int | None) -> list[str]:
    rows = [(one["id"], one["reason"], rough(one["duration"]), f"{one['total_bounced']:,}", described(one)) for one in orders]
    return columns(("ID", "REASON", "REMAIN", "BOUNCED", "CRITERIA"), rows, right={3}, keep={0}, width=width)


def ready_suspension_lines(orders: Sequence[Order], width: int | None) -> list[str]:
    rows = [(one["id"], one["reason"], rough(one["duration"]), one["name"]) for one in orders]
    return columns(("ID", "REASON", "REMAIN", "READY QUEUE"), rows, keep={0}, width=width)


@click.command("suspend")
@reason
@duration
@choosing("domain", "campaign", "tenant")
@as_json
@asks
def suspend(api: Api, reason: str, duration: str | None, chosen: Chosen, as_json: bool) -> None:
    """Let the mail of scheduled queues wait.  Prints the suspension's id."""
    ordered(api, SUSPEND, {"reason": reason, "duration": duration, **chosen.asked}, as_json)


@click.command("suspend-list")
@as_json
@asks
def suspend_list(api: Api, as_json: bool) -> None:
    """List the suspensions of scheduled queues."""
    answer = api.get(SUSPEND)
    answered(answer) if as_json else say(suspension_lines(listed(answer), width()))


@click.command("suspend-cancel")
@order_id
@as_json
@asks
def suspend_cancel(api: Api, id: Any, as_json: bool) -> None:
    """End a suspension: the mail goes on."""
    cancelled(api, SUSPEND, id, as_json)


@click.command("suspend-ready-q")
@click.option("--name", metavar="QUEUE", required=True, help="The ready queue, as queue-summary and the log name it.")
@reason
@duration
@as_json
@asks
def suspend_ready_q(api: Api, name: str, reason: str, duration: str | None, as_json: bool) -> None:
    """Let one source send nothing to one site.  Prints the suspension's id."""
    ordered(api, SUSPEND_READY, {"name": name, "reason": reason, "duration": duration}, as_json)


@click.command("suspend-ready-q-list")
@as_json
@asks
def suspend_ready_q_list(api: Api, as_json: bool) -> None:
    """List the suspensions of ready queues."""
    answer = api.get(SUSPEND_READY)
    answered(answer) if as_json else say(ready_suspension_lines(listed(answer), width()))


@click.command("suspend-ready-q-cancel")
@order_id
@as_json
@asks
def suspend_ready_q_cancel(api: Api, id: Any, as_json: bool) -> None:
    """End the suspension of a ready queue."""
    cancelled(api, SUSPEND_READY, id, as_json)


@click.command("bounce")
@reason
@duration
@choosing(*PARTS)
@click.option("--suppress-logging", is_flag=True, help="Without AdminBounce records.")
@yes
@as_json
@asks
def bounce(api: Api, reason: str, duration: str | None, chosen: Chosen, suppress_logging: bool, yes: bool, as_json: bool) -> None:
    """
    End the mail of scheduled queues: what is there, and what comes while the order stands.  It cannot be taken back.

    Asks before it does so, and says how much mail waits there now.  Prints the order's id; the mail ends in the background:
    `bounce-list` shows how far it is.
    """
    confirm(api, chosen, "bounce", yes)
    asked = {"reason": reason, "duration": duration, "suppress_logging": suppress_logging or None, **chosen.asked}
    ordered(api, BOUNCE, asked, as_json)
    click.echo("Mail is bounced in the background; see `kumotwist bounce-list`.", err=True)


@click.command("bounce-list")
@as_json
@asks
def bounce_list(api: Api, as_json: bool) -> None:
    """List the orders to bounce mail, and how much each has ended."""
    answer = api.get(BOUNCE)
    answered(answer) if as_json else say(bounce_lines(listed(answer), width()))


@click.command("bounce-cancel")
@order_id
@as_json
@asks
def bounce_cancel(api: Api, id: Any, as_json: bool) -> None:
    """End an order to bounce: what it has not reached yet stays."""
    cancelled(api, BOUNCE, id, as_json)
