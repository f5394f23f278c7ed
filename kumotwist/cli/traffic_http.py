"""
The sending end of a load over HTTP: one raw Protocol that posts a message, waits for its answer, and posts the next.

`POST /api/inject/v1`, one recipient a request; the answer becomes a reply as SMTP would give it, so that results add up.
"""

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from kumotwist.cli.traffic_mail import Letter
from kumotwist.cli.traffic_wire import MOST_REPLY_OCTETS, Lane
from kumotwist.transport import write_now

PATH = "/api/inject/v1"


class HttpTrafficWire(Protocol):
    """One connection, kept open.  most: messages until it is closed."""

    transport: Any  # a TCP transport or a test's

    def __init__(self, lane: Lane, seconds: Callable[[], float], *, sender: bytes, host: bytes, most: int = 1000) -> None:
        """host: what the Host field says."""
        self.letter: Letter | None = None
        self._lane = lane
        self._seconds = seconds
        self._sender = sender
        self._host = host
        self._left = most
        self._rest = b""
        self._answered = False
        self._why = "the server closed the connection"

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self._begin()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        letter, self.letter = self.letter, None
        self._lane.ended(letter, self._answered, self._why)

    def give_up(self, why: str) -> None:
        """End the connection at once."""
        self._why = why
        self.transport.abortConnection()

    def _begin(self) -> None:
        letter = self._lane.next_letter() if self._left > 0 else None
        if letter is None:
            self._why = ""
            self.transport.loseConnection()
            return
        self._left -= 1
        self.letter = letter
        letter.attempts += 1
        letter.began = self._seconds()
        write_now(self.transport, request(letter, self._sender, self._host))

    def dataReceived(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) > MOST_REPLY_OCTETS:
            self.give_up("the server's answer does not end")
            return
        while (found := answer(self._rest)) is not None:
            reply, self._rest = found
            letter, self.letter = self.letter, None
            if letter is None:
                self.give_up("an answer that nobody asked for")
                return
            self._answered = True
            self._lane.answered(letter, reply)
            self._begin()


def request(letter: Letter, sender: bytes, host: bytes) -> bytes:
    """A message as a whole request."""
    asked = {
        "envelope_sender": sender.decode(),
        "recipients": [{"email": letter.recipient.decode()}],
        "content": letter.content.removesuffix(b".\r\n").decode(),
        "template_dialect": "Static",
    }
    body = json.dumps(asked).encode()
    head = (b"POST %b HTTP/1.1", b"Host: %b", b"Content-Type: application/json", b"Content-Length: %d")
    return b"\r\n".join(head) % (PATH.encode(), host, len(body)) + b"\r\n\r\n" + body


def answer(octets: bytes) -> tuple[bytes, bytes] | None:
    """The first whole answer as an SMTP reply, and what follows it; None: there is more to come."""
    head, gap, rest = octets.partition(b"\r\n\r\n")
    if not gap:
        return None
    status, *fields = head.split(b"\r\n")
    length = next((int(field.partition(b":")[2]) for field in fields if field.lower().startswith(b"content-length:")), 0)
    if len(rest) < length:
        return None
    return _reply(status.partition(b" ")[2], rest[:length]), rest[length:]


def _reply(status: bytes, body: bytes) -> bytes:
    """250, or what kept the recipient from getting the message; 5xx of HTTP is for now, 4xx for good."""
    said = body.replace(b"\r", b" ").replace(b"\n", b" ")[:500]
    if not status.startswith(b"200"):
        return b"%b HTTP %b: %b" % (b"451" if status[:1] == b"5" else b"550", status, said)
    found = json.loads(body)
    if found.get("success_count") == 1:
        return b"250 OK"
    errors = found.get("errors") or ["nobody got it"]
    return b"550 " + str(errors[0]).encode()
