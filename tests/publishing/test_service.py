"""All hooks together: what they tell the metrics."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.publishing.publisher import Progress
from kumotwist.publishing.service import Publishing
from tests.support.memory import InstantSpool


class Fared(Publishing):
    """Hooks that have fared so."""

    fared = {"crm": Progress(sent=7, dropped=1, failures=3, fault="503", unread=900), "file": Progress(sent=9)}
    progress: Any = fared


class MeasuresTests(SynchronousTestCase):
    def test_each_hook_tells_its_lag_and_what_became_of_its_records(self) -> None:
        nobody: Any = None
        hooks = Fared(
            Clock(),
            InstantSpool(),  # type: ignore[arg-type]
            in_thread=nobody,
            draw=lambda: 0.0,
            policy=nobody,
            ask_policy=nobody,
            adopt=nobody,
            message_id=nobody,
        )
        told = {family.name: dict(family.samples) for family in hooks.measures()}
        self.assertEqual(
            told,
            {
                "log_hook_lag_octets": {("crm",): 900, ("file",): 0},
                "log_hook_sent_total": {("crm",): 7, ("file",): 9},
                "log_hook_dropped_total": {("crm",): 1, ("file",): 0},
                "log_hook_failures_total": {("crm",): 3, ("file",): 0},
                "log_hook_failing": {("crm",): 1.0, ("file",): 0.0},
            },
        )
