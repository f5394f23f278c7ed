"""Which records fit."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.logs.read import Entry, read_entry
from kumotwist.logs.selection import Selection, event_seconds

ONE = Entry(
    type="Delivery",
    id="d7ef132b5d7711eea8c8000c29c33806",
    sender="News@Shop.example",
    recipient="Ann@mail.gmail.com",
    queue="welcome:shop@gmail.com",
    site="ip-1->(alt1|alt2)?.gmail-smtp-in.l.google.com@smtp_client",
    timestamp=1_785_844_800,
    event_time="2026-08-04T12:00:00.500000Z",
)
MANY = Entry(type="Bounce", sender="", recipient=["a@x.example", "b@y.example"], queue="x.example")
NOON = 1_785_844_800.0


class SelectionTests(SynchronousTestCase):
    def test_each_condition(self) -> None:
        table: list[tuple[dict[str, object], bool, bool]] = [
            ({}, True, True),
            ({"types": frozenset({"Delivery"})}, True, False),
            ({"types": frozenset({"Bounce", "Expiration"})}, False, True),
            ({"recipient": "ann@mail.gmail.com"}, True, False),
            ({"recipient": "ANN@MAIL.GMAIL.COM"}, True, False),
            ({"recipient": "mail.gmail.com"}, True, False),
            ({"recipient": "gmail.com"}, False, False),
            ({"recipient": "*.gmail.com"}, True, False),
            ({"recipient": "?.example"}, False, True),
            ({"recipient": "y.example"}, False, True),
            ({"recipient": "b@*"}, False, True),
            ({"recipient": "*"}, True, True),
            ({"sender": "shop.example"}, True, False),
            ({"sender": "news@*"}, True, False),
            ({"sender": "<>"}, False, True),
            ({"queue": "welcome:shop@gmail.com"}, True, False),
            ({"queue": "*@gmail.com"}, True, False),
            ({"queue": "x.example"}, False, True),
            ({"queue": "X.example"}, False, False),
            ({"site": "ip-1->*"}, True, False),
            ({"site": ONE.site}, True, False),
            ({"id": "d7ef132b5d7711eea8c8000c29c33806"}, True, False),
            ({"id": "d7ef*"}, True, False),
            ({"id": "d7ef"}, False, False),
            ({"types": frozenset({"Delivery"}), "recipient": "y.example"}, False, False),
        ]
        for conditions, one, many in table:
            chosen = Selection(**conditions)  # type: ignore[arg-type]
            self.assertEqual((chosen.wants(ONE), chosen.wants(MANY)), (one, many), conditions)

    def test_times_include_the_first_moment_and_exclude_the_last(self) -> None:
        for since, until, fits in (
            (NOON + 0.5, None, True),
            (NOON + 0.6, None, False),
            (None, NOON + 0.5, False),
            (None, NOON + 0.6, True),
            (NOON, NOON + 1, True),
            (NOON + 1, NOON, False),
        ):
            self.assertEqual(Selection(since=since, until=until).wants(ONE), fits, (since, until))

    def test_the_whole_second_counts_where_the_exact_time_cannot_be_read(self) -> None:
        for text in ("", "yesterday", "2026-08-04T12:00:00"):
            self.assertEqual(event_seconds(Entry(type="X", timestamp=7, event_time=text)), 7.0)
        self.assertEqual(event_seconds(ONE), NOON + 0.5)
        nanoseconds = Entry(type="X", event_time="2026-08-04T12:00:00.123456789Z")
        self.assertAlmostEqual(event_seconds(nanoseconds), NOON + 0.123456, places=5)


class AboutTests(SynchronousTestCase):
    """Reports that came in later belong to the history of the message that they are about."""

    def test_a_report_is_found_by_the_id_of_its_original(self) -> None:
        table = {
            b'{"type":"OOB","id":"b","meta":{"original_id":"a"}}': True,
            b'{"type":"OOB","id":"b","meta":{"original_id":"c"}}': False,
            b'{"type":"OOB","id":"b","meta":{"original_id":["a"]}}': False,
            b'{"type":"Bounce","id":"a","meta":{}}': True,
            b'{"type":"Bounce","id":"b"}': False,
        }
        for line, wanted in table.items():
            entry = read_entry(line)
            assert entry is not None
            self.assertEqual(Selection(id="a").wants(entry), wanted, line)
