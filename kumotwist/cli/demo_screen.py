"""What the demo shows: live progress, and the closing tables.  Builds what rich prints; prints nothing itself."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kumotwist.cli.demo_books import Books
from kumotwist.cli.demo_scene import SITES, SOURCES, place_in_pool


class Progress(Struct, frozen=True, kw_only=True):
    """One moment.  expected: messages that the load will send.  rate: ended messages a second, lately."""

    stage: str
    expected: int
    accepted: int
    delivered: int
    deferred: int
    refused: int
    queued: int
    rate: float

    @property
    def line(self) -> str:
        """As plain text."""
        return (
            f"{self.stage}: accepted {self.accepted:,} of {self.expected:,}, delivered {self.delivered:,}, "
            f"deferred {self.deferred:,}, refused {self.refused:,}, in queue {self.queued:,}, {self.rate:,.0f}/s"
        )


def progress(stage: str, expected: int, books: Books, rate: float) -> Progress:
    return Progress(
        stage=stage,
        expected=expected,
        accepted=books.total("Reception"),
        delivered=books.total("Delivery"),
        deferred=books.total("TransientFailure"),
        refused=books.total("Bounce"),
        queued=len(books.open),
        rate=rate,
    )


def live(now: Progress) -> Group:
    """The moving picture."""
    numbers = Table.grid(padding=(0, 3))
    for _ in range(6):
        numbers.add_column(justify="right", min_width=9)
    numbers.add_row("accepted", "delivered", "deferred", "refused", "in queue", "rate", style="dim")
    numbers.add_row(
        Text(f"{now.accepted:,}", "cyan"),
        Text(f"{now.delivered:,}", "green"),
        Text(f"{now.deferred:,}", "yellow"),
        Text(f"{now.refused:,}", "red"),
        Text(f"{now.queued:,}"),
        Text(f"{now.rate:,.0f}/s"),
    )
    bar = Table.grid()  # a bar alone does not end its line
    bar.add_row(ProgressBar(total=max(now.expected, 1), completed=now.delivered + now.refused, width=60))
    return Group(Text(now.stage), bar, numbers)


def closing(books: Books, stats: Mapping[str, Any]) -> Group:
    """The tables at the end.  stats: what the sink counted."""
    return Group(_sites(books), Text(), _sources(stats))


_COLUMNS = (("received", "Reception"), ("delivered", "Delivery"), ("deferred", "TransientFailure"), ("bounced", "Bounce"))


def _table(title: str, *headings: str) -> Table:
    """Narrow enough for 80 columns."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _sites(books: Books) -> Table:
    table = _table("By receiving site, from the log (a deferred message is tried again)", "site", "behaves")
    for heading in (*(heading for heading, _ in _COLUMNS), "queued"):
        table.add_column(heading, justify="right")
    for site in SITES:
        numbers = [f"{books.by_site[site.domain, record_type]:,}" for _, record_type in _COLUMNS]
        table.add_row(site.domain, site.behaves, *numbers, f"{books.queued(site.domain):,}")
    table.add_section()
    totals = [f"{books.total(record_type):,}" for _, record_type in _COLUMNS]
    table.add_row("all", "", *totals, f"{len(books.open):,}", style="bold")
    return table


def _sources(stats: Mapping[str, Any]) -> Table:
    table = _table("By source address, as the sites saw it", "address", "greets as")
    for heading in ("connections", "messages", "pool", "weight", "share"):
        table.add_column(heading, justify="right")
    clients: Mapping[str, Any] = stats.get("clients", {})
    offered = {one.name: _offered(clients.get(one.address, {})) for one in SOURCES}
    for source in SOURCES:
        seen = clients.get(source.address, {})
        pool, weight, weights = place_in_pool(source.name)
        whole = sum(number for name, number in offered.items() if place_in_pool(name)[0] == pool)
        table.add_row(
            source.address,
            ", ".join(seen.get("greetings", {})),
            f"{seen.get('connections', 0):,}",
            f"{offered[source.name]:,}",
            pool,
            f"{weight} of {weights}",
            f"{offered[source.name] / whole:.0%}" if whole else "",
        )
    return table


def _offered(seen: Mapping[str, Any]) -> int:
    """Each try counts, also those that were deferred or refused."""
    return sum(int(seen.get(outcome, 0)) for outcome in ("accepted", "deferred", "refused", "disconnected"))
