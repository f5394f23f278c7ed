"""
`kumotwist sink`: a receiving server for tests and demonstrations.  It discards what it accepts and answers as told.

This module joins the parts: options, listening, signals, what is written at the end.
"""

import os
import signal
import time
from pathlib import Path
from random import Random
from socket import gethostname
from typing import TYPE_CHECKING, Any

import click
import msgspec
from msgspec import Struct

from kumotwist.cli.options import LISTEN, SIZE
from kumotwist.cli.sink_behaviour import Behaviour, load_behaviour
from kumotwist.cli.sink_counts import Counts
from kumotwist.config.faults import ConfigFaults
from kumotwist.config.fields import join_port

if TYPE_CHECKING:
    from kumotwist.cli.sink_record import Keeper
    from kumotwist.cli.sink_wire import SinkFactory

FLUSH_INTERVAL = 0.25  # seconds that a record may wait for its file
BACKLOG = 1024


class SinkOptions(Struct, frozen=True, kw_only=True):
    """What the command line said."""

    listen: tuple[tuple[str, int], ...]
    behaviour: Behaviour
    hostname: str
    tls: bool
    seed: int | None
    max_message_size: int
    record: Path | None
    dump: Path | None
    stats: Path | None


@click.command()
@click.option("--listen", type=LISTEN, multiple=True, required=True, help="Address and port to listen on (port 2525; 0 picks one).")
@click.option("--behaviour", "behaviour_file", metavar="FILE", help="YAML or TOML file that says how to answer.")
@click.option("--hostname", default=gethostname, show_default="this machine's", help="The name in the banner.")
@click.option("--tls", is_flag=True, help="Offer STARTTLS with a certificate made for the occasion.")
@click.option("--seed", type=int, help="Makes the shares fall the same way in each run.")
@click.option("--max-message-size", type=SIZE, default="100MiB", show_default=True, help="What SIZE offers.")
@click.option("--record", type=click.Path(path_type=Path), help="Append a line of JSON for each accepted message.")
@click.option("--dump", type=click.Path(path_type=Path), help="Keep the contents of accepted messages in this directory.")
@click.option("--stats", type=click.Path(path_type=Path), help="Write the counts as JSON at the end and on SIGUSR1.")
def sink(behaviour_file: str | None, **options: Any) -> None:
    """
    Receive and discard mail, and answer as the behaviour file says.

    Without one everything is accepted.  Ends on SIGINT or SIGTERM, with a table of what came.
    """
    behaviour = _behaviour(behaviour_file)
    try:
        counts = run(SinkOptions(behaviour=behaviour, **options))
    except OSError as fault:
        raise click.ClickException(str(fault)) from None
    from rich.console import Console

    from kumotwist.cli.sink_report import closing_tables

    Console().print(closing_tables(counts))


def _behaviour(file: str | None) -> Behaviour:
    """The rules of the file; ends the command with 2 and a line for each of its faults."""
    if file is None:
        return Behaviour()
    try:
        return load_behaviour(file)
    except ConfigFaults as faults:
        click.echo(str(faults), err=True)
        raise SystemExit(2) from None


def run(options: SinkOptions) -> Counts:
    """Receive until a signal comes.  Raises OSError where an address cannot be had or a file not be written."""
    from twisted.internet import reactor as the_reactor
    from twisted.internet.error import CannotListenError

    reactor: Any = the_reactor
    keeper, factory = _compose(options, reactor)
    _write_stats_on_signal(options.stats, factory.counts, reactor)
    try:
        for host, port in options.listen:
            got = reactor.listenTCP(port, factory, backlog=BACKLOG, interface=host).getHost()
            click.echo(f"sink: listening on {join_port(got.host, got.port)}")
    except CannotListenError as fault:
        raise OSError(f"cannot listen on {join_port(host, port)}: {fault.socketError}") from None
    _flush_now_and_then(keeper, reactor)
    reactor.run()
    keeper.flush()
    write_stats(options.stats, factory.counts)
    return factory.counts


def _compose(options: SinkOptions, reactor: Any) -> "tuple[Keeper, SinkFactory]":
    from kumotwist.cli.sink_record import Keeper
    from kumotwist.cli.sink_wire import SinkFactory

    if options.dump is not None:
        options.dump.mkdir(parents=True, exist_ok=True)
    keeper = Keeper(options.record.open("ab") if options.record else None, options.dump)
    tls = None
    if options.tls:
        from kumotwist.cli.sink_tls import server_options

        tls = server_options(options.hostname, reactor.seconds())
    factory = SinkFactory(
        options.behaviour,
        reactor,
        Random(options.seed).random,
        hostname=options.hostname,
        take=keeper.take if options.record or options.dump else None,
        tls=tls,
        max_message_size=options.max_message_size,
    )
    return keeper, factory


def _flush_now_and_then(keeper: "Keeper", reactor: Any) -> None:
    def flush() -> None:
        keeper.flush()
        reactor.callLater(FLUSH_INTERVAL, flush)

    reactor.callLater(FLUSH_INTERVAL, flush)


def _write_stats_on_signal(stats: Path | None, counts: Counts, reactor: Any) -> None:
    def write() -> None:
        reactor.callFromThread(write_stats, stats, counts)  # wakes the reactor, which may be asleep in poll

    signal.signal(signal.SIGUSR1, lambda number, frame: write())


def write_stats(stats: Path | None, counts: Counts) -> None:
    """The counts, whole at any time: a reader never sees half a file."""
    if stats is None:
        return
    content = msgspec.json.encode({**counts.as_json(), "cpu_seconds": round(time.process_time(), 3)})
    draft = stats.with_name(f"{stats.name}.new")
    draft.write_bytes(content + b"\n")
    os.replace(draft, stats)
