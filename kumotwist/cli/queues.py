"""`kumotwist queue-summary`, `provider-summary`: how much mail is where, once or again and again."""

import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import click
import msgspec

from kumotwist.cli import summary
from kumotwist.cli.api import Api, NotThere, Refused
from kumotwist.cli.asking import as_json, asks
from kumotwist.cli.columns import cut
from kumotwist.cli.orders import BOUNCE, SUSPEND, SUSPEND_READY, listed
from kumotwist.cli.shown_metrics import Metrics
from kumotwist.cli.terminal import answered, say, width
from kumotwist.mail.queue_name import parse_queue_name

METRICS, STATES, RESOLVE = "/metrics.json", "/api/admin/ready-q-states/v1", "/api/admin/resolve-egress-path/v1"
_RESOLVED_AT_ONCE = 8
_HOME, _CLEAR_BELOW, _CLEAR_RIGHT = "\x1b[H", "\x1b[J", "\x1b[K"
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # the terminal's second screen, without its cursor

_limit = click.option("--limit", metavar="N", type=click.IntRange(1), help="At most so many lines of each table.")
_watch = click.option(
    "--watch", metavar="SECONDS", type=click.FloatRange(0.1), help="Show it again every so many seconds, until Ctrl-C."
)


@click.command("queue-summary")
@_limit
@click.option("--by-volume", is_flag=True, help="The fullest queues first.")
@click.option("--domain", metavar="NAME", help="Only queues whose mail goes to the same hosts as this domain's.")
@_watch
@as_json
@asks
def queue_summary(api: Api, limit: int | None, by_volume: bool, domain: str | None, watch: float | None, as_json: bool) -> None:
    """
    Show the ready queues and the scheduled queues.

    D delivered, T put off, C open connections, Q ready messages; D and T start anew when a ready queue was idle for a while.
    """

    def lines() -> list[str]:
        found = _answers(api)
        metrics = Metrics.read(found[METRICS])
        states = msgspec.json.decode(found[STATES])["states_by_ready_queue"]
        ready = summary.ready_rows(metrics, listed(found[SUSPEND_READY]), states)
        scheduled = summary.scheduled_rows(metrics, listed(found[SUSPEND]), listed(found[BOUNCE]))
        if domain is not None:
            ready, scheduled = of_site(api, domain, ready, scheduled)
        return [
            *summary.ready_lines(summary.sorted_ready(ready, by_volume=by_volume, limit=limit), width()),
            "",
            *summary.scheduled_lines(summary.sorted_scheduled(scheduled, by_volume=by_volume, limit=limit), width()),
        ]

    if as_json:
        answered(msgspec.json.encode({path: msgspec.Raw(answer) for path, answer in _answers(api).items()}))
    else:
        shown(lines, watch)


def _answers(api: Api) -> dict[str, bytes]:
    """All that the summary is made of, by path."""
    return {path: api.get(path) for path in (METRICS, SUSPEND_READY, SUSPEND, BOUNCE, STATES)}


def of_site(
    api: Api, domain: str, ready: Sequence[summary.ReadyRow], scheduled: Sequence[summary.ScheduledRow]
) -> tuple[list[summary.ReadyRow], list[summary.ScheduledRow]]:
    """Those whose mail goes to the hosts of a domain.  Raises click.ClickException where these are not known."""
    site = sites_of(api, [domain])[domain]
    if site is None:
        raise click.ClickException(f"the server does not know where mail to {domain} goes")
    routed = {row.name: parse_queue_name(row.name).routed_to for row in scheduled}
    sites = sites_of(api, set(routed.values()))
    return [row for row in ready if row.site == site], [row for row in scheduled if sites[routed[row.name]] == site]


def sites_of(api: Api, domains: Collection[str]) -> dict[str, str | None]:
    """The site of each domain, as the server resolves it; None: it cannot."""

    def site(domain: str) -> str | None:
        try:
            found = msgspec.json.decode(api.get(RESOLVE, {"domain": domain}))
        except Refused:
            return None
        return found["mx"]["site_name"] if found.get("mx") else None

    with ThreadPoolExecutor(_RESOLVED_AT_ONCE) as threads:
        return dict(zip(domains, threads.map(site, domains), strict=True))


@click.command("provider-summary")
@click.option("--by-pool", is_flag=True, help="A line for each provider and pool.")
@click.option("--show-domains", is_flag=True, help="Which domains of a provider have mail.")
@_limit
@_watch
@as_json
@asks
def provider_summary(api: Api, by_pool: bool, show_domains: bool, limit: int | None, watch: float | None, as_json: bool) -> None:
    """
    Show the mail of each provider, the busiest first.

    D delivered, T put off, F failed, C open connections, Q messages that wait.
    """

    def lines() -> list[str]:
        metrics = Metrics.read(api.get(METRICS))
        rows = summary.provider_rows(metrics, by_pool=by_pool)[:limit]
        domains = domains_of_providers(api, metrics) if show_domains else None
        return summary.provider_lines(rows, width(), by_pool=by_pool, domains=domains)

    if as_json:
        answered(api.get(METRICS))
    else:
        shown(lines, watch)


def domains_of_providers(api: Api, metrics: Metrics) -> dict[str, set[str]]:
    """Domains that have mail, by provider: the one that the path's parameters name, else the site."""
    found: dict[str, set[str]] = {}

    def provider(domain: str) -> tuple[str, str | None]:
        try:
            told: dict[str, Any] = msgspec.json.decode(api.get(RESOLVE, {"domain": domain}))
        except Refused:
            return domain, None
        site = told["mx"]["site_name"] if told.get("mx") else None
        return domain, told["path_config"].get("provider_name") or site

    queues = metrics.by("scheduled_count", "queue")
    waiting = sorted({parse_queue_name(name).routed_to for name, count in queues.items() if count})
    with ThreadPoolExecutor(_RESOLVED_AT_ONCE) as threads:
        for domain, name in threads.map(provider, waiting):
            if name is not None:
                found.setdefault(name, set()).add(domain)
    return found


def shown(lines: Callable[[], list[str]], watch: float | None) -> None:
    """Once; or again and again, until Ctrl-C.  A server that is away for a while is said, and asked again."""
    if watch is None:
        say(lines())
        return
    with _second_screen() as clearing:
        while True:
            try:
                found = lines()
            except NotThere as absent:
                found = absent.message.splitlines()
            if clearing:
                size = shutil.get_terminal_size()
                click.echo(screenful(found, size.columns, size.lines), nl=False)
            else:
                say([*found, ""])
            time.sleep(watch)


def screenful(lines: Sequence[str], width: int, height: int) -> str:
    """Lines that fill a screen from its top, whatever stood there; what does not fit is counted."""
    most = max(height - 1, 1)
    kept = list(lines[:most]) if len(lines) <= most else [*lines[: most - 1], f"... and {len(lines) - most + 1:,} more lines"]
    return _HOME + "".join(cut(line, width) + _CLEAR_RIGHT + "\n" for line in kept) + _CLEAR_BELOW


@contextmanager
def _second_screen() -> Iterator[bool]:
    """Whether there is a terminal that can be drawn upon.  Ctrl-C ends the block, and is the way to end it."""
    drawing = sys.stdout.isatty()
    if drawing:
        click.echo(_ENTER, nl=False)
    try:
        yield drawing
    except KeyboardInterrupt:
        pass
    finally:
        if drawing:
            click.echo(_LEAVE, nl=False)
