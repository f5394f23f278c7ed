"""
An SMTP dialogue from the server's side, without socket, timer or policy: bytes in, commands out when they are asked for.

    receive(data)    what the client sent, cut anywhere
    next_event()     the next command, message or refusal; NEED_DATA when the bytes are used up
    accept(command)  the command was granted: what may follow now is different

It is pulled: nothing is parsed before the answer to what came earlier has been given, so pipelined commands (RFC 2920) are
answered in order however long an answer takes.  What it keeps is bounded: one command line, one message of the permitted
size, and the chunk that the wire last gave it.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import ClassVar, Protocol

from msgspec import Struct

from kumotwist.config.listeners import LineEndings
from kumotwist.mail.reply import Reply, reply
from kumotwist.smtp.commands import (
    NEED_DATA,
    Auth,
    Bdat,
    Chunk,
    Command,
    Content,
    Data,
    Ehlo,
    Helo,
    Mail,
    Need,
    Noop,
    Quit,
    Rcpt,
    Refused,
    Response,
    Rset,
    StartTls,
    Unsupported,
    Vrfy,
    XClient,
)
from kumotwist.smtp.dotted import UntilDot, has_bare_cr_or_lf, has_long_line, with_crlf
from kumotwist.smtp.grammar import BAD_CHUNK, parse_command


class Stage(Enum):
    """How far a session and its transaction are."""

    CONNECTED = "connected"  # nobody has greeted, or only before TLS
    GREETED = "greeted"
    SENDER_GIVEN = "sender given"
    RECIPIENTS_GIVEN = "recipients given"
    CHUNKING = "chunking"  # BDAT has begun
    RECEIVING = "receiving"  # after 354, until the dot

    __hash__ = object.__hash__  # each command looks a stage up, and Enum's own hash runs Python code


_RECEIVING, _CHUNKING = Stage.RECEIVING, Stage.CHUNKING


def _stays(stage: Stage) -> dict[type[Command], Stage]:
    return {Noop: stage, Vrfy: stage, Quit: stage, XClient: stage, Unsupported: stage}


# RFC 5321 section 4.1.4: stage -> command -> stage once the command is accepted; absent is 503 (OUT_OF_ORDER).
# EHLO and HELO end a transaction as RSET does; after STARTTLS the client must greet again (RFC 3207 section 4.2).
# AUTH has no place in a transaction (RFC 4954 section 4).  BDAT and DATA exclude each other, and a chunk may be followed by
# chunks only (RFC 3030 section 2).
_ANEW: dict[type[Command], Stage] = {Ehlo: Stage.GREETED, Helo: Stage.GREETED, StartTls: Stage.CONNECTED, Rset: Stage.GREETED}
NEXT_STAGE: Mapping[Stage, Mapping[type[Command], Stage]] = {
    Stage.CONNECTED: {**_stays(Stage.CONNECTED), **_ANEW, Rset: Stage.CONNECTED},
    Stage.GREETED: {**_stays(Stage.GREETED), **_ANEW, Auth: Stage.GREETED, Mail: Stage.SENDER_GIVEN},
    Stage.SENDER_GIVEN: {**_stays(Stage.SENDER_GIVEN), **_ANEW, Rcpt: Stage.RECIPIENTS_GIVEN},
    Stage.RECIPIENTS_GIVEN: {
        **_stays(Stage.RECIPIENTS_GIVEN),
        **_ANEW,
        Rcpt: Stage.RECIPIENTS_GIVEN,
        Data: Stage.RECEIVING,
        Bdat: Stage.CHUNKING,
    },
    Stage.CHUNKING: {**_stays(Stage.CHUNKING), **_ANEW, Bdat: Stage.CHUNKING},
    Stage.RECEIVING: {},
}

_GREET_FIRST = reply("503 5.5.1 EHLO or HELO must be issued first")
_MAIL_TWICE = reply("503 5.5.0 MAIL FROM already issued; you must RSET first")
_MAIL_FIRST = reply("503 5.5.0 MAIL FROM must be issued first")
_RCPT_FIRST = reply("503 5.5.0 RCPT TO must be issued first")
_NO_AUTH_NOW = reply("503 5.5.1 AUTH not permitted inside a transaction")
_CHUNKS_ONLY = reply("503 5.5.1 BDAT was issued; end it with LAST or RSET first")

OUT_OF_ORDER: Mapping[Stage, Mapping[type[Command], Reply]] = {
    Stage.CONNECTED: {Auth: _GREET_FIRST, Mail: _GREET_FIRST, Rcpt: _MAIL_FIRST, Data: _MAIL_FIRST, Bdat: _MAIL_FIRST},
    Stage.GREETED: {Rcpt: _MAIL_FIRST, Data: _MAIL_FIRST, Bdat: _MAIL_FIRST},
    Stage.SENDER_GIVEN: {Auth: _NO_AUTH_NOW, Mail: _MAIL_TWICE, Data: _RCPT_FIRST, Bdat: _RCPT_FIRST},
    Stage.RECIPIENTS_GIVEN: {Auth: _NO_AUTH_NOW, Mail: _MAIL_TWICE},
    Stage.CHUNKING: {Auth: _NO_AUTH_NOW, Mail: _MAIL_TWICE, Rcpt: _CHUNKS_ONLY, Data: _CHUNKS_ONLY},
}

_UNSUPPORTED = Refused(reply("502 5.5.1 Command unimplemented"))
_LINE_TOO_LONG = reply("500 5.2.3 line too long")
NO_ROOM = reply("452 4.3.1 no memory for this message now. Try later")
_TOO_BIG = reply("552 5.3.4 message too big")
_BARE_CR_OR_LF = reply("552 5.6.0 message data must use CRLF for line endings")
_RESPONSE_TOO_LONG = reply("500 5.5.6 authentication exchange line too long")
_MOST_OF_RESPONSE = 12288  # octets: RFC 4954 section 4
_UNCOMMON = frozenset({Reply, Unsupported, Auth})  # what is not simply put down in logs
_TLS_ALREADY = Refused(reply("501 Cannot STARTTLS as TLS is already active"))


class Limits(Struct, frozen=True, kw_only=True):
    """What a session enforces by itself.  max_message_size: octets.  max_line: octets without CRLF, of commands and of data."""

    max_message_size: int
    max_line: int
    line_endings: LineEndings


Event = Command | Chunk | Content | Response | Refused | Need


class Arriving(Protocol):
    """Where the octets of all messages that arrive are counted.  refused: messages that there was no room for."""

    refused: int

    def take(self, octets: int, whole: int) -> bool:
        """So much more; whole: of that message.  False: there is no room for it, and nothing was counted."""

    def give_back(self, octets: int) -> None:
        """They are needed no longer."""


class ServerSession:
    """
    One dialogue.

    tls_active: whether the client is under TLS.  stage: how far the dialogue is.
    """

    __slots__ = (
        "_arriving", "_at", "_chunk", "_chunk_left", "_chunk_refusal", "_chunks", "_crowded", "_data", "_discarding",
        "_following_auth", "_hostname", "_limits", "_line", "_may_follow", "_responds", "_taken", "_until_dot", "stage",
        "tls_active",
    )  # fmt: skip

    def __init__(self, limits: Limits, hostname: str, *, tls_active: bool = False, arriving: Arriving | None = None) -> None:
        """
        hostname: ours, for the texts of refusals that close the connection.

        arriving: must have room for what a message has grown to; None: there is always room.
        """
        self._limits = limits
        self._arriving = arriving
        self._taken = 0  # octets that are counted there
        self._crowded = False  # there was no room for the message that arrives
        self._hostname = hostname
        self.tls_active = tls_active
        self._line = b""
        self._data = b""
        self._at = 0  # how much of it is used up
        self._discarding = False  # the rest of a line that was too long
        self._following_auth = False
        self._responds = False  # the client has been challenged
        self._until_dot: UntilDot | None = None
        self._chunk: Bdat | None = None  # the chunk that is arriving
        self._chunk_left = 0
        self._chunk_refusal: Refused | None = None
        self._chunks = bytearray()
        self._move(Stage.CONNECTED)

    def limit(self, limits: Limits, hostname: str) -> None:
        """These hold from now on."""
        self._limits = limits
        self._hostname = hostname

    def receive(self, data: bytes) -> None:
        """More bytes from the client."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    @property
    def line(self) -> str:
        """The command that the last event came of, as it shall stand in logs: without secrets; `DATA` for a message."""
        return self._line.decode("utf-8", "backslashreplace")

    @property
    def unread(self) -> bytes:
        """What came and is not used up: for what comes before a dialogue."""
        return self._data[self._at :]

    def skip(self, octets: int) -> None:
        """So much of it is used up."""
        self._at += octets

    @property
    def buffered(self) -> int:
        """Octets that came and are not used up."""
        return len(self._data) - self._at

    @property
    def between_messages(self) -> bool:
        """Whether no message is arriving: the connection may be closed without losing what the client has sent of one."""
        return self._until_dot is None and self._chunk is None and self.stage is not _CHUNKING

    def next_event(self) -> Event:
        """What came next; to be asked only when the event before has been answered."""
        if self._at == len(self._data):
            return NEED_DATA
        if self._until_dot is not None:
            return self._next_of_data(self._until_dot)
        if self._chunk is not None:
            return self._next_of_chunk(self._chunk)
        data, start = self._data, self._at
        end = data.find(b"\r\n", start)
        if self._responds:
            return self._response(end)
        if self._discarding or end < 0 or end - start > self._limits.max_line:
            return self._no_whole_line(end)
        self._at = end + 2
        return self._command(data[start:end])

    def accept(self, command: Command) -> None:
        """The command is granted."""
        before = self.stage
        stage = self._may_follow[type(command)]
        if stage is before:
            return
        self._move(stage)
        if stage is _RECEIVING:
            self._until_dot = UntilDot(self._limits.max_message_size)
        elif before is _CHUNKING:
            self._chunks = bytearray()
            self.release()

    def challenge(self) -> None:
        """The next line answers a challenge of AUTH, and is no command."""
        self._responds = True

    def start_tls(self) -> None:
        """TLS begins with the next byte: nothing that the client said before holds (RFC 3207 section 4.2)."""
        self.tls_active = True
        self.forget_input()

    def release(self) -> None:
        """The message has been dealt with: its octets are counted no longer."""
        if self._taken and self._arriving is not None:
            self._arriving.give_back(self._taken)
        self._taken = 0

    def forget_input(self) -> None:
        """What came and was not yet looked at is dropped."""
        self._data, self._at = b"", 0

    def _move(self, stage: Stage) -> None:
        self.stage = stage
        self._may_follow = NEXT_STAGE[stage]

    # Command lines

    def _no_whole_line(self, end: int) -> Event:
        """A line that has not ended yet, or is too long: the rest of that is discarded up to its CRLF."""
        if self._discarding:
            if end < 0:
                self._at = len(self._data) - self._data.endswith(b"\r")
                return NEED_DATA
            self._at, self._discarding = end + 2, False
            return self.next_event()
        if end < 0:
            if self.buffered < self._limits.max_line + 2:
                return NEED_DATA
            self._discarding = True
            self._at = len(self._data) - self._data.endswith(b"\r")
        else:
            self._at = end + 2
        self._line = b""  # too long to be worth keeping
        return Refused(_LINE_TOO_LONG)

    def _command(self, line: bytes) -> Event:
        command = parse_command(line)
        kind = type(command)
        if kind in _UNCOMMON:
            return self._no_command(line, command)  # type: ignore[arg-type]  # these are what it takes
        self._line = line
        self._following_auth = False
        if kind not in self._may_follow and kind is not Bdat:
            return Refused(OUT_OF_ORDER[self.stage][kind])  # type: ignore[index]  # Reply is excluded above
        check = self._CHECKED.get(kind)
        return command if check is None else check(self, command)  # type: ignore[return-value]  # as above

    def _mail(self, command: Mail) -> Event:
        if command.size is not None and command.size > self._limits.max_message_size:
            return Refused(_TOO_BIG)  # RFC 1870 section 6.1
        return command

    def _response(self, end: int) -> Event:
        """A line that is not kept for any log; one that is too long is read to its end before it is refused."""
        if end < 0:
            if self.buffered > _MOST_OF_RESPONSE:
                self._discarding = True
                self._at = len(self._data) - self._data.endswith(b"\r")
            return NEED_DATA
        line = self._data[self._at : end]
        self._at = end + 2
        self._responds = False
        if self._discarding or len(line) > _MOST_OF_RESPONSE:
            self._discarding = False
            return Refused(_RESPONSE_TOO_LONG)
        return Response(line)

    def _no_command(self, line: bytes, what: Reply | Unsupported | Auth) -> Event:
        """
        The log shall show the line, but no secret.

        Neither what follows AUTH, nor what a client that expected to be asked for user and password sends after it.
        """
        word = line.strip()[:4].upper()
        if word == b"AUTH":
            mechanism = what.mechanism if isinstance(what, Auth) else ""
            known = mechanism in ("PLAIN", "LOGIN")  # another may be a secret in the wrong place
            self._line, self._following_auth = f"AUTH {mechanism}".encode() if known else b"AUTH", True
        else:
            self._line = b"" if self._following_auth else line
        if isinstance(what, Auth):
            return what if Auth in self._may_follow else Refused(OUT_OF_ORDER[self.stage][Auth])
        if isinstance(what, Unsupported):
            return _UNSUPPORTED
        return Refused(what, closes=what is BAD_CHUNK)

    def _before_tls(self, command: StartTls) -> Event:
        if self.tls_active:
            return _TLS_ALREADY
        if self.buffered:
            # Whoever put it there wants it to be taken for something said under TLS (CVE-2011-0411).
            self.forget_input()
            return Refused(reply(f"421 4.7.0 {self._hostname} nothing may follow STARTTLS before TLS is active"), closes=True)
        return command

    # Messages

    def _next_of_data(self, until_dot: UntilDot) -> Event:
        end = until_dot.feed(self._data, self._at)
        if end < 0:
            self.forget_input()
            self._grow_to(until_dot)
            return NEED_DATA
        self._at = end
        self._until_dot = None
        self._line = b"DATA"
        self._move(Stage.GREETED)
        if self._crowded:
            self._crowded = False
            return Refused(NO_ROOM, ends_transaction=True)
        return self._judged(until_dot.content())

    def _grow_to(self, until_dot: UntilDot) -> None:
        """Count what is kept of a message; where there is no room for it, the rest is read and forgotten."""
        if self._arriving is None or self._crowded:
            return
        whole = until_dot.kept
        more = whole - self._taken
        if more <= 0:
            self._arriving.give_back(-more)  # it was too big, and is forgotten
        elif not self._arriving.take(more, whole):
            until_dot.give_up()
            self._turned_away()
            return
        self._taken = whole

    def _turned_away(self) -> None:
        assert self._arriving is not None
        self._crowded = True
        self._arriving.refused += 1
        self.release()

    def _judged(self, content: bytes | None) -> Content | Refused:
        """A message as it is taken, or why it is not; None: it was too big.  The transaction is over either way."""
        limits = self._limits
        if content is None:
            return self._refused(_TOO_BIG)
        if limits.line_endings is not LineEndings.ALLOW and has_bare_cr_or_lf(content):
            if limits.line_endings is LineEndings.DENY:
                return self._refused(_BARE_CR_OR_LF)
            content = with_crlf(content)
        if has_long_line(content, limits.max_line):
            return self._refused(_LINE_TOO_LONG)
        return Content(content)

    def _refused(self, why: Reply) -> Refused:
        self.release()
        return Refused(why, ends_transaction=True)

    def _begin_chunk(self, chunk: Bdat) -> Event:
        """RFC 3030 section 2: the octets of a chunk that is refused are read and discarded before the refusal is sent."""
        self._chunk, self._chunk_left = chunk, chunk.size
        if Bdat not in self._may_follow:
            self._chunk_refusal = Refused(OUT_OF_ORDER[self.stage][Bdat])
        elif len(self._chunks) + chunk.size > self._limits.max_message_size:
            self._chunk_refusal = self._refused(_TOO_BIG)
            self._end_chunks()
        else:
            self._move(Stage.CHUNKING)
        return self._next_of_chunk(chunk)

    def _next_of_chunk(self, chunk: Bdat) -> Event:
        taken = min(self.buffered, self._chunk_left)
        if self._chunk_refusal is None:
            self._grow_by(taken)
        self._at += taken
        self._chunk_left -= taken
        if self._chunk_left:
            return NEED_DATA
        self._chunk = None
        refusal, self._chunk_refusal = self._chunk_refusal, None
        if refusal is not None:
            return refusal
        if not chunk.last:
            return Chunk(chunk.size)
        content = bytes(self._chunks)
        self._end_chunks()
        return self._judged(content)

    def _grow_by(self, octets: int) -> None:
        if self._arriving is not None and not self._arriving.take(octets, len(self._chunks) + octets):
            self._turned_away()
            self._crowded = False  # the refusal remembers it
            self._chunk_refusal = Refused(NO_ROOM, ends_transaction=True)
            self._end_chunks()
            return
        self._taken += octets
        self._chunks += memoryview(self._data)[self._at : self._at + octets]

    def _end_chunks(self) -> None:
        self._chunks = bytearray()
        self._move(Stage.GREETED)

    # Commands that are not simply handed on.
    _CHECKED: ClassVar[Mapping[type, Callable[..., Event]]] = {Mail: _mail, Bdat: _begin_chunk, StartTls: _before_tls}
