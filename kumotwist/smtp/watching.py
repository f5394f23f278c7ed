"""
SMTP dialogues as somebody watches them: what is read and written, when, by whom.  Pure.

While nobody watches, a dialogue pays one look at `Dialogues.on` for each piece of input and output.  Secrets of AUTH are
never shown: whatever a client says from AUTH on, until the server has decided about it, is left out.
"""

from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

HIDDEN = "(not shown)"

_decoder = getincrementaldecoder("utf-8")
_AUTH = b"AUTH "
_LONGEST_MECHANISM = 20  # RFC 4422 section 3.1
_LONGEST_BEGINNING = 512  # octets of an unfinished AUTH that are waited for


class Seen(Struct, frozen=True):
    """One event.  meta: of the connection, as it is known by then.  payload: as the model tags it.  when: epoch seconds."""

    meta: Mapping[str, Any]
    payload: str | dict[str, Any]
    when: float


Watcher = Callable[[Seen], None]


class Dialogues:
    """All dialogues of one side, and those that watch them.  on: somebody does."""

    __slots__ = ("_seconds", "_watchers", "on")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.on = False
        self._seconds = seconds
        self._watchers: dict[Watcher, None] = {}

    def watch(self, watcher: Watcher) -> None:
        self._watchers[watcher] = None
        self.on = True

    def forget(self, watcher: Watcher) -> None:
        self._watchers.pop(watcher, None)
        self.on = bool(self._watchers)

    def tell(self, meta: Mapping[str, Any], payload: str | dict[str, Any]) -> None:
        seen = Seen(meta, payload, self._seconds())
        for watcher in list(self._watchers):
            watcher(seen)


UNWATCHED = Dialogues(lambda: 0.0)


class Text:
    """Octets of one direction as text: UTF-8, and what is none of it as `\\xff`."""

    __slots__ = ("_decode",)

    def __init__(self) -> None:
        self._decode = _decoder("backslashreplace").decode

    def of(self, octets: bytes, *, last: bool = False) -> str:
        """A character that is cut in two stays back until the rest has come, or nothing more does."""
        return self._decode(octets, last)


class ClientsWords:
    """
    What a client says, without the secrets of AUTH.

    A line that begins with AUTH, and all lines after it until the server has decided, are left out but for the mechanism.
    Lines of a message (after 354 until the lone dot) and the octets that BDAT announces are shown as they are.  A line's
    beginning that may yet become AUTH stays back until more of it has come.
    """

    __slots__ = ("_chunk", "_content", "_held", "_in_line", "_secret", "_unknown")

    def __init__(self, *, from_start: bool) -> None:
        """from_start: the connection has just been made; else what is said before the next answer is left out."""
        self._unknown = not from_start
        self._secret = False
        self._content = False
        self._chunk = 0  # octets that BDAT announced and that have not come
        self._held = b""  # the beginning of a line that is not shown yet
        self._in_line = False  # the line's beginning was dealt with, and its end has not come

    def answered(self, reply: bytes) -> None:
        """The server said something; its last line counts.  RFC 4954 section 4: 334 asks for more of the secret."""
        code = reply.rstrip().rpartition(b"\n")[2][:3]
        self._content = code == b"354"
        if code == b"334":
            self._secret = True
        else:
            self._unknown = False
            if code == b"235" or code[:1] in b"45":
                self._secret = False

    def said(self, octets: bytes) -> bytes:
        """What may be shown of it."""
        shown = bytearray()
        octets, self._held = self._held + octets, b""
        at = 0
        while at < len(octets):
            if self._chunk:
                end = min(len(octets), at + self._chunk)
                self._chunk -= end - at
                shown += octets[at:end]
            else:
                end = octets.find(b"\n", at) + 1 or len(octets)
                shown += self._line(octets[at:end])
            at = end
        return bytes(shown)

    def rest(self) -> bytes:
        """What stayed back, at the end."""
        held, self._held = self._held, b""
        return held if len(held) <= len(_AUTH) else b""

    def _line(self, line: bytes) -> bytes:
        ends = line.endswith(b"\n")
        begun, self._in_line = self._in_line, not ends
        hidden = self._secret or self._unknown
        if begun:
            return (b"\r\n" if ends else b"") if hidden else line
        if self._content:
            if line in (b".", b".\r"):
                self._held, self._in_line = line, False
                return b""
            self._content = line not in (b".\r\n", b".\n")
            return line
        if hidden:
            return HIDDEN.encode() + (b"\r\n" if ends else b"")
        start = line.lstrip(b" \t")[: len(_AUTH)].upper().replace(b"\t", b" ")
        if start == _AUTH:
            return self._auth(line, ends)
        if not ends and (_AUTH.startswith(start) or start == b"BDAT "[: len(start)]):
            self._held, self._in_line = line, False
            return b""
        if start == b"BDAT ":
            words = line.split()
            self._chunk = int(words[1]) if len(words) > 1 and words[1].isdigit() and len(words[1]) < 19 else 0
        return line

    def _auth(self, line: bytes, ends: bool) -> bytes:
        words = line.split()
        if not ends and len(words) < 3 and len(line) < _LONGEST_BEGINNING:
            self._held, self._in_line = line, False  # the mechanism's name may not be whole
            return b""
        self._secret = True
        rest = b" " + HIDDEN.encode() if len(words) > 2 else b""
        mechanism = words[1] if len(words) > 1 and len(words[1]) <= _LONGEST_MECHANISM else HIDDEN.encode()
        return b"%b %b%b%b" % (words[0], mechanism, rest, b"\r\n" if ends else b"")


class Account:
    """What is told of one connection, on either side.  about: what is known of it, asked for each event."""

    __slots__ = ("_about", "_client", "_dialogues", "_heard", "_said")

    def __init__(self, dialogues: Dialogues, about: Callable[[], Mapping[str, Any]], *, from_start: bool) -> None:
        self._dialogues = dialogues
        self._about = about
        self._client = ClientsWords(from_start=from_start)
        self._heard = Text()
        self._said = Text()

    def tell(self, payload: str | dict[str, Any]) -> None:
        self._dialogues.tell(dict(self._about()), payload)

    def _tell(self, kind: str, text: str) -> None:
        if text:
            self.tell({kind: text})

    # The server's side

    def client_said(self, octets: bytes) -> None:
        self._tell("Read", self._heard.of(self._client.said(octets)))

    def answered(self, octets: bytes) -> None:
        self._client.answered(octets)
        self._tell("Write", self._said.of(octets))

    # The client's side

    def asked(self, octets: bytes, *, secret: bool = False) -> None:
        """secret: it is the client's part of AUTH."""
        if secret:
            words = octets.split(None, 2)
            octets = b" ".join([*words[:2], HIDDEN.encode()]) + b"\r\n" if words[:1] == [b"AUTH"] else HIDDEN.encode() + b"\r\n"
        self._tell("Write", self._said.of(octets))

    def server_said(self, octets: bytes) -> None:
        self._tell("Read", self._heard.of(octets))

    def closed(self, *, server: bool) -> None:
        """server: we are the server."""
        rest = self._client.rest()
        self._tell("Read", self._heard.of(rest if server else b"", last=True))
        self._tell("Write", self._said.of(b"" if server else rest, last=True))
        self.tell("Closed")
