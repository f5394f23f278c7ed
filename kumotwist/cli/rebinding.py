"""`kumotwist rebind`, `xfer`, `xfer-cancel`: mail that waits goes to another queue, or to another node."""

from typing import Any

import click
import msgspec

from kumotwist.cli.api import Api
from kumotwist.cli.asking import as_json, asks
from kumotwist.cli.criteria import PARTS, Chosen, choosing, confirm
from kumotwist.cli.orders import reason, yes
from kumotwist.cli.terminal import answered

REBIND, XFER, XFER_CANCEL = "/api/admin/rebind/v1", "/api/admin/xfer/v1", "/api/admin/xfer/cancel/v1"


def rebound_to(settings: tuple[str, ...], data: str | None) -> dict[str, str]:
    """What is written into the metadata: --data's object, then each --set.  Raises click.UsageError."""
    found: dict[str, str] = {}
    if data is not None:
        try:
            found.update(msgspec.json.decode(data, type=dict[str, str]))
        except msgspec.DecodeError as fault:
            raise click.UsageError(f'--data: {fault}; expected JSON such as {{"queue": "other"}}') from None
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--set {setting!r}: expected NAME=VALUE")
        found[name] = value
    return found


@click.command("rebind")
@reason
@choosing(*PARTS, queues=False)
@click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help="Write this into the metadata; repeatable.")
@click.option("--data", metavar="JSON", help="The same, as an object of texts.")
@click.option("--trigger-rebind-event", is_flag=True, help="Ask the policy's rebind_message instead of writing.")
@click.option("--always-flush", is_flag=True, help="Make the mail due now even where its queue stays the same.")
@click.option("--suppress-logging", is_flag=True, help="Without AdminRebind records.")
@yes
@as_json
@asks
def rebind(
    api: Api, reason: str, chosen: Chosen, settings: tuple[str, ...], data: str | None, yes: bool, as_json: bool, **switches: bool
) -> None:
    """
    Tell mail that waits in scheduled queues where it belongs, once.

    With --always-flush alone the mail is tried again at once: that flushes a queue.
    """
    written = rebound_to(settings, data)
    if not written and not switches["trigger_rebind_event"] and not switches["always_flush"]:
        raise click.UsageError("what is to change?  Say --set NAME=VALUE or --data, --trigger-rebind-event, or --always-flush")
    confirm(api, chosen, "rebind" if written or switches["trigger_rebind_event"] else "flush", yes)
    asked: dict[str, Any] = {"reason": reason, "data": written, **chosen.asked}
    asked |= {name: True for name, given in switches.items() if given}
    _begun(api.post(REBIND, asked), as_json, "Mail is rebound in the background.")


@click.command("xfer")
@click.option("--target", metavar="URL", required=True, help="The other node's HTTP address.")
@reason
@choosing(*PARTS)
@yes
@as_json
@asks
def xfer(api: Api, target: str, reason: str, chosen: Chosen, yes: bool, as_json: bool) -> None:
    """Hand mail that waits in scheduled queues to another node."""
    confirm(api, chosen, "transfer", yes)
    _begun(api.post(XFER, {"target": target, "reason": reason, **chosen.asked}), as_json, "Mail is transferred in the background.")


@click.command("xfer-cancel")
@click.argument("queue_name", metavar="QUEUE")
@reason
@as_json
@asks
def xfer_cancel(api: Api, queue_name: str, reason: str, as_json: bool) -> None:
    """Bring back what still waits in the transfer QUEUE to the queues that it came from."""
    answer = api.post(XFER_CANCEL, {"queue_name": queue_name, "reason": reason})
    _begun(answer, as_json, "Mail goes back in the background; what is on its way may need another call.")


def _begun(answer: bytes, as_json: bool, note: str) -> None:
    if as_json:
        answered(answer)
    click.echo(note, err=True)
