"""Scheduling constraints: the model's table read, and when a message may be tried by them."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.schedule import BadSchedule, Schedule, Window, parse_schedule, rfc3339_utc

WORK = {"dow": "mon,tue,wed,thu,fri", "tz": "Europe/Berlin", "start": "09:00:00", "end": "17:00:00"}


def _at(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


class ParseTests(SynchronousTestCase):
    """parse_schedule."""

    def test_all_fields(self) -> None:
        schedule = parse_schedule({"first_attempt": "2030-01-01T10:00:00+02:00", "expires": "2030-01-02T00:00:00Z", **WORK})
        self.assertEqual(
            schedule,
            Schedule(
                first_attempt=datetime(2030, 1, 1, 8, tzinfo=UTC).timestamp(),
                window=Window((0, 1, 2, 3, 4), "Europe/Berlin", "09:00:00", "17:00:00"),
                expires=datetime(2030, 1, 2, tzinfo=UTC).timestamp(),
            ),
        )

    def test_days_have_long_names_too(self) -> None:
        window = parse_schedule({**WORK, "dow": "SUNDAY,Mon,sun"}).window
        assert window is not None
        self.assertEqual(window.days, (0, 6))

    def test_nothing_is_a_schedule_too(self) -> None:
        self.assertEqual(parse_schedule({}), Schedule())
        self.assertEqual(parse_schedule({"first_attempt": None, "dow": None}), Schedule())

    def test_what_makes_no_sense_is_refused(self) -> None:
        faults: tuple[Any, ...] = (
            [], "x", None, {"first": 1}, {"dow": "mon"}, {**WORK, "tz": None}, {**WORK, "dow": "mon, tue"}, {**WORK, "dow": "monn"},
            {**WORK, "start": "18:00:00"}, {**WORK, "start": "9"}, {**WORK, "start": 9}, {**WORK, "start": "09:00:00+02:00"},
            {**WORK, "start": "09:00Z", "end": "17:00Z"}, {**WORK, "tz": "Europe/Atlantis"}, {**WORK, "tz": "../../etc/passwd"},
            {**WORK, "tz": 5}, {**WORK, "tz": "a\x00b"}, {"first_attempt": "2030-01-01T10:00:00"}, {"first_attempt": "2030-01-01"},
            {"first_attempt": "2023-03-20T17:00:00:00-08:00"}, {"first_attempt": "20300101T000000Z"}, {"first_attempt": 5},
            {"expires": "soon"}, {"expires": "9999-12-31T23:59:59-14:00"}, {"expires": "0001-01-01T00:00:00+14:00"},
        )  # fmt: skip
        for given in faults:
            with self.assertRaises(BadSchedule, msg=repr(given)):
                parse_schedule(given)


class AdjustTests(SynchronousTestCase):
    """Schedule.adjust."""

    def test_not_before_the_first_attempt(self) -> None:
        schedule = Schedule(first_attempt=1000.0)
        self.assertEqual([schedule.adjust(due) for due in (0.0, 999.0, 1000.0, 1001.0)], [1000.0, 1000.0, 1000.0, 1001.0])

    def test_only_in_the_window(self) -> None:
        schedule = parse_schedule(WORK)
        for due, adjusted in (
            ("2024-05-06T08:59:59", "2024-05-06T09:00:00"),  # a Monday
            ("2024-05-06T09:00:00", "2024-05-06T09:00:00"),
            ("2024-05-06T16:59:59", "2024-05-06T16:59:59"),
            ("2024-05-06T17:00:00", "2024-05-07T09:00:00"),
            ("2024-05-10T17:00:00", "2024-05-13T09:00:00"),  # Friday evening: Monday
            ("2024-05-11T12:00:00", "2024-05-13T09:00:00"),
        ):
            self.assertEqual(schedule.adjust(_at(due)), _at(adjusted), due)

    def test_the_first_attempt_moves_into_the_window(self) -> None:
        schedule = parse_schedule({**WORK, "first_attempt": "2024-05-06T20:00:00+02:00"})
        self.assertEqual(schedule.adjust(0.0), _at("2024-05-07T09:00:00"))

    def test_a_day_on_which_the_hour_does_not_exist_is_skipped(self) -> None:
        # In Berlin the clocks went from 2 to 3 on Sunday, 31 March 2024.
        schedule = parse_schedule({"dow": "sat,sun", "tz": "Europe/Berlin", "start": "02:30:00", "end": "04:00:00"})
        self.assertEqual(schedule.adjust(_at("2024-03-30T05:00:00")), _at("2024-04-06T02:30:00"))

    def test_without_constraints_the_time_stays(self) -> None:
        self.assertEqual(Schedule().adjust(12.5), 12.5)

    def test_instants_as_text(self) -> None:
        self.assertEqual(rfc3339_utc(0.9), "1970-01-01T00:00:00Z")
