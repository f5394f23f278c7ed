"""`kumotwist logs`: print the records of a log directory, one readable line each, or as they are."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import partial
from typing import IO

import click

from kumotwist.cli.logs_unclassified import Unclassified
from kumotwist.cli.options import Kind
from kumotwist.cli.quantity import parse_duration
from kumotwist.cli.terminal import escaped
from kumotwist.logs.read import Entry, LogReader, follow, read_entry
from kumotwist.logs.selection import Selection

# Also types that this server does not write (yet): the format is shared with others, whose logs can be read too.
TYPES = (
    *("Reception", "Delivery", "Bounce", "TransientFailure", "Expiration", "AdminBounce", "OOB", "Feedback", "Rejection"),
    *("AdminRebind", "DeferredInjectionRebind", "Delayed", "XferOut", "XferIn"),
)
COLOURS = {
    **dict.fromkeys(("Delivery", "XferOut"), "green"),
    **dict.fromkeys(("Bounce", "Expiration", "AdminBounce", "Rejection", "OOB", "Feedback"), "red"),
    **dict.fromkeys(("TransientFailure", "Delayed"), "yellow"),
    **dict.fromkeys(("Reception", "XferIn"), "cyan"),
}
_WIDTH = len("TransientFailure")
_SHOWN_RECIPIENTS = 3
_AT_A_TIME = 65536  # octets that are gathered before they are written


def parse_when(text: str, now: float) -> float:
    """`2026-08-04T12:00:00Z`, `2026-08-04 12:00` (UTC), epoch seconds, `now`, or how long ago: `10 minutes`."""
    if text == "now":
        return now
    if text.replace(".", "", 1).isdigit() and len(text.partition(".")[0]) > 8:
        return float(text)
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    try:
        return now - parse_duration(text.removesuffix(" ago"))
    except ValueError:
        raise ValueError(f"expected a time like 2026-08-04T12:00:00Z, or how long ago like 10 minutes, got {text!r}") from None


def parse_type(text: str) -> str:
    """The record type of this name, whatever its case."""
    for name in TYPES:
        if name.lower() == text.lower():
            return name
    near = get_close_matches(text, TYPES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(TYPES)}"
    raise ValueError(f"no record type {text!r}: {hint}")


WHEN = Kind("when", lambda text: parse_when(text, time.time()))
TYPE = Kind("type", parse_type)


@click.command()
@click.argument("directory", metavar="DIR")
@click.option("--follow", "following", is_flag=True, help="Go on with new records as they are written, until Ctrl-C.")
@click.option("--type", "types", type=TYPE, multiple=True, help="Only this type of record (repeatable), e.g. Bounce.")
@click.option("--recipient", default="", help="Only to this address or domain; * ? [] as in the shell.")
@click.option("--sender", default="", help="Only from this address or domain; <> is the null sender.")
@click.option("--queue", default="", help="Only of this scheduled queue.")
@click.option("--site", default="", help="Only of this ready queue (the field `site`).")
@click.option("--id", "id_", default="", help="Only of the message with this id.")
@click.option("--since", type=WHEN, help="Only from this time on: 2026-08-04T12:00:00Z, or how long ago: 10m.")
@click.option("--until", type=WHEN, help="Only before this time.")
@click.option("--json", "as_json", is_flag=True, help="Print the records as they are, one JSON object a line.")
@click.option("--unclassified", is_flag=True, help="Print which responses no rule of the bounce classifier fits.")
@click.option("--count", "counting", is_flag=True, help="Print only how many records there are.")
def logs(
    *,
    directory: str,
    following: bool,
    types: tuple[str, ...],
    recipient: str,
    sender: str,
    queue: str,
    site: str,
    id_: str,
    since: float | None,
    until: float | None,
    as_json: bool,
    unclassified: bool,
    counting: bool,
) -> None:
    """
    Print the records in the log directory DIR (or in one file of it), oldest segment first.

    All conditions must fit.  The segment that is being written can be read too.

    Exit status: 0; 1 if something could not be read (said on standard error); 2 if the command cannot be understood.
    """
    for asked, option in ((counting, "--count"), (unclassified, "--unclassified")):
        if following and asked:
            raise click.UsageError(f"{option} never ends with --follow; use one of them")
    if unclassified and (counting or as_json):
        raise click.UsageError("--unclassified prints a report of its own; leave out --count and --json")
    _must_be_readable(directory)
    chosen = Selection(
        types=frozenset(types), recipient=recipient, sender=sender, queue=queue, site=site, id=id_, since=since, until=until
    )
    gathered = Unclassified() if unclassified else None
    printer = Printer(directory, chosen, as_json=as_json, counting=counting, unclassified=gathered)
    sys.exit(_print(printer, following))


def _must_be_readable(directory: str) -> None:
    if not os.path.exists(directory):
        raise click.UsageError(
            f"there is no {directory}.  The directory is `log_dir` in section `logs` of the configuration; "
            "it is made when the first record is written."
        )
    if not os.access(directory, os.R_OK | os.X_OK if os.path.isdir(directory) else os.R_OK):
        raise click.UsageError(f"{directory} may not be read by this user; logs are readable to their owner's group.")


def _print(printer: "Printer", following: bool) -> int:
    """The exit status."""
    try:
        if following:
            _follow(printer)
        else:
            printer.show_new()
            printer.show_total()
    except BrokenPipeError:
        # Whoever read us has enough.  Nothing may be written to it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    return 1 if printer.faults else 0


def _follow(printer: "Printer") -> None:
    from twisted.internet import reactor
    from twisted.python.failure import Failure

    failures: list[Failure] = []
    _, ended = follow(printer.show_new, reactor)

    def stop(failure: Failure) -> None:
        failures.append(failure)
        reactor.callWhenRunning(reactor.stop)

    ended.addErrback(stop)
    reactor.run()  # until Ctrl-C, which the reactor takes
    if failures:
        failures[0].raiseException()


class Printer:
    """Writes chosen records to standard output.  faults: how many things could not be read, each said on standard error."""

    def __init__(
        self, place: str, chosen: Selection, *, as_json: bool, counting: bool, unclassified: Unclassified | None = None
    ) -> None:
        """place: a log directory, or a segment.  unclassified: told of the records instead of printing them."""
        self.faults = 0
        self._reader = LogReader(place, since=chosen.since, complain=self._complain)
        self._chosen = chosen
        self._counting = counting
        self._unclassified = unclassified
        self._count = 0
        out: IO[bytes] = sys.stdout.buffer
        self._out = out
        # A person sees each record as it is found; a program is served by the buffer.
        self._at_a_time = 0 if out.isatty() else _AT_A_TIME
        coloured = out.isatty() and "NO_COLOR" not in os.environ
        self._form: Callable[[Entry], str] | None = None if as_json else partial(readable, coloured=coloured)

    def show_new(self) -> None:
        """Print what was not printed before."""
        gathered: list[bytes] = []
        size = 0
        for line in self._shown():
            gathered.append(line)
            size += len(line)
            if size > self._at_a_time:
                self._write(gathered)
                gathered, size = [], 0
        self._write(gathered)

    def show_total(self) -> None:
        if self._counting:
            self._write([b"%d" % self._count])
        if self._unclassified is not None:
            self._write([f"{kind.count:8} {escaped(kind.example)}".encode() for kind in self._unclassified.kinds()])
            if self._unclassified.others:
                self._write([b"%8d others" % self._unclassified.others])

    def _shown(self) -> Iterator[bytes]:
        for line in self._reader.lines():
            entry = read_entry(line)
            if entry is None:
                self._complain(escaped(line[:80].decode("utf-8", "replace")), "no record")
            elif self._chosen.wants(entry):
                self._count += 1
                if self._unclassified is not None:
                    self._unclassified.note(entry)
                elif not self._counting:
                    yield line if self._form is None else self._form(entry).encode("utf-8", "backslashreplace")

    def _complain(self, what: str, fault: str) -> None:
        self.faults += 1
        click.echo(f"{what}: {fault}", err=True)

    def _write(self, lines: list[bytes]) -> None:
        if lines:
            self._out.write(b"\n".join(lines) + b"\n")
            self._out.flush()


def readable(entry: Entry, *, coloured: bool = False) -> str:
    """One line for a person: when, what, which message, from and to whom, where, and the answer."""
    kind = f"{entry.type:{_WIDTH}}"
    recipients = entry.recipients if entry.recipient else []
    to = ", ".join(f"<{one}>" for one in recipients[:_SHOWN_RECIPIENTS]) or "-"
    if len(recipients) > _SHOWN_RECIPIENTS:
        to += f" and {len(recipients) - _SHOWN_RECIPIENTS} more"
    where = f" queue={entry.queue}" if entry.queue else ""
    where += f" site={entry.site}" if entry.site else ""
    answer = entry.response.single_line
    if entry.type == "Rejection" and entry.response.command:
        answer += f" (to {entry.response.command})"
    line = escaped(f"{kind} {entry.id or '-'} <{entry.sender}> → {to}{where}: {answer}")
    if coloured:
        line = click.style(line[: len(kind)], fg=COLOURS.get(entry.type)) + line[len(kind) :]
    return f"{_moment(entry)} {line}"


def _moment(entry: Entry) -> str:
    """The event's time to the millisecond."""
    whole, dot, fraction = entry.event_time.removesuffix("Z").partition(".")
    return escaped(f"{whole}.{fraction[:3]:0<3}Z" if dot else entry.event_time)
