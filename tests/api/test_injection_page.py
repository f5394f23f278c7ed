"""docs/injection.md: its commands, run against a server that has its policies, answer what it says."""

import json
import re
import shlex
import subprocess
from pathlib import Path

from tests.api.support import HttpServer, HttpTestCase
from tests.peers.evidence import records_in
from tests.peers.support import program, wait_until

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "injection.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^    (curl .*)$", PAGE, re.MULTILINE)
REQUEST, ANSWER = [text for kind, text in BLOCKS if kind == "json"]
POLICY = "\n".join(text for kind, text in BLOCKS if kind == "python")


class InjectionPageTests(HttpTestCase):
    def run_command(self, server: HttpServer, command: str, *options: str) -> tuple[int, str]:
        """The status and what it answers."""
        words = shlex.split(command.replace("http://127.0.0.1:8000", server.base))
        self.assertIn(f"{server.base}/api/inject/v1", words)
        given = [program("curl", "curl"), "-s", "-m", "30", "-w", "\n%{http_code}", *options, *words[1:]]
        done = subprocess.run(given, cwd=self.place, capture_output=True, timeout=60, check=True)
        said, _, code = done.stdout.decode().rpartition("\n")
        return int(code), said

    def receptions(self) -> list[str]:
        return sorted(str(one["recipient"]) for one in records_in(self.place / "log") if one["type"] == "Reception")

    def test_the_commands_of_the_page(self) -> None:
        (self.place / "message.json").write_text(REQUEST, "utf-8")
        (self.place / "page.py").write_text(POLICY, "utf-8")
        server = self.serve(policy="page.py")
        plain, keyed = COMMANDS
        self.assertIn("Idempotency-Key", keyed)
        found = [self.run_command(server, command) for command in (plain, keyed, keyed)]
        self.assertEqual([(code, json.loads(said)) for code, said in found], [(200, json.loads(ANSWER))] * 3)
        self.assertEqual(self.run_command(server, plain, "-u", "daniel:tiger")[0], 200)
        self.assertEqual(self.run_command(server, plain, "-u", "daniel:lion")[0], 401)
        (self.place / "message.json").write_text(REQUEST.replace("Your code", "Another"), "utf-8")
        self.assertEqual(self.run_command(server, keyed)[0], 422)
        wanted = sorted(["anna@receiver.example", "bert@receiver.example"] * 3)
        wait_until(lambda: self.receptions() == wanted, "each was sent to three times, not four")
