"""A server of the HTTP API for tests of its clients: in this process, in a thread, answering what the test says."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import msgspec
from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.main import main


class FakeApi(ThreadingHTTPServer):
    """answers: by method and path without its query, a status and a body.  asked: method, path, JSON; fields: of the last one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.answers: dict[tuple[str, str], tuple[int, bytes]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.fields: dict[str, str] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def say(self, method: str, path: str, answer: Any, code: int = 200) -> None:
        """answer: octets as they are; else it becomes JSON."""
        self.answers[method, path] = code, answer if isinstance(answer, bytes) else msgspec.json.encode(answer)


class _Answering(BaseHTTPRequestHandler):
    server: FakeApi

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.fields = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, msgspec.json.decode(body) if body else None))
        nothing = 404, msgspec.json.encode({"error": f"there is nothing at {self.path.partition('?')[0]}"})
        code, answer = self.server.answers.get((self.command, self.path.partition("?")[0]), nothing)
        self.send_response(code)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815  the standard library's names

    def log_message(self, format: str, *args: Any) -> None:
        """Tests say what went wrong themselves."""


class ClientTestCase(SynchronousTestCase):
    """Commands against a fake server."""

    maxDiff = None

    def setUp(self) -> None:
        self.api = FakeApi()
        self.addCleanup(self.api.server_close)
        thread = Thread(target=self.api.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 10)
        self.addCleanup(self.api.shutdown)

    def run_with(self, *arguments: str, typed: str | None = None, env: dict[str, str | None] | None = None) -> Result:
        """What a command says and how it ends."""
        chosen = {"KUMOTWIST_ENDPOINT": self.api.endpoint, "KUMOTWIST_USER": None, "KUMOTWIST_PASSWORD": None, **(env or {})}
        return CliRunner().invoke(main, arguments, input=typed, env=chosen, prog_name="kumotwist")

    def run_well(self, *arguments: str) -> str:
        """What a command prints that must end with 0."""
        result = self.run_with(*arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.stdout
