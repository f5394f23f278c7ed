"""
What systemd and the server tell one another: sockets that are handed over, and when it is ready, reloads, stops, is alive.

The protocol is a few environment variables and datagrams (sd_notify(3), sd_listen_fds(3)).  Without these variables nothing
is said and nothing taken.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

FIRST_SOCKET = 3  # sd_listen_fds(3)


def environment_at_start() -> dict[str, str]:
    """The environment that this process was started with: Twisted takes what is about sockets out of the present one."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return {}
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if entry)
    return {name: value for name, _, value in pairs}


class Systemd:
    """The manager that has started us, if there is one."""

    log = Logger()

    def __init__(self, environ: Mapping[str, str], getpid: Callable[[], int], monotonic: Callable[[], float]) -> None:
        """environ, getpid: asked when needed.  monotonic: seconds of CLOCK_MONOTONIC."""
        self._environ = environ
        self._getpid = getpid
        self._monotonic = monotonic
        self._clock: IReactorTime | None = None
        self._alive: IDelayedCall | None = None

    # What it gives

    def sockets(self) -> Iterator[socket.socket]:
        """The TCP sockets that it hands over, each once a call; what else there is among them is left alone."""
        if self._environ.get("LISTEN_PID") != str(self._getpid()):
            return
        count = self._environ.get("LISTEN_FDS", "")
        for number in range(FIRST_SOCKET, FIRST_SOCKET + (int(count) if count.isascii() and count.isdigit() else 0)):
            try:
                found = socket.socket(fileno=os.dup(number))
            except OSError as fault:
                self.log.warn("file descriptor {number} of systemd is no socket: {fault}", number=number, fault=fault)
                continue
            os.set_inheritable(number, False)
            if found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM:
                yield found
            else:
                self.log.warn("file descriptor {number} of systemd is no TCP socket, and not used", number=number)
                found.close()

    # What it is told

    def ready(self, clock: IReactorTime) -> None:
        """Mail is taken.  From now on it is told in time, if it wants to be, that the reactor turns."""
        self._clock = clock
        self._tell("READY=1")
        self._keep_alive()

    def reloading(self, begins: bool) -> None:
        """The configuration is being read again, or no longer."""
        if begins:
            self._tell(f"RELOADING=1\nMONOTONIC_USEC={int(self._monotonic() * 1_000_000)}")
        else:
            self._tell("READY=1")

    def stopping(self) -> None:
        """No more mail is taken.  It goes on being told that we are alive."""
        self._tell("STOPPING=1")

    def stopped(self) -> None:
        """The last word."""
        if self._alive is not None:
            self._alive.cancel()
            self._alive = None

    def _keep_alive(self) -> None:
        interval = self._watchdog_interval()
        if interval is not None and self._clock is not None:
            self._tell("WATCHDOG=1")
            self._alive = self._clock.callLater(interval, self._keep_alive)

    def _watchdog_interval(self) -> float | None:
        """Seconds: half of what it waits (sd_watchdog_enabled(3)); None: it does not."""
        microseconds = self._environ.get("WATCHDOG_USEC", "")
        if self._environ.get("WATCHDOG_PID", str(self._getpid())) != str(self._getpid()):
            return None
        if not (microseconds.isascii() and microseconds.isdigit()) or int(microseconds) == 0:
            return None
        return int(microseconds) / 2_000_000

    def _tell(self, state: str) -> None:
        address = self._environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return
        where = "\0" + address[1:] if address.startswith("@") else address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
            try:
                channel.sendto(state.encode(), where)
            except OSError as fault:
                self.log.warn("systemd was not told {state}: {fault}", state=state.partition("\n")[0], fault=fault)
