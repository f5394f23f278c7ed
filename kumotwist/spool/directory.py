"""
The spool as plain files, for those who want to look at it with `ls`: slower, since a file a message is what costs most.

    path/lock                   held while in use
    path/new/ID.KIND            files that are not yet in their place
    path/envelopes/xx/ID        one file a message
    path/contents/xx/ID
    path/shelf/KEY              small things by name
    path/journal                records: number, length, line; appended and synced, cut short once the log's files have them

Order within a write: files into new/, the journal, the files to their places, the shelf, removals; each step is on disk before
the next.
Crash before the journal's sync: nothing happened.  Crash after it: what the journal tells of is finished at the next start:
newcomers that it received move in, recipients that it says are done are struck off, and messages that ended are removed.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from threading import Lock
from urllib.parse import quote, unquote

from kumotwist.spool.change import Change, decode_message, encode_envelope
from kumotwist.spool.store import SpoolUnusable, record_lines

_HEADER = 12  # octets before a journal line: number (8), length (4)
_FINAL_TYPES = frozenset({"Delivery", "Bounce", "Expiration", "AdminBounce", "XferOut"})
_CUT_AT = 16 * 1024 * 1024  # octets of forgotten journal at its head that are worth a rewrite


class DirectoryStore:
    """`kind: local_disk`."""

    def __init__(self, path: str, *, flush: bool = True) -> None:
        """Opens or makes the directories.  Raises SpoolUnusable."""
        self._path = path
        self._flush = flush
        self._forgotten = 0
        self._one_at_a_time = Lock()  # the journal is written by one thread and cut by another
        self._unsynced: set[str] = set()  # directories whose removals may not have reached the disk
        try:
            for part in ("new", "envelopes", "contents", "shelf"):
                os.makedirs(os.path.join(path, part), mode=0o750, exist_ok=True)
            self._lock = open(os.path.join(path, "lock"), "w")  # noqa: SIM115  held until close
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._journal = open(os.path.join(path, "journal"), "ab", buffering=0)  # noqa: SIM115  held until close
        except BlockingIOError as fault:
            raise SpoolUnusable(
                f"spool {path} is in use by another process: stop it, or give this one a spool.path of its own"
            ) from fault
        except OSError as fault:
            raise SpoolUnusable(f"spool {path} cannot be opened: {fault}") from fault
        self._mend_journal()
        received, self._done = self._told()
        self._finish_newcomers(received)

    def write(self, changes: Sequence[Change], first_sequence: int) -> None:
        with self._one_at_a_time:
            prepared: list[tuple[str, str]] = []
            try:
                for change in changes:
                    for message_id, envelope, content in change.puts:
                        if content is not None:
                            prepared.append(self._prepare("contents", message_id, content))
                        prepared.append(self._prepare("envelopes", message_id, envelope))
                self._sync_directories({os.path.join(self._path, "new")} if prepared else set())
                self._append(changes, first_sequence)
            except OSError:
                # The clients of newcomers will hear that we do not have them: then we must not find them at the next start.
                for temporary, _ in prepared:
                    with suppress(FileNotFoundError):
                        os.unlink(temporary)
                raise
            self._sync_directories({self._install(temporary, place) for temporary, place in prepared})
            self._put_on_shelf([one for change in changes for one in change.shelved])
            for change in changes:
                for message_id in change.removals:
                    self._discard(message_id)
                    self._unsynced.add(os.path.dirname(self._place("envelopes", message_id)))

    def load(self, message_ids: Sequence[str], contents: bool) -> list[tuple[bytes, bytes | None] | None]:
        found: list[tuple[bytes, bytes | None] | None] = []
        for message_id in message_ids:
            envelope = self._envelope(message_id)
            body = self._read("contents", message_id) if contents else None
            found.append(None if envelope is None else (envelope, body))
        return found

    def envelopes(self) -> Iterator[tuple[str, bytes]]:
        root = os.path.join(self._path, "envelopes")
        names = [name for part in os.listdir(root) for name in os.listdir(os.path.join(root, part))]
        names.sort(key=lambda name: name[12:16] + name[8:12] + name[:8])
        return self._read_envelopes(names)

    def _read_envelopes(self, names: list[str]) -> Iterator[tuple[str, bytes]]:
        for message_id in names:
            envelope = self._envelope(message_id)
            if envelope is not None:
                yield message_id, envelope

    def _envelope(self, message_id: str) -> bytes | None:
        envelope = self._read("envelopes", message_id)
        if envelope is not None and message_id in self._done:
            return self._without_done(message_id, envelope)
        return envelope

    def _without_done(self, message_id: str, envelope: bytes) -> bytes | None:
        """The envelope without the recipients whom the journal calls done; None, and nothing left, if that is all of them."""
        message = decode_message(message_id, envelope)
        remaining = tuple(one for one in message.recipients if one.email not in self._done[message_id])
        if not remaining:
            self._discard(message_id)
            return None
        message.recipients = remaining
        return encode_envelope(message)

    def shelved(self, prefix: str) -> list[tuple[str, bytes]]:
        root = os.path.join(self._path, "shelf")
        keys = sorted(key for key in map(unquote, os.listdir(root)) if key.startswith(prefix))
        found: list[tuple[str, bytes]] = []
        for key in keys:
            with suppress(FileNotFoundError), open(os.path.join(root, quote(key, safe="")), "rb") as file:
                found.append((key, file.read()))
        return found

    def _put_on_shelf(self, shelved: Sequence[tuple[str, bytes | None]]) -> None:
        # Crash before this: the messages of the change are here, and what lies beside them is as it was.
        directory = os.path.join(self._path, "shelf")
        for key, value in shelved:
            place = os.path.join(directory, quote(key, safe=""))
            if value is None:
                with suppress(FileNotFoundError):
                    os.unlink(place)
            else:
                self._install(self._prepare("shelf", "item", value)[0], place)
        self._sync_directories({directory} if shelved else set())

    def records(self, after: int) -> Iterator[tuple[int, bytes]]:
        for sequence, _, line in self._journal_entries():
            if sequence > max(after, self._forgotten):
                yield sequence, line

    def last_sequence(self) -> int:
        return max((sequence for sequence, _, _ in self._journal_entries()), default=0)

    def forget_records(self, upto: int) -> None:
        with self._one_at_a_time:
            self._forget(upto)

    def _forget(self, upto: int) -> None:
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

    def _prepare(self, kind: str, message_id: str, octets: bytes) -> tuple[str, str]:
        """A whole file in new/, on disk; returns where it is and where it belongs."""
        temporary = os.path.join(self._path, "new", f"{message_id}.{kind}")
        with open(temporary, "wb") as file:
            file.write(octets)
            if self._flush:
                file.flush()
                os.fdatasync(file.fileno())
        return temporary, self._place(kind, message_id)

    def _install(self, temporary: str, place: str) -> str:
        """Move a file to its place; returns the directory whose entry has still to be synced."""
        directory = os.path.dirname(place)
        try:
            os.rename(temporary, place)
        except FileNotFoundError:
            os.makedirs(directory, mode=0o750, exist_ok=True)
            os.rename(temporary, place)
        return directory

    def _finish_newcomers(self, received: set[str]) -> None:
        """What a crash left in new/: newcomers that the journal received move in, everything else never happened."""
        left = sorted(os.listdir(os.path.join(self._path, "new")))
        for name in left:
            message_id, _, kind = name.partition(".")
            temporary, place = os.path.join(self._path, "new", name), self._place(kind, message_id)
            newcomer = message_id in received and not os.path.exists(self._place("envelopes", message_id))
            if newcomer and kind in ("contents", "envelopes"):
                self._sync_directories({self._install(temporary, place)})  # contents first: an envelope makes the message
            else:
                os.unlink(temporary)

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

    def _told(self) -> tuple[set[str], dict[str, set[str]]]:
        """What the journal says: ids that were received; and by id, the recipients who are done with, whatever came of it."""
        received: set[str] = set()
        done: dict[str, set[str]] = {}
        for _, _, line in self._journal_entries():
            record = json.loads(line)
            if record.get("type") == "Reception":
                received.add(record["id"])
            elif record.get("type") in _FINAL_TYPES:
                about = record["recipient"]
                done.setdefault(record["id"], set()).update([about] if isinstance(about, str) else about)
        return received, done

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
