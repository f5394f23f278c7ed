"""The order to all sessions to end: between messages at once, within one after a grace."""

from collections.abc import Callable

from kumotwist.config.egress import PathSettings


class Stopped(Exception):
    """We are to stop, and were about to wait for something, or waiting, that does not matter any more."""


def shutdown_grace(settings: PathSettings) -> float:
    """Seconds that a transaction in flight may still take when the system stops."""
    if settings.system_shutdown_timeout is not None:
        return settings.system_shutdown_timeout
    return settings.mail_from_timeout + settings.rcpt_to_timeout + settings.data_timeout + settings.data_dot_timeout


class Stop:
    """Given once, heard by every session that listens."""

    __slots__ = ("_listeners", "given")

    def __init__(self) -> None:
        self.given = False
        self._listeners: dict[Callable[[], None], None] = {}  # in the order in which they came

    def give(self) -> None:
        self.given = True
        listeners, self._listeners = self._listeners, {}
        for tell in listeners:
            tell()

    def listen(self, tell: Callable[[], None]) -> None:
        self._listeners[tell] = None

    def forget(self, tell: Callable[[], None]) -> None:
        """No error where it was told already."""
        self._listeners.pop(tell, None)
