"""A real Prometheus scrapes a server, and its answers are what the log says."""

import json
import re
import subprocess
from collections import Counter
from functools import partial
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

from tests.metrics.served import ServedTestCase, text_of
from tests.peers.support import Running, free_port, program, wait_until

PROMETHEUS_HOST = "127.0.0.1"  # the server tells its metrics to this address only
# What promtool would have otherwise, and is as it is since the model names its metrics so.
_THE_MODELS_NAMES = re.compile(r'should have "_total" suffix$|should not have "_(count|sum|total|bucket)" suffix$')
_OURS = re.compile(r"(group_commit|hook_busy|loop_lag|log_hook|dns_lookups|stranded|metrics_)")


class Prometheus(Running):
    """It scrapes one server each second."""

    def __init__(self, place: Path, target: str) -> None:
        self.port = free_port(PROMETHEUS_HOST)
        (place / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            "scrape_configs:\n"
            "  - job_name: kumotwist\n"
            f'    static_configs: [{{targets: ["{target}"]}}]\n',
            "utf-8",
        )
        argv = [program("prometheus", "prometheus"), f"--config.file={place / 'prometheus.yml'}"]
        argv += [f"--storage.tsdb.path={place / 'tsdb'}", f"--web.listen-address={PROMETHEUS_HOST}:{self.port}"]
        super().__init__(place, "prometheus", argv)

    def start(self) -> None:
        super().start()
        self.hear("Server is ready to receive web requests")

    def ask(self, query: str) -> dict[str, float]:
        """The answer to a query: the value by the labels' values."""
        with urlopen(f"http://{PROMETHEUS_HOST}:{self.port}/api/v1/query?query={quote(query)}") as answer:
            found = json.load(answer)["data"]["result"]
        return {" ".join(one["metric"].values()): float(one["value"][1]) for one in found}


class PrometheusTests(ServedTestCase):
    def test_what_prometheus_has_scraped_is_what_the_log_says(self) -> None:
        program("prometheus", "prometheus")
        server, base = self.seen()
        prometheus = self.started(Prometheus(self.place, base.removeprefix("http://")))
        wait_until(lambda: prometheus.ask("up").values() and set(prometheus.ask("up").values()) == {1.0}, "the target is up")
        log = Counter(record["type"] for record in server.records())
        wanted = {
            'total_messages_received{service="esmtp_listener"}': log["Reception"],
            'total_messages_delivered{service="smtp_client"}': log["Delivery"],
            'total_messages_transfail{service="smtp_client"}': log["TransientFailure"],
            'total_messages_fail{service="smtp_client"}': log["Bounce"],
            "scheduled_count_total": log["TransientFailure"],
            'lua_event_started{event="smtp_server_message_received"}': log["Reception"],
        }
        for query, count in wanted.items():
            with self.subTest(query):
                self.assertGreater(count, 0)
                wait_until(partial(prometheus.ask, f"{query} > 0"), f"{query} was scraped")
                self.assertEqual(list(prometheus.ask(f"sum({query})").values()), [count])
        self.assertEqual(list(prometheus.ask("scheduled_by_tenant").values()), [log["TransientFailure"]])

    def test_promtool_minds_nothing_but_the_models_names(self) -> None:
        promtool = program("promtool", "prometheus")
        _, base = self.seen()
        checked = subprocess.run([promtool, "check", "metrics"], input=text_of(base), text=True, capture_output=True, timeout=60)
        said = (checked.stdout + checked.stderr).splitlines()
        self.assertEqual([line for line in said if not _THE_MODELS_NAMES.search(line) or _OURS.match(line)], [])
