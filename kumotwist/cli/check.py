"""`kumotwist check`: whether a configuration is valid, its policy included, and everything that is wrong with it."""

import click

from kumotwist.config.faults import ConfigFaults, Fault
from kumotwist.config.read import Examined, examine, unanswered
from kumotwist.config.server import Config


@click.command()
@click.argument("config", type=click.Path())
def check(config: str) -> None:
    """
    Validate CONFIG with all that it includes.

    Ends with 0 if it is valid, with 2 and one line a fault if it is not: file:line:column: what is wrong, what was
    expected, what was probably meant.  The policy is loaded as the server would; its faults have no column.
    """
    found = examine(config)
    faults = (*found.faults, *_of_policy(found))
    if faults or found.config is None:
        click.echo("\n".join(map(str, faults)), err=True)
        raise SystemExit(2)
    click.echo(f"{config}: valid ({summary(found.config)})")


def _of_policy(found: Examined) -> tuple[Fault, ...]:
    """What is wrong with the policy; if nothing is, what it leaves wrong with the rest."""
    if not found.policy:
        return ()
    from kumotwist.cli.check_policy import load  # what a policy needs around it takes a while to load

    try:
        policy = load(found.policy, found.own_events)
    except ConfigFaults as faults:
        return faults.faults
    return unanswered(found.doubts, policy)


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
