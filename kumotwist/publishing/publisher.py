"""
One hook at work: read from the log, gather a batch, send it until it is taken, remember how far that was.

Order is the log's: nothing is sent before what comes earlier was taken.  The cursor is stored after the target has taken a
batch, so a crash in between sends that batch again, with the same record ids.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from kumotwist.config.log_hooks import LogHook
from kumotwist.publishing.source import Cursor, LogSource, Record, restored_cursor, stored_cursor
from kumotwist.publishing.target import NeverTaken, NotTaken, PartlyTaken, Target
from kumotwist.spool.change import Change
from kumotwist.spool.service import Spool

POLL = 0.5  # seconds between looks for something new
_SHELF = "hooks/"

OpenSource = Callable[[Cursor, frozenset[str], Callable[[str], None]], LogSource]
InThread = Callable[..., "Deferred[Any]"]


class Progress(Struct, kw_only=True):
    """
    How a hook fares, since it was started.

    sent, dropped: records.  failures: attempts that were not taken.  fault: why the last one was not; empty: it was.
    unread: octets of the log that it has not come to, as of the last look.
    """

    sent: int = 0
    dropped: int = 0
    failures: int = 0
    fault: str = ""
    unread: int = 0


class Publisher:
    """A hook; runs from `start` to `stop`."""

    log = Logger()

    def __init__(
        self,
        hook: LogHook,
        target: Target,
        open_source: OpenSource,
        *,
        spool: Spool,
        clock: IReactorTime,
        in_thread: InThread,
        draw: Callable[[], float],
    ) -> None:
        """open_source: cursor, wanted types, complain → what to read.  in_thread: runs what blocks.  draw: uniform in [0, 1)."""
        self.hook = hook
        self.progress = Progress()
        self._target = target
        self._open_source = open_source
        self._spool = spool
        self._clock = clock
        self._in_thread = in_thread
        self._draw = draw
        self._key = _SHELF + hook.name
        self._source: LogSource | None = None
        self._working: Deferred[None] | None = None
        self._busy: Deferred[Any] | None = None  # what a thread does for us: it must not be cut short

    def start(self) -> None:
        self._working = Deferred.fromCoroutine(self._work())

    async def stop(self) -> None:
        """End after what a thread does just now; what the target has not taken is sent at the next start."""
        working, self._working = self._working, None
        if working is not None:
            working.cancel()
        if self._busy is not None:
            await _settled(self._busy)
        if self._source is not None:
            await self._in_thread(self._source.close)
            self._source = None
        await self._target.close()

    async def _work(self) -> None:
        while True:
            try:
                source = await self._opened()
                while True:
                    records = await self._gather(source)
                    cursor = source.cursor
                    await self._deliver(records)
                    self._remember(cursor)
            except CancelledError:
                return
            except Exception:  # noqa: BLE001  a fault of ours: the hook goes on from what it has stored
                self.log.failure("log hook {name}: a fault of ours; it begins again", name=self.hook.name)
                if self._source is not None:
                    await self._blocking(self._source.close)
                    self._source = None
                await deferLater(self._clock, self.hook.max_retry_interval)

    async def _opened(self) -> LogSource:
        """Where we left off; a hook that is new begins with what is written from now on."""
        stored = await self._blocking(self._spool.shelved, self._key)
        known = dict(stored).get(self._key)
        wanted = frozenset(self.hook.record_types) - {"Any"}
        try:
            cursor = None if known is None else restored_cursor(known)
        except msgspec.DecodeError as fault:
            self.log.error("log hook {name}: its cursor cannot be read and is made anew: {fault}", name=self.hook.name, fault=fault)
            cursor = None
        source = self._source = self._open_source(cursor or {}, wanted, self._complain)
        if cursor is None:
            await self._blocking(source.go_to_end)
            self._remember(source.cursor)
        return source

    async def _gather(self, source: LogSource) -> list[Record]:
        """At least one record, and whoever comes with it within max_batch_latency."""
        hook = self.hook
        records: list[Record] = []
        until = 0.0
        while True:
            records += await self._blocking(source.read, hook.batch_size - len(records))
            self.progress.unread = await self._blocking(source.unread) if len(records) >= hook.batch_size else 0
            now = self._clock.seconds()
            if len(records) >= hook.batch_size or (records and until and now >= until):
                return records
            if records and not until:
                until = now + hook.max_batch_latency
            await deferLater(self._clock, max(0.001, min(POLL, until - now)) if records else POLL)

    async def _deliver(self, records: list[Record]) -> None:
        """Until the target has taken all of them, but for those that it never will."""
        try:
            await self._insist(records)
            self.progress.sent += len(records)
        except NeverTaken as refusal:
            if len(records) > 1:
                for record in records:
                    await self._deliver([record])
                return
            self.progress.dropped += 1
            self.log.error(
                "log hook {name}: {kind} record {id} is given up: {fault}",
                name=self.hook.name,
                kind=records[0].kind,
                id=records[0].id,
                fault=refusal,
            )

    async def _insist(self, records: list[Record]) -> None:
        """Raises NeverTaken."""
        wait = self.hook.retry_interval
        while True:
            try:
                await self._target.send(records)
                self._well()
                return
            except PartlyTaken as fault:
                records = records[fault.taken :]
                self._troubled(str(fault))
            except NotTaken as fault:
                self._troubled(str(fault))
            if self._source is not None:  # a target that is down is what the lag is for
                self.progress.unread = await self._blocking(self._source.unread)
            await deferLater(self._clock, wait * (0.75 + self._draw() / 2))
            wait = min(2 * wait, self.hook.max_retry_interval)

    def _troubled(self, fault: str) -> None:
        self.progress.failures += 1
        if fault != self.progress.fault:
            self.log.error("log hook {name}: {fault}; trying again", name=self.hook.name, fault=fault)
        self.progress.fault = fault

    def _well(self) -> None:
        if self.progress.fault:
            self.log.info("log hook {name}: records are taken again", name=self.hook.name)
            self.progress.fault = ""

    def _complain(self, fault: str) -> None:
        self.log.warn("log hook {name}: {fault}", name=self.hook.name, fault=fault)

    def _remember(self, cursor: Cursor) -> None:
        change = Change()
        change.shelve(self._key, stored_cursor(cursor))
        self._spool.must_commit(change)

    async def _blocking(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """In a thread; a stop waits for it, since the thread uses what the stop would close."""
        self._busy = self._in_thread(function, *arguments)
        waiting: Deferred[Any] = Deferred()
        self._busy.addBoth(_pass_on, waiting)
        try:
            return await waiting
        finally:
            if waiting.called and self._busy is not None and self._busy.called:
                self._busy = None


def _pass_on(outcome: Any, waiting: "Deferred[Any]") -> None:
    if not waiting.called:
        waiting.callback(outcome)


async def _settled(busy: "Deferred[Any]") -> None:
    """Once it has fired."""
    over: Deferred[None] = Deferred()
    busy.addBoth(lambda _: over.callback(None))
    await over
