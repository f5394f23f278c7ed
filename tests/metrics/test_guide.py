"""docs/metrics.md has every metric that a running server tells, as it tells it; the dashboard asks for no other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.metrics.served import ServedTestCase, text_of

PROJECT = Path(__file__).resolve().parent.parent.parent
_ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([\w, ]*) \| (.+) \|$", re.MULTILINE)
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? \S+$")
_OF_A_HISTOGRAM = re.compile(r"_(bucket|sum|count)\Z")

# These are told only where there is something to tell, which this server has not seen.
ONLY_SOMETIMES = frozenset(
    {
        "connection_count_by_provider",
        "connection_count_by_provider_and_pool",
        "delayed_due_to_message_rate_throttle",
        "delayed_due_to_ready_queue_full",
        "delayed_due_to_throttle_insert_ready",
        "dispatcher_watchdog_aborted_total",
        "egress_source_connection_failures_total",
        "egress_source_health_suspended",
        "log_hook_dropped_total",
        "log_hook_failing",
        "log_hook_failures_total",
        "log_hook_lag_octets",
        "log_hook_sent_total",
    }
)


def described() -> dict[str, tuple[str, str, str]]:
    """Name → type, labels, meaning."""
    page = (PROJECT / "docs" / "metrics.md").read_text("utf-8")
    return {name: (kind, labels, meaning) for name, kind, labels, meaning in _ROW.findall(page)}


def shown(text: str) -> dict[str, tuple[str, str, str]]:
    """The same of what a server tells."""
    found: dict[str, tuple[str, str, str]] = {}
    name = meaning = kind = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, meaning = line.split(" ", 3)
        elif line.startswith("# TYPE "):
            kind = line.split(" ")[3]
        else:
            sample = _SAMPLE.match(line)
            assert sample is not None, line
            labels = set(re.findall(r'(\w+)="', sample[2] or "")) - {"le"}
            found[name] = (kind, ", ".join(sorted(labels)), meaning)
    return found


def queries(part: Any) -> Iterator[str]:
    """All that a dashboard asks."""
    if isinstance(part, dict):
        yield from (value for key, value in part.items() if key in ("expr", "query") and isinstance(value, str))
        for value in part.values():
            yield from queries(value)
    elif isinstance(part, list):
        for value in part:
            yield from queries(value)


class GuideTests(ServedTestCase):
    def test_the_page_has_what_a_server_tells_and_nothing_else(self) -> None:
        told, page = shown(text_of(self.seen(40)[1])), described()
        for name in told.keys() | (page.keys() - ONLY_SOMETIMES):
            self.assertEqual(told.get(name), page.get(name), name)

    def test_what_is_told_only_sometimes_stands_on_the_page(self) -> None:
        self.assertEqual(ONLY_SOMETIMES - described().keys(), set())


class DashboardTests(ServedTestCase):
    def test_every_metric_that_the_dashboard_asks_for_exists(self) -> None:
        page = described()
        asked = list(queries(json.loads((PROJECT / "conf" / "grafana" / "kumotwist.json").read_text("utf-8"))))
        names = {name for query in asked for name in re.findall(r"\b([a-z]+(?:_[a-z]+)+)\b(?=\{|, instance\))", query)}
        self.assertGreater(len(names), 20)
        unknown = {one for one in names if one not in page and page.get(_OF_A_HISTOGRAM.sub("", one), ("",))[0] != "histogram"}
        self.assertEqual(unknown, set())

    def test_each_panel_asks_for_something(self) -> None:
        dashboard = json.loads((PROJECT / "conf" / "grafana" / "kumotwist.json").read_text("utf-8"))
        for panel in dashboard["panels"]:
            self.assertTrue(panel["targets"], panel["title"])
