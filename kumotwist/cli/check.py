"""`kumotwist check`: whether a configuration is valid, and everything that is wrong with it."""

import click

from kumotwist.config.faults import ConfigFaults
from kumotwist.config.read import read_config
from kumotwist.config.server import Config


@click.command()
@click.argument("config", type=click.Path())
def check(config: str) -> None:
    """
    Validate CONFIG with all that it includes.

    Ends with 0 if it is valid, with 2 and one line a fault if it is not: file:line:column: what is wrong, what was
    expected, what was probably meant.
    """
    try:
        found = read_config(config)
    except ConfigFaults as faults:
        click.echo(str(faults), err=True)
        raise SystemExit(2) from None
    click.echo(f"{config}: valid ({summary(found)})")


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
        "listener domain": len(config.listener_domains.domains),
        "file": len(config.files),
    }
    return ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items() if count)
