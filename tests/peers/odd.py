"""A receiver that behaves until a certain stage of the dialogue and then says something odd, or nothing."""

import socket
from contextlib import suppress
from threading import Thread

from tests.peers.support import SINK_HOST

USUAL = {
    "banner": b"220 odd.example ESMTP\r\n",
    "ehlo": b"250-odd.example\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n",
    "mail": b"250 2.1.0 Ok\r\n",
    "rcpt": b"250 2.1.5 Ok\r\n",
    "data": b"354 Go ahead\r\n",
    "dot": b"250 2.0.0 Ok\r\n",
}
_STAGE_OF = {b"EHLO": "ehlo", b"MAIL": "mail", b"RCPT": "rcpt", b"DATA": "data"}


class Odd:
    """
    Serves in threads of its own, without PIPELINING.  says: what it answers at `stage`; empty: nothing at all.

    closes: it closes the connection after that; else it waits until the client does.  reached: connections that came so far.
    """

    def __init__(self, stage: str, says: bytes, *, closes: bool = False) -> None:
        self._stage = stage
        self._says = says
        self._closes = closes
        self._listening = socket.create_server((SINK_HOST, 0))
        self._connected: list[socket.socket] = []
        self.reached = 0

    @property
    def mx(self) -> str:
        """As an entry of `mx_list`."""
        return f'"[{SINK_HOST}]:{self._listening.getsockname()[1]}"'

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
                Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            lines = connection.makefile("rb")
            stage = "banner"
            while stage != self._stage:
                connection.sendall(USUAL[stage])
                if stage == "data":
                    while (line := lines.readline()) not in (b".\r\n", b""):
                        pass
                    stage = "dot"
                else:
                    line = lines.readline()
                    stage = _STAGE_OF.get(line[:4].upper(), "")
                if stage not in USUAL:
                    connection.sendall(b"221 2.0.0 Bye\r\n")
                    return
            self.reached += 1
            connection.sendall(self._says)
            while not self._closes and lines.readline():
                pass
