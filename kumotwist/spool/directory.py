"""
The spool as plain files, for those who want to look at it with `ls`: slower, since a file a message is what costs most.

    path/lock                   held while in use
    path/new/                   files being written; emptied at start
    path/envelopes/xx/ID        one file a message
    path/contents/xx/ID
    path/journal                records: number, length, line; appended and synced, cut short once the log's files have them

Order within a write: contents, envelopes, journal, and only then removals.  Crash before the journal's sync: what is new may be
there without a record of its reception, and nobody was told 250.  Crash after it: a message may still lie here although its final
record is in the journal; `envelopes` leaves such out and removes them.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

from kumotwist.spool.change import Change, decode_message
from kumotwist.spool.store import SpoolUnusable, record_lines

_HEADER = 12  # octets before a journal line: number (8), length (4)
_FINAL_TYPES = frozenset({"Delivery", "Bounce", "Expiration", "AdminBounce"})
_CUT_AT = 16 * 1024 * 1024  # octets of forgotten journal at its head that are worth a rewrite


class DirectoryStore:
    """`kind: local_disk`."""

    def __init__(self, path: str, *, flush: bool = True) -> None:
        """Opens or makes the directories.  Raises SpoolUnusable."""
        self._path = path
        self._flush = flush
        self._forgotten = 0
        self._unsynced: set[str] = set()  # directories whose removals may not have reached the disk
        try:
            for part in ("new", "envelopes", "contents"):
                os.makedirs(os.path.join(path, part), mode=0o750, exist_ok=True)
            self._lock = open(os.path.join(path, "lock"), "w")  # noqa: SIM115  held until close
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name in os.listdir(os.path.join(path, "new")):
                os.unlink(os.path.join(path, "new", name))
            self._journal = open(os.path.join(path, "journal"), "ab", buffering=0)  # noqa: SIM115  held until close
        except BlockingIOError as fault:
            raise SpoolUnusable(
                f"spool {path} is in use by another process: stop it, or give this one a spool.path of its own"
            ) from fault
        except OSError as fault:
            raise SpoolUnusable(f"spool {path} cannot be opened: {fault}") from fault
        self._mend_journal()

    def write(self, changes: Sequence[Change], first_sequence: int) -> None:
        touched: set[str] = set()
        try:
            for change in changes:
                for message_id, envelope, content in change.puts:
                    if content is not None:
                        touched.add(self._write_file("contents", message_id, content))
                    touched.add(self._write_file("envelopes", message_id, envelope))
            self._sync_directories(touched)
            self._append(changes, first_sequence)
        except OSError:
            # The clients of newcomers will hear that we do not have them: then we must not find them at the next start.
            for change in changes:
                for message_id, _, content in change.puts:
                    if content is not None:
                        self._discard(message_id)
            raise
        for change in changes:
            for message_id in change.removals:
                self._discard(message_id)
                self._unsynced.add(os.path.dirname(self._place("envelopes", message_id)))

    def load(self, message_ids: Sequence[str], contents: bool) -> list[tuple[bytes, bytes | None] | None]:
        found: list[tuple[bytes, bytes | None] | None] = []
        for message_id in message_ids:
            envelope = self._read("envelopes", message_id)
            body = self._read("contents", message_id) if contents else None
            found.append(None if envelope is None else (envelope, body))
        return found

    def envelopes(self) -> Iterator[tuple[str, bytes]]:
        root = os.path.join(self._path, "envelopes")
        names = [name for part in os.listdir(root) for name in os.listdir(os.path.join(root, part))]
        names.sort(key=lambda name: name[12:16] + name[8:12] + name[:8])
        return self._read_envelopes(names, self._ended())

    def _read_envelopes(self, names: list[str], ended: set[str]) -> Iterator[tuple[str, bytes]]:
        for message_id in names:
            if message_id in ended:
                self._discard(message_id)
                continue
            envelope = self._read("envelopes", message_id)
            if envelope is not None:
                yield message_id, envelope

    def records(self, after: int) -> Iterator[tuple[int, bytes]]:
        for sequence, _, line in self._journal_entries():
            if sequence > max(after, self._forgotten):
                yield sequence, line

    def last_sequence(self) -> int:
        return max((sequence for sequence, _, _ in self._journal_entries()), default=0)

    def forget_records(self, upto: int) -> None:
        self._forgotten = max(self._forgotten, upto)
        kept_from = 0
        size = os.fstat(self._journal.fileno()).st_size
        for sequence, end, _ in self._journal_entries():
            if sequence > upto:
                break
            kept_from = end
        if kept_from >= _CUT_AT or kept_from == size > 0:
            self._cut_journal(kept_from)

    def close(self) -> None:
        self._journal.close()
        self._lock.close()

    # Files

    def _place(self, kind: str, message_id: str) -> str:
        return os.path.join(self._path, kind, message_id[6:8], message_id)

    def _write_file(self, kind: str, message_id: str, octets: bytes) -> str:
        """Write whole or not at all; returns the directory whose entry has still to be synced."""
        place = self._place(kind, message_id)
        temporary = os.path.join(self._path, "new", f"{message_id}.{kind}")
        with open(temporary, "wb") as file:
            file.write(octets)
            if self._flush:
                file.flush()
                os.fdatasync(file.fileno())
        directory = os.path.dirname(place)
        try:
            os.rename(temporary, place)
        except FileNotFoundError:
            os.makedirs(directory, mode=0o750, exist_ok=True)
            os.rename(temporary, place)
        return directory

    def _sync_directories(self, directories: set[str]) -> None:
        if not self._flush or not directories:
            return
        for directory in sorted(directories | {os.path.dirname(one) for one in directories}):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _read(self, kind: str, message_id: str) -> bytes | None:
        try:
            with open(self._place(kind, message_id), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _discard(self, message_id: str) -> None:
        for kind in ("envelopes", "contents"):
            with suppress(FileNotFoundError):
                os.unlink(self._place(kind, message_id))

    # Journal

    def _append(self, changes: Sequence[Change], first_sequence: int) -> None:
        octets = b"".join(
            sequence.to_bytes(8, "big") + len(line).to_bytes(4, "big") + line
            for sequence, line in enumerate(record_lines(changes), first_sequence)
        )
        if not octets:
            return
        before = os.fstat(self._journal.fileno()).st_size
        try:
            rest = memoryview(octets)
            while rest:
                rest = rest[self._journal.write(rest) :]
            if self._flush:
                os.fdatasync(self._journal.fileno())
        except OSError:
            self._journal.truncate(before)
            raise

    def _journal_entries(self) -> Iterator[tuple[int, int, bytes]]:
        """(number, offset behind it, line) of each whole entry."""
        with open(os.path.join(self._path, "journal"), "rb") as file:
            offset = 0
            while len(header := file.read(_HEADER)) == _HEADER:
                length = int.from_bytes(header[8:], "big")
                line = file.read(length)
                if len(line) < length:
                    return
                offset += _HEADER + length
                yield int.from_bytes(header[:8], "big"), offset, line

    def _mend_journal(self) -> None:
        """Cut off an entry that a crash left half written: nobody was told of it."""
        whole = 0
        for _, end, _ in self._journal_entries():
            whole = end
        self._journal.truncate(whole)

    def _ended(self) -> set[str]:
        """Ids of messages whose final record is in the journal: a crash came between the record and the removal."""
        ended: dict[str, set[str]] = {}
        for _, _, line in self._journal_entries():
            record = json.loads(line)
            if record.get("type") in _FINAL_TYPES:
                about = record["recipient"]
                ended.setdefault(record["id"], set()).update([about] if isinstance(about, str) else about)
        return {message_id for message_id, about in ended.items() if self._all_ended(message_id, about)}

    def _all_ended(self, message_id: str, about: set[str]) -> bool:
        envelope = self._read("envelopes", message_id)
        return envelope is None or {one.email for one in decode_message(message_id, envelope).recipients} <= about

    def _cut_journal(self, offset: int) -> None:
        # What these records say was removed must be gone for good before the records are.
        self._sync_directories({one for one in self._unsynced if os.path.isdir(one)})
        self._unsynced.clear()
        temporary = os.path.join(self._path, "new", "journal")
        with open(os.path.join(self._path, "journal"), "rb") as old, open(temporary, "wb") as new:
            old.seek(offset)
            while part := old.read(1 << 20):
                new.write(part)
            new.flush()
            os.fdatasync(new.fileno())
        os.rename(temporary, os.path.join(self._path, "journal"))
        self._journal.close()
        self._journal = open(os.path.join(self._path, "journal"), "ab", buffering=0)  # noqa: SIM115  held until close
