"""Scripted receivers: they accept, defer, refuse, hang up or fall silent, at each stage, by chance and by mood."""

import re
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.python.failure import Failure

from tests.simulation.ledger import Ledger
from tests.simulation.timeline import Timeline

_ID = re.compile(rb"^Received: [^\0]*? id ([0-9a-f]{32})", re.MULTILINE | re.DOTALL)
_DEFER = [b"451 4.7.1 Try again later", b"450 4.2.0 Greylisted", b"452 4.2.2 Mailbox full", b"421 4.7.0 Too many"]
_REFUSE = [b"550 5.1.1 No such user", b"554 5.7.1 Not here", b"552 5.2.2 Over quota"]
_WAYS = ("defer", "refuse", "421", "disconnect", "silence", "slow", "nonsense")
_FINE = {"banner": b"220 mx.test", "ehlo": b"", "mail": b"250 ok", "rcpt": b"250 ok", "data": b"354 go", "dot": b"250 taken"}


class Mood:
    """How a site behaves just now.  odd: the share of replies that are not as they should be; down: as `Network.reachable`."""

    def __init__(self) -> None:
        self.odd = 0.0
        self.ways: tuple[str, ...] = _WAYS
        self.reachable: bool | None = True
        self.pipelining = True

    def change(self, chance: Random) -> None:
        self.odd = chance.choice([0.0, 0.0, 0.02, 0.1, 0.4, 1.0])
        self.ways = tuple(chance.sample(_WAYS, chance.randrange(1, len(_WAYS) + 1)))
        self.reachable = chance.choice([True, True, True, False, None])
        self.pipelining = chance.random() < 0.8

    def end(self) -> None:
        self.odd, self.reachable = 0.0, True


class Receiver:
    """One connection from our server."""

    def __init__(self, mood: Mood, ledger: Ledger, timeline: Timeline, chance: Random) -> None:
        self._mood = mood
        self._ledger = ledger
        self._timeline = timeline
        self._chance = chance
        self._buffer = b""
        self._content: list[bytes] | None = None
        self._given = False
        self._recipients: list[str] = []
        self._busy_until = 0.0
        self._deaf = False
        self._open = True
        self._awaiting: list[tuple[int, str, list[str]]] = []  # sent so much when the reply to this message was through
        self._said = 0
        self._was_read = 0

    def makeConnection(self, transport: Any) -> None:
        self._transport = transport
        transport.other.heard = self._heard
        self._answer("banner")

    def _heard(self, octets: bytes) -> None:
        """Our server was given what we said."""
        self._was_read += len(octets)
        while self._awaiting and self._awaiting[0][0] <= self._was_read:
            self._awaiting.pop(0)

    def connectionLost(self, reason: Failure) -> None:
        self._open = False
        self._deaf = True
        for _, message_id, recipients in self._awaiting:
            self._ledger.unheard(message_id, recipients)
        self._awaiting.clear()

    def dataReceived(self, data: bytes) -> None:
        if self._deaf:
            return
        self._buffer += data
        while not self._deaf and b"\r\n" in self._buffer:
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            self._line(line)

    def _line(self, line: bytes) -> None:
        if self._content is not None:
            if line == b".":
                self._end_of_message()
            else:
                self._content.append(line[1:] if line.startswith(b".") else line)
            return
        verb = line[:4].upper()
        if verb in (b"EHLO", b"HELO"):
            self._answer("ehlo")
        elif verb == b"MAIL":
            self._recipients = []
            self._given = self._answer("mail")
        elif verb == b"RCPT":
            if not self._given:
                self._say(b"503 5.5.1 no sender")
            elif self._answer("rcpt"):
                self._recipients.append(line.partition(b"<")[2].partition(b">")[0].decode())
        elif verb == b"DATA":
            if not self._recipients:
                self._say(b"503 5.5.1 no recipients")
            elif self._answer("data"):
                self._content = []
        elif verb == b"QUIT":
            self._say(b"221 bye")
            self._close()
        else:
            self._say(b"250 ok")

    def _end_of_message(self) -> None:
        assert self._content is not None
        content, self._content = b"\r\n".join(self._content), None
        found = _ID.search(content)
        assert found is not None, content[:300]
        taken, way = (found[1].decode(), self._recipients), self._way()
        if way in ("", "slow"):
            self._ledger.arrived(*taken)
            self._say(_FINE["dot"], self._delay(way), taken)
            return
        if way in ("disconnect", "silence", "nonsense") and self._chance.random() < 0.5:
            self._ledger.arrived(*taken)  # and nobody will hear of it
            self._awaiting.append((1 << 60, *taken))
        self._odd(way, self._delay(way))

    def _answer(self, stage: str) -> bool:
        """True: what was asked for is granted."""
        way = self._way()
        if way not in ("", "slow"):
            self._odd(way, self._delay(way))
            return False
        self._say(self._capabilities() if stage == "ehlo" else _FINE[stage], self._delay(way))
        return True

    def _way(self) -> str:
        """How this reply will be; empty: as it should be."""
        mood = self._mood
        return self._chance.choice(mood.ways) if self._chance.random() < mood.odd else ""

    def _delay(self, way: str) -> float:
        return self._chance.uniform(1, 400) if way == "slow" else self._chance.random() ** 3

    def _capabilities(self) -> bytes:
        return b"250-mx.test\r\n250-PIPELINING\r\n250 8BITMIME" if self._mood.pipelining else b"250-mx.test\r\n250 8BITMIME"

    def _odd(self, way: str, delay: float) -> None:
        if way == "defer":
            self._say(self._chance.choice(_DEFER[:3]), delay)
        elif way == "refuse":
            self._say(self._chance.choice(_REFUSE), delay)
        elif way == "421":
            self._say(_DEFER[3], delay)
            self._close()
        elif way == "disconnect":
            self._close(abruptly=self._chance.random() < 0.5)
        elif way == "nonsense":
            self._say(b"what?", delay)
        else:
            self._deaf = True

    def _say(self, text: bytes, delay: float = 0.0, taken: tuple[str, list[str]] | None = None) -> None:
        """In order; taken: the message that this is the answer to."""
        self._said += len(text) + 2
        if taken is not None:
            self._awaiting.append((self._said, *taken))
        self._do(delay, lambda: self._transport.write(text + b"\r\n"))

    def _do(self, delay: float, act: Callable[[], object]) -> None:
        self._busy_until = max(self._busy_until, self._timeline.now) + delay
        self._timeline.at(self._busy_until, act)

    def _close(self, abruptly: bool = False) -> None:
        self._deaf = True
        self._do(0.0, self._transport.abortConnection if abruptly else self._transport.loseConnection)
