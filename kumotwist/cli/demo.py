"""
`kumotwist demo`: the real server, from a real configuration, between real loads and real receiving sites, on one machine.

This module tells the story: write the files, start the programs, watch the log, show what became of the mail.
"""

import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.syntax import Syntax

from kumotwist.cli.demo_books import Books, Pace, Witnesses, discrepancies
from kumotwist.cli.demo_programs import CannotPlay, Programs, free_ports, require_addresses
from kumotwist.cli.demo_scene import SITES, SOURCES, TENANTS, Ports, behaviour, configuration, messages_of
from kumotwist.cli.demo_screen import Progress, closing, live, progress
from kumotwist.logs.read import LogReader

TICK = 0.2  # seconds between two looks at the log
LINE_INTERVAL = 2.0  # seconds between two lines of progress where there is no terminal
PATIENCE = 120.0  # seconds that retries may take after the load has ended
STATS_DEADLINE = 10.0
BODY_SIZE = "2kb"


@click.command()
@click.option("--messages", type=click.IntRange(1), default=2000, show_default=True, help="How many to send.")
@click.option("--exit", "leave", is_flag=True, help="End when all is delivered, instead of staying up until Ctrl-C.")
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), help="Where to work; must be new or empty.")
def demo(messages: int, leave: bool, directory: Path | None) -> None:
    """
    Watch mail being accepted, queued and delivered, all on this machine.

    Starts the server, a sink that plays several receiving sites, and a load of SMTP sessions, on loopback addresses
    and in a directory of its own.  Exit status 0 if the log, the load and the sites agree on every message.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(highlight=False, markup=False, emoji=False)
    try:
        place = _directory(directory)
    except CannotPlay as reason:
        raise click.ClickException(str(reason)) from None
    try:
        require_addresses([source.address for source in SOURCES])
        with Stage(console, place, messages) as stage:
            status = stage.play(leave)
    except CannotPlay as reason:
        raise click.ClickException(str(reason)) from None
    except KeyboardInterrupt:
        console.print(f"\nStopped.  What there is lies in {place}.", soft_wrap=True)
        status = 130
    raise SystemExit(status)


def _interrupt(number: int, frame: object) -> None:
    """SIGTERM ends the demo as Ctrl-C does: with its programs."""
    raise KeyboardInterrupt


def _directory(wanted: Path | None) -> Path:
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="kumotwist-demo-"))
    wanted.mkdir(parents=True, exist_ok=True)
    if any(wanted.iterdir()):
        raise CannotPlay(f"{wanted} is not empty: the demo needs a directory of its own")
    return wanted.resolve()


class Stage:
    """Where the demo is played; at the end of the block every program has ended."""

    def __init__(self, console: Console, place: Path, messages: int) -> None:
        first, *others = free_ports(1 + len(SITES))
        self._console = console
        self._place = place
        self._messages = messages
        self._ports = Ports(first, tuple(others))
        self._programs = Programs(place)
        self._loads = [f"load-{tenant.name}" for tenant in TENANTS if messages_of(tenant, messages)]
        self._books = Books()
        self._log = LogReader(str(place / "log"))

    def __enter__(self) -> "Stage":
        self._programs.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._programs.__exit__(*exception)
        self._log.close()

    def play(self, leave: bool) -> int:
        """The whole story.  Returns the exit status.  Raises CannotPlay, KeyboardInterrupt."""
        self._write_files()
        self._start()
        self._watch()
        faults = self._conclude()
        if leave:
            self._programs.end("server")
        else:
            self._stay()
        self._say_where()
        return 1 if faults else 0

    def _write_files(self) -> None:
        text = configuration(self._ports)
        (self._place / "kumotwist.yaml").write_text(text)
        (self._place / "sites.yaml").write_text(behaviour())
        self._console.print(f"The server's configuration, {self._place / 'kumotwist.yaml'}:\n")
        if self._console.is_terminal:
            self._console.print(Syntax(text, "yaml", background_color="default", word_wrap=True))
        else:
            click.echo(text)

    def _start(self) -> None:
        self._programs.receive(self._place / "sites.yaml", self._ports.sites, self._place / "sites.json")
        self._programs.serve(self._place / "kumotwist.yaml", self._ports.server)
        self._console.print(
            f"The server listens on 127.0.0.1:{self._ports.server}; {self._messages:,} messages are on their way to it.\n"
        )
        domains = [word for site in SITES for word in ("--domain", f"{site.domain}:{site.weight}")]
        for tenant in TENANTS:
            if number := messages_of(tenant, self._messages):
                self._programs.send(
                    f"load-{tenant.name}",
                    [
                        *("--target", f"127.0.0.1:{self._ports.server}", "--messages", str(number), "--body-size", BODY_SIZE),
                        *("--header", f"X-Tenant: {tenant.name}", "--sender", f"news@{tenant.name}.example", *domains),
                    ],
                )

    # Watching

    def _watch(self) -> None:
        """Show progress until all is sent and nothing waits any more, or patience is at its end."""
        if self._console.is_terminal:
            with Live(console=self._console, refresh_per_second=8) as picture:
                self._until_settled(lambda now: picture.update(live(now)))
        else:
            self._until_settled(self._line)

    def _until_settled(self, show: Callable[[Progress], None]) -> None:
        pace = Pace()
        sent_at: float | None = None
        self._last_line = 0.0
        while True:
            sending = any(map(self._programs.is_running, self._loads))
            self._programs.require_running("server")
            self._books.read(self._log.lines())
            now = time.monotonic()
            sent_at = None if sending else sent_at or now
            settled = not sending and self._all_logged() and not self._books.open
            stage = "sending" if sending else "done" if settled else "delivering what waits"
            rate = pace.rate(now, self._books.total("Reception") - len(self._books.open))
            show(progress(stage, self._messages, self._books, rate))
            if settled or (sent_at is not None and now - sent_at > PATIENCE):
                return
            time.sleep(TICK)

    def _all_logged(self) -> bool:
        """Whether the log has caught up with the load: a record is in the file a moment after the 250."""
        return self._books.total("Reception") >= self._accepted()

    def _line(self, now: Progress) -> None:
        moment = time.monotonic()
        if now.stage == "done" or moment - self._last_line >= LINE_INTERVAL:
            self._last_line = moment
            self._console.print(now.line, soft_wrap=True)

    # The end

    def _conclude(self) -> list[str]:
        """The closing tables; returns what does not add up."""
        stats = self._stats()
        witnesses = Witnesses(
            accepted=self._accepted(), taken=stats["recipients"]["accepted"], refused=stats["recipients"]["refused"]
        )
        self._console.print()
        self._console.print(closing(self._books, stats))
        faults = discrepancies(self._books, witnesses)
        if witnesses.accepted != self._messages:
            faults.append(f"{self._messages:,} messages were to be sent, the server accepted {witnesses.accepted:,}")
        if faults:
            self._console.print("\nThis does not add up:", style="bold red")
            for fault in faults:
                self._console.print(f"  {fault}")
        else:
            ended = witnesses.accepted - len(self._books.open)
            waiting = f", {len(self._books.open):,} still waiting for their next try" if self._books.open else ""
            self._console.print(
                f"\n{witnesses.accepted:,} accepted = {ended:,} delivered or bounced{waiting}.  Nothing lost, nothing doubled."
            )
        return faults

    def _stay(self) -> None:
        server, log = f"127.0.0.1:{self._ports.server}", self._place / "log"
        try:
            self._console.print(
                f"\nThe server stays up until Ctrl-C.  In another terminal:\n\n"
                f"  kumotwist logs {log} --follow\n"
                f"  kumotwist traffic-gen --target {server} --messages 100 --header 'X-Tenant: acme' --domain busy.example\n",
                soft_wrap=True,
            )
            while True:
                self._programs.require_running("server")
                time.sleep(TICK)
        except KeyboardInterrupt:
            self._console.print("\nStopping.")
            self._programs.end("server")

    def _say_where(self) -> None:
        self._console.print(
            f"\nEverything is in {self._place}: the configuration is kumotwist.yaml, what the server said server.log, and\n"
            f"what became of each message is printed by\n\n  kumotwist logs {self._place / 'log'}",
            soft_wrap=True,
        )

    def _accepted(self) -> int:
        """How many 250s the loads got."""
        return sum(int(self._results(load).get("accepted", 0)) for load in self._loads)

    def _results(self, load: str) -> dict[str, Any]:
        if self._programs.is_running(load):
            return {}
        try:
            found: dict[str, Any] = msgspec.json.decode(self._programs.output(load).read_bytes())
        except (OSError, msgspec.DecodeError):
            return {}  # it ended without results; the counts will not add up, and that is said
        return found

    def _stats(self) -> dict[str, Any]:
        """What the sink has counted until now."""
        path = self._place / "sites.json"
        path.unlink(missing_ok=True)
        self._programs.ask("sink", signal.SIGUSR1)
        deadline = time.monotonic() + STATS_DEADLINE
        while not path.exists():
            if time.monotonic() > deadline:
                raise CannotPlay(f"The sink does not write its counts; see {self._programs.output('sink')}")
            time.sleep(0.05)
        stats: dict[str, Any] = msgspec.json.decode(path.read_bytes())
        return stats
