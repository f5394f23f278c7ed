"""`top`: what it remembers, what a key does, what it draws."""

from typing import Any

from click.testing import CliRunner
from msgspec import structs
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.main import main
from kumotwist.cli.shown_metrics import Metrics
from kumotwist.cli.top import keys
from kumotwist.cli.top_picture import HEAT, HELP, SERIES, View, bars, fits, in_columns, picture, pressed
from kumotwist.cli.top_series import History, busy, grown, in_words, read_sums


def told(delivered: float, scheduled: float = 0, events: tuple[int, int, int] = (0, 0, 0)) -> Metrics:
    """A server that has delivered so much; events: of a histogram, up to 0.1 s, up to 1 s, beyond."""
    first, second, third = events
    histogram = {"count": first + second + third, "sum": 0.05 * first, "avg": 0, "bucket": [[0.1, first], [1.0, first + second]]}
    value: dict[str, Any] = {
        "total_messages_delivered": {"value": {"service": {"smtp_client": delivered, "smtp_client:a->b@smtp_client": delivered}}},
        "scheduled_count_total": {"value": scheduled},
        "memory_usage": {"value": 3 * 1024 * 1024},
        "connection_count": {"value": {"service": {"smtp_client": 4, "esmtp_listener": 9, "esmtp_listener:127.0.0.1:25": 9}}},
        "lua_event_latency": {"type": "histogram", "value": {"event": {"init": histogram}}},
        "thread_pool_size": {"value": {"pool": {"commit": 4}}},
        "thread_pool_parked": {"value": {"pool": {"commit": 3}}},
    }
    return Metrics(value)


class HistoryTests(SynchronousTestCase):
    def test_counters_become_rates_and_gauges_stay(self) -> None:
        history = History()
        for at, metrics in ((10.0, told(100, 7)), (12.0, told(150, 5)), (13.0, told(150, 5))):
            history.add(at, metrics)
        self.assertEqual(history.series("Delivered/s"), [None, 25.0, 0.0])
        self.assertEqual(history.series("Scheduled"), [7, 5, 5])
        self.assertEqual((history.series("Conn Out")[0], history.series("Conn In")[0]), (4, 9))

    def test_a_server_that_was_away_leaves_a_gap_and_begins_anew(self) -> None:
        history = History()
        history.add(1.0, told(100))
        history.missed()
        history.add(3.0, told(6))
        self.assertEqual(history.series("Delivered/s"), [None, None, 3.0])
        self.assertEqual([grown(5, 7), grown(7, 5), grown(5, 5)], [2, 5, 0])

    def test_histograms_become_events_a_second_and_their_mean_time(self) -> None:
        history = History()
        history.add(1.0, told(0, events=(1, 0, 0)))
        history.add(3.0, told(0, events=(5, 1, 1)))
        self.assertEqual(history.series("lua_event_latency init /s")[-1], 3.0)
        self.assertAlmostEqual(history.series("lua_event_latency init avg ms")[-1] or 0, 1000 * 0.2 / 6)
        self.assertEqual(history.heat("lua_event_latency init"), [None, (4, 1, 1)])
        self.assertEqual(read_sums({"count": 0, "sum": 0, "bucket": []}).counts, (0.0,))

    def test_thread_pools_say_how_busy_they_are(self) -> None:
        self.assertEqual(busy(told(0)), {"commit busy %": 25.0})

    def test_values_in_few_characters(self) -> None:
        table: dict[tuple[str, float | None], str] = {
            ("Scheduled", None): "-",
            ("Scheduled", 999_999): "999,999",
            ("Scheduled", 12_345_678): "12.3M",
            ("Delivered/s", 0.25): "0.2",
            ("Memory", 3 * 1024 * 1024): "3.0MiB",
            ("Memory", 10): "10B",
            ("pool busy %", 24.6): "25%",
            ("x avg ms", 1.26): "1.3ms",
        }
        self.assertEqual({asked: in_words(*asked) for asked in table}, table)


class KeyTests(SynchronousTestCase):
    def test_what_a_terminal_sends_is_read_as_keys(self) -> None:
        table = {
            "q": ["q"],
            "\x1b": ["escape"],
            "\x1b[A\x1bOB\x1b[5~": ["up", "down", "pageup"],
            "\x1b[1;5Ax": ["x"],
            "\t\r\x7f\x03": ["tab", "enter", "backspace", "ctrl-c"],
            "\x1b[": [],
        }
        self.assertEqual({typed: list(keys(typed)) for typed in table}, table)

    def test_each_key_changes_the_view(self) -> None:
        view = View(scroll=5, zoom=2)
        table: list[tuple[str, dict[str, Any]]] = [
            ("q", {"leaving": True}),
            ("escape", {"leaving": True}),
            ("ctrl-c", {"leaving": True}),
            ("tab", {"tab": HEAT, "scroll": 0}),
            ("+", {"zoom": 4}),
            ("-", {"zoom": 1}),
            ("down", {"scroll": 6}),
            ("pageup", {"scroll": 0}),
            ("home", {"scroll": 0}),
            ("f", {"typing": True, "scroll": 0}),
            ("x", {}),
        ]
        for key, changes in table:
            self.assertEqual(pressed(view, key, page=10), structs.replace(view, **changes), key)
        self.assertEqual(pressed(View(tab=HELP), "tab", page=10).tab, SERIES)

    def test_a_filter_is_typed(self) -> None:
        view = View()
        for key in ("f", "q", "x", "backspace", "tab", "enter"):
            view = pressed(view, key, page=10)
        self.assertEqual((view.filter, view.typing, view.leaving), ("q", False, False))
        view = pressed(pressed(view, "f", page=10), "escape", page=10)
        self.assertEqual((view.filter, view.leaving), ("", False))

    def test_letters_in_their_order_fit(self) -> None:
        table = {("", "x"): True, ("dls", "Delivered/s"): True, ("sd", "Delivered/s"): False, ("CO", "Conn Out"): True}
        self.assertEqual({pair: fits(*pair) for pair in table}, table)


class PictureTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.history = History()
        for n in range(5):
            self.history.add(float(n), told(n * 10, n, events=(n, 0, n)))

    def lines(self, width: int, height: int, fault: str | None = None, **view: Any) -> list[str]:
        screen = picture(self.history, View(**view), width=width, height=height, server="http://x", fault=fault)
        return [line.plain for line in screen]

    def test_it_fits_every_window(self) -> None:
        for width, height in ((200, 60), (80, 24), (40, 5), (10, 3), (1, 1)):
            for tab in (SERIES, HEAT, HELP):
                lines = self.lines(width, height, tab=tab)
                self.assertEqual(len(lines), height)
                self.assertLessEqual(max(map(len, lines)), width, (width, height, tab))

    def test_the_newest_value_stands_beside_its_name(self) -> None:
        (line,) = [line for line in self.lines(80, 30) if line.endswith("Delivered/s")]
        self.assertEqual(line.split()[-2:], ["10", "Delivered/s"])

    def test_a_fault_is_shown_at_the_bottom(self) -> None:
        self.assertEqual(self.lines(80, 10, fault="nobody answers\nand so on")[-1], "nobody answers")

    def test_lines_below_are_counted_and_can_be_reached(self) -> None:
        self.assertIn("more below", self.lines(80, 8)[-1])
        self.assertNotIn("more below", self.lines(80, 8, scroll=10**6)[-1])

    def test_a_filter_leaves_out_the_others(self) -> None:
        body = [line for line in self.lines(80, 20, filter="delv")[1:-1] if line]
        self.assertEqual([line.split()[-1] for line in body], ["Delivered/s"])

    def test_heat_maps_have_a_row_for_each_bucket_with_events(self) -> None:
        lines = self.lines(80, 20, tab=HEAT)
        self.assertEqual(lines[1], "lua_event_latency init")
        self.assertEqual([line.split()[-1] for line in lines[2:4]], ["more", "0.1"])

    def test_bars_are_as_high_as_their_share_and_gaps_stay_empty(self) -> None:
        self.assertEqual(bars([0, 1, 8, None, 4], 1, 6), "  ▁█ ▄")
        self.assertEqual(bars([8, 8, 4, 4], 2, 2), "█▄")
        self.assertEqual(bars([], 1, 3), "   ")

    def test_columns_do_not_flicker_as_time_goes_on(self) -> None:
        self.assertEqual(in_columns([1, 2, 3, 4, 5], 2, 2), [[3, 4], [5]])
        self.assertEqual(in_columns([1, 2, 3, 4, 5, 6], 2, 2), [[3, 4], [5, 6]])
        self.assertEqual(in_columns([1], 1, 0), [])


class CommandTests(SynchronousTestCase):
    def test_it_needs_a_terminal(self) -> None:
        result = CliRunner().invoke(main, ["top"])
        self.assertEqual((result.exit_code, "top needs a terminal" in result.stderr), (2, True))
