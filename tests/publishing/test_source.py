"""What a hook reads: every record once, from a cursor that may be stored anywhere in between."""

import os
from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.publishing.source import LogSource, Place, Record, restored_cursor, stored_cursor
from tests.publishing.logs import WrittenLog, record


class SourceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        self.written = WrittenLog(self.directory)
        self.complaints: list[str] = []

    def source(self, cursor: object = None, *wanted: str) -> LogSource:
        made = LogSource([self.directory], cursor or {}, frozenset(wanted), self.complaints.append)  # type: ignore[arg-type]
        self.addCleanup(made.close)
        return made

    def numbers(self, source: LogSource, most: int = 1000) -> list[int]:
        return [msgspec.json.decode(one.line)["n"] for one in source.read(most)]

    def test_each_record_is_given_once_also_while_it_is_written(self) -> None:
        source = self.source()
        self.written.write(record(1), record(2))
        self.assertEqual(self.numbers(source), [1, 2])
        self.assertEqual(self.numbers(source), [])
        self.written.write(record(3))
        self.assertEqual(self.numbers(source), [3])

    def test_segments_follow_one_another(self) -> None:
        for first in (1, 11, 21):
            self.written.write(*(record(n) for n in range(first, first + 10)))
            self.written.finish()
        source = self.source()
        self.assertEqual(self.numbers(source, 15), list(range(1, 16)))
        self.assertEqual(self.numbers(source), list(range(16, 31)))

    def test_compressed_segments_are_read_while_they_are_written(self) -> None:
        self.written = WrittenLog(self.directory, level=3)
        source = self.source()
        self.written.write(*(record(n) for n in range(5000)))
        self.assertEqual(self.numbers(source, 6000), list(range(5000)))
        self.written.write(record(5000))
        self.written.finish()
        self.assertEqual(self.numbers(source), [5000])

    def test_a_stored_cursor_goes_on_where_it_stood(self) -> None:
        self.written.write(*(record(n) for n in range(10)))
        first = self.source()
        self.assertEqual(self.numbers(first, 4), [0, 1, 2, 3])
        again = self.source(restored_cursor(stored_cursor(first.cursor)))
        self.assertEqual(self.numbers(again), [4, 5, 6, 7, 8, 9])

    def test_records_of_other_types_are_passed_over_for_good(self) -> None:
        self.written.write(record(1, "Reception"), record(2), record(3, "Reception"))
        source = self.source(None, "Delivery")
        self.assertEqual(self.numbers(source), [2])
        self.assertEqual(self.numbers(self.source(source.cursor)), [])

    def test_what_a_template_wrote_is_passed_over(self) -> None:
        self.written.write(b"delivered, said the template", record(1), b"\xff\xfe", b"[]", b"{}")
        self.assertEqual(self.numbers(self.source()), [1])

    def test_a_segment_that_a_crash_left_open_ends_where_its_successor_begins(self) -> None:
        source = self.source()
        self.written.write(record(1))
        self.assertEqual(self.numbers(source), [1])
        self.written.abandon()
        self.written.write(record(2))
        self.assertEqual(self.numbers(source), [2])

    def test_lines_that_a_crash_took_back_are_not_waited_for(self) -> None:
        self.written.write(record(1))
        self.written.finish()
        [name] = os.listdir(self.directory)
        self.written.write(record(2), record(3))
        source = self.source({os.path.join(os.path.abspath(self.directory), "*"): Place(name, 3)})
        self.assertEqual(self.numbers(source), [2, 3])

    def test_a_removed_segment_is_told_and_passed_over(self) -> None:
        self.written.write(*(record(n) for n in range(10)))
        source = self.source()
        self.numbers(source, 4)
        cursor = source.cursor
        self.written.finish()
        for name in os.listdir(self.directory):
            os.unlink(os.path.join(self.directory, name))
        self.written.write(record(10))
        self.assertEqual(self.numbers(self.source(cursor)), [10])
        [complaint] = self.complaints
        self.assertIn("was removed", complaint)

    def test_a_damaged_segment_is_told_and_the_next_one_read(self) -> None:
        self.written = WrittenLog(self.directory, level=3)
        self.written.write(*(record(n) for n in range(1000)))
        self.written.finish()
        [name] = os.listdir(self.directory)
        path = os.path.join(self.directory, name)
        os.chmod(path, 0o640)
        with open(path, "r+b") as file:
            file.seek(9)
            file.write(b"\xff" * 60)
        os.chmod(path, 0o440)
        self.written.write(record(1000))
        self.assertEqual(self.numbers(self.source())[-1], 1000)
        self.assertIn("damaged", " ".join(self.complaints))

    def test_each_suffix_has_an_order_of_its_own(self) -> None:
        other = WrittenLog(self.directory, suffix="_bounce")
        self.written.write(record(1), record(2))
        other.write(record(11, "Bounce"), record(12, "Bounce"))
        found = self.numbers(self.source())
        self.assertEqual(sorted(found), [1, 2, 11, 12])
        self.assertLess(found.index(1), found.index(2))
        self.assertLess(found.index(11), found.index(12))

    def test_a_directory_that_is_not_there_yet_is_no_fault(self) -> None:
        source = LogSource([os.path.join(self.directory, "later")], {}, frozenset(), self.complaints.append)
        self.assertEqual(source.read(10), [])
        WrittenLog(os.path.join(self.directory, "later")).write(record(1))
        self.assertEqual(len(source.read(10)), 1)

    def test_unread_counts_what_lies_ahead(self) -> None:
        self.written.write(*(record(n) for n in range(100)))
        self.written.finish()
        self.written.write(*(record(n) for n in range(100)))
        source = self.source()
        whole = source.unread()
        self.assertEqual(whole, sum(os.stat(os.path.join(self.directory, name)).st_size for name in os.listdir(self.directory)))
        self.numbers(source)
        self.assertEqual(source.unread(), 0)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(["write", "finish", "abandon", "read", "restart"]), st.integers(1, 7)), max_size=40))
    def test_whatever_happens_no_record_is_missed_or_given_twice(self, steps: list[tuple[str, int]]) -> None:
        directory = self.mktemp()
        written, source = WrittenLog(directory), LogSource([directory], {}, frozenset(), self.complaints.append)
        count, found, is_open = 0, [], False
        for step, n in [*steps, ("read", 1000)]:
            if step == "write":
                written.write(*(record(count + i) for i in range(n)))
                count, is_open = count + n, True
            elif step in ("finish", "abandon") and is_open:
                getattr(written, step)()
                is_open = False
            elif step == "read":
                found += [msgspec.json.decode(one.line)["n"] for one in source.read(n)]
            elif step == "restart":
                cursor = restored_cursor(stored_cursor(source.cursor))
                source.close()
                source = LogSource([directory], cursor, frozenset(), self.complaints.append)
        source.close()
        self.assertEqual(found, list(range(count)))


class RecordTests(SynchronousTestCase):
    def test_the_same_line_has_the_same_id_and_others_have_others(self) -> None:
        ids = sorted(Record("Delivery", record(n)).id for n in range(100))
        self.assertTrue(all(one != other for one, other in pairwise(ids)))
        self.assertEqual(Record("Delivery", record(7)).id, Record("Delivery", record(7)).id)
        self.assertRegex(ids[0], r"\A[0-9a-f]{32}\Z")

    def test_a_marked_record_is_the_record_with_its_id(self) -> None:
        one = Record("Delivery", record(7))
        self.assertEqual(msgspec.json.decode(one.marked), {**msgspec.json.decode(one.line), "record_id": one.id})
