"""Running our own programs in tests: on loopback, with ports of their choice, ended by signals."""

import os
import re
import signal
import subprocess
import sys
from types import TracebackType
from typing import Any

import msgspec

DEADLINE = 30.0  # seconds after which a program that hangs fails its test


class Running:
    """A program of ours while the block lasts; killed at its end if it still runs."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = [sys.executable, "-m", "kumotwist", *arguments]
        self.output = ""

    def __enter__(self) -> "Running":
        self.process = subprocess.Popen(
            self._arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "COLUMNS": "120"}
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.output += self.process.communicate(timeout=DEADLINE)[0] or ""

    def port(self) -> int:
        """Reads one line: where it listens."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"listening on .*:(\d+)$", line)
        assert found, line
        return int(found[1])

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Exit status after that signal."""
        self.process.send_signal(number)
        self.output += self.process.communicate(timeout=DEADLINE)[0]
        return self.process.returncode


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A program of ours, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "kumotwist", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )


def lines_of(path: Any) -> list[dict[str, Any]]:
    """The JSON objects of a file, one a line."""
    with open(path, "rb") as file:
        return [msgspec.json.decode(line) for line in file]
