"""A receiver that behaves until a certain stage of the dialogue and then says something odd, or nothing."""

import socket

from tests.peers.scripted import Scripted

USUAL = {
    "banner": b"220 odd.example ESMTP\r\n",
    "ehlo": b"250-odd.example\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n",
    "mail": b"250 2.1.0 Ok\r\n",
    "rcpt": b"250 2.1.5 Ok\r\n",
    "data": b"354 Go ahead\r\n",
    "dot": b"250 2.0.0 Ok\r\n",
}
_STAGE_OF = {b"EHLO": "ehlo", b"MAIL": "mail", b"RCPT": "rcpt", b"DATA": "data"}


class Odd(Scripted):
    """
    Serves in threads of its own, without PIPELINING.  says: what it answers at `stage`; empty: nothing at all.

    closes: it closes the connection after that; else it waits until the client does.  reached: connections that came so far.
    """

    def __init__(self, stage: str, says: bytes, *, closes: bool = False) -> None:
        super().__init__()
        self._stage = stage
        self._says = says
        self._closes = closes
        self.reached = 0

    def talk(self, connection: socket.socket) -> None:
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
