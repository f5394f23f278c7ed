"""
The command `kumotwist`: a table of subcommands.  Each is imported only when it is called, so that help comes at once.

`kumotwist --help` reads only this module: no Twisted, no configuration.
"""

from difflib import get_close_matches
from importlib import import_module

import click
from msgspec import Struct

from kumotwist import __version__


class Subcommand(Struct, frozen=True):
    """Where a subcommand lives, as `module:attribute`, and its line in the help."""

    place: str
    summary: str

    def load(self) -> click.Command:
        module, _, attribute = self.place.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command), self.place
        return command


SUBCOMMANDS = {
    "abort-ready-q-conn": Subcommand("kumotwist.cli.upkeep:abort_ready_q_conn", "End a connection of a ready queue at once."),
    "audit": Subcommand("kumotwist.cli.upkeep:audit", "Compare what the spool holds with what the queues hold."),
    "bounce": Subcommand("kumotwist.cli.orders:bounce", "End the mail of scheduled queues."),
    "bounce-cancel": Subcommand("kumotwist.cli.orders:bounce_cancel", "End an order to bounce."),
    "bounce-list": Subcommand("kumotwist.cli.orders:bounce_list", "List the orders to bounce mail."),
    "check": Subcommand("kumotwist.cli.check:check", "Validate a configuration with all that it includes."),
    "check-domain": Subcommand("kumotwist.cli.check_domain:check_domain", "See what receivers find wrong with a domain's mail."),
    "classify-bounce": Subcommand("kumotwist.cli.classify_bounce:classify_bounce", "Say which class of bounces a response is."),
    "completion": Subcommand("kumotwist.cli.completion:completion", "Print what makes a shell complete these commands."),
    "demo": Subcommand("kumotwist.cli.demo:demo", "Watch mail being accepted, queued and delivered, all on this machine."),
    "dkim-keygen": Subcommand("kumotwist.cli.dkim_keygen:dkim_keygen", "Make a DKIM key, and print its DNS record."),
    "inspect-message": Subcommand("kumotwist.cli.inspection:inspect_message", "Show a message as the spool has it."),
    "inspect-ready-q": Subcommand("kumotwist.cli.inspection:inspect_ready_q", "Show a ready queue, its limits and connections."),
    "inspect-sched-q": Subcommand("kumotwist.cli.inspection:inspect_sched_q", "Show a scheduled queue and its messages."),
    "logs": Subcommand("kumotwist.cli.logs:logs", "Print log records from a log directory."),
    "man": Subcommand("kumotwist.cli.manual:man", "Print the manual page of these commands."),
    "provider-summary": Subcommand("kumotwist.cli.queues:provider_summary", "Show how much mail goes to which provider."),
    "queue-summary": Subcommand("kumotwist.cli.queues:queue_summary", "Show how much mail is in which queue."),
    "rebind": Subcommand("kumotwist.cli.rebinding:rebind", "Move mail to other queues, or try it at once."),
    "resolve-egress-path": Subcommand("kumotwist.cli.inspection:resolve_egress_path", "Show how mail to a domain would go out."),
    "set-log-filter": Subcommand("kumotwist.cli.upkeep:set_log_filter", "Choose what the server's own log says."),
    "sink": Subcommand("kumotwist.cli.sink:sink", "Receive and discard mail, and answer as configured."),
    "spool-compact": Subcommand("kumotwist.cli.upkeep:spool_compact", "Let the spool give back room."),
    "suppress": Subcommand("kumotwist.cli.suppressing:suppress", "Send nothing more to an address or a domain."),
    "suppress-cancel": Subcommand("kumotwist.cli.suppressing:suppress_cancel", "Let mail go there again."),
    "suppress-list": Subcommand("kumotwist.cli.suppressing:suppress_list", "List who gets no mail."),
    "suspend": Subcommand("kumotwist.cli.orders:suspend", "Let the mail of scheduled queues wait."),
    "suspend-cancel": Subcommand("kumotwist.cli.orders:suspend_cancel", "Let it go on."),
    "suspend-list": Subcommand("kumotwist.cli.orders:suspend_list", "List the suspensions of scheduled queues."),
    "suspend-ready-q": Subcommand("kumotwist.cli.orders:suspend_ready_q", "Let one source send nothing to one site."),
    "suspend-ready-q-cancel": Subcommand("kumotwist.cli.orders:suspend_ready_q_cancel", "Let it send again."),
    "suspend-ready-q-list": Subcommand("kumotwist.cli.orders:suspend_ready_q_list", "List the suspensions of ready queues."),
    "top": Subcommand("kumotwist.cli.top:top", "Watch the server, live."),
    "trace-smtp-client": Subcommand("kumotwist.cli.traces:trace_smtp_client", "Show outgoing SMTP sessions as they happen."),
    "trace-smtp-server": Subcommand("kumotwist.cli.traces:trace_smtp_server", "Show incoming SMTP sessions as they happen."),
    "tsa": Subcommand("kumotwist.cli.tsa:tsa", "React together: automation shared by many nodes."),
    "traffic-gen": Subcommand("kumotwist.cli.traffic:traffic_gen", "Send test mail and measure how it is taken."),
    "xfer": Subcommand("kumotwist.cli.rebinding:xfer", "Hand mail to another node."),
    "xfer-cancel": Subcommand("kumotwist.cli.rebinding:xfer_cancel", "Take back mail that waits to be handed over."),
}


class Subcommands(click.Group):
    """A click group whose members are those of `SUBCOMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = SUBCOMMANDS.get(cmd_name)
        return found.load() if found else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # click's own would import every subcommand for its summary.
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUBCOMMANDS[name].summary) for name in self.list_commands(ctx)])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in SUBCOMMANDS and not name.startswith("-"):
            nearest = get_close_matches(name, SUBCOMMANDS, n=1)
            hint = f"  Did you mean {nearest[0]!r}?" if nearest else f"  There are: {', '.join(sorted(SUBCOMMANDS))}."
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Subcommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kumotwist")
@click.option("--endpoint", metavar="URL", help="For commands that ask a server: its HTTP address.")
def main(endpoint: str | None) -> None:
    """KumoTwist: an outbound mail server.  The server itself is started with `twistd kumotwist --config FILE`."""
