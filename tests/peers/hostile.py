"""A receiver of batches that does as it likes with recipients and with the end of the message."""

import socket
from collections.abc import Callable
from threading import Lock

from tests.peers.scripted import Scripted

TAKEN = b"250 2.0.0 Taken\r\n"
_ANSWERS = {
    b"EHLO": b"250-hostile\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n",
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"RSET": b"250 2.0.0 Ok\r\n",
}


class Hostile(Scripted):
    """
    Serves in threads of its own.  rcpt: the place of a recipient in its transaction, from 0 → what it answers.

    end: how many messages came before → what it answers to the end of one; nothing: it closes.  taken: the recipients of
    each message that it has said 250 to.  swallowed: of each that it read to its end and said nothing to.
    """

    def __init__(self, rcpt: Callable[[int], bytes], end: Callable[[int], bytes] = lambda before: TAKEN) -> None:
        super().__init__()
        self._rcpt = rcpt
        self._end = end
        self._lock = Lock()
        self.taken: list[list[str]] = []
        self.swallowed: list[list[str]] = []

    def talk(self, connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        connection.sendall(b"220 hostile\r\n")
        place, accepted = 0, list[str]()
        while line := lines.readline():
            command = line[:4].upper()
            if command in (b"MAIL", b"RSET"):
                place, accepted = 0, []
            if command == b"RCPT":
                answer = self._rcpt(place)
                place += 1
                if answer.startswith(b"250"):
                    accepted.append(line.partition(b"<")[2].partition(b">")[0].decode())
            elif command == b"DATA":
                answer = b"354 Go\r\n" if accepted else b"554 5.5.1 Nobody to send it to\r\n"
            else:
                answer = _ANSWERS.get(command, b"221 2.0.0 Bye\r\n")
            connection.sendall(answer)
            if command == b"DATA" and accepted and not self._ended(connection, lines.readline, accepted):
                return

    def _ended(self, connection: socket.socket, readline: Callable[[], bytes], accepted: list[str]) -> bool:
        while (line := readline()) != b".\r\n":
            if not line:
                return False
        with self._lock:
            answer = self._end(len(self.taken) + len(self.swallowed))
            (self.taken if answer.startswith(b"250") else self.swallowed).append(accepted)
        if answer:
            connection.sendall(answer)
        return bool(answer)
