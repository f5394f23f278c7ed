"""A terminal with a person at it: tmux (Debian package `tmux`), with a shell in it."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import msgspec

from tests.peers.support import SERVER_HOST, PeerTestCase, free_port, program, wait_until


class Terminal:
    """A shell in a window.  place: where it is at work.  width, height: of the window, in cells."""

    def __init__(self, place: Path, endpoint: str, width: int = 100, height: int = 40) -> None:
        """endpoint: where commands find their server."""
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self.width, self.height = width, height
        self._commands = 0
        self._tmux = [program("tmux", "tmux"), "-f", "/dev/null", "-S", str(place / "tmux")]
        binaries = place / "bin"
        binaries.mkdir()
        command = binaries / "kumotwist"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kumotwist "$@"\n')
        command.chmod(0o755)
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "TMUX")},
            "PATH": f"{binaries}:{os.environ.get('PATH', '')}",
            "KUMOTWIST_ENDPOINT": endpoint,
            "LC_ALL": "C.UTF-8",
        }

    def start(self) -> None:
        subprocess.run(
            [*self._tmux, "-u", "new-session", "-d", "-x", str(self.width), "-y", str(self.height), "-c", str(self.place), "sh"],
            check=True,
            env=self._environment,
            timeout=30,
        )
        wait_until(lambda: self.screen().strip(), "the shell is there")

    def kill(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True, timeout=30)

    def _tell(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], check=True, capture_output=True, text=True, timeout=30).stdout

    def screen(self) -> str:
        """What stands there now, lines that were wrapped joined."""
        return self._tell("capture-pane", "-p", "-J")

    def press(self, *keys: str) -> None:
        """Keys by tmux's names: `C-c`, `Tab`, `q`, `Enter`."""
        self._tell("send-keys", *keys)

    def write(self, text: str) -> None:
        self._tell("send-keys", "-l", text)

    def resize(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._tell("resize-window", "-x", str(width), "-y", str(height))

    def begin(self, command: str) -> None:
        """Type a command on an empty screen."""
        self._commands += 1
        self.write(f"clear; {command}; echo ended-{self._commands}=$?")
        self.press("Enter")

    def see(self, *phrases: str) -> str:
        """Wait until all of them stand on the screen; returns it."""
        seen = ""

        def look() -> bool:
            nonlocal seen
            seen = self.screen()
            return all(phrase in seen for phrase in phrases)

        try:
            wait_until(look, f"the terminal shows {phrases}", patience=45)
        except AssertionError as late:
            raise AssertionError(f"{late}; it shows:\n{seen}") from None
        return seen

    def end(self) -> tuple[int, str]:
        """Wait until the command has ended; its exit status, and what it wrote."""
        mark = f"ended-{self._commands}="
        ended = re.compile(rf"^(?:\^C)?{mark}(\d+)$", re.MULTILINE)  # the terminal echoes Ctrl-C without a line's end
        try:
            found = wait_until(lambda: ended.search(self.screen()), "the command ends", patience=45)
        except AssertionError as late:
            raise AssertionError(f"{late}; the terminal shows:\n{self.screen()}") from None
        assert found is not None
        return int(found[1]), found.string[: found.start()]

    def run(self, command: str) -> str:
        """What a command writes that must end well."""
        self.begin(command)
        status, said = self.end()
        assert status == 0, f"{command} ended with {status}:\n{said}"
        return said


CONFIG = """
http_listeners: [{listen: "%(http)s"}]
queues:
  queue:
    default: {protocol: {smtp: {mx_list: [%(sink)s]}}}
shaping:
  rules:
    default: {prohibited_hosts: [], enable_tls: Disabled, provider_name: everyone, idle_timeout: 300 ms}
"""
BEHAVIOUR = "domains: {later.example: {defer: {share: 100, replies: ['451 4.7.1 later']}}, slow.example: {delay: 60 s}}\n"


class CommandLineTestCase(PeerTestCase):
    """A server with mail in it, and a terminal."""

    def setUp(self) -> None:
        super().setUp()
        self.http = f"{SERVER_HOST}:{free_port(SERVER_HOST)}"
        self.terminal = Terminal(self.place / "terminal", f"http://{self.http}")
        self.receiver = self.sink(BEHAVIOUR)
        self.mta = self.server(CONFIG % {"http": self.http, "sink": self.receiver.mx})
        self.started(self.terminal)

    def api(self, path: str, asked: Any = None) -> Any:
        """What the API says."""
        body = None if asked is None else msgspec.json.encode(asked)
        request = Request(f"http://{self.http}{path}", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as answer:
            return msgspec.json.decode(answer.read())

    def metric(self, name: str) -> Any:
        return self.api("/metrics.json").get(name, {}).get("value")

    def wait_for_scheduled(self, queue: str, count: int) -> None:
        def look() -> bool:
            found = self.metric("scheduled_count") or {}
            return bool(found.get("queue", {}).get(queue) == count)

        wait_until(look, f"{count} messages in {queue}")

    def send(self, domain: str, count: int) -> None:
        self.load(self.mta, "--messages", str(count), "--domain", domain, name=f"{domain}-{time.monotonic_ns()}")

    def row(self, said: str, first: str) -> list[str]:
        """The words of the line that begins so."""
        for line in said.splitlines():
            if line.startswith(first):
                return line.split()
        raise AssertionError(f"no line begins with {first!r}:\n{said}")

    def assert_fits(self, said: str) -> None:
        self.assertEqual([line for line in said.splitlines() if len(line) > self.terminal.width], [])
