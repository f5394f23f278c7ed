"""Keys and passwords from files, from the configuration and from the policy."""

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.keys import KeyData, KeyEvent
from kumotwist.delivery.keys import KeyUnavailable, read_key

EVENT = KeyEvent("get_key", ("a", 1))


class KeyTests(SynchronousTestCase):
    """`read_key`."""

    def read(self, source: Any, ask: Any = None) -> bytes:
        return self.successResultOf(Deferred.fromCoroutine(read_key(source, ask)))

    def unavailable(self, source: Any, ask: Any = None) -> str:
        return str(self.failureResultOf(Deferred.fromCoroutine(read_key(source, ask)), KeyUnavailable).value)

    def test_what_stands_in_the_configuration_is_taken_as_it_is(self) -> None:
        self.assertEqual(self.read(KeyData(b"secret\n")), b"secret\n")

    def test_a_file_is_read_without_the_end_of_its_last_line(self) -> None:
        for written, expected in (
            (b"secret", b"secret"),
            (b"secret\n", b"secret"),
            (b"secret\r\n", b"secret"),
            (b"a\nb\n", b"a\nb"),
        ):
            file = Path(self.mktemp())
            file.write_bytes(written)
            self.assertEqual(self.read(str(file)), expected)

    def test_a_file_that_is_not_there_is_not_named(self) -> None:
        file = self.mktemp()
        self.assertEqual(self.unavailable(file), "its file cannot be read: No such file or directory")

    def test_the_policy_answers_at_once_or_later(self) -> None:
        asked: list[KeyEvent] = []

        def answer(event: KeyEvent) -> bytes:
            asked.append(event)
            return b"secret"

        self.assertEqual(self.read(EVENT, answer), b"secret")
        self.assertEqual(asked, [EVENT])
        self.assertEqual(self.read(EVENT, lambda event: succeed(b"later")), b"later")

    def test_what_a_policy_fails_with_is_not_told_on(self) -> None:
        def fail(event: KeyEvent) -> bytes:
            raise ValueError("could not parse hunter2")

        self.assertEqual(self.unavailable(EVENT, fail), "get_key failed: ValueError")
        self.assertEqual(self.unavailable(EVENT, lambda event: None), "get_key has no answer")
        self.assertEqual(self.unavailable(EVENT), "there is no policy to answer get_key")
