"""Which scheduled queues a command is about; how much mail that is; and whether the user means it."""

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any

import click
import msgspec
from msgspec import Struct

from kumotwist.cli.api import Api, NotThere, Refused
from kumotwist.cli.asking import Command
from kumotwist.cli.shown_metrics import Metrics
from kumotwist.mail.queue_name import parse_queue_name

PARTS = ("domain", "routing_domain", "campaign", "tenant")


class Chosen(Struct, frozen=True):
    """
    What was given: parts of queues' names, or whole names; neither: everything.

    An order that names queues is about exactly these; else every part that is given must be equal.
    """

    parts: Mapping[str, str]
    names: tuple[str, ...] = ()

    @property
    def asked(self) -> dict[str, Any]:
        """As the API reads it."""
        return {**self.parts, **({"queue_names": list(self.names)} if self.names else {})}

    def fits(self, queue: str) -> bool:
        if self.names:
            return queue in self.names
        name = parse_queue_name(queue)
        return all(getattr(name, part) == wanted for part, wanted in self.parts.items())

    def __str__(self) -> str:
        if self.names:
            return ", ".join(self.names)
        return ", ".join(f"{part}={wanted}" for part, wanted in self.parts.items()) or "everything"


def choosing(*parts: str, queues: bool = True) -> Callable[[Command], Command]:
    """The options that say which queues; the command gets them as `chosen`.  queues: also whole names."""

    def decorated(command: Command) -> Command:
        @wraps(command)
        def choosing_command(*arguments: Any, everything: bool, **options: Any) -> Any:
            given = {part: value for part in parts if (value := options.pop(part)) is not None}
            names = tuple(options.pop("queue", ()))
            return command(*arguments, chosen=chosen(given, names, everything, queues=queues), **options)

        wrapped: Command = click.option("--everything", is_flag=True, help="All queues; needed where nothing else says which.")(
            choosing_command
        )
        if queues:
            wrapped = click.option("--queue", metavar="NAME", multiple=True, help="Exactly this queue; repeatable.")(wrapped)
        for part in reversed(parts):
            option, what = f"--{part.replace('_', '-')}", part.replace("_", " ")
            wrapped = click.option(option, part, metavar="NAME", help=f"Queues of this {what}.")(wrapped)
        return wrapped

    return decorated


def chosen(given: Mapping[str, str], names: tuple[str, ...], everything: bool, *, queues: bool = True) -> Chosen:
    """Raises click.UsageError where it is not clear what is meant."""
    if everything and (given or names):
        raise click.UsageError("--everything: leave it out, or everything else that says which queues")
    if given and names:
        raise click.UsageError("--queue names queues exactly; leave out the other criteria")
    if not (given or names or everything):
        usual = "--domain, --tenant, --campaign" + (", --queue" if queues else "")
        raise click.UsageError(f"which queues?  Say {usual} or another criterion, or --everything")
    return Chosen(given, names)


def mail_of(chosen: Chosen, scheduled: Mapping[str, float]) -> tuple[int, int]:
    """How many messages wait in how many queues.  scheduled: count by queue."""
    counts = [count for queue, count in scheduled.items() if count and chosen.fits(queue)]
    return int(sum(counts)), len(counts)


def confirm(api: Api, chosen: Chosen, doing: str, yes: bool) -> None:
    """Ask the user, who sees how much mail it is.  doing: `bounce`.  Raises click.ClickException where the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"nobody can be asked whether to {doing} {chosen}: add --yes if it is meant")
    if not click.confirm(f"{doing.capitalize()} {chosen}: {amount(api, chosen)}.  Go on?", err=True):
        declined = click.ClickException("nothing was done")
        raise declined


def amount(api: Api, chosen: Chosen) -> str:
    """How much mail, as a phrase; without the metrics nobody knows, which must not keep the operator from acting."""
    try:
        scheduled = Metrics.read(api.get("/metrics.json")).by("scheduled_count", "queue")
    except NotThere:
        raise
    except (Refused, msgspec.DecodeError):
        return "how much mail that is, the server does not say"
    return counted(*mail_of(chosen, scheduled))


def counted(messages: int, queues: int) -> str:
    return f"{messages:,} message{'' if messages == 1 else 's'} in {queues:,} scheduled queue{'' if queues == 1 else 's'}"


def described(order: Mapping[str, Any]) -> str:
    """The criteria of an order that the API lists."""
    names: Iterable[str] = order.get("queue_names") or ()
    return str(Chosen({part: order[part] for part in PARTS if order.get(part) is not None}, tuple(names)))
