"""What programs leave behind: the mail log, the spool, and messages as they arrived."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from kumotwist.config.server import SpoolSettings
from kumotwist.logs.read import LogReader
from kumotwist.mail.message import Message
from kumotwist.spool.change import decode_message
from kumotwist.spool.opening import open_store

Record = dict[str, Any]  # one line of the mail log, or of the sink's record

FINAL = frozenset({"Delivery", "Bounce", "Expiration", "AdminBounce", "XferOut"})


def lines_of(path: Path) -> list[Record]:
    """The JSON objects of a file, one a line; without one that is being written."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [msgspec.json.decode(line) for line in whole.splitlines()]


def records_in(directory: Path) -> list[Record]:
    """All records of a log directory; complains of segments that cannot be read."""
    faults: list[str] = []
    reader = LogReader(str(directory), complain=lambda path, fault: faults.append(f"{path}: {fault}"))
    try:
        found = [msgspec.json.decode(line) for line in reader.lines()]
    finally:
        reader.close()
    assert not faults, faults
    return found


def spooled_in(spool: Path, kind: str = "rocksdb") -> dict[str, Message]:
    """The messages of a spool that no server uses, by id."""
    store = open_store(SpoolSettings(path=str(spool), kind=kind))
    try:
        return {message_id: decode_message(message_id, envelope) for message_id, envelope in store.envelopes()}
    finally:
        store.close()


def journal_in(spool: Path, kind: str = "rocksdb") -> list[Record]:
    """The records in the journal of a spool that no server uses: those that the log's files may lack."""
    store = open_store(SpoolSettings(path=str(spool), kind=kind))
    try:
        return [msgspec.json.decode(line) for _, line in store.records(0)]
    finally:
        store.close()


def of_type(records: list[Record], kind: str) -> list[Record]:
    return [one for one in records if one["type"] == kind]


def said_to(record: Record) -> str:
    """The reply of a record: code, enhanced code and text on one line."""
    response = record["response"]
    code = response["enhanced_code"]
    enhanced = f"{code['class']}.{code['subject']}.{code['detail']} " if code else ""
    return f"{response['code']} {enhanced}{response['content']}"


def below_trace(content: bytes) -> bytes:
    """A message without the trace fields that we put on top; raises ValueError where they are not there."""
    rest = content
    for name in (b"X-KumoRef: ", b"Received: "):
        if not rest.startswith(name):
            raise ValueError(f"no {name.decode()}at the top of {content[:200]!r}")
        rest = _below_field(rest)
    return rest


def trace_of(content: bytes) -> bytes:
    """The trace fields that we put on top."""
    return content[: len(content) - len(below_trace(content))]


def _below_field(content: bytes) -> bytes:
    """Without its first header field, folded lines and all."""
    at = content.index(b"\r\n") + 2
    while content[at : at + 1] in (b" ", b"\t"):
        at = content.index(b"\r\n", at) + 2
    return content[at:]


def message_ids_in(contents: Iterable[bytes]) -> Iterator[str]:
    """Our id of each message, from the Received field on top."""
    for content in contents:
        yield trace_of(content).split(b" id ", 1)[1].split()[0].rstrip(b";").decode()
