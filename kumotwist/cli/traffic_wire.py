"""
The sending end of a load: one raw Protocol, one write per turn of the dialogue.

What happens next is the method in `_step`, which is called with each reply; where the server offers PIPELINING
(RFC 2920) MAIL, RCPT and DATA go out together and their replies are stepped through without a write between.
"""

from collections.abc import Callable
from typing import Any
from typing import Protocol as Interface

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from kumotwist.cli.traffic_mail import Letter
from kumotwist.transport import write_now

MOST_REPLY_OCTETS = 65536


class Lane(Interface):
    """What a connection needs from the load that opened it."""

    def next_letter(self) -> Letter | None:
        """What to send next; None: the connection is to end."""

    def answered(self, letter: Letter, reply: bytes) -> None:
        """The server's last word on a message."""

    def ended(self, letter: Letter | None, greeted: bool, why: str) -> None:
        """The connection is gone; letter: what had no answer.  greeted: it got as far as EHLO's reply.  why: empty if as agreed."""


class TrafficWire(Protocol):
    """
    One connection.

    sender: between `<` and `>`.  most: messages until QUIT.  _refusal: the first reply that spoils the message in hand.
    """

    transport: Any  # a TCP transport or a test's

    def __init__(
        self, lane: Lane, seconds: Callable[[], float], *, sender: bytes, ehlo: bytes, pipelining: bool = True, most: int = 1000
    ) -> None:
        self.letter: Letter | None = None
        self._lane = lane
        self._seconds = seconds
        self._ehlo = ehlo
        self._pipelining = pipelining
        self._left = most
        self._mail = b"MAIL FROM:<%s>" % sender
        self._declares_size = False
        self._greeted = False
        self._rest = b""
        self._lines: list[bytes] = []
        self._refusal = b""
        self._why = "the server closed the connection"
        self._step: Callable[[bytes], None] = self._on_banner

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        letter, self.letter = self.letter, None
        self._step = self._ignore
        self._lane.ended(letter, self._greeted, self._why)

    def dataReceived(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at = 0
        while (end := data.find(b"\r\n", at)) >= 0:
            if data[at + 3 : at + 4] == b"-":
                self._lines.append(data[at:end])
            else:
                self._step(data[at:end])
            at = end + 2
        self._rest = data[at:]
        if len(self._rest) > MOST_REPLY_OCTETS:
            self.give_up("the server's reply does not end")

    def give_up(self, why: str) -> None:
        """End the connection at once."""
        self._why = why
        self._step = self._ignore
        self.transport.abortConnection()

    # -- steps: each gets the last line of a reply

    def _on_banner(self, line: bytes) -> None:
        if line[:1] != b"2":
            self._leave(line)
            return
        self._lines.clear()
        self._step = self._on_ehlo
        write_now(self.transport, b"EHLO %s\r\n" % self._ehlo)

    def _on_ehlo(self, line: bytes) -> None:
        if line[:1] != b"2":
            self._leave(line)
            return
        offers = {one[4:].split(b" ")[0].upper() for one in [*self._lines, line]}
        self._lines.clear()
        self._greeted = True
        self._pipelining = self._pipelining and b"PIPELINING" in offers
        self._declares_size = b"SIZE" in offers
        self._begin()

    def _begin(self) -> None:
        """The next message, or the end."""
        letter = self._lane.next_letter() if self._left > 0 else None
        if letter is None:
            self._why = ""
            self._step = self._on_quit
            write_now(self.transport, b"QUIT\r\n")
            return
        self._left -= 1
        self.letter = letter
        self._refusal = b""
        letter.attempts += 1
        letter.began = self._seconds()
        mail = b"%s SIZE=%d\r\n" % (self._mail, len(letter.content) - 3) if self._declares_size else self._mail + b"\r\n"
        self._step = self._on_mail
        if self._pipelining:
            mail = b"%sRCPT TO:<%s>\r\nDATA\r\n" % (mail, letter.recipient)
        write_now(self.transport, mail)

    def _on_mail(self, line: bytes) -> None:
        self._step = self._on_rcpt
        if line[:1] != b"2":
            self._refusal = line
            if self._left_with(line):
                return
            if not self._pipelining:
                self._settle(line)
                return
        if not self._pipelining and self.letter is not None:
            write_now(self.transport, b"RCPT TO:<%s>\r\n" % self.letter.recipient)

    def _on_rcpt(self, line: bytes) -> None:
        self._step = self._on_data
        if line[:1] != b"2":
            self._refusal = self._refusal or line
            if self._left_with(line):
                return
            if not self._pipelining:
                self._forget()
                return
        if not self._pipelining:
            write_now(self.transport, b"DATA\r\n")

    def _on_data(self, line: bytes) -> None:
        if line[:1] == b"3" and self.letter is not None:
            self._step = self._on_dot
            # A server that wants data for nobody gets an empty message (RFC 2920 section 3.1).
            write_now(self.transport, b".\r\n" if self._refusal else self.letter.content)
            return
        self._refusal = self._refusal or line
        if not self._left_with(line):
            self._forget()

    def _on_dot(self, line: bytes) -> None:
        if not self._left_with(line):
            self._settle(self._refusal or line)

    def _forget(self) -> None:
        """The transaction has a refusal: it ends with RSET."""
        self._step = self._on_rset
        write_now(self.transport, b"RSET\r\n")

    def _on_rset(self, line: bytes) -> None:
        if not self._left_with(line):
            self._settle(self._refusal)

    def _on_quit(self, line: bytes) -> None:
        self.transport.loseConnection()

    def _ignore(self, line: bytes) -> None:
        """The connection is ending: nothing that is said matters."""

    # -- ends

    def _settle(self, reply: bytes) -> None:
        letter, self.letter = self.letter, None
        self._lines.clear()
        assert letter is not None
        self._lane.answered(letter, reply)
        self._begin()

    def _left_with(self, line: bytes) -> bool:
        """Whether the reply was 421, which announces the end (RFC 5321 section 3.8): then the message in hand has no answer."""
        if not line.startswith(b"421"):
            return False
        self._leave(line)
        return True

    def _leave(self, line: bytes) -> None:
        self._why = line.decode("utf-8", "replace")
        self._step = self._ignore
        self.transport.loseConnection()
