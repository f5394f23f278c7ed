"""
Live traces of SMTP sessions in words, a line for each event: `[SESSION] DELTA MARK text`.  Pure.

`->` is said to the server of the dialogue, `<-` by it; `===` is a note.  What is known of the connection is shown as it
changes.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from kumotwist.cli.terminal import escaped

TO, FROM, NOTE = "->", "<-", "==="
BEGINNINGS = ("Connected", "BeginSession")


class TraceLine(Struct, frozen=True):
    """One line.  session: whose; delta: seconds since that session was first seen."""

    session: str
    delta: float
    mark: str
    text: str

    def __str__(self) -> str:
        return f"[{escaped(self.session)}] {self.delta:5.1f} {self.mark} {escaped(self.text)}"


class Frame(Struct, frozen=True):
    """One event as the API sends it.  payload: a name, or an object of one name with what belongs to it."""

    payload: Any
    when: str
    conn_meta: dict[str, Any] | None = None

    @property
    def kind(self) -> str:
        if isinstance(self.payload, dict):
            return str(next(iter(self.payload), ""))
        return str(self.payload)

    @property
    def inside(self) -> Any:
        return next(iter(self.payload.values()), None) if isinstance(self.payload, dict) else None


def read_frame(text: bytes | str) -> Frame:
    """Raises msgspec.DecodeError."""
    return msgspec.json.decode(text, type=Frame)


class Sessions:
    """
    The sessions that are being followed.

    client: the trace is of outgoing sessions, where we speak to another server.  only_new: leave out sessions that had begun
    before; only_one: leave out all but the first, and end with it.
    """

    def __init__(self, *, client: bool, only_new: bool = False, only_one: bool = False) -> None:
        self.over = False
        self._client = client
        self._only_new = only_new
        self._only_one = only_one
        self._began: dict[str, float] = {}
        self._known: dict[str, dict[str, Any]] = {}

    def lines(self, frame: Frame) -> list[TraceLine]:
        """What a frame adds."""
        key = self.key(frame.conn_meta or {})
        when = datetime.fromisoformat(frame.when).timestamp()
        if not self._follows(key, frame.kind):
            return []
        delta = when - self._began.setdefault(key, when)
        found = [TraceLine(key, delta, NOTE, text) for text in self._changes(key, frame.conn_meta or {})]
        found += [TraceLine(key, delta, mark, text) for mark, text in told(frame, client=self._client)]
        if frame.kind == "Closed":
            self._began.pop(key, None)
            self._known.pop(key, None)
            self.over = self._only_one
        return found

    def key(self, meta: Mapping[str, Any]) -> str:
        """What tells sessions apart."""
        if self._client:
            return str(meta.get("id") or "")
        return f"{meta.get('received_from', '')}->{meta.get('received_via', '')}" if "received_from" in meta else ""

    def _follows(self, key: str, kind: str) -> bool:
        if key in self._began or (not key and kind == "Diagnostic"):
            return True
        if self._only_one and self._began:
            return False
        return not self._only_new or kind in BEGINNINGS

    def _changes(self, key: str, meta: Mapping[str, Any]) -> Iterator[str]:
        before = self._known.get(key, {})
        for name, value in sorted(meta.items()):
            if name not in before or before[name] != value:
                yield f"conn_meta {name}={_plain(value)}"
        for name in sorted(before.keys() - meta.keys()):
            yield f"conn_meta deleted {name}"
        self._known[key] = dict(meta)


def told(frame: Frame, *, client: bool) -> Iterator[tuple[str, str]]:
    """Mark and text of each line that an event has."""
    kind, inside = frame.kind, frame.inside
    reads, writes = (FROM, TO) if client else (TO, FROM)
    if kind in ("Read", "Write"):
        mark = reads if kind == "Read" else writes
        yield from ((mark, line) for line in _said(str(inside)))
    elif kind in ("AbbreviatedRead", "AbbreviatedWrite") and isinstance(inside, dict):
        mark = reads if kind == "AbbreviatedRead" else writes
        *lines, last = _said(str(inside.get("snippet", ""))) or [""]
        yield from ((mark, line) for line in lines)
        yield mark, f"{last} [{inside.get('len', 0):,} bytes in all]"
    elif kind == "Diagnostic" and isinstance(inside, dict):
        yield NOTE, f"{inside.get('level', '')}: {inside.get('message', '')}"
    elif kind == "Callback" and isinstance(inside, dict):
        yield NOTE, f"{inside.get('name', '')}: {_outcome(inside)}"
    elif kind == "MessageDisposition" and isinstance(inside, dict):
        yield from ((NOTE, text) for text in _disposition(inside))
    else:
        yield NOTE, kind if inside is None else f"{kind} {_plain(inside)}"


def _said(text: str) -> list[str]:
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def _outcome(callback: Mapping[str, Any]) -> str:
    if callback.get("error") is not None:
        return f"error {_plain(callback['error'])}"
    return _plain(callback.get("result")) if callback.get("result") is not None else "ok"


def _disposition(message: Mapping[str, Any]) -> Iterator[str]:
    yield f"message {message.get('id')} from <{message.get('sender')}> to {_plain(message.get('recipient'))}"
    flags = ("relay", "log_arf", "log_oob", "will_enqueue", "was_arf_or_oob")
    yield f"queue={message.get('queue')} " + " ".join(f"{flag}={_plain(message.get(flag))}" for flag in flags if flag in message)
    for name, value in sorted((message.get("meta") or {}).items()):
        yield f"meta {name}={_plain(value)}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
