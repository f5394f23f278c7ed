"""A sink's closing tables: what became of recipients by domain and by client."""

from collections.abc import Iterable, Mapping

from rich.console import Group
from rich.table import Table
from rich.text import Text

from kumotwist.cli.sink_behaviour import Kind
from kumotwist.cli.sink_counts import Counts, Tally

MOST_ROWS = 40


def closing_tables(counts: Counts) -> Group:
    """One line of totals, a table by recipient domain, a table by client address."""
    total = f"{counts.connections:,} connections, {counts.messages:,} messages accepted, {counts.octets:,} octets"
    domains = _table("recipient domain", _busiest(counts.domains))
    clients = _table("client", _busiest(counts.clients), with_connections=True)
    return Group(Text(total), domains, clients) if counts.connections else Group(Text(total))


def _busiest(tallies: Mapping[str, Tally]) -> list[tuple[str, Tally]]:
    """The busiest by name, the rest added up."""
    order = sorted(tallies.items(), key=lambda item: (-sum(item[1].outcomes().values()), item[0]))
    shown = sorted(order[:MOST_ROWS])
    if len(order) > MOST_ROWS:
        shown.append((f"({len(order) - MOST_ROWS} others)", _sum(tally for _, tally in order[MOST_ROWS:])))
    return shown


def _sum(tallies: Iterable[Tally]) -> Tally:
    whole = Tally()
    for tally in tallies:
        whole.connections += tally.connections
        for kind in Kind:
            setattr(whole, kind.value, getattr(whole, kind.value) + getattr(tally, kind.value))
    return whole


def _table(what: str, rows: list[tuple[str, Tally]], with_connections: bool = False) -> Table:
    table = Table(what)
    if with_connections:
        table.add_column("connections", justify="right")
    for kind in Kind:
        table.add_column(kind.value, justify="right")
    for name, tally in rows:
        first = [f"{tally.connections:,}"] if with_connections else []
        table.add_row(name, *first, *(f"{number:,}" for number in tally.outcomes().values()))
    return table
