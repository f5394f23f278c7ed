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
    "check": Subcommand("kumotwist.cli.check:check", "Validate a configuration with all that it includes."),
    "check-domain": Subcommand("kumotwist.cli.check_domain:check_domain", "See what receivers find wrong with a domain's mail."),
    "classify-bounce": Subcommand("kumotwist.cli.classify_bounce:classify_bounce", "Say which class of bounces a response is."),
    "demo": Subcommand("kumotwist.cli.demo:demo", "Watch mail being accepted, queued and delivered, all on this machine."),
    "dkim-keygen": Subcommand("kumotwist.cli.dkim_keygen:dkim_keygen", "Make a DKIM key, and print its DNS record."),
    "logs": Subcommand("kumotwist.cli.logs:logs", "Print log records from a log directory."),
    "sink": Subcommand("kumotwist.cli.sink:sink", "Receive and discard mail, and answer as configured."),
    "traffic-gen": Subcommand("kumotwist.cli.traffic:traffic_gen", "Send test mail and measure how it is taken."),
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
def main() -> None:
    """KumoTwist: an outbound mail server.  The server itself is started with `twistd kumotwist --config FILE`."""
