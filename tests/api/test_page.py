"""The API's page and its table of endpoints say the same."""

import re
from pathlib import Path

from tests.api.operated import OperatedCase

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
ELSEWHERE = ("/metrics", "/openapi.json", "/api-docs/openapi.json", "/api/inject/v1", "/")  # told on other pages


class PageTests(OperatedCase):
    def test_the_page_names_each_path_of_the_administration_and_no_other(self) -> None:
        server = self.operated('"[127.0.0.9]:9"')
        described = set(server.ask("GET", "../../openapi.json")["paths"])
        named = set(re.findall(r"(/api/[\w/_-]+)", PAGE.read_text("utf-8")))
        self.assertEqual(named - described, set())
        administration = {path for path in described if path.startswith("/api/") and path not in ELSEWHERE}
        others = {path for path in administration if any(word in path for word in ("suppression", "audit", "tsa", "metrics"))}
        self.assertEqual(administration - named - others, set())
