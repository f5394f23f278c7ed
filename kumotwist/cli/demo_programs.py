"""
The programs that play in the demo: the real server, the sink, the loads.  Each is a process of its own, with its output in a file.

They run in sessions of their own, so that Ctrl-C reaches only the demo, which then ends them in order: first the
server, so that it finishes what is on the wire, then the sites that it talks to.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import kumotwist

START_DEADLINE = 30.0  # seconds until a program must listen
STOP_DEADLINE = 30.0
_TWISTD = "from twisted.scripts.twistd import run; run()"


class CannotPlay(Exception):
    """Why the demo cannot go on, and what to do about it."""


def require_addresses(addresses: Sequence[str]) -> None:
    """Raises CannotPlay where this machine has not all of the addresses."""
    missing = []
    for address in addresses:
        with socket.socket() as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                missing.append(address)
    if missing:
        remedy = "\n".join(f"    sudo ifconfig lo0 alias {address} up" for address in missing)
        raise CannotPlay(
            f"The demo sends from {', '.join(addresses)}, and this machine has not all of them: on Linux all of 127.0.0.0/8 "
            f"is there, on macOS and BSD it must be added first:\n{remedy}"
        )


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class Programs:
    """A context: whatever was started in it is ended at its end, in order."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for name in list(self._running):
            self.end(name)

    def serve(self, configuration: Path, port: int) -> None:
        """The server, once it answers.  Raises CannotPlay."""
        arguments = ["--nodaemon", "--pidfile=", "kumotwist", "--config", str(configuration)]
        self._start("server", ["-c", _TWISTD, *arguments])
        self._await("server", port)

    def receive(self, behaviour: Path, ports: Sequence[int], stats: Path) -> None:
        """The sink, once all its sites answer.  Raises CannotPlay."""
        listens = [word for port in ports for word in ("--listen", f"127.0.0.1:{port}")]
        self._start("sink", ["-m", "kumotwist", "sink", *listens, "--behaviour", str(behaviour), "--stats", str(stats)])
        for port in ports:
            self._await("sink", port)

    def send(self, name: str, options: Sequence[str]) -> None:
        """A load; its results are its output."""
        self._start(name, ["-m", "kumotwist", "traffic-gen", *options, "--json"])

    def is_running(self, name: str) -> bool:
        return name in self._running and self._running[name].poll() is None

    def ask(self, name: str, number: signal.Signals) -> None:
        self._running[name].send_signal(number)

    def output(self, name: str) -> Path:
        return self._directory / f"{name}.{'json' if name.startswith('load') else 'log'}"

    def end(self, name: str) -> None:
        """Ask a program to end, and wait until it has; kill it if it takes too long."""
        program = self._running.pop(name, None)
        if program is None:
            return
        if program.poll() is None:
            program.terminate()
        try:
            program.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()

    def require_running(self, name: str) -> None:
        """Raises CannotPlay, with the program's last words, if it ended by itself."""
        if not self.is_running(name):
            words = self.output(name).read_text("utf-8", "replace").splitlines()[-15:]
            raise CannotPlay(f"The {name} ended; its last words in {self.output(name)}:\n" + "\n".join(words))

    def _start(self, name: str, arguments: Sequence[str]) -> None:
        # The package's own directory on the path: from a checkout it is not installed, and Twisted must find its plugin.
        place = str(Path(kumotwist.__file__).resolve().parents[1])
        path = os.pathsep.join(filter(None, (place, os.environ.get("PYTHONPATH"))))
        with self.output(name).open("wb") as output, (self._directory / f"{name}.err").open("wb") as errors:
            self._running[name] = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors if name.startswith("load") else output,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )

    def _await(self, name: str, port: int) -> None:
        deadline = time.monotonic() + START_DEADLINE
        while time.monotonic() < deadline:
            self.require_running(name)
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise CannotPlay(
            f"The {name} does not listen on 127.0.0.1:{port} after {START_DEADLINE:.0f} seconds: see {self.output(name)}"
        )
