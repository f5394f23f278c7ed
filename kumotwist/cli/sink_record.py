"""
What a sink keeps of accepted messages, where asked to: a line of JSON each, and their contents as files.

Lines are gathered and written by `flush`, since a write for each would cost more than the message did.
"""

from hashlib import sha256
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

TRAFFIC_ID = b"x-traffic-id:"


class Accepted(Struct, frozen=True, kw_only=True):
    """
    An accepted message as the sink saw it.

    content: without the dots of transparency.  connected, began, ended: epoch seconds of the connection, the MAIL
    command and the end of data.
    """

    client: str
    local: str
    ehlo: str
    tls: bool
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    connected: float
    began: float
    ended: float


class Line(Struct, kw_only=True):
    """A line of `--record`; sha256 is of the whole content, body_sha256 of what follows the header's empty line."""

    client: str
    local: str
    ehlo: str
    tls: bool
    sender: str
    recipients: tuple[str, ...]
    size: int
    sha256: str
    body_sha256: str
    traffic_id: str | None
    connected: float
    began: float
    time: float


def header_and_body(content: bytes) -> tuple[bytes, bytes]:
    """The header with its last CRLF, and what follows the empty line."""
    if content.startswith(b"\r\n"):
        return b"", content[2:]
    header, _, body = content.partition(b"\r\n\r\n")
    return header + b"\r\n", body


def traffic_id(header: bytes) -> str | None:
    """What `traffic-gen` put into X-Traffic-Id; None where the field is not there."""
    lower = b"\r\n" + header.lower()
    at = lower.find(b"\r\n" + TRAFFIC_ID)
    if at < 0:
        return None
    start = at + len(TRAFFIC_ID)  # in the header as it is, which lacks the CRLF put in front
    return header[start : header.find(b"\r\n", start)].strip().decode("utf-8", "replace")


def line_of(message: Accepted) -> Line:
    """What the record says about a message."""
    header, body = header_and_body(message.content)
    return Line(
        client=message.client,
        local=message.local,
        ehlo=message.ehlo,
        tls=message.tls,
        sender=message.sender,
        recipients=message.recipients,
        size=len(message.content),
        sha256=sha256(message.content).hexdigest(),
        body_sha256=sha256(body).hexdigest(),
        traffic_id=traffic_id(header),
        connected=message.connected,
        began=message.began,
        time=message.ended,
    )


class Keeper:
    """lines: an open file to append to, or None.  directory: where contents go as 000001.eml …, or None."""

    def __init__(self, lines: IO[bytes] | None, directory: Path | None) -> None:
        self._lines = lines
        self._directory = directory
        self._waiting: list[bytes] = []
        self._encode = msgspec.json.Encoder().encode
        self._number = sum(1 for _ in directory.glob("*.eml")) if directory else 0

    def take(self, message: Accepted) -> None:
        if self._lines is not None:
            self._waiting.append(self._encode(line_of(message)))
        if self._directory is not None:
            self._number += 1
            (self._directory / f"{self._number:06d}.eml").write_bytes(message.content)

    def flush(self) -> None:
        """Write what has gathered."""
        if self._lines is not None and self._waiting:
            self._lines.write(b"\n".join(self._waiting) + b"\n")
            self._lines.flush()
            self._waiting.clear()
