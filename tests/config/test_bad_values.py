"""
Each parameter, wherever it may stand, given each kind of thing that it is not: a fault at the place of the value, one line.

Made from the Structs, so that a new parameter is tried too.
"""

from collections.abc import Callable, Iterator

from msgspec import Struct

from kumotwist.config.egress import EgressSource, PathSettings, PoolEntry, SuspendRule
from kumotwist.config.listeners import ListenerDomain, ListenerSettings, TlsIdentity, TraceHeaders
from kumotwist.config.queues import CampaignSettings, QueueSettings, QueuesSettings, ShrinkRule, TenantSettings
from kumotwist.config.read_overrides import WHOLE
from kumotwist.config.reading import Field, fields_of
from kumotwist.config.routing import RoutingMatch
from kumotwist.config.server import Config, DnsSettings, LogSettings, RecordSettings, SpoolSettings, TlsSettings
from kumotwist.config.shaping import AutomationRule
from tests.config.files import ConfigTestCase, use_all_values

Place = Callable[[str], str]

PLACES: tuple[tuple[type[Struct], Place], ...] = (
    (Config, lambda text: text),
    (SpoolSettings, lambda text: f"spool: {{{text}}}"),
    (LogSettings, lambda text: f"logs: {{{text}}}"),
    (RecordSettings, lambda text: f"logs: {{per_record: {{Any: {{{text}}}}}}}"),
    (DnsSettings, lambda text: f"dns: {{{text}}}"),
    (TlsSettings, lambda text: f"tls: {{{text}}}"),
    (ListenerSettings, lambda text: f"esmtp_listeners: [{{{text}}}]"),
    (ListenerSettings, lambda text: f"esmtp_listeners: [{{peer: {{any: {{via: {{10.0.0.0/8: {{{text}}}}}}}}}}}]"),
    (TraceHeaders, lambda text: f"esmtp_listeners: [{{trace_headers: {{{text}}}}}]"),
    (TlsIdentity, lambda text: f"esmtp_listeners: [{{sni: {{a.example: {{{text}}}}}}}]"),
    (ListenerDomain, lambda text: f"listener_domains: {{domains: {{a.example: {{{text}}}}}}}"),
    (ListenerDomain, lambda text: f"listener_domains: {{domains: {{listener: {{10.0.0.1:25: {{a.example: {{{text}}}}}}}}}}}"),
    (EgressSource, lambda text: f"egress: {{source: {{s: {{{text}}}}}}}"),
    (SuspendRule, lambda text: f"egress: {{source: {{s: {{suspend_when_unplumbed: {{{text}}}}}}}}}"),
    (PoolEntry, lambda text: f"egress: {{source: {{s: }}, pool: {{p: {{s: {{{text}}}}}}}}}"),
    (QueuesSettings, lambda text: f"queues: {{{text}}}"),
    (QueueSettings, lambda text: f"queues: {{queue: {{default: {{{text}}}}}}}"),
    (QueueSettings, lambda text: f"queues: {{tenant: {{t: {{{text}}}}}}}"),
    (TenantSettings, lambda text: f"queues: {{tenant: {{t: {{{text}}}}}}}"),
    (CampaignSettings, lambda text: f"queues: {{tenant: {{t: {{campaigns: {{c: {{{text}}}}}}}}}}}"),
    (ShrinkRule, lambda text: f"queues: {{queue: {{default: {{shrink_policy: [{{{text}}}]}}}}}}"),
    (RoutingMatch, lambda text: f"routing: [{{set: {{}}, match: {{{text}}}}}]"),
    (PathSettings, lambda text: f"shaping: {{rules: {{default: {{{text}}}}}}}"),
    (PathSettings, lambda text: f"shaping: {{rules: {{provider: {{p: {{{text}}}}}}}}}"),
    (AutomationRule, lambda text: f"shaping: {{rules: {{default: {{automation: [{{{text}}}]}}}}}}"),
)

SCALARS = ("5", "yes", "10.0.0.0/8", '"a b\tc"', "-1", '""', "9" * 40)
SHAPES = ("[a]", "{a: b}", "[[5]]", "[~]", "{a: [b]}")

NOT_IN_FILES = {"options"}  # of a tenant: they stand beside the others


def parameters() -> Iterator[tuple[str, Field, Place]]:
    for cls, place in PLACES:
        in_block = "via" in place("")
        for key, field in fields_of(cls).items():
            if key not in NOT_IN_FILES and not (in_block and key in WHOLE):
                yield key, field, place


class BadValueTests(ConfigTestCase):
    def setUp(self) -> None:
        super().setUp()
        use_all_values(self)
        self.count = 0

    def outcome(self, text: str, name: str) -> None:
        """A configuration or faults, each of one line with a place in this file; a crash would fail here."""
        try:
            said = self.faults(text)
        except self.failureException:
            return  # valid: some parameters take nearly anything
        self.count += 1
        for line in said:
            self.assertRegex(line, r"^main\.yaml:1:[1-9][0-9]*: \S", text)
            self.assertLess(len(line), 1500)
        self.assertRegex("\n".join(said), f"{name}|expected|did you mean|is missing", text)

    def test_each_parameter_is_tried_with_everything(self) -> None:
        for key, _, place in parameters():
            for value in (*SCALARS, *SHAPES):
                self.outcome(place(f"{key}: {value}"), key)
        self.assertGreater(self.count, 2000)

    def test_a_scalar_takes_no_list_and_no_mapping(self) -> None:
        for key, field, place in parameters():
            for value in ("[a, b]", "{a: b}") if field.kind is not None else ():
                text = place(f"{key}: {value}")
                column = text.index(f"{key}: {value}") + len(key) + 3
                with self.subTest(text):
                    what = "a list" if value.startswith("[") else "a mapping"
                    self.assertIn(f"main.yaml:1:{column}: {key}: {what}, expected ", "\n".join(self.faults(text)))

    def test_a_mistyped_parameter_is_suggested_and_never_taken_for_something_else(self) -> None:
        for key, _, place in parameters():
            mistyped = f"{key[:-1]}{key[-2:]}" if len(key) > 3 else f"{key}s"  # `listenn`: the last letters twice
            if mistyped in {other for other, _, _ in parameters()}:
                continue
            text = place(f"{mistyped}: 5")
            column = text.index(f"{mistyped}: 5") + 1
            with self.subTest(text):
                said = "\n".join(self.faults(text))
                self.assertIn(f'main.yaml:1:{column}: unknown key "{mistyped}" in ', said)
                self.assertIn(f'did you mean "{key}"?', said)

    def test_sections_take_nothing_but_their_shape(self) -> None:
        lists = ("esmtp_listeners", "routing")
        for section in ("spool", "logs", "dns", "listener_domains", "egress", "queues", "shaping", "tls", *lists):
            for value in ("5", "yes", '"text"', "[a]" if section not in lists else "{a: b}"):
                with self.subTest(section=section, value=value):
                    (fault,) = self.faults(f"{section}: {value}")
                    shape = "a list" if section in lists else "a mapping"
                    self.assertRegex(fault, rf"^main\.yaml:1:{len(section) + 3}: {section}: .*, expected {shape}")
