"""
`kumotwist top`: what the server does, live.

One thread asks for the metrics; the other waits for whatever comes first: an answer, a key, a new size of the window, or
Ctrl-C.  So a server that does not answer, or is restarted, never keeps the user from looking around or leaving.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from socket import socket, socketpair
from threading import Event, Thread

import click
import msgspec
from msgspec import Struct

from kumotwist.cli.api import Api
from kumotwist.cli.asking import asks
from kumotwist.cli.shown_metrics import Metrics
from kumotwist.cli.top_picture import View, picture, pressed
from kumotwist.cli.top_series import History

_PATIENCE = 10.0  # seconds that an answer may take
_SEQUENCES = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[C": "right", "\x1b[D": "left", "\x1bOA": "up", "\x1bOB": "down", "\x1bOC": "right",
    "\x1bOD": "left", "\x1b[5~": "pageup", "\x1b[6~": "pagedown", "\x1b[H": "home", "\x1b[F": "end", "\x1b[1~": "home",
    "\x1b[4~": "end", "\x1bOH": "home", "\x1bOF": "end",
}  # fmt: skip
_CHARACTERS = {
    "\x1b": "escape",
    "\t": "tab",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x03": "ctrl-c",
}


class Answer(Struct, frozen=True):
    """What a look at the server brought.  at: seconds of a clock that does not jump; fault: why there is nothing."""

    at: float
    metrics: Metrics | None
    fault: str | None = None


@click.command("top")
@click.option(
    "--update-interval", metavar="SECONDS", type=click.FloatRange(0.1), default=1.0, show_default=True, help="How often to look."
)
@asks
def top(api: Api, update_interval: float) -> None:
    """
    Watch the server: what it receives, delivers and holds, as bars over time.

    Keys: Tab for the next page, arrows to move, + and - to zoom, f to filter, q to leave.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("top needs a terminal; for a program there is `kumotwist queue-summary --json`")
    patient = Api(api.endpoint, api.credentials, api.ca_file, patience=max(_PATIENCE, update_interval))
    with _woken() as (wakes, wake):
        asking = Asking(patient, update_interval, wake)
        asking.start()
        try:
            with _one_key_at_a_time():
                watch(api.endpoint, asking.answers, wakes)
        except KeyboardInterrupt:
            pass  # Ctrl-C between two looks at the keyboard
        finally:
            asking.stop()


class Asking(Thread):
    """Asks for the metrics again and again.  answers: what came; `wake` is called after each."""

    def __init__(self, api: Api, interval: float, wake: Callable[[], None]) -> None:
        """interval: seconds."""
        super().__init__(daemon=True)
        self.answers: SimpleQueue[Answer] = SimpleQueue()
        self._api = api
        self._interval = interval
        self._wake = wake
        self._over = Event()

    def run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            self.answers.put(look(self._api))
            self._wake()
            self._over.wait(max(0.0, began + self._interval - time.monotonic()))

    def stop(self) -> None:
        """It is not waited for: it may be in the middle of a long wait for an answer."""
        self._over.set()


def look(api: Api) -> Answer:
    try:
        metrics = Metrics.read(api.get("/metrics.json"))
    except click.ClickException as fault:
        return Answer(time.monotonic(), None, fault.message)
    except msgspec.DecodeError as fault:
        return Answer(time.monotonic(), None, f"{api.endpoint} answers something that is no metrics: {fault}")
    return Answer(time.monotonic(), metrics)


def watch(server: str, answers: "SimpleQueue[Answer]", wakes: socket) -> None:
    """Draw until the user leaves.  wakes: can be read when there is something new."""
    from rich.console import Console, Group

    console = Console(highlight=False)
    history, view, fault = History(), View(), None
    keyboard = sys.stdin.fileno()
    with console.screen() as screen:
        while not view.leaving:
            width, height = os.get_terminal_size(sys.stdout.fileno())
            console.size = (width, height)
            screen.update(Group(*picture(history, view, width=width, height=height, server=server, fault=fault)))
            ready, _, _ = select.select([keyboard, wakes], [], [])
            if wakes in ready:
                wakes.recv(4096)
            for answer in _new(answers):
                fault = answer.fault
                if answer.metrics is None:
                    history.missed()
                else:
                    history.add(answer.at, answer.metrics)
            if keyboard in ready:
                typed = os.read(keyboard, 1024)
                if not typed:
                    return  # the terminal is gone
                for key in keys(typed.decode("utf-8", "replace")):
                    view = pressed(view, key, page=max(height - 2, 1))


def _new(answers: "SimpleQueue[Answer]") -> Iterator[Answer]:
    while True:
        try:
            yield answers.get_nowait()
        except Empty:
            return


def keys(typed: str) -> Iterator[str]:
    """What was pressed: characters, and names of keys that have none.  Sequences that mean nothing here are left out."""
    while typed:
        sequence = next((one for one in _SEQUENCES if typed.startswith(one)), None)
        if sequence is not None:
            yield _SEQUENCES[sequence]
            typed = typed[len(sequence) :]
        elif typed[:2] in ("\x1b[", "\x1bO"):
            end = next((n for n, one in enumerate(typed[2:], 2) if "@" <= one <= "~"), len(typed))
            typed = typed[end + 1 :]
        else:
            yield _CHARACTERS.get(typed[0], typed[0])
            typed = typed[1:]


@contextmanager
def _one_key_at_a_time() -> Iterator[None]:
    """The keyboard is read key by key, unseen; it is as it was before when the block ends."""
    import termios
    import tty

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    try:
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


@contextmanager
def _woken() -> Iterator[tuple[socket, Callable[[], None]]]:
    """What to wait on, and what makes it readable; a new size of the window does, too."""
    reading, writing = socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    before = signal.signal(signal.SIGWINCH, lambda *_: None)
    woken_before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)

    def wake() -> None:
        with suppress(OSError):  # full, so it wakes already; or closed, since the user has left
            writing.send(b"\0")

    try:
        yield reading, wake
    finally:
        signal.set_wakeup_fd(woken_before)
        signal.signal(signal.SIGWINCH, before)
        reading.close()
        writing.close()
