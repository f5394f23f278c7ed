"""Summaries as tables: metrics and orders in, lines out."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.columns import columns, fitted
from kumotwist.cli.queues import screenful
from kumotwist.cli.shown_metrics import Metrics
from kumotwist.cli.summary import (
    natural,
    provider_lines,
    provider_rows,
    ready_lines,
    ready_parts,
    ready_rows,
    scheduled_lines,
    scheduled_rows,
    sorted_ready,
    sorted_scheduled,
)

PATH = "ip-1->site2.example@smtp_client"
OTHER = "ip-1->site10.example@smtp_client"


def one_label(label: str, **values: float) -> dict[str, Any]:
    return {"type": "gauge", "value": {label: values}}


TOLD: dict[str, Any] = {
    "total_messages_delivered": one_label("service", **{"smtp_client": 1500, f"smtp_client:{PATH}": 1500}),
    "total_messages_transfail": one_label("service", **{f"smtp_client:{OTHER}": 3}),
    "connection_count": one_label("service", **{f"smtp_client:{PATH}": 2, "esmtp_listener:127.0.0.1:25": 7}),
    "ready_count": one_label("service", **{f"smtp_client:{PATH}": 10, f"smtp_client:{OTHER}": 11}),
    "scheduled_count": one_label("queue", **{"b.example": 12345, "t@a.example": 1}),
    "total_messages_delivered_by_provider": one_label("provider", Big=10, small=2),
    "total_messages_fail_by_provider": one_label("provider", small=1),
    "queued_count_by_provider": one_label("provider", small=100),
    "total_messages_delivered_by_provider_and_source": {
        "value": [
            {"provider": "Big", "source": "a", "pool": "p", "@": 4},
            {"provider": "Big", "source": "b", "pool": "p", "@": 6},
        ]
    },
    "connection_count_by_provider_and_pool": {"value": [{"provider": "Big", "pool": "q", "@": 5}]},
}


class RowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics = Metrics(TOLD)

    def test_services_that_are_ready_queues_are_taken_apart(self) -> None:
        table = {
            f"smtp_client:{PATH}": (PATH, "ip-1", "site2.example", "smtp_client"),
            "lua:ip-1->a@b@lua:make": ("ip-1->a@b@lua:make", "ip-1", "a@b", "lua:make"),
            "smtp_client": None,
            "esmtp_listener:127.0.0.1:25": None,
        }
        self.assertEqual({service: ready_parts(service) for service in table}, table)

    def test_ready_queues_have_their_numbers_and_what_keeps_them(self) -> None:
        states = {PATH: {"connection_limited": {"context": "limit is 2", "since": "noon"}}}
        rows = ready_rows(self.metrics, [{"name": PATH, "reason": "a visit"}], states)
        lines = ready_lines(sorted_ready(rows, by_volume=False, limit=None), None)
        self.assertEqual(
            lines,
            [
                "SITE           SOURCE PROTO           D T C  Q",
                "site2.example  ip-1   smtp_client 1,500 0 2 10 \U0001f6d1 suspend: a visit, connection_limited: limit is 2 @ noon",
                "site10.example ip-1   smtp_client     0 3 0 11",
            ],
        )
        self.assertEqual([row.queued for row in sorted_ready(rows, by_volume=True, limit=1)], [11])

    def test_scheduled_queues_have_the_orders_about_them(self) -> None:
        suspensions: list[dict[str, Any]] = [{"reason": "s", "tenant": "t"}, {"reason": "else", "queue_names": ["c.example"]}]
        rows = scheduled_rows(self.metrics, suspensions, [{"reason": "b"}])
        self.assertEqual(
            scheduled_lines(sorted_scheduled(rows, by_volume=True, limit=None), None),
            [
                "SCHEDULED QUEUE  COUNT",
                "b.example       12,345 \U0001f5d1 bounce: b",
                "t@a.example          1 \U0001f5d1 bounce: b, \U0001f6d1 suspend: s",
            ],
        )
        self.assertEqual([row.name for row in sorted_scheduled(rows, by_volume=False, limit=1)], ["b.example"])

    def test_providers_are_ordered_by_all_that_they_have(self) -> None:
        lines = provider_lines(
            provider_rows(self.metrics, by_pool=False), None, by_pool=False, domains={"small": {"a10.x", "a2.x"}}
        )
        self.assertEqual(lines, ["PROVIDER  D T F C   Q DOMAINS", "small     2 0 1 0 100 a2.x, a10.x", "Big      10 0 0 0   0"])

    def test_sources_of_a_pool_are_added_up(self) -> None:
        rows = provider_rows(self.metrics, by_pool=True)
        self.assertEqual(
            [(row.provider, row.pool, row.delivered, row.connections) for row in rows], [("Big", "p", 10, 0), ("Big", "q", 0, 5)]
        )

    def test_no_metrics_at_all_are_empty_tables(self) -> None:
        none = Metrics({})
        self.assertEqual((ready_rows(none, [], {}), scheduled_rows(none, [], []), provider_rows(none, by_pool=True)), ([], [], []))
        self.assertEqual((none.number("x"), none.by("x", "y"), none.rows("x"), list(none.histograms())), (0.0, {}, [], []))

    def test_names_with_numbers_are_sorted_as_people_do(self) -> None:
        self.assertEqual(sorted(["mx10", "mx2", "Mx1", "2", "a"], key=natural), ["2", "a", "Mx1", "mx2", "mx10"])


class ColumnTests(SynchronousTestCase):
    def test_what_is_too_wide_is_taken_from_the_widest_columns_but_never_from_numbers(self) -> None:
        table: list[tuple[list[int], int, set[int], list[int]]] = [
            ([10, 5], 80, set(), [10, 5]),
            ([60, 5], 40, set(), [34, 5]),
            ([60, 50], 81, set(), [40, 40]),
            ([60, 50], 40, {0}, [60, 8]),
            ([60, 60], 10, {0, 1}, [60, 60]),
        ]
        for widths, width, keep, expected in table:
            self.assertEqual(fitted(widths, width, keep), expected)

    def test_cut_cells_end_with_an_ellipsis_and_wide_characters_count_twice(self) -> None:
        lines = columns(("A", "N"), [("x" * 40, "1"), ("\u90f5" * 20, "22")], right={1}, width=20)
        self.assertEqual(lines[1], "x" * 16 + "\u2026  1")
        self.assertEqual(lines[2][:8], "\u90f5" * 8)

    def test_an_id_is_whole_in_every_terminal(self) -> None:
        lines = columns(("ID", "REASON"), [("x" * 36, "because " * 9)], keep={0}, width=60)
        self.assertEqual((lines[1][:36], len(lines[1])), ("x" * 36, 60))

    def test_without_a_terminal_nothing_is_cut(self) -> None:
        self.assertEqual(columns(("A",), [("x" * 500,)]), ["A", "x" * 500])

    def test_a_watched_screen_never_scrolls(self) -> None:
        screen = screenful([f"line {n}" for n in range(50)], 10, 5)
        self.assertEqual(screen.count("\n"), 4)
        self.assertIn("... and 4\u2026", screen)
