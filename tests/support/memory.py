"""Doubles for what stands around the queues: a spool in memory, and messages to put into it."""

from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from kumotwist.mail.address import parse_mailbox
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import MessageIds
from kumotwist.spool.change import Change


class MemoryStore:
    """A Store that keeps everything in dictionaries and can be told to fail."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[bytes, bytes]] = {}
        self.journal: dict[int, bytes] = {}
        self.shelf: dict[str, bytes] = {}
        self.failing: Exception | None = None
        self.writes = 0
        self.closed = False

    def write(self, changes: Sequence[Change], first_sequence: int) -> None:
        if self.failing is not None:
            raise self.failing
        self.writes += 1
        sequence = first_sequence
        for change in changes:
            for message_id, envelope, content in change.puts:
                known = self.kept.get(message_id)
                self.kept[message_id] = (envelope, known[1] if content is None and known else content or b"")
            for message_id in change.removals:
                self.kept.pop(message_id, None)
            for _, line in change.records:
                self.journal[sequence] = line
                sequence += 1
            for key, value in change.shelved:
                if value is None:
                    self.shelf.pop(key, None)
                else:
                    self.shelf[key] = value

    def load(self, message_ids: Sequence[str], contents: bool) -> list[tuple[bytes, bytes | None] | None]:
        found = [self.kept.get(message_id) for message_id in message_ids]
        return [None if one is None else (one[0], one[1] if contents else None) for one in found]

    def envelopes(self) -> Iterator[tuple[str, bytes]]:
        return iter([(message_id, envelope) for message_id, (envelope, _) in self.kept.items()])

    def shelved(self, prefix: str) -> list[tuple[str, bytes]]:
        return sorted((key, value) for key, value in self.shelf.items() if key.startswith(prefix))

    def records(self, after: int) -> Iterator[tuple[int, bytes]]:
        return iter(sorted((number, line) for number, line in self.journal.items() if number > after))

    def last_sequence(self) -> int:
        return max(self.journal, default=0)

    def forget_records(self, upto: int) -> None:
        self.journal = {number: line for number, line in self.journal.items() if number > upto}

    def close(self) -> None:
        self.closed = True


class InstantSpool:
    """A Spool whose commits and loads happen at once, on a MemoryStore; `stalled` holds them back until `run`."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.fault: str | None = None
        self.lines: list[bytes] = []
        self.stalled = False
        self._waiting: list[Any] = []

    def commit(self, change: Change) -> "Deferred[None]":
        done: Deferred[None] = Deferred()
        self._waiting.append((change, done))
        if not self.stalled:
            self.run()
        return done

    must_commit = commit

    def shelved(self, prefix: str) -> list[tuple[str, bytes]]:
        return self.store.shelved(prefix)

    def run(self) -> None:
        waiting, self._waiting = self._waiting, []
        for change, done in waiting:
            try:
                self.store.write([change], len(self.lines) + 1)
            except OSError as fault:
                done.errback(fault)
                continue
            self.lines += [line for _, line in change.records]
            done.callback(None)

    def load(self, message: Message, content: bool = True) -> "Deferred[None]":
        from kumotwist.spool.service import _loaded

        done: Deferred[None] = Deferred()
        _loaded([(message, done)], self.store.load([message.id], content), content)
        return done


class Messages:
    """Makes messages, with ids from a clock."""

    def __init__(self, seconds: Any) -> None:
        self._ids = MessageIds(seconds, lambda bits: 7)

    def make(
        self,
        recipient: str = "bob@example.org",
        *more: str,
        sender: str = "alice@example.com",
        content: bytes = b"Subject: hello\r\n\r\nworld\r\n",
        **meta: Any,
    ) -> Message:
        recipients = tuple(parse_mailbox(one) for one in (recipient, *more))
        meta.setdefault("reception_protocol", "ESMTP")
        message = Message(self._ids.next(), parse_mailbox(sender), recipients, content, meta)
        message.queue = message.queue_name()
        return message
