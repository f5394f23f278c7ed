"""`kumotwist trace-smtp-server`, `trace-smtp-client`: SMTP sessions as they happen."""

from collections.abc import Mapping
from typing import Any

import click
import msgspec
from msgspec import Struct

from kumotwist.cli.api import Api, Refused
from kumotwist.cli.asking import Command, as_json, asks
from kumotwist.cli.terminal import coloured
from kumotwist.cli.trace_lines import FROM, TO, Sessions, TraceLine, read_frame

SERVER, CLIENT = "/api/admin/trace-smtp-server/v1", "/api/admin/trace-smtp-client/v1"
_COLOURS = {TO: "green", FROM: "cyan"}

# Options of trace-smtp-client, and the filters of the API that they are.
FILTERS = {
    "domain": ("domain", "Mail of this domain; repeatable, as all of these."),
    "routing-domain": ("routing_domain", "Mail that is routed to this domain."),
    "campaign": ("campaign", "Mail of this campaign."),
    "tenant": ("tenant", "Mail of this tenant."),
    "egress-pool": ("egress_pool", "Mail from this pool."),
    "egress-source": ("egress_source", "Sessions of this source."),
    "mail-from": ("mail_from", "Mail of this envelope sender."),
    "rcpt-to": ("rcpt_to", "Mail for this recipient."),
    "mx-host": ("mx_host", "Sessions with this host."),
    "mx-addr": ("mx_addr", "Sessions with these addresses, such as 192.0.2.0/24."),
    "source": ("source_addr", "Sessions from these addresses of ours."),
    "ready-queue": ("ready_queue", "Sessions of this ready queue."),
}


def showing(command: Command) -> Command:
    """The switches that both commands have."""
    for option in (
        click.option(
            "--color", "--colour", type=click.Choice(("tty", "yes", "no")), default="tty", help="Colours (at a terminal)."
        ),
        click.option("--terse", is_flag=True, help="Of messages only their beginnings."),
        click.option("--only-one", is_flag=True, help="Follow the first session that is seen, and end with it."),
        click.option("--only-new", is_flag=True, help="Leave out sessions that have begun already."),
    ):
        command = option(command)
    return command


@click.command("trace-smtp-server")
@click.option("--source", metavar="CIDR", multiple=True, help="Sessions of these clients, such as 192.0.2.0/24; repeatable.")
@showing
@as_json
@asks
def trace_smtp_server(api: Api, source: tuple[str, ...], terse: bool, **switches: Any) -> None:
    """Show what clients say to the server, and what it answers, until Ctrl-C."""
    asked: dict[str, Any] = {"terse": terse, **({"source_addr": source} if source else {})}
    follow(api, SERVER, asked, Shown.of(client=False, **switches))


def _filters(command: Command) -> Command:
    for option, (name, told) in reversed(FILTERS.items()):
        command = click.option(f"--{option}", name, metavar="VALUE", multiple=True, help=told)(command)
    return command


@click.command("trace-smtp-client")
@_filters
@showing
@as_json
@asks
def trace_smtp_client(
    api: Api, terse: bool, color: str, only_new: bool, only_one: bool, as_json: bool, **filters: tuple[str, ...]
) -> None:
    """Show what the server says to the hosts that it sends mail to, and what they answer, until Ctrl-C."""
    asked = {"terse": terse, **{name: values for name, values in filters.items() if values}}
    follow(api, CLIENT, asked, Shown.of(client=True, color=color, only_new=only_new, only_one=only_one, as_json=as_json))


class Shown(Struct):
    """What becomes of frames.  sessions: those that are followed."""

    sessions: Sessions
    as_json: bool
    colours: bool

    @classmethod
    def of(cls, *, client: bool, color: str, only_new: bool, only_one: bool, as_json: bool) -> "Shown":
        sessions = Sessions(client=client, only_new=only_new, only_one=only_one)
        return cls(sessions, as_json, coloured() if color == "tty" else color == "yes")

    def show(self, payload: bytes) -> bool:
        """Print a frame; whether that was the last that is wanted."""
        try:
            lines = self.sessions.lines(read_frame(payload))
        except (msgspec.DecodeError, ValueError) as fault:
            raise Refused(0, f"the server sent something that is no event: {fault}") from None
        if self.as_json:
            if lines:
                click.echo(payload.decode("utf-8", "replace"))
        else:
            for line in lines:
                click.echo(self._coloured(line), color=self.colours)
        return self.sessions.over

    def _coloured(self, line: TraceLine) -> str:
        colour = _COLOURS.get(line.mark)
        return click.style(str(line), fg=colour) if self.colours and colour else str(line)


def follow(api: Api, path: str, asked: Mapping[str, Any], shown: Shown) -> None:
    """Show what comes until the user or the server ends it.  Raises NotThere, Refused."""
    from twisted.internet import reactor

    from kumotwist.cli.trace_wire import connect  # what it needs takes a while to load, and help should not wait

    ended: list[click.ClickException | None] = []

    def end(why: click.ClickException | None) -> None:
        if not ended:
            ended.append(why)
            reactor.callWhenRunning(reactor.stop)

    connect(reactor, api, path, asked, shown.show, end)
    # Ctrl-C, which the reactor takes, is the usual end: that the connection is lost then is no news.
    reactor.addSystemEventTrigger("before", "shutdown", lambda: ended.append(None))
    reactor.run()
    if ended[0] is not None:
        raise ended[0]
