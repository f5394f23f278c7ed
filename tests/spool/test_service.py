"""Group commit: many changes, one sync; what must be written is, and what cannot be kept is refused."""

from collections.abc import Sequence
from threading import Event
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from kumotwist.mail.message import Message
from kumotwist.spool import service
from kumotwist.spool.change import Change
from kumotwist.spool.service import Spool
from tests.support.memory import MemoryStore, Messages

RECORD = ("Reception", b"{}")


class GateStore(MemoryStore):
    """A store whose writes wait for a gate, as a slow disk's do."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Event()
        self.gate.set()

    def write(self, changes: Sequence[Change], first_sequence: int) -> None:
        self.gate.wait(10)
        super().write(changes, first_sequence)


def open_spool(store: MemoryStore, told: Any) -> Spool:
    return Spool(store, reactor.callFromThread, lambda call: reactor.callLater(0, call), told)  # type: ignore[attr-defined]


class SpoolTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.patch(service, "RETRY_AFTER", 0.02)
        self.store = GateStore()
        self.told: list[tuple[int, int]] = []
        self.spool = open_spool(self.store, self._tell)
        self.spool.start()
        self.addCleanup(self.spool.close)
        self.messages = Messages(lambda: 1e6)

    def _tell(self, first: int, records: Sequence[tuple[str, bytes]]) -> None:
        self.told.append((first, len(records)))

    def _change(self) -> tuple[Change, Message]:
        message = self.messages.make()
        change = Change()
        change.store(message)
        change.records.append(RECORD)
        return change, message

    async def test_what_waits_while_a_sync_runs_shares_the_next(self) -> None:
        self.store.gate.clear()
        done = [self.spool.commit(self._change()[0]) for _ in range(100)]
        self.store.gate.set()
        await gatherResults(done)
        self.assertLessEqual(self.store.writes, 3)
        self.assertEqual(len(self.store.kept), 100)

    async def test_records_are_numbered_and_told_in_order(self) -> None:
        for _ in range(5):
            await self.spool.commit(self._change()[0])
        self.assertEqual(self.told, [(n, 1) for n in range(1, 6)])

    async def test_a_disk_that_refuses_refuses_newcomers_and_says_why(self) -> None:
        self.store.failing = OSError(28, "No space left on device")
        with self.assertRaises(OSError):
            await self.spool.commit(self._change()[0])
        self.assertIn("No space left", self.spool.fault or "")
        self.assertEqual(self.store.kept, {})
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    async def test_a_disk_that_is_well_again_is_noticed_though_nobody_sends_anything(self) -> None:
        """Found by the simulation: new mail was refused because of the failure, and only new mail would have ended it."""
        self.store.failing = OSError(28, "No space left on device")
        change, message = self._change()
        with self.assertRaises(OSError):
            await self.spool.commit(change)
        self.store.kept[message.id] = (b"", b"")  # what a write that fails half-way may leave
        self.store.failing = None
        while self.spool.fault is not None:
            await deferLater(reactor, 0.01)
        self.assertEqual(self.store.kept, {})
        self.flushLoggedErrors(OSError)

    async def test_what_must_be_written_is_written_once_the_disk_takes_it(self) -> None:
        change, message = self._change()
        await self.spool.commit(change)
        self.store.failing = OSError(5, "Input/output error")
        removal = Change()
        removal.removals.append(message.id)
        removal.records.append(RECORD)
        stubborn = self.spool.must_commit(removal)
        with self.assertRaises(OSError):
            await self.spool.commit(self._change()[0])
        self.assertIn(message.id, self.store.kept)
        self.store.failing = None
        await stubborn
        self.assertEqual(self.store.kept, {})
        self.assertIsNone(self.spool.fault)
        self.assertEqual(sorted(self.store.journal), [1, 2])
        self.flushLoggedErrors(OSError)

    async def test_loading_brings_back_what_shrinking_dropped(self) -> None:
        change, message = self._change()
        whole = (message.sender, message.recipients, message.content, dict(message.meta))
        await self.spool.commit(change)
        message.shrink()
        self.assertIsNone(message.content)
        message.attempts, message.due = 4, 77.0
        await self.spool.load(message)
        self.assertEqual((message.sender, message.recipients, message.content, message.meta), whole)
        self.assertEqual((message.attempts, message.due), (4, 77.0))

    async def test_the_envelope_alone_can_be_loaded(self) -> None:
        change, message = self._change()
        await self.spool.commit(change)
        message.shrink()
        await self.spool.load(message, content=False)
        self.assertTrue(message.envelope_loaded)
        self.assertIsNone(message.content)

    async def test_loading_what_is_not_there_fails_with_its_id(self) -> None:
        message = self.messages.make()
        with self.assertRaises(KeyError) as caught:
            await self.spool.load(message)
        self.assertEqual(caught.exception.args, (message.id,))

    async def test_a_read_error_reaches_each_that_asked(self) -> None:
        def broken(*_: Any) -> Any:
            raise OSError(5, "Input/output error")

        self.patch(self.store, "load", broken)
        loads: list[Deferred[None]] = [self.spool.load(self.messages.make()) for _ in range(3)]
        for load in loads:
            with self.assertRaises(OSError):
                await load

    async def test_closing_writes_what_is_waiting(self) -> None:
        spool = open_spool(MemoryStore(), lambda *_: None)
        spool.start()
        done = [spool.commit(self._change()[0]) for _ in range(50)]
        spool.close()
        await gatherResults(done)
        self.assertEqual(len(done), 50)
