"""What a load shows: a bar while it runs, then rate, latencies and replies."""

from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from kumotwist.cli.traffic_load import Load, LoadPlan
from kumotwist.cli.traffic_results import Results, percentiles


def closing_table(results: Results, elapsed: float) -> Group:
    """The results of a run of `elapsed` seconds."""
    table = Table(show_header=False)
    table.add_row("accepted", f"{results.accepted:,}")
    for name in ("refused", "lost", "unsent", "resent"):
        if number := getattr(results, name):
            table.add_row(name, f"{number:,}")
    table.add_row("connections", f"{results.connections:,}")
    table.add_row("time", f"{elapsed:.2f} s")
    if elapsed > 0:
        table.add_row("rate", f"{results.accepted / elapsed:,.0f} messages/s, {results.octets / elapsed / 1e6:,.1f} MB/s")
    if found := percentiles(results.latencies):
        spread = (("p50", found.p50), ("p90", found.p90), ("p99", found.p99), ("max", found.max))
        table.add_row("latency", ", ".join(f"{name} {value * 1000:.1f} ms" for name, value in spread))
    replies = ", ".join(f"{code}: {number:,}" for code, number in sorted(results.replies.items()))
    table.add_row("replies", replies or "none")
    faults = [Text(f"{number:,} × {why}") for why, number in results.faults.most_common(5)]
    return Group(table, *faults)


class Bar:
    """A progress bar: messages of how many, or seconds of how many."""

    def __init__(self, console: Console, plan: LoadPlan) -> None:
        by_count = plan.messages is not None
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn() if by_count else TimeElapsedColumn()]
        self._progress = Progress(*columns, TextColumn("{task.fields[rate]}"), console=console, transient=True, auto_refresh=False)
        self._by_count = by_count
        self._task = self._progress.add_task("sending", total=plan.messages if by_count else plan.duration, rate="")
        self._progress.start()

    def show(self, load: Load) -> None:
        results = load.results
        elapsed = load.clock.seconds() - load.began
        answered = results.accepted + results.refused + results.lost
        rate = f"{answered / elapsed:,.0f}/s" if elapsed > 0.2 else ""
        self._progress.update(self._task, completed=answered if self._by_count else elapsed, rate=rate)
        self._progress.refresh()

    def close(self) -> None:
        self._progress.stop()
