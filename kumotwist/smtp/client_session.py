"""
The client's half of an SMTP dialogue as bytes: commands → what is written, what came → replies, each with its command.

RFC 5321 section 4.2 (replies), RFC 2920 (pipelining), RFC 1870 (SIZE), RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8),
RFC 3030 (CHUNKING), RFC 4954 (AUTH), RFC 2033 (LMTP).

A method that makes a command also notes that its reply is due.  `receive` matches replies to commands in order; a reply
that no command caused is kept apart in `unasked`, so that it can never pass for the answer to what is sent next.
What a reply means is not decided here.
"""

from base64 import b64encode
from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache

from msgspec import Struct

from kumotwist.mail.reply import EnhancedCode, Reply, split_enhanced
from kumotwist.smtp.dotted import stuff

LONGEST_LINE = 4096  # octets of one line of a reply
LONGEST_REPLY = 65536  # octets of one reply of many lines
END_OF_MESSAGE = "."  # the command that the last reply of a transaction answers


class Stage(IntEnum):
    """What a reply answers: the greeting counts as the answer to connecting.  An IntEnum, so that it hashes as an int."""

    BANNER = 0
    EHLO = 1
    STARTTLS = 2
    RSET = 3
    MAIL = 4
    RCPT = 5
    DATA = 6
    DOT = 7
    QUIT = 8
    BDAT = 9
    AUTH = 10


class PeerBrokeProtocol(Exception):
    """What came is no SMTP, or not what can come here; the argument says why.  The dialogue cannot go on."""


class Capabilities(Struct, frozen=True, kw_only=True):
    """
    What a peer said in answer to EHLO.

    size: octets of the largest message it takes; 0: it names no limit.  auth: SASL mechanisms, upper case.
    """

    pipelining: bool = False
    eight_bit_mime: bool = False
    smtputf8: bool = False
    starttls: bool = False
    chunking: bool = False
    enhanced_status_codes: bool = False
    size_offered: bool = False
    size: int = 0
    auth: frozenset[str] = frozenset()


def read_capabilities(answer: Reply) -> Capabilities:
    """The keywords of a reply to EHLO (RFC 5321 section 4.1.1.1), its first line being the greeting; unknown ones are ignored."""
    offered = {}
    for line in answer.text.split("\n")[1:]:
        keyword, _, rest = line.strip().partition(" ")
        offered[keyword.upper()] = rest.strip()
        if keyword[:5].upper() == "AUTH=":  # as some said it before RFC 2554, and still say it beside the other
            offered.setdefault("AUTH", f"{keyword[5:]} {rest}")
    size = offered.get("SIZE", "")
    return Capabilities(
        pipelining="PIPELINING" in offered,
        eight_bit_mime="8BITMIME" in offered,
        smtputf8="SMTPUTF8" in offered,
        starttls="STARTTLS" in offered,
        chunking="CHUNKING" in offered,
        enhanced_status_codes="ENHANCEDSTATUSCODES" in offered,
        size_offered="SIZE" in offered,
        size=int(size) if size.isascii() and size.isdigit() and len(size) <= 20 else 0,
        auth=frozenset(offered.get("AUTH", "").upper().split()),
    )


@lru_cache(maxsize=1024)
def _read_line(line: bytes) -> tuple[int, bool, EnhancedCode | None, str]:
    """
    One line of a reply: code, whether it is the last, enhanced code, text.  Cached: most replies are said over and over.

    RFC 5321 section 4.2 allows a last line of just three digits.  Text that is not UTF-8 is kept with replacement
    characters: the model gives up the connection instead, which sends a message again and again whose acceptance was
    phrased in Latin-1.
    """
    if len(line) > LONGEST_LINE:
        raise PeerBrokeProtocol(f"a line of {len(line)} octets in a reply")
    code, mark = line[:3], line[3:4]
    if not code.isdigit() or len(code) < 3 or code[:1] not in b"2345" or mark not in (b" ", b"-", b"") or b"\n" in line:
        raise PeerBrokeProtocol(f"not a reply: {line[:80].decode('utf-8', 'replace')!r}")
    enhanced, text = split_enhanced(line[4:].decode("utf-8", "replace"))
    return int(code), mark != b"-", enhanced, text


class ClientSession:
    """
    One dialogue as its client.  Knows no socket and no timer.

    capabilities: what the peer offered last.  unasked: the first thing that it said without being asked; empty: nothing.
    """

    __slots__ = ("_asked", "_heard", "_length", "_lines", "_rest", "capabilities", "unasked")

    def __init__(self) -> None:
        self._asked: deque[tuple[Stage, str | None]] = deque(((Stage.BANNER, None),))
        self._heard: list[Reply] = []
        self._rest = b""  # the beginning of a line whose end has not come
        self._lines: list[tuple[int, EnhancedCode | None, str]] = []  # of a reply whose last line has not come
        self._length = 0  # octets in them
        self.capabilities = Capabilities()
        self.unasked = ""

    # What came.

    def receive(self, came: bytes) -> None:
        """Read what came; the replies in it are then there to `take`.  Raises PeerBrokeProtocol."""
        lines = (self._rest + came).split(b"\r\n") if self._rest else came.split(b"\r\n")
        self._rest = rest = lines.pop()
        asked, heard = self._asked, self._heard
        for line in lines:
            code, last, enhanced, text = _read_line(line)
            if last and asked and not self._lines:  # as nearly always
                heard.append(Reply(code, enhanced, text, asked.popleft()[1]))
            else:
                self._hear_line(line, code, last, enhanced, text)
        if rest and (b"\n" in rest or len(rest) > LONGEST_LINE):
            raise PeerBrokeProtocol(f"a line that does not end in CRLF in a reply: {rest[:80].decode('utf-8', 'replace')!r}")

    def _hear_line(self, line: bytes, code: int, last: bool, enhanced: EnhancedCode | None, text: str) -> None:
        """One line of a reply of several.  The enhanced code is the first line's; where others repeat it, it goes."""
        self._length += len(line)
        if self._length > LONGEST_REPLY:
            raise PeerBrokeProtocol(f"a reply of more than {LONGEST_REPLY} octets")
        if self._lines and code != self._lines[0][0]:
            raise PeerBrokeProtocol(f"a reply with two codes, {self._lines[0][0]} and {code}")
        if self._lines and enhanced is not None and enhanced != self._lines[0][1]:
            text = f"{enhanced} {text}"
        self._lines.append((code, enhanced, text))
        if not last:
            return
        whole, self._lines, self._length = self._lines, [], 0
        text = "\n".join(text for _, _, text in whole)
        if self._asked:
            self._heard.append(Reply(code, whole[0][1], text, self._asked.popleft()[1]))
        elif not self.unasked:
            self.unasked = Reply(code, whole[0][1], text).single_line

    def take(self) -> list[Reply]:
        """The replies that have come since the last time, in the order of their commands."""
        heard, self._heard = self._heard, []
        return heard

    @property
    def heard(self) -> int:
        """How many replies there are to take."""
        return len(self._heard)

    @property
    def due(self) -> Stage | None:
        """Which reply comes next; None: no command is unanswered."""
        return self._asked[0][0] if self._asked else None

    @property
    def due_command(self) -> str:
        """The command whose reply comes next, as it is named to people."""
        return (self._asked[0][1] or "the greeting") if self._asked else ""

    @property
    def out_of_step(self) -> str:
        """What the peer said that answers no command, even the beginning of it; empty: nothing."""
        if self.unasked or self._asked:
            return self.unasked
        return self._rest.decode("utf-8", "replace") or (self._lines[0][2] if self._lines else "")

    # What is sent.

    def _say(self, stage: Stage, line: str) -> bytes:
        command = _encode(line, 1)
        self._asked.append((stage, line))
        return command

    def ehlo(self, name: str) -> bytes:
        return self._say(Stage.EHLO, f"EHLO {name}")

    def lhlo(self, name: str) -> bytes:
        return self._say(Stage.EHLO, f"LHLO {name}")

    def auth_plain(self, username: str, password: str) -> bytes:
        """AUTH PLAIN with its initial response (RFC 4616, RFC 4954).  Neither name nor password is told to anybody else."""
        response = b64encode(f"\0{username}\0{password}".encode())
        self._asked.append((Stage.AUTH, "AUTH PLAIN"))
        return b"AUTH PLAIN %b\r\n" % response

    def starttls(self) -> bytes:
        return self._say(Stage.STARTTLS, "STARTTLS")

    def quit(self) -> bytes:
        return self._say(Stage.QUIT, "QUIT")

    def rset(self) -> bytes:
        return self._say(Stage.RSET, "RSET")

    def mail(self, sender: str, parameters: str = "") -> bytes:
        line = f"MAIL FROM:<{sender}>"
        command = _encode(line + parameters, 1)
        self._asked.append((Stage.MAIL, line))
        return command

    def rcpt(self, recipient: str) -> bytes:
        return self._say(Stage.RCPT, f"RCPT TO:<{recipient}>")

    def data(self) -> bytes:
        return self._say(Stage.DATA, "DATA")

    def group(self, sender: str, parameters: str, recipients: Sequence[str], *, rset: bool, data: bool = True) -> bytes:
        """RSET (if wanted), MAIL, every RCPT and DATA (if wanted) in one write (RFC 2920 section 3.1)."""
        mail = f"MAIL FROM:<{sender}>"
        rcpts = [f"RCPT TO:<{recipient}>" for recipient in recipients]
        lines = ["RSET", mail + parameters, *rcpts, "DATA"] if rset else [mail + parameters, *rcpts, "DATA"]
        if not data:
            lines.pop()
        commands = _encode("\r\n".join(lines), len(lines))
        asked = self._asked
        if rset:
            asked.append((Stage.RSET, "RSET"))
        asked.append((Stage.MAIL, mail))
        for rcpt in rcpts:
            asked.append((Stage.RCPT, rcpt))
        if data:
            asked.append((Stage.DATA, "DATA"))
        return commands

    def parameters(self, size: int, *, eight_bit: bool, utf8: bool) -> str:
        """What stands after the address in MAIL for content of so many octets, as far as the peer offered it."""
        offered = self.capabilities
        found = f" SIZE={size}" if offered.size_offered else ""
        if eight_bit and offered.eight_bit_mime:
            found += " BODY=8BITMIME"
        if utf8 and offered.smtputf8:
            found += " SMTPUTF8"
        return found

    def body(self, content: bytes, answers: int = 1) -> bytes:
        """
        The content as it goes after 354, the final dot included.

        answers: replies to it: LMTP has one for each recipient that was accepted, in their order (RFC 2033 section 4.2).
        """
        self._asked.append((Stage.DOT, END_OF_MESSAGE))
        if answers > 1:
            self._asked.extend([(Stage.DOT, END_OF_MESSAGE)] * (answers - 1))
        return stuff(content)

    def chunk(self, content: bytes) -> bytes:
        """The content as the only chunk of its message, as it is: no dot of it needs company (RFC 3030 section 2)."""
        command = f"BDAT {len(content)} LAST"
        self._asked.append((Stage.BDAT, command))
        return b"%b\r\n%b" % (command.encode("ascii"), content)

    def empty_body(self) -> bytes:
        """Ends a message that the peer is ready for although there is nobody to get it."""
        self._asked.append((Stage.DOT, END_OF_MESSAGE))
        return b".\r\n"


def _encode(text: str, lines: int) -> bytes:
    """
    So many command lines as they are sent.

    Addresses were checked when they came in; that none brings a line of its own is checked once more where it would be sent.
    """
    octets = f"{text}\r\n".encode()
    if octets.count(b"\n") != lines or octets.count(b"\r") != lines:
        raise ValueError(f"a line break within a command: {text[:200]!r}")
    return octets
