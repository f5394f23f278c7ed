"""Log records sent to a web server: by a hook as data, and by the policy, whose records are messages."""

import json
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.examples.support import ExampleTestCase, send
from tests.peers.support import wait_until


class Collector(BaseHTTPRequestHandler):
    """Keeps the records; refuses the first request that it gets."""

    records: list[dict[str, Any]] = []
    refused = 0

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        first = not Collector.refused
        Collector.refused = 1
        if not first:
            self.records.extend(told if isinstance(told, list) else [told])
        self.send_response(503 if first else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test's output is not its log."""


class LogRecordTests(ExampleTestCase):
    def told(self, recipient: str) -> list[dict[str, Any]]:
        return [one for one in Collector.records if one["recipient"] == recipient]

    def test_what_became_of_messages_arrives_also_after_a_refusal(self) -> None:
        web = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
        self.addCleanup(web.server_close)
        self.addCleanup(web.shutdown)
        Thread(target=web.serve_forever, daemon=True).start()
        here = {"127.0.0.1:8080": f"127.0.0.1:{web.server_port}", '"1 minute"': '"1 second"'}
        servers = self.start_both("log-records", here)
        for server in servers:
            Collector.records.clear()
            Collector.refused = 0
            delivered = send(server, X_Tenant="shop")
            self.arrived(delivered)
            refused = send(server, local="nosuchuser")
            [one] = wait_until(partial(self.told, delivered.recipient), f"{server.shown}: the delivery")
            self.assertEqual((one["type"], one["meta"]["tenant"]), ("Delivery", "shop"))
            self.assertEqual(len(one["record_id"]), 32)
            [one] = wait_until(partial(self.told, refused.recipient), f"{server.shown}: the bounce")
            self.assertEqual((one["type"], one["response"]["code"]), ("Bounce", 550))
            self.assertEqual({one["type"] for one in Collector.records}, {"Delivery", "Bounce"})
        self.end(servers)
