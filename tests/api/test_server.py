"""A whole server, asked by real clients: curl, Python's requests, treq."""

import gzip
import json
import signal
import subprocess
from typing import Any

import requests
import treq
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.api.support import HttpServer, HttpTestCase
from tests.peers.evidence import records_in
from tests.peers.support import program, wait_until

ASKED = {
    "envelope_sender": "a@sender.example",
    "recipients": [{"email": "bob@example.org", "name": "Böb"}],
    "content": {"text_body": "Hi {{ name }}", "subject": "Grüße", "from": {"email": "a@sender.example"}},
}


class ServerTests(HttpTestCase):
    def inject(self, server: HttpServer, headers: dict[str, str] | None = None, **more: Any) -> requests.Response:
        return requests.post(f"{server.base}/api/inject/v1", json=ASKED | more, headers=headers, timeout=30)

    def receptions(self, server: HttpServer) -> list[str]:
        return sorted(str(one["recipient"]) for one in records_in(self.place / "log") if one["type"] == "Reception")

    def test_requests_injects_and_each_recipient_is_reported(self) -> None:
        server = self.serve()
        answer = self.inject(server, recipients=[{"email": one} for one in ("bob@example.org", "refused@example.org", "bad")])
        self.assertEqual((answer.status_code, answer.json()["success_count"]), (200, 1))
        self.assertEqual(answer.json()["failed_recipients"], ["refused@example.org", "bad"])
        wait_until(lambda: self.receptions(server) == ["bob@example.org"], "the reception is logged")
        self.ask_wrongly(server)
        self.pack(server)
        server.signal(signal.SIGTERM)
        self.assertIn(server.wait(), (0, -signal.SIGTERM))
        self.assertNotIn("tigre", server.said())
        self.assertNotIn("Traceback", server.said())

    def ask_wrongly(self, server: HttpServer) -> None:
        """A client's mistake is never a 500, and always an error in JSON."""
        url = f"{server.base}/api/inject/v1"
        kind = {"Content-Type": "application/json"}
        table: list[tuple[int, dict[str, Any]]] = [
            (400, {"data": b"{", "headers": kind}),
            (400, {"data": b'{"envelope_sender": "\xff"}', "headers": kind}),
            (400, {"data": b"{}", "headers": kind | {"Authorization": "Digest x"}}),
            (400, {"data": b"x", "headers": kind | {"Content-Encoding": "gzip"}}),
            (401, {"data": b"{}", "headers": kind, "auth": ("daniel", "tigre")}),
            (413, {"data": b" " * 3_000_000, "headers": kind}),
            (413, {"data": gzip.compress(b" " * 3_000_000), "headers": kind | {"Content-Encoding": "gzip"}}),
            (415, {"data": b"a=1", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}),
            (415, {"data": b"{}", "headers": kind | {"Content-Encoding": "br"}}),
            (422, {"data": b"{}", "headers": kind}),
            (422, {"data": b"[" * 100_000, "headers": kind}),
            (422, {"json": ASKED | {"envelope_sender": "nonsense"}}),
            (422, {"json": ASKED | {"content": "Subject: {{\n\n"}}),
            (422, {"json": ASKED | {"template_dialect": "Handlebars"}}),
        ]
        for code, given in table:
            answer = requests.post(url, timeout=30, **given)
            shown = {key: str(value)[:60] for key, value in given.items()}
            self.assertEqual((answer.status_code, list(answer.json())), (code, ["error"]), shown)

    def pack(self, server: HttpServer) -> None:
        """Many requests over one connection, packed."""
        with requests.Session() as session:
            for _ in range(5):
                body = gzip.compress(json.dumps(ASKED).encode())
                headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
                answer = session.post(
                    f"{server.base}/api/inject/v1", data=body, headers=headers, auth=("daniel", "tiger"), timeout=30
                )
                self.assertEqual(answer.json()["success_count"], 1)
        self.assertEqual(requests.get(f"{server.base}/api/check-liveness/v1", timeout=30).text, "OK")
        self.assertEqual(requests.get(f"{server.base}/api/machine-info", timeout=30).json()["process_kind"], "kumod")
        self.assertEqual(requests.post(f"{server.base}/api/admin/bump-config-epoch", timeout=30).status_code, 200)
        self.assertIn("/api/inject/v1", requests.get(f"{server.base}/openapi.json", timeout=30).json()["paths"])

    def test_curl_injects_over_tls_and_strangers_get_nothing_but_liveness(self) -> None:
        curl = program("curl", "curl")
        server = self.serve(http_listeners=[{"listen": "127.0.0.1:0", "use_tls": True, "trusted_hosts": []}])

        def ask(path: str, *options: str) -> str:
            done = subprocess.run(
                [curl, "-sk", "-m", "30", "-w", " %{http_code}", *options, server.base + path], capture_output=True, timeout=60
            )
            return done.stdout.decode()

        inject = ("-H", "Content-Type: application/json", "-d", json.dumps(ASKED))
        self.assertEqual(ask("/api/check-liveness/v1"), "OK 200")
        for path in ("/", "/metrics", "/openapi.json", "/api/machine-info", "/api/admin/bounce/v1", "/nonsense"):
            self.assertTrue(ask(path).endswith(" 401"), path)
        self.assertTrue(ask("/api/inject/v1", *inject).endswith(" 401"))
        self.assertTrue(ask("/api/inject/v1", *inject, "-u", "daniel:tiger").endswith(" 200"))
        self.assertTrue(ask("/api/admin/bounce/v1", "-u", "daniel:tiger").endswith(" 401"))

    def test_a_key_and_a_deferred_request_outlive_kill_9(self) -> None:
        server = self.serve()
        first = self.inject(server, {"Idempotency-Key": "k-1"})
        later = [{"email": f"r{n}@example.org"} for n in range(200)]
        self.assertEqual(self.inject(server, deferred_generation=True, recipients=later).json()["success_count"], 0)
        server.kill()
        server.start()
        server.listening()
        self.assertEqual(self.inject(server, {"Idempotency-Key": "k-1"}).json(), first.json())
        wanted = sorted(["", "bob@example.org", *(one["email"] for one in later)])
        wait_until(lambda: len(self.receptions(server)) >= len(wanted), "all are generated")
        self.assertEqual(self.receptions(server), wanted)


class TreqTests(TestCase):
    """treq runs on the reactor, the server beside it."""

    def test_treq_injects(self) -> "Deferred[None]":
        around = ServerTests("test_requests_injects_and_each_recipient_is_reported")
        around.setUp()
        self.addCleanup(around.doCleanups)
        server = around.serve()

        async def ask() -> None:
            answer = await treq.post(f"{server.base}/api/inject/v1", json=ASKED, persistent=False)
            self.assertEqual((await answer.json())["success_count"], 1)

        return Deferred.fromCoroutine(ask())
