"""One contract for every kind of spool."""

import os
from threading import Event, Thread
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.spool.change import Change, decode_message
from kumotwist.spool.directory import DirectoryStore
from kumotwist.spool.rocks import RocksStore, id_of, key_of
from kumotwist.spool.store import SpoolUnusable
from tests.support.memory import MemoryStore, Messages

ENDED = b'{"type":"Delivery","id":"%s","recipient":"bob@example.org"}'


class Contract:
    """What every Store does; the kinds below say how to open one."""

    store: Any

    def open(self) -> Any:
        raise AssertionError("each kind says how")

    def setUp(self) -> None:
        self.now = 1_000_000.0
        self.messages = Messages(lambda: self.now)
        self.store = self.open()
        self.addCleanup(lambda: self.store.close())  # type: ignore[attr-defined]

    def _stored(self, *recipients: str, line: bytes = b'{"type":"Reception","id":""}') -> Any:
        message = self.messages.make(*recipients or ("bob@example.org",))
        change = Change()
        change.store(message)
        change.records.append(("Reception", line))
        self.store.write([change], self.store.last_sequence() + 1)
        return message

    def _reopen(self) -> None:
        self.store.close()
        self.store = self.open()

    def test_what_was_written_is_read_back_whole(self) -> None:
        message = self._stored()
        [found] = self.store.load([message.id], True)
        again = decode_message(message.id, found[0])
        self.assertEqual(found[1], message.content)
        self.assertEqual(
            (again.sender, again.recipients, again.meta, again.size),
            (message.sender, message.recipients, message.meta, message.size),
        )

    def test_everything_survives_closing_and_opening(self) -> None:
        messages = [self._stored(f"r{n}@example.org") for n in range(20)]
        self._reopen()
        self.assertEqual([one for one, _ in self.store.envelopes()], [message.id for message in messages])
        self.assertEqual(len(list(self.store.records(0))), 20)
        self.assertEqual(self.store.last_sequence(), 20)

    def test_an_update_keeps_the_content_and_remembers_attempts_and_due_time(self) -> None:
        message = self._stored("bob@example.org", "carol@example.org")
        message.attempts, message.due, message.last_reply = 3, 1_000_500.25, "451 4.7.0 later"
        message.recipients = message.recipients[1:]
        change = Change()
        change.update(message)
        self.store.write([change], 2)
        self._reopen()
        [(envelope, content)] = self.store.load([message.id], True)
        again = decode_message(message.id, envelope)
        self.assertEqual(content, message.content)
        self.assertEqual((again.attempts, again.due, again.last_reply), (3, 1_000_500.25, "451 4.7.0 later"))
        self.assertEqual([one.email for one in again.recipients], ["carol@example.org"])

    def test_a_removed_message_is_gone_also_after_opening_again(self) -> None:
        gone, kept = self._stored(), self._stored()
        change = Change()
        change.removals.append(gone.id)
        change.records.append(("Delivery", ENDED % gone.id.encode()))
        self.store.write([change], 3)
        self.assertEqual(self.store.load([gone.id], True), [None])
        self._reopen()
        self.assertEqual([one for one, _ in self.store.envelopes()], [kept.id])

    def test_a_removal_of_nothing_is_no_error(self) -> None:
        message = self.messages.make()
        change = Change()
        change.removals.append(message.id)
        self.store.write([change], 1)
        self.assertEqual(self.store.load([message.id], False), [None])

    def test_the_journal_is_read_in_order_from_any_number(self) -> None:
        for n in range(1, 300):
            self._stored(line=b'{"n":%d}' % n)
        self.assertEqual([number for number, _ in self.store.records(290)], list(range(291, 300)))
        self.assertEqual(next(self.store.records(0)), (1, b'{"n":1}'))

    def test_forgotten_records_do_not_come_back(self) -> None:
        for n in range(1, 11):
            self._stored(line=b'{"n":%d}' % n)
        self.store.forget_records(7)
        self.assertEqual([number for number, _ in self.store.records(0)], [8, 9, 10])
        self.store.forget_records(10)
        self._reopen()
        self.assertEqual(list(self.store.records(0)), [])

    def test_several_changes_in_one_write_are_numbered_through(self) -> None:
        changes = []
        for n in range(3):
            change = Change()
            change.store(self.messages.make())
            change.records += [("Reception", b'{"a":%d}' % n), ("Delayed", b'{"b":%d}' % n)]
            changes.append(change)
        self.store.write(changes, 41)
        self.assertEqual([number for number, _ in self.store.records(0)], [41, 42, 43, 44, 45, 46])
        self.assertEqual([line for _, line in self.store.records(44)], [b'{"a":2}', b'{"b":2}'])

    def _shelve(self, *items: tuple[str, bytes | None]) -> None:
        change = Change()
        for key, value in items:
            change.shelve(key, value)
        self.store.write([change], self.store.last_sequence() + 1)

    def test_the_shelf_gives_back_by_prefix_what_was_put_there_last(self) -> None:
        self._shelve(("orders/b", b"1"), ("orders/a", b"2"), ("order", b"3"), ("orders0", b"4"), ("orders/b", b"5"))
        self.assertEqual(self.store.shelved("orders/"), [("orders/a", b"2"), ("orders/b", b"5")])
        self.assertEqual(len(self.store.shelved("")), 4)

    def test_the_shelf_survives_closing_and_opening(self) -> None:
        self._shelve(("../etc/\u00fc %2F", b"\x00\xff" * 10), ("gone", b"x"))
        self._shelve(("gone", None), ("never there", None))
        self._reopen()
        self.assertEqual(self.store.shelved(""), [("../etc/\u00fc %2F", b"\x00\xff" * 10)])

    def test_a_key_that_a_file_name_could_not_hold_is_refused(self) -> None:
        for key in ("", "x" * 81, "\u00fc" * 41):
            with self.assertRaisesRegex(ValueError, "no key for the shelf"):
                Change().shelve(key, b"")
        self._shelve(("%" * 80, b"long"))
        self.assertEqual(self.store.shelved("%"), [("%" * 80, b"long")])

    def test_envelopes_come_oldest_first(self) -> None:
        messages = []
        for _ in range(5):
            self.now += 86_400.0 * 37
            messages.append(self._stored())
        self.assertEqual([one for one, _ in self.store.envelopes()], [message.id for message in messages])

    def test_envelopes_are_those_of_the_moment_of_the_call(self) -> None:
        early = self._stored()
        found = self.store.envelopes()
        self._stored()
        self.assertEqual([one for one, _ in found], [early.id])

    def test_writing_the_same_change_again_is_harmless(self) -> None:
        message = self.messages.make()
        change = Change()
        change.store(message)
        change.records.append(("Reception", b"{}"))
        self.store.write([change], 1)
        self.store.write([change], 1)
        self.assertEqual([one for one, _ in self.store.envelopes()], [message.id])


class MemoryStoreTests(Contract, SynchronousTestCase):
    """The double that other tests use keeps the contract too."""

    def setUp(self) -> None:
        self._memory = MemoryStore()
        super().setUp()

    def open(self) -> MemoryStore:
        return self._memory


class RocksStoreTests(Contract, SynchronousTestCase):
    def setUp(self) -> None:
        self._path = self.mktemp()
        super().setUp()

    def open(self) -> RocksStore:
        return RocksStore(self._path)

    def test_keys_sort_by_age_and_read_back(self) -> None:
        keys = []
        for _ in range(50):
            self.now += 12_345.678
            message = self.messages.make()
            keys.append(key_of(message.id))
            self.assertEqual(id_of(keys[-1]), message.id)
        self.assertEqual(keys, sorted(keys))

    def test_a_second_process_is_told_that_the_spool_is_in_use(self) -> None:
        with self.assertRaises(SpoolUnusable) as caught:
            RocksStore(self._path)
        self.assertIn("in use by another process", str(caught.exception))

    def test_a_path_that_is_a_file_is_named(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("not a directory")
        with self.assertRaises(SpoolUnusable) as caught:
            RocksStore(path)
        self.assertIn(path, str(caught.exception))


class DirectoryStoreTests(Contract, SynchronousTestCase):
    def setUp(self) -> None:
        self._path = self.mktemp()
        super().setUp()

    def open(self) -> DirectoryStore:
        return DirectoryStore(self._path)

    def test_a_crash_between_record_and_removal_does_not_bring_the_message_back(self) -> None:
        message = self._stored()
        change = Change()
        change.records.append(("Delivery", ENDED % message.id.encode()))
        self.store.write([change], 2)  # the crash: the removal of the same change never happened
        self._reopen()
        self.assertEqual(list(self.store.envelopes()), [])
        self.assertEqual(self.store.load([message.id], True), [None])

    def test_a_final_record_about_some_recipients_leaves_the_message_for_the_others(self) -> None:
        message = self._stored("bob@example.org", "carol@example.org")
        change = Change()
        change.records.append(("Delivery", ENDED % message.id.encode()))
        self.store.write([change], 2)  # the crash: the envelope without bob did not get to its place
        self._reopen()
        [(message_id, envelope)] = self.store.envelopes()
        left = decode_message(message_id, envelope).recipients
        self.assertEqual((message_id, [one.email for one in left]), (message.id, ["carol@example.org"]))
        self.assertEqual(self.store.load([message.id], False), [(envelope, None)])

    def _crash_while_moving_in(self, line: bytes) -> Any:
        """A write that dies after the journal's sync."""
        message = self.messages.make()
        change = Change()
        change.store(message)
        change.records.append(("Reception", line % message.id.encode() if b"%s" in line else line))

        def die(*_: Any) -> None:
            raise SystemExit

        self.patch(self.store, "_install", die)
        self.assertRaises(SystemExit, self.store.write, [change], 1)
        self.store.close()
        self.store = self.open()
        return message

    def test_a_newcomer_that_the_journal_received_moves_in_at_the_next_start(self) -> None:
        message = self._crash_while_moving_in(b'{"type":"Reception","id":"%s"}')
        [(_, content)] = self.store.load([message.id], True)
        self.assertEqual(content, message.content)
        self.assertEqual([one for one, _ in self.store.envelopes()], [message.id])

    def test_a_newcomer_that_the_journal_does_not_know_never_came(self) -> None:
        self._crash_while_moving_in(b'{"type":"Reception","id":"another"}')
        self.assertEqual(list(self.store.envelopes()), [])
        self.assertEqual(os.listdir(os.path.join(self._path, "new")), [])

    def test_cutting_the_journal_while_it_is_written_loses_nothing(self) -> None:
        told: list[int] = []

        def forget() -> None:
            while not stop.is_set():
                if told:
                    self.store.forget_records(told[-1] - 3)

        stop = Event()
        cutter = Thread(target=forget)
        cutter.start()
        try:
            for number in range(1, 400):
                change = Change()
                change.records.append(("Delayed", b'{"n":%d}' % number))
                self.store.write([change], number)
                told.append(number)
        finally:
            stop.set()
            cutter.join()
        self.assertEqual([number for number, _ in self.store.records(396)], [397, 398, 399])

    def test_a_journal_torn_anywhere_keeps_its_whole_entries(self) -> None:
        self._stored(line=b'{"n":1}')
        self._stored(line=b'{"n":2}')
        place = os.path.join(self._path, "journal")
        whole = os.path.getsize(place)
        for cut in range(1, whole // 2):
            os.truncate(place, whole - cut)
            self._reopen()
            self.assertEqual(list(self.store.records(0)), [(1, b'{"n":1}')], cut)
            self._stored(line=b'{"n":2}')
            self.assertEqual(self.store.last_sequence(), 2)

    def test_a_write_that_fails_leaves_nothing_of_newcomers(self) -> None:
        message = self.messages.make()
        change = Change()
        change.store(message)
        change.records.append(("Reception", b"{}"))

        def refuse(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        self.patch(self.store, "_append", refuse)
        self.assertRaises(OSError, self.store.write, [change], 1)
        self._reopen()
        self.assertEqual(list(self.store.envelopes()), [])

    def test_files_left_half_written_are_swept_at_start(self) -> None:
        left = os.path.join(self._path, "new", "half")
        with open(left, "w") as file:
            file.write("torn")
        self._reopen()
        self.assertFalse(os.path.exists(left))

    def test_a_second_process_is_told_that_the_spool_is_in_use(self) -> None:
        with self.assertRaises(SpoolUnusable) as caught:
            DirectoryStore(self._path)
        self.assertIn("in use by another process", str(caught.exception))
