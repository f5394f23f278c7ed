"""A receiver with STARTTLS and PIPELINING that behaves until a certain point of the dialogue."""

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from tests.peers.scripted import Scripted
from tests.peers.support import SINK_HOST

USUAL = {
    "banner": b"220 rogue\r\n",
    "ehlo": b"250-rogue\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 8BITMIME\r\n",
    "starttls": b"220 2.0.0 Go\r\n",
    "ehlo-again": b"250-rogue\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    "mail": b"250 2.1.0 Ok\r\n",
    "rcpt": b"250 2.1.5 Ok\r\n",
    "data": b"354 Go ahead\r\n",
    "dot": b"250 2.0.0 Ok\r\n",
}
STAGES = ("banner", "ehlo", "starttls", "handshake", "ehlo-again", "mail", "rcpt", "data", "dot")
_STAGE_OF = {b"EHLO": "ehlo", b"STAR": "starttls", b"MAIL": "mail", b"RCPT": "rcpt", b"DATA": "data"}
_END = b"\r\n.\r\n"


class Rogue(Scripted):
    """
    Serves in threads of its own.  at: the stage at which it says `says` instead of what is usual.

    closes: it closes after that.  pause: seconds between two octets of what it says there.  deaf: it forgets what was sent
    along with a command.  accepted: messages whose end it has read and said 250 to.
    """

    def __init__(
        self, chain: Path, *, at: str = "", says: bytes = b"", closes: bool = False, pause: float = 0.0, deaf: bool = False
    ) -> None:
        super().__init__()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(chain)
        self.at = at
        self.deaf = deaf
        self._says, self._closes, self._pause = says, closes, pause
        self.accepted = 0

    def mx_of(self, host: str) -> str:
        """As an entry of `mx_list`.  host: what it is called."""
        return f'{{name: {host}, addr: "{SINK_HOST}:{self.port}"}}'

    def talk(self, connection: socket.socket) -> None:
        _Dialogue(self, connection, self._answer).run(self._context)

    def _answer(self, connection: socket.socket, stage: str) -> bool:
        """Say what belongs there; False: that was all."""
        odd = stage == self.at
        said = self._says if odd else USUAL.get(stage, b"")
        if odd and self._pause:
            for octet in said or USUAL[stage]:
                connection.sendall(bytes([octet]))
                time.sleep(self._pause)
        else:
            connection.sendall(said)
        if stage == "dot" and not odd:
            self.accepted += 1
        return not (odd and self._closes)


class _Dialogue:
    """One connection."""

    def __init__(self, rogue: Rogue, connection: socket.socket, answer: Callable[[socket.socket, str], bool]) -> None:
        self._rogue = rogue
        self._connection = connection
        self._answer = answer
        self._came = b""
        self._encrypted = False

    def run(self, context: ssl.SSLContext) -> None:
        goes_on = self._answer(self._connection, "banner")
        while goes_on:
            command = self._until(b"\r\n")[:4].upper()
            if self._rogue.deaf:
                self._came = b""
            stage = _STAGE_OF.get(command, "")
            if not stage:
                self._connection.sendall(b"221 2.0.0 Bye\r\n")
                return
            goes_on = self._answer(self._connection, "ehlo-again" if stage == "ehlo" and self._encrypted else stage)
            if stage == "starttls" and goes_on:
                if self._rogue.at == "handshake":
                    self._connection.recv(1)  # not before the client has begun
                    self._answer(self._connection, "handshake")
                    return
                self._connection = context.wrap_socket(self._connection, server_side=True)
                self._encrypted = True
            elif stage == "data" and goes_on:
                self._until(_END)
                goes_on = self._answer(self._connection, "dot")

    def _until(self, end: bytes) -> bytes:
        while end not in self._came:
            more = self._connection.recv(65536)
            if not more:
                raise OSError("closed by the client")
            self._came += more
        found, _, self._came = self._came.partition(end)
        return found
