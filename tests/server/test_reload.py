"""A new configuration: whole or not at all, one reading at a time."""

import os
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.faults import ConfigFaults, Fault
from kumotwist.config.server import Config, DnsSettings
from kumotwist.reload import LOOK_AGAIN, Reload, changed_sections


class ReloadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.file = os.path.abspath(self.mktemp())
        self._write("1")
        self.config = Config(hostname="mta.example", files=(self.file,))
        self.next: Any = self.config
        self.applied: list[Config] = []
        self.reload = Reload(self.clock, self._read, self.applied.append, self.config, self._in_thread)
        self.pending: list[tuple[Any, Deferred[Any]]] | None = None
        self.reload.start()

    def _write(self, text: str) -> None:
        with open(self.file, "w") as file:
            file.write(text)

    def _read(self) -> Config:
        if isinstance(self.next, Exception):
            raise self.next
        assert isinstance(self.next, Config)
        return self.next

    def _in_thread(self, call: Any, *arguments: Any) -> "Deferred[Any]":
        if self.pending is None or call != self._read:
            return maybeDeferred(call, *arguments)
        waiting: Deferred[Any] = Deferred()
        self.pending.append((call, waiting))
        return waiting

    def test_a_file_that_changes_is_read_within_ten_seconds(self) -> None:
        self.next = Config(hostname="other.example", files=(self.file,))
        self.clock.advance(LOOK_AGAIN)
        self.assertEqual(self.applied, [])
        self._write("two")
        self.clock.advance(LOOK_AGAIN)
        self.assertEqual(self.applied, [self.next])
        self.clock.advance(10 * LOOK_AGAIN)
        self.assertEqual(len(self.applied), 1)

    def test_a_file_that_vanishes_is_a_change_too(self) -> None:
        os.unlink(self.file)
        self.next = ConfigFaults([Fault(self.file, 1, 1, "cannot be read: it is not there")])
        self.clock.advance(LOOK_AGAIN)
        self.assertEqual(self.applied, [])

    def test_a_configuration_with_faults_changes_nothing_and_a_mended_one_does(self) -> None:
        self.next = ConfigFaults([Fault(self.file, 1, 1, "wrong")])
        self.reload.now()
        self.assertEqual(self.applied, [])
        self.next = Config(hostname="mended.example", files=(self.file,))
        self.reload.now()
        self.assertEqual([config.hostname for config in self.applied], ["mended.example"])

    def test_one_reading_at_a_time_and_none_forgotten(self) -> None:
        self.pending = []
        for _ in range(5):
            self.reload.now()
        self.assertEqual(len(self.pending), 1)
        self.pending[0][1].callback(self.config)
        self.assertEqual(len(self.pending), 2)
        self.pending[1][1].callback(self.config)
        self.assertEqual((len(self.pending), len(self.applied)), (2, 2))

    def test_a_bug_in_applying_is_logged_and_the_next_one_is_tried(self) -> None:
        def broken(_: Config) -> None:
            raise ZeroDivisionError

        self.reload._change = broken  # type: ignore[method-assign]
        self.reload.now()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.reload._change = self.applied.append  # type: ignore[method-assign]
        self.reload.now()
        self.assertEqual(len(self.applied), 1)

    def test_after_the_end_nothing_is_applied(self) -> None:
        self.reload.stop()
        self.reload.now()
        self.assertEqual(self.applied, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_sections_that_differ_are_named(self) -> None:
        other = Config(hostname="b.example", dns=DnsSettings(timeout=1.0), files=("x",))
        self.assertEqual(changed_sections(self.config, other), ["hostname", "dns"])
