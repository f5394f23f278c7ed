"""The order to all sessions to end: between messages at once, within one after a grace."""

from collections.abc import Callable


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
