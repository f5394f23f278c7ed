"""What receivers have in common that we write ourselves: an address, and a thread for each connection."""

import socket
from contextlib import suppress
from threading import Thread

from tests.peers.support import SINK_HOST


class Scripted:
    """Serves in threads of its own, from the start on.  What it says is `talk`."""

    def __init__(self) -> None:
        self._listening = socket.create_server((SINK_HOST, 0))
        self._connected: list[socket.socket] = []

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    @property
    def mx(self) -> str:
        """As an entry of `mx_list`."""
        return f'"[{SINK_HOST}]:{self.port}"'

    def talk(self, connection: socket.socket) -> None:
        """One dialogue, in a thread of its own; an OSError ends it."""
        raise AssertionError("each receiver says what it says")

    def start(self) -> None:
        Thread(target=self._serve, daemon=True).start()

    def kill(self) -> None:
        for one in (self._listening, *self._connected):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it
            one.close()

    def _serve(self) -> None:
        with suppress(OSError):  # it was closed: this is the end
            while True:
                connection, _ = self._listening.accept()
                self._connected.append(connection)
                Thread(target=self._serve_one, args=(connection,), daemon=True).start()

    def _serve_one(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            self.talk(connection)
