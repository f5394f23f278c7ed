"""
The spool as the rest of the server sees it: changes go in, Deferreds come out, and the reactor never waits for a disk.

One thread commits.  It takes every change that is waiting, writes them all with one sync, and reports back once: a change
waits for the sync in progress and its own, never longer (group commit).  A second thread reads.

When a write fails, newcomers are refused at once, so that their senders keep them; whatever must be written (what became
of a message that is already ours) stays first in line and is tried again until the disk takes it.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from queue import Empty
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.mail.message import Message
from kumotwist.spool.change import Change, restore_envelope
from kumotwist.spool.counts import SpoolCounts
from kumotwist.spool.store import Compacts, Store
from kumotwist.spool.threads import REAL, Threads

MOST_CHANGES = 512  # in one write, or what one turn of the reactor brings: then it is written before more is taken
RETRY_AFTER = 1.0  # seconds between attempts to write what must be written
NOT_KNOWN = -1  # the attempts of a message of which only the id is known
MOST_LOADS = 64  # messages read in one go
PROBE = "spool/probe"  # on the shelf: what shows that the disk takes writes again


class _Pending:
    """A change on its way to the disk, and whom to tell."""

    __slots__ = ("change", "done", "refusable", "since")

    def __init__(self, change: Change, done: "Deferred[None]", refusable: bool, since: float = 0.0) -> None:
        self.change = change
        self.done = done
        self.refusable = refusable
        self.since = since


def _probe(refused: Sequence[_Pending]) -> _Pending:
    """
    What is written after a failure until it succeeds: nobody sends us anything meanwhile that could show that the disk is well.

    It also takes out what a write that failed may have left of messages whose senders were told that we do not have them.
    """
    change = Change()
    change.shelve(PROBE, b"written")
    change.removals += [message_id for pending in refused for message_id, _, _ in pending.change.puts]
    return _Pending(change, Deferred(), False)


class Spool:
    """Group commit over a Store, and loading."""

    log = Logger()

    def __init__(
        self,
        store: Store,
        call_from_thread: Callable[..., object],
        call_soon: Callable[[Callable[[], None]], object],
        committed: Callable[[int, Sequence[tuple[str, bytes]]], None],
        threads: Threads = REAL,
        seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """
        call_from_thread: runs a function on the reactor's thread.
        call_soon: runs a function at the end of the reactor's turn.
        seconds: the time, for what is counted; also called by the threads.
        committed: told the first number, and (type, line) of records, once they are durable; in order, on the reactor's thread.
        """
        self._store = store
        self._call_from_thread = call_from_thread
        self._tell_log = committed
        self._call_soon = call_soon
        self._seconds = seconds
        self.counts = SpoolCounts()
        self._turn_began = 0.0
        self._turn: list[_Pending] = []  # the changes of this turn of the reactor
        self._pending: dict[_Pending, None] = {}  # all changes that nobody was told the end of
        self._reading: dict[Deferred[None], Message] = {}
        self._changes = threads.queue()  # of list[_Pending], each a turn's; None: no more will come
        self._loads = threads.queue()  # of (message, with content, whom to tell), or a number to forget; None: no more
        self.newest_record = store.last_sequence()  # the number of the journal's last record as it was at the start
        self._sequence = self.newest_record + 1
        self._stopping = threads.event()
        self._threads = [
            threads.thread(target=self._commit_all, name="spool-commit", daemon=True),
            threads.thread(target=self._load_all, name="spool-load", daemon=True),
        ]
        self.fault: str | None = None  # why the last write failed; None: the spool is well

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Write what is waiting and end the threads.  Blocks; for the end, when nobody submits any more."""
        if self._stopping.is_set():
            return
        self._hand_over()
        self._stopping.set()
        self._changes.put(None)
        self._loads.put(None)
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Finish, and give the store back.  Blocks."""
        self.finish()
        self._store.close()

    def commit(self, change: Change) -> "Deferred[None]":
        """Fires once the change is durable; fails at once where the disk does not take it (nothing of it is then kept)."""
        return self._submit(change, True)

    def must_commit(self, change: Change) -> "Deferred[None]":
        """Make the change durable, however long the disk refuses; fires when it is."""
        return self._submit(change, False)

    def _submit(self, change: Change, refusable: bool) -> "Deferred[None]":
        """
        Hand over at the end of the reactor's turn: no answer can leave before that anyway.

        So one turn's changes wake the committing thread once and share a sync, instead of the first having one to itself.
        """
        if not self._turn:
            self._call_soon(self._hand_over)
            self._turn_began = self._seconds()
        done: Deferred[None] = Deferred()
        pending = _Pending(change, done, refusable, self._turn_began)
        self._turn.append(pending)
        self._pending[pending] = None
        return done

    def _hand_over(self) -> None:
        if self._turn:
            self._changes.put(self._turn)
            self._turn = []

    def load(self, message: Message, content: bool = True) -> "Deferred[None]":
        """
        Bring back what `shrink` dropped; content False: the envelope only.  Fails with KeyError if the spool has it not.

        A message that was changed meanwhile keeps its own attempts and due time; attempts NOT_KNOWN: those are read, too.
        """
        done: Deferred[None] = Deferred()
        self._reading[done] = message
        self._loads.put((message, content, done))
        return done

    def under_way(self) -> Iterator[tuple[str, str]]:
        """(message id, what is done) of each change that is being written, and of each message that is being read back."""
        for pending in list(self._pending):
            yield from ((message_id, "is written") for message_id, _, _ in pending.change.puts)
            yield from ((message_id, "is removed") for message_id in pending.change.removals)
        yield from ((message.id, "is read") for message in list(self._reading.values()))

    def still_here(self, message_ids: Collection[str]) -> set[str]:
        """Those of the messages that are stored; blocks, for a thread."""
        asked = list(message_ids)
        found = self._store.load(asked, False)
        return {message_id for message_id, parts in zip(asked, found, strict=True) if parts is not None}

    def envelopes(self) -> Iterator[tuple[str, bytes]]:
        """As Store.envelopes; blocks, for a thread."""
        return self._store.envelopes()

    def shelved(self, prefix: str) -> list[tuple[str, bytes]]:
        """As Store.shelved; blocks, for the start or a thread."""
        return self._store.shelved(prefix)

    def records(self, after: int) -> Iterator[tuple[int, bytes]]:
        """As Store.records; blocks, for a thread."""
        return self._store.records(after)

    def compact(self) -> bool:
        """Give back the room of what has gone; blocks, for a thread.  False: this kind has none to give back."""
        if isinstance(self._store, Compacts):
            self._store.compact()
            return True
        return False

    def forget_records(self, upto: int) -> None:
        """The log's files have the records up to this number."""
        if self._stopping.is_set():
            self._store.forget_records(upto)  # the log's last word, when the thread has gone
        else:
            self._loads.put(upto)

    # The committing thread

    def _commit_all(self) -> None:
        again: list[_Pending] = []
        while True:
            batch, last = self._gather(again)
            again = self._commit(batch) if batch else []
            if last and (not again or not self._changes.empty()):
                return
            if last:
                self._changes.put(None)
            if again and self._stopping.wait(RETRY_AFTER):
                return  # the disk still refuses and we are to end: what the spool has, it has

    def _gather(self, first: list[_Pending]) -> tuple[list[_Pending], bool]:
        """Everything that waits, after what must be tried again; True if nothing will follow."""
        batch = first
        try:
            turn = self._changes.get(block=not batch)
            while turn is not None:
                batch += turn
                if len(batch) >= MOST_CHANGES:
                    return batch, False
                turn = self._changes.get_nowait()
        except Empty:
            return batch, False
        return batch, True

    def _commit(self, batch: list[_Pending]) -> list[_Pending]:
        """Write a batch; what must be written and was not is returned."""
        records = [record for pending in batch for record in pending.change.records]
        began = self._seconds()
        try:
            self._store.write([pending.change for pending in batch], self._sequence)
        except Exception as fault:  # noqa: BLE001  whatever the disk or its library says, the answer is the same
            refused = [one for one in batch if one.refusable]
            self._call_from_thread(self._refused, refused, Failure(), str(fault))
            again = [one for one in batch if not one.refusable]
            return again if again and not refused else [*again, _probe(refused)]
        self.counts.committed(len(batch), self._seconds() - began)
        first, self._sequence = self._sequence, self._sequence + len(records)
        self._call_from_thread(self._written, batch, first, records)
        return []

    def _written(self, batch: list[_Pending], first: int, records: list[tuple[str, bytes]]) -> None:
        if self.fault is not None:
            self.log.info("the spool takes writes again")
            self.fault = None
        if records:
            self._tell_log(first, records)
        now, saved = self._seconds(), self.counts.saved
        for pending in batch:
            if pending.since:
                saved.observe(now - pending.since)
            self._pending.pop(pending, None)  # a probe is nobody's
            pending.done.callback(None)

    def _refused(self, batch: list[_Pending], failure: Failure, text: str) -> None:
        if self.fault is None:
            self.log.failure("the spool does not take writes; new mail is refused until it does", failure)
        self.fault = text
        for pending in batch:
            del self._pending[pending]
            pending.done.errback(failure)

    # The reading thread

    def _load_all(self) -> None:
        while (wanted := self._loads.get()) is not None:
            batch = [wanted]
            last = False
            try:
                while len(batch) < MOST_LOADS:
                    following = self._loads.get_nowait()
                    if following is None:
                        last = True
                        break
                    batch.append(following)
            except Empty:
                pass
            self._load(batch)
            if last:
                return

    def _load(self, batch: "list[tuple[Message, bool, Deferred[None]] | int]") -> None:
        for number in (one for one in batch if isinstance(one, int)):
            try:
                self._store.forget_records(number)
            except Exception as fault:  # noqa: BLE001  a longer journal harms nobody; it is tried again with the next number
                self._call_from_thread(self.log.warn, "the journal keeps records that the log has: {fault}", fault=fault)
        loads = [one for one in batch if not isinstance(one, int)]
        for contents in (True, False):
            some = [(message, done) for message, wanted, done in loads if wanted is contents]
            if not some:
                continue
            found: list[Any] | Failure
            began = self._seconds()
            try:
                found = list(self._store.load([message.id for message, _ in some], contents))
            except Exception:  # noqa: BLE001  reported to each that asked
                found = Failure()
            self.counts.read(contents, self._seconds() - began)
            self._call_from_thread(self._read, some, found, contents)

    def _read(self, some: "list[tuple[Message, Deferred[None]]]", found: "list[Any] | Failure", contents: bool) -> None:
        for _, done in some:
            del self._reading[done]
        _loaded(some, found, contents)


def _loaded(some: "list[tuple[Message, Deferred[None]]]", found: "list[Any] | Failure", contents: bool) -> None:
    if isinstance(found, Failure):
        for _, done in some:
            done.errback(found)
        return
    for (message, done), parts in zip(some, found, strict=True):
        if parts is None or (contents and parts[1] is None):
            done.errback(KeyError(message.id))
            continue
        if not message.envelope_loaded:
            attempts, due = message.attempts, message.due
            restore_envelope(message, parts[0])
            if attempts != NOT_KNOWN:
                message.attempts, message.due = attempts, due
        if contents:
            message.content = parts[1]
        done.callback(None)
