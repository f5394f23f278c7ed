"""Scripted clients: they pipeline, hang up anywhere, and send again whatever was not answered."""

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.python.failure import Failure

from tests.simulation.ledger import Ledger
from tests.simulation.timeline import Timeline

PATIENCE = 400.0  # seconds without any answer after which a client hangs up


class Letter:
    """Something to be sent until it is answered for good."""

    def __init__(self, sender: str, recipients: list[str], content: bytes) -> None:
        self.sender = sender
        self.recipients = recipients
        self.content = content
        self.tries = 0


class Client:
    """One connection to our server with some letters; `again` gets those that were not answered for good."""

    def __init__(
        self, letters: list[Letter], again: Callable[[Letter], None], ledger: Ledger, timeline: Timeline, chance: Random
    ) -> None:
        self._letters = letters
        self._again = again
        self._ledger = ledger
        self._timeline = timeline
        self._chance = chance
        self._buffer = b""
        self._reply: list[bytes] = []
        self._pipelines = chance.random() < 0.5
        self._leaves = chance.random() < 0.08  # in the middle of something
        self._stages: list[str] = []
        self._done = False
        self._last = timeline.now

    def makeConnection(self, transport: Any) -> None:
        self._transport = transport
        self._stages = ["banner"]
        self._timeline.after(PATIENCE, self._lose_patience)

    def _lose_patience(self) -> None:
        if self._done:
            return
        if self._timeline.now - self._last >= PATIENCE:
            self._transport.abortConnection()
        else:
            self._timeline.at(self._last + PATIENCE, self._lose_patience)

    def dataReceived(self, data: bytes) -> None:
        self._last = self._timeline.now
        self._buffer += data
        while b"\r\n" in self._buffer and not self._done:
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            self._reply.append(line)
            if line[3:4] != b"-":
                reply, self._reply = self._reply, []
                self._heard(reply)

    def connectionLost(self, reason: Failure) -> None:
        self._done = True
        letters, self._letters = self._letters, []
        for letter in letters:
            self._again(letter)

    def _send(self, *commands: tuple[str, bytes]) -> None:
        self._stages += [stage for stage, _ in commands]
        octets = b"".join(command for _, command in commands)
        if self._leaves and self._chance.random() < 0.3:
            self._transport.write(octets[: self._chance.randrange(len(octets) + 1)])
            self._leave()
            return
        self._transport.write(octets)

    def _leave(self) -> None:
        if self._chance.random() < 0.5:
            self._transport.abortConnection()
        else:
            self._transport.loseConnection()

    def _heard(self, reply: list[bytes]) -> None:
        if not self._stages:
            return  # a farewell
        stage, code = self._stages.pop(0), reply[0][:3]
        if stage == "dot":
            self._answered(code, reply)
        elif stage == "banner" and code == b"220":
            self._send(("ehlo", b"EHLO client.test\r\n"))
        elif stage == "ehlo" and code == b"250":
            self._next()
        elif stage in ("mail", "rcpt") and code[:1] == b"2":
            self._go_on(stage)
        elif stage == "data" and code == b"354":
            self._send(("dot", self._letters[0].content + b"\r\n.\r\n"))
        elif stage != "quit":
            self._give_up(code)

    def _next(self) -> None:
        if not self._letters:
            self._send(("quit", b"QUIT\r\n"))
            return
        letter = self._letters[0]
        commands = [("mail", f"MAIL FROM:<{letter.sender}>\r\n".encode())]
        if self._pipelines:
            commands += [("rcpt", f"RCPT TO:<{one}>\r\n".encode()) for one in letter.recipients]
            commands.append(("data", b"DATA\r\n"))
        self._to_name = [] if self._pipelines else list(letter.recipients)
        self._send(*commands)

    def _go_on(self, stage: str) -> None:
        if self._pipelines:
            return
        if self._to_name:
            self._send(("rcpt", f"RCPT TO:<{self._to_name.pop(0)}>\r\n".encode()))
        else:
            self._send(("data", b"DATA\r\n"))

    def _answered(self, code: bytes, reply: list[bytes]) -> None:
        if code == b"250":
            text = b" ".join(line[4:] for line in reply).partition(b"ids=")[2]
            self._ledger.heard(text.decode().split())
            self._letters.pop(0)
        elif code[:1] == b"5":
            self._letters.pop(0)
        else:
            self._give_up(code)
            return
        if self._leaves:
            self._leave()
        else:
            self._next()

    def _give_up(self, code: bytes) -> None:
        """Not now: on another connection."""
        if code[:1] == b"5" and self._letters:
            self._letters.pop(0)
        self._transport.abortConnection()
