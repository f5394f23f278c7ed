"""What this version knows and cannot do yet is refused by its name, wherever it stands; nothing of it is silently ignored."""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.trial.unittest import SkipTest

from kumotwist.config import reading
from kumotwist.config.awaited import AWAITED
from kumotwist.config.dkim import DkimBase
from kumotwist.config.egress import EgressSource, PathSettings
from kumotwist.config.listeners import ListenerDomain, ListenerSettings
from kumotwist.config.queues import QueueSettings, TenantSettings
from kumotwist.config.server import Config, LogSettings, RecordSettings, SpoolSettings
from tests.config.files import ConfigTestCase
from tests.config.test_shaping import SHARED

# Whose parameter → the configurations that name it, one for each place where it may stand.
PLACES: Mapping[Any, tuple[Callable[[str], str], ...]] = {
    Config: (lambda key: f"{key}: x",),
    SpoolSettings: (lambda key: f"spool: {{{key}: x}}",),
    LogSettings: (lambda key: f"logs: {{{key}: x}}",),
    DkimBase: (lambda key: f"dkim: {{base: {{{key}: x}}}}",),
    RecordSettings: (lambda key: f"logs: {{per_record: {{Any: {{{key}: x}}}}}}",),
    ListenerSettings: (
        lambda key: f"esmtp_listeners: [{{{key}: x}}]",
        lambda key: f"esmtp_listeners: [{{via: {{10.0.0.1: {{peer: {{10.0.0.1: {{{key}: x}}}}}}}}}}]",
    ),
    ListenerDomain: (lambda key: f"listener_domains: {{domains: {{a.example: {{{key}: x}}}}}}",),
    EgressSource: (lambda key: f"egress: {{source: {{s: {{{key}: x}}}}}}",),
    PathSettings: (
        lambda key: f"shaping: {{rules: {{default: {{{key}: x}}}}}}",
        lambda key: f"shaping: {{rules: {{a.example: {{{key}: x}}}}}}",
        lambda key: f"shaping: {{rules: {{a.example: {{sources: {{s: {{{key}: x}}}}}}}}}}",
        lambda key: f"shaping: {{rules: {{provider: {{p: {{{key}: x}}}}}}}}",
        lambda key: f"shaping: {{rules: {{provider: {{p: {{sources: {{s: {{{key}: x}}}}}}}}}}}}",
        lambda key: (
            "shaping: {rules: {a.example: {automation: [{regex: a, duration: 1, action: {SetConfig: "
            f"{{name: {key}, value: x}}}}}}]}}}}}}"
        ),
    ),
    QueueSettings: (
        lambda key: f"queues: {{tenant: {{t: {{{key}: x}}}}}}",
        lambda key: f"queues: {{queue: {{default: {{{key}: x}}}}}}",
        lambda key: f"queues: {{queue: {{a.example: {{t: {{c: {{{key}: x}}}}}}}}}}",
    ),
    TenantSettings: (lambda key: f"queues: {{tenant: {{t: {{{key}: x}}}}}}",),
    "key source": (lambda key: f"esmtp_listeners: [{{tls_certificate: {{{key}: x}}, tls_private_key: {{{key}: x}}}}]",),
    "listener_domains": (lambda key: f"listener_domains: {{domains: {{{key}: x}}}}",),
    "shaping": (lambda key: f"shaping: {{{key}: x}}",),
    "shaping.rules": (lambda key: f"shaping: {{rules: {{{key}: x}}}}",),
    "protocol": (lambda key: f"queues: {{queue: {{a.example: {{protocol: {{{key}: x}}}}}}}}",),
    "protocol.smtp": (lambda key: f"queues: {{queue: {{a.example: {{protocol: {{smtp: {{{key}: x}}}}}}}}}}",),
}


class AwaitedTests(ConfigTestCase):
    def test_each_is_refused_by_its_name_and_nothing_more_is_said_of_it(self) -> None:
        for whose, names in AWAITED.items():
            for key in names:
                for place in PLACES[whose]:
                    text = place(key)
                    with self.subTest(text):
                        # places inside of something that is itself awaited can be looked at only without that
                        self.patch(reading, "AWAITED", {whose: frozenset({key})})
                        columns = {fault.split(" ", 1)[1] for fault in self.faults(text)}
                        self.assertEqual(columns, {f"{key} is not implemented yet"})

    def test_every_table_of_them_has_its_places_here(self) -> None:
        self.assertEqual(set(AWAITED) - set(PLACES), set())

    def test_the_rules_that_kumomta_ships_load_unchanged(self) -> None:
        if not SHARED.is_dir():
            raise SkipTest("KumoMTA's shaping files are not beside this checkout")
        files = [str(SHARED / name) for name in ("policy-extras-shaping.toml", "community-shaping.toml")]
        self.assertGreater(len(self.read(f"shaping: {{files: {files}}}\n").shaping.provider), 10)
