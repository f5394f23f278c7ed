"""
The spool in RocksDB: one write batch with one sync for many changes.

Column families: envelopes and contents by time-ordered key, so that a start reads envelopes only and in order of age; the
journal by number; and the shelf by name.  Contents that come and go before their memtable is flushed never reach a table
file, which is why the write buffers are large.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteOptions,
)

from kumotwist.spool.change import Change
from kumotwist.spool.store import SpoolUnusable

MIB = 1024 * 1024
_ENVELOPES, _CONTENTS, _JOURNAL, _SHELF = "envelopes", "contents", "journal", "shelf"


def key_of(message_id: str) -> bytes:
    """The id's 16 octets with the slowest part of its time first: keys sort by age."""
    return bytes.fromhex(message_id[12:16] + message_id[8:12] + message_id[:8] + message_id[16:])


def id_of(key: bytes) -> str:
    """The message id of a key."""
    text = key.hex()
    return text[8:16] + text[4:8] + text[:4] + text[16:]


def _options(write_buffer: int, cache: Cache) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_write_buffer_size(write_buffer)
    options.set_max_write_buffer_number(3)
    options.set_keep_log_file_num(4)
    tables = BlockBasedOptions()
    tables.set_block_cache(cache)
    options.set_block_based_table_factory(tables)
    return options


class RocksStore:
    """`kind: rocksdb`.  One process at a time: RocksDB locks the directory."""

    def __init__(self, path: str, *, flush: bool = True, buffers: int | None = None) -> None:
        """
        Opens or makes the database.  Raises SpoolUnusable.

        buffers: octets that writes and the cache together may take in memory; None: as many as are good for it.
        """
        most = buffers or 2048 * MIB
        cache = Cache(min(64 * MIB, most // 4))
        whole = _options(16 * MIB, cache)
        if buffers is not None:
            whole.set_db_write_buffer_size(buffers * 3 // 4)
        whole.set_max_total_wal_size(512 * MIB)
        whole.set_max_background_jobs(2)
        families = {
            _ENVELOPES: _options(min(32 * MIB, most // 8), cache),
            _CONTENTS: _options(min(128 * MIB, most // 4), cache),
            _JOURNAL: _options(min(32 * MIB, most // 8), cache),
            _SHELF: _options(4 * MIB, cache),
        }
        try:
            os.makedirs(path, mode=0o750, exist_ok=True)
            self._db = Rdict(path, options=whole, column_families=families, access_type=AccessType.read_write())
        except Exception as fault:  # the binding raises bare Exception for all that RocksDB reports
            raise SpoolUnusable(_remedy(path, str(fault))) from fault
        self._envelopes = self._db.get_column_family(_ENVELOPES)
        self._contents = self._db.get_column_family(_CONTENTS)
        self._journal = self._db.get_column_family(_JOURNAL)
        self._shelf = self._db.get_column_family(_SHELF)
        self._to_envelopes = self._db.get_column_family_handle(_ENVELOPES)
        self._to_contents = self._db.get_column_family_handle(_CONTENTS)
        self._to_journal = self._db.get_column_family_handle(_JOURNAL)
        self._to_shelf = self._db.get_column_family_handle(_SHELF)
        self._flush = flush
        self._lazily = WriteOptions()

    def write(self, changes: Sequence[Change], first_sequence: int) -> None:
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        sequence = first_sequence
        for change in changes:
            for message_id, envelope, content in change.puts:
                key = key_of(message_id)
                put(key, envelope, self._to_envelopes)
                if content is not None:
                    put(key, content, self._to_contents)
            for message_id in change.removals:
                key = key_of(message_id)
                delete(key, self._to_envelopes)
                delete(key, self._to_contents)
            for _, line in change.records:
                put(sequence.to_bytes(8, "big"), line, self._to_journal)
                sequence += 1
            for name, value in change.shelved:
                if value is None:
                    delete(name.encode(), self._to_shelf)
                else:
                    put(name.encode(), value, self._to_shelf)
        # Written first and synced then: the binding holds the interpreter's lock while it writes, and lets go of it only in
        # `flush_wal`.  With a write that syncs, each sync would stop the reactor.
        self._db.write(batch, self._lazily)
        if self._flush:
            self._db.flush_wal(True)

    def load(self, message_ids: Sequence[str], contents: bool) -> list[tuple[bytes, bytes | None] | None]:
        keys: list[Any] = [key_of(message_id) for message_id in message_ids]
        envelopes: list[bytes | None] = self._envelopes.get(keys) or []
        bodies: list[bytes | None] = (self._contents.get(keys) or []) if contents else [None] * len(keys)
        return [None if envelope is None else (envelope, body) for envelope, body in zip(envelopes, bodies, strict=True)]

    def envelopes(self) -> Iterator[tuple[str, bytes]]:
        found: Any = self._envelopes.items()  # sees the store as it is at this call
        return ((id_of(key), envelope) for key, envelope in found)

    def shelved(self, prefix: str) -> list[tuple[str, bytes]]:
        start = prefix.encode()
        found: Any = self._shelf.items(from_key=start)
        return [(key.decode(), value) for key, value in takewhile(lambda item: item[0].startswith(start), found)]

    def records(self, after: int) -> Iterator[tuple[int, bytes]]:
        found: Any = self._journal.items(from_key=(after + 1).to_bytes(8, "big"))
        for key, line in found:
            yield int.from_bytes(key, "big"), line

    def last_sequence(self) -> int:
        newest: Any = self._journal.iter()
        newest.seek_to_last()
        return int.from_bytes(newest.key(), "big") if newest.valid() else 0

    def forget_records(self, upto: int) -> None:
        batch = WriteBatch(raw_mode=True)
        batch.delete_range((0).to_bytes(8, "big"), (upto + 1).to_bytes(8, "big"), self._to_journal)
        self._db.write(batch, self._lazily)

    def compact(self) -> None:
        for family in (self._envelopes, self._contents, self._journal, self._shelf):
            family.compact_range(None, None)

    def close(self) -> None:
        # Each of these keeps the database open, and locked, for as long as it lives.
        del self._to_envelopes, self._to_contents, self._to_journal, self._to_shelf
        for family in (self._envelopes, self._contents, self._journal, self._shelf):
            family.close()
        del self._envelopes, self._contents, self._journal, self._shelf
        self._db.close()
        del self._db


def _remedy(path: str, fault: str) -> str:
    if "LOCK" in fault or "lock" in fault:
        return f"spool {path} is in use by another process: stop it, or give this one a spool.path of its own ({fault})"
    return f"spool {path} cannot be opened: {fault}"
