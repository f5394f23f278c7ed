"""Requests that nobody thought of, made from our own description and from KumoMTA's: never a 500, never out of the schema."""

import json
import os
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance
from twisted.trial.unittest import SkipTest

from tests.api.support import HttpTestCase

EXAMPLES = int(os.environ.get("KUMOTWIST_SCHEMATHESIS_EXAMPLES", "5"))
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "kumod.openapi.json"


class DescriptionTests(HttpTestCase):
    def run_on(self, schema: Any, base: str, paths: tuple[str, ...] = ()) -> int:
        """How many operations were tried."""
        count = 0
        for found in schema.get_all_operations():
            operation = found.ok()
            if paths and operation.path not in paths:
                continue
            count += 1
            strategy = operation.as_strategy()

            @settings(
                max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
            )
            @given(case=strategy)
            def ask(case: Any) -> None:
                case.headers.pop("Authorization", None)  # what it makes up is wrong, and who guesses waits
                response = case.call(base_url=base, timeout=30)
                case.validate_response(response, checks=self.checks)

            ask()
        return count

    checks: Any = ()

    def test_our_own_description(self) -> None:
        self.checks = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
        server = self.serve()
        schema = schemathesis.openapi.from_url(f"{server.base}/openapi.json")
        paths = tuple(schema.raw_schema["paths"])
        self.assertIn("/api/inject/v1", paths)
        self.assertGreaterEqual(self.run_on(schema, server.base), len(paths) - 1)  # it leaves out where the description is
        self.assertNotIn("Traceback", server.said())

    def test_kumomtas_description(self) -> None:
        if not SHARED.is_file():
            raise SkipTest("KumoMTA's description is not beside this checkout")
        self.checks = (not_a_server_error, response_schema_conformance)
        server = self.serve()
        description = json.loads(SHARED.read_text("utf-8"))
        for path in ("suspend", "suspend-ready-q"):
            # It draws one object where the model answers a list of them.
            answer = description["paths"][f"/api/admin/{path}/v1"]["get"]["responses"]["200"]["content"]["application/json"]
            answer["schema"] = {"type": "array", "items": answer["schema"]}
        schema = schemathesis.openapi.from_dict(description)
        paths = tuple(path for path in description["paths"] if "trace-smtp" not in path)  # those are WebSockets
        self.assertEqual(self.run_on(schema, server.base, paths), sum(len(description["paths"][path]) for path in paths))
        self.assertNotIn("Traceback", server.said())
