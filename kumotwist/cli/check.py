"""`kumotwist check`: whether a configuration is valid, its policy included, and everything that is wrong with it."""

import click

from kumotwist.config.read import examine
from kumotwist.config.server import Config


@click.command()
@click.argument("config", type=click.Path())
def check(config: str) -> None:
    """
    Validate CONFIG with all that it includes.

    Ends with 0 if it is valid, with 2 and one line a fault if it is not: file:line:column: what is wrong, what was
    expected, what was probably meant.  The policy is loaded, and its init handlers run, as the server does at its start; its
    faults have no column.
    """
    found = examine(config)
    faults = found.faults
    if found.policy:
        from kumotwist.cli.check_policy import policy_faults  # what a policy needs around it takes a while to load

        faults += policy_faults(found)
    if faults or found.config is None:
        click.echo("\n".join(map(str, faults)), err=True)
        raise SystemExit(2)
    click.echo(f"{config}: valid ({summary(found.config)})")


def summary(config: Config) -> str:
    """What is in a configuration, in numbers; the built-in source and pool not counted."""
    counts = {
        "listener": len(config.esmtp_listeners),
        "source": len(config.egress.source) - 1,
        "pool": len(config.egress.pool) - 1,
        "tenant": len(config.queues.tenant),
        "queue rule": len(config.queues.queue),
        "routing rule": len(config.routing),
        "shaping rule": len(config.shaping.rules),
        "provider": len(config.shaping.provider),
        "listener domain": len(config.listener_domains.domains),
        "file": len(config.files),
    }
    return ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items() if count)
