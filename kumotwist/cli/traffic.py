"""
`kumotwist traffic-gen`: a load of real SMTP sessions, and how it was taken.

This module joins the parts: options, the reactor, what is shown.
"""

import socket
import sys
import time
from email.utils import formatdate
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import click
import msgspec

from kumotwist.cli.options import DURATION, IP, SIZE, TARGET, Kind
from kumotwist.cli.traffic_mail import Mailing, WeightedDomain, parse_domain_weight, parse_header
from kumotwist.cli.traffic_results import Results

if TYPE_CHECKING:
    from twisted.internet.protocol import ClientFactory

    from kumotwist.cli.traffic_load import Load, LoadPlan

USUAL_MESSAGES = 1000
CONNECT_TIMEOUT = 30.0
SHOW_INTERVAL = 0.25  # seconds between looks at the progress; a line of `--ids` may wait that long for its file

DOMAIN = Kind("name[:weight]", parse_domain_weight)
HEADER = Kind("'name: value'", parse_header)


@click.command("traffic-gen")
@click.option("--target", type=TARGET, required=True, help="The server to send to.")
@click.option("--concurrency", type=click.IntRange(1), default=10, show_default=True, help="Connections at a time.")
@click.option("--messages", type=click.IntRange(1), help=f"How many messages.  [default: {USUAL_MESSAGES}]")
@click.option("--duration", type=DURATION, help="How long to send, instead of --messages.")
@click.option("--body-size", type=SIZE, default="1KiB", show_default=True, help="Octets below the header.")
@click.option("--domain", type=DOMAIN, multiple=True, default=["traffic.example"], help="A recipient domain and its share.")
@click.option("--header", type=HEADER, multiple=True, help="A header field to add.")
@click.option("--messages-per-connection", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--sender", default="sender@traffic.example", show_default=True, help="Envelope sender; may be empty.")
@click.option("--ehlo", default=socket.gethostname, show_default="this machine's", help="The name to greet with.")
@click.option("--local-address", type=IP, multiple=True, help="Connect from this address; several are used in turn.")
@click.option("--pipelining/--no-pipelining", default=True, show_default=True, help="MAIL, RCPT and DATA at once, where offered.")
@click.option("--retry", is_flag=True, help="Reconnect, and send again what got no answer.")
@click.option("--timeout", type=DURATION, default="60 s", show_default=True, help="How long a message may take.")
@click.option("--ids", type=click.Path(path_type=Path), help="Append a line of JSON for each accepted message.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@click.option("--seed", type=int, help="The same ids and recipients in each run.")
@click.option("--http", is_flag=True, help="Inject over HTTP instead: --target is an HTTP listener.")
def traffic_gen(as_json: bool, **options: Any) -> None:
    """
    Send test mail over SMTP, or HTTP, and measure how it is taken.

    Each message has an X-Traffic-Id and a recipient of its own.  Exit status 1 if any message was not accepted.
    """
    results, elapsed, cpu = run(options, show=not as_json and sys.stderr.isatty())
    if as_json:
        answer = {**results.as_json(elapsed), "cpu_seconds": round(cpu, 3)}
        click.echo(msgspec.json.encode(answer))
    else:
        from rich.console import Console

        from kumotwist.cli.traffic_report import closing_table

        Console().print(closing_table(results, elapsed))
    raise SystemExit(0 if results.all_taken else 1)


def run(options: dict[str, Any], show: bool) -> tuple[Results, float, float]:
    """Send until all is answered or SIGINT comes.  Returns results, seconds and seconds of CPU."""
    from twisted.internet import reactor as the_reactor

    from kumotwist.cli.traffic_load import Load

    reactor: Any = the_reactor
    host, port = _resolve(*options["target"])
    plan = _plan(options)
    results = Results(options["ids"].open("ab") if options["ids"] else None)

    def connect(factory: "ClientFactory", local_address: str | None) -> None:
        bind = None if local_address is None else (local_address, 0)
        reactor.connectTCP(host, port, factory, timeout=CONNECT_TIMEOUT, bindAddress=bind)

    load = Load(plan, _mailing(options, reactor.seconds()), results, reactor, connect)
    cpu = time.process_time()
    _send(load, reactor, show)
    results.flush()
    return results, load.ended - load.began, time.process_time() - cpu


def _send(load: "Load", reactor: Any, show: bool) -> None:
    """Run the reactor for as long as the load takes."""
    from twisted.internet.task import LoopingCall

    bar = None
    if show:
        from rich.console import Console

        from kumotwist.cli.traffic_report import Bar

        bar = Bar(Console(stderr=True), load.plan)

    def look() -> None:
        load.results.flush()
        if bar:
            bar.show(load)

    def begin() -> None:
        LoopingCall(look).start(SHOW_INTERVAL, now=False)
        load.start().addCallback(end)

    def end(_: None) -> None:
        if not interrupted:
            reactor.stop()

    def interrupt() -> None:
        interrupted.append(True)
        load.stop(abandon=True)

    interrupted: list[bool] = []
    reactor.callWhenRunning(begin)
    reactor.addSystemEventTrigger("before", "shutdown", interrupt)
    reactor.run()
    load.conclude()
    if bar:
        bar.close()


def _plan(options: dict[str, Any]) -> "LoadPlan":
    from kumotwist.cli.traffic_load import LoadPlan

    messages, duration = options["messages"], options["duration"]
    if messages is not None and duration is not None:
        raise click.UsageError("--messages and --duration exclude each other")
    return LoadPlan(
        concurrency=options["concurrency"],
        messages=USUAL_MESSAGES if messages is None and duration is None else messages,
        duration=duration,
        messages_per_connection=options["messages_per_connection"],
        pipelining=options["pipelining"],
        retry=options["retry"],
        timeout=options["timeout"],
        ehlo=options["ehlo"],
        http_host="{}:{}".format(*options["target"]) if options["http"] else None,
        local_addresses=options["local_address"],
    )


def _mailing(options: dict[str, Any], now: float) -> Mailing:
    chance = Random(options["seed"])
    domains: tuple[WeightedDomain, ...] = options["domain"]
    if not any(domain.weight for domain in domains):
        raise click.UsageError("--domain: at least one weight must be above 0")
    return Mailing(
        run=f"{chance.getrandbits(32):08x}",
        sender=options["sender"],
        domains=domains,
        body_size=options["body_size"],
        headers=options["header"],
        date=formatdate(now),
        draw=chance.random,
    )


def _resolve(host: str, port: int) -> tuple[str, int]:
    """The first address of the target: looked up once, before anything is measured."""
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4]
    except OSError as fault:
        raise click.ClickException(f"{host}: {fault.strerror}") from None
    return str(address[0]), port
