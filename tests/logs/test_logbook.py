"""The files behind the journal are exchanged when the configuration changes, and no record is lost in between."""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from kumotwist.config.server import LogSettings
from kumotwist.logs.logbook import Logbook
from kumotwist.logs.read import LogReader


class Journal:
    """Stands where the spool would."""

    def __init__(self) -> None:
        self.lines: dict[int, bytes] = {}

    def records(self, after: int) -> Iterator[tuple[int, bytes]]:
        return iter(sorted((number, line) for number, line in self.lines.items() if number > after))

    def forget_records(self, upto: int) -> None:
        self.lines = {number: line for number, line in self.lines.items() if number > upto}


class LogbookTests(TestCase):
    def setUp(self) -> None:
        self.journal = Journal()
        self.logbook = Logbook(reactor, reactor.callFromThread)  # type: ignore[arg-type, attr-defined]
        self.directories = [os.path.abspath(self.mktemp()) for _ in range(3)]

    def start(self) -> None:
        self.logbook.start(self.settings(0), self.journal, max(self.journal.lines, default=0))  # type: ignore[arg-type]

    def settings(self, number: int) -> LogSettings:
        return LogSettings(log_dir=self.directories[number])

    def commit(self, *numbers: int) -> None:
        records: Sequence[tuple[str, bytes]] = [("Delivery", b'{"type":"Delivery","n":%d}' % number) for number in numbers]
        self.journal.lines.update(zip(numbers, (line for _, line in records), strict=True))
        self.logbook.committed(numbers[0], records)

    def written(self) -> list[list[int]]:
        return [[json.loads(line)["n"] for line in LogReader(directory).lines()] for directory in self.directories]

    async def test_what_the_files_lack_is_written_at_the_start(self) -> None:
        self.journal.lines = {1: b'{"type":"Delivery","n":1}', 2: b'{"type":"Delivery","n":2}'}
        self.start()
        self.commit(3)
        await self.logbook.stop()
        self.assertEqual(self.written(), [[1, 2, 3], [], []])

    async def test_a_change_loses_no_record_of_the_meantime(self) -> None:
        self.start()
        self.commit(1, 2)
        self.logbook.change(self.settings(1))
        self.commit(3)
        await self.exchanged()
        self.commit(4)
        await self.logbook.stop()
        self.assertEqual(self.written(), [[1, 2], [3, 4], []])

    async def test_of_several_changes_the_last_one_holds(self) -> None:
        self.start()
        self.logbook.change(self.settings(1))
        self.logbook.change(self.settings(2))
        self.commit(1)
        await self.exchanged()
        await self.logbook.stop()
        self.assertEqual(self.written(), [[], [], [1]])

    async def test_a_stop_in_the_middle_of_a_change_leaves_records_in_the_journal(self) -> None:
        self.start()
        self.logbook.change(self.settings(1))
        self.commit(1)
        await self.logbook.stop()
        self.assertIsNone(self.logbook.mail_log)
        self.assertEqual((self.written(), list(self.journal.lines)), ([[], [], []], [1]))

    async def exchanged(self) -> None:
        while self.logbook.mail_log is None:
            turn: Deferred[Any] = Deferred()
            reactor.callLater(0.01, turn.callback, None)  # type: ignore[attr-defined]
            await turn
