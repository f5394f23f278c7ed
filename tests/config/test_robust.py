"""Whatever stands in the files: a configuration or ConfigFaults, never anything else, and never for long."""

import json
import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from kumotwist.config.dynamic import parse_listener_overrides
from kumotwist.config.faults import ConfigFaults
from kumotwist.config.given import BadParameters
from kumotwist.config.listeners import ListenerOverrides
from kumotwist.config.read import read_config
from kumotwist.config.server import Config
from tests.config.files import use_all_values
from tests.config.test_check import SHIPPED, switched_on

TEXT = switched_on(SHIPPED.read_text(), all_of_it=True)
LINES = TEXT.splitlines()
PIECES = [
    "[", "]", "{", "}", ":", ": ", "- ", "&a ", "*a", "!!int ", "|", ">", "'", '"', "#", "\t", "\n", "\\", "~", "null", "yes",
    "0x1F", "1e999", "-1", "<<: *a", "\x00", "\ud7ff", "\u2028", "\xa0", "?", "%", "@", "`", ",", "25:30", "---\n", "...\n",
    "1" * 400,
]  # fmt: skip
SCALARS = ["", "x", "10/s", "5 minutes", "10.0.0.1"]
KEYS = ["files", "default", "a.example", "10.0.0.1", "any", "via", "p", "match", "name", "value", "trigger", "SetConfig", "x"]
SPOTS = """hostname spool logs dns esmtp_listeners listener_domains egress queues routing shaping tls logs.per_record
    egress.source egress.pool egress.pool.p queues.queue queues.tenant queues.queue.d queues.queue.d.protocol
    queues.queue.d.protocol.smtp.mx_list shaping.rules shaping.rules.d shaping.rules.d.sources routing.0.match
    routing.0.set esmtp_listeners.0.trace_headers esmtp_listeners.0.relay_hosts listener_domains.domains.d policy
    esmtp_listeners.0.via esmtp_listeners.0.peer.any.via esmtp_listeners.0.sni esmtp_listeners.0.sni.a esmtp_listeners.0.meta
    esmtp_listeners.0.tls_certificate esmtp_listeners.0.tls_private_key.event_args listener_domains.domains.listener
    listener_domains.domains.listener.l egress.source.s.suspend_when_unplumbed egress.source.s.socks5_proxy_password
    queues.tenant.t.domain_to_pool queues.tenant.t.campaigns queues.tenant.t.campaigns.c queues.queue.d.shrink_policy
    shaping.rules.provider shaping.rules.provider.p shaping.rules.provider.p.match.0 shaping.rules.provider.p.sources
    shaping.rules.d.automation shaping.rules.d.automation.0 shaping.rules.d.automation.0.action
    shaping.rules.d.automation.0.action.SetConfig shaping.rules.d.automation.0.trigger
    shaping.rules.d.additional_connection_limits"""
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """The shipped configuration, every line switched on, with a few places damaged."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        column = draw(st.integers(0, len(line)))
        match draw(st.sampled_from(("insert", "cut", "drop", "swap", "indent", "value"))):
            case "insert":
                lines[at] = line[:column] + draw(st.sampled_from(PIECES)) + line[column:]
            case "cut":
                lines[at] = line[:column]
            case "drop" if len(lines) > 1:
                del lines[at]
            case "swap":
                other = draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
            case "indent":
                lines[at] = " " * draw(st.integers(1, 5)) + line
            case _:
                lines[at] = line.partition(":")[0] + ": " + draw(st.sampled_from(PIECES))
    return "\n".join(lines)


class AnyFileTests(SynchronousTestCase):
    """One directory for all examples: they are many."""

    def setUp(self) -> None:
        use_all_values(self)
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def outcome(self, content: bytes, name: str = "main.yaml") -> None:
        """Read it; every fault has a place and one line."""
        path = self.directory / name
        path.write_bytes(content)
        self.read(path)

    def read(self, path: Path) -> None:
        try:
            self.assertIsInstance(read_config(path), Config)
        except ConfigFaults as faults:
            self.assertTrue(faults.faults)
            for fault in faults.faults:
                self.assertGreaterEqual(min(fault.line, fault.column), 1)
                self.assertNotIn("\n", str(fault))
            str(faults).encode()  # no halves of surrogate pairs: it can be printed

    @given(st.binary(max_size=200))
    @QUICK
    @example(b"")
    @example(b"\xff\xfe")
    @example(b"\xef\xbb\xbf")
    @example(b"%YAML 9.9\n---\na")
    @example(b'"\\ud800": 1')
    @example(b'hostname: "\\ud800"')
    @example(b"- &a [*a]")
    @example(b"{}: {}")
    @example(b'egress: {files: ["a\\0b.toml", "' + b"x" * 5000 + b'.toml"]}')
    @example(b"routing: [{set: {a: 1e99999999, b: " + b"9" * 5000 + b"}}]")
    def test_any_octets(self, content: bytes) -> None:
        self.outcome(content)

    @given(st.lists(st.sampled_from([*PIECES, "egress", "queues", "source", "files", " ", "  "]), max_size=30).map("".join))
    @QUICK
    def test_any_punctuation(self, text: str) -> None:
        self.outcome(text.encode("utf-8", "surrogatepass"))

    @given(mutations())
    @QUICK
    def test_damaged_configurations(self, text: str) -> None:
        self.outcome(text.encode("utf-8", "surrogatepass"))

    @given(
        st.sampled_from(["toml", "json", "yaml"]),
        st.binary(max_size=120) | st.text('[]{}"\'=.,:#\n\\ab1 "', max_size=60).map(str.encode),
    )
    @QUICK
    @example("toml", b'a = """\\ud800"""')
    @example("json", b'{"\\ud800": "\\ud800"}')
    @example("json", b"NaN")
    @example("json", b'{"default": {"max_ready": Infinity}}')
    @example("toml", b"a = 1979-05-27T07:32:00Z")
    def test_any_data_file(self, ending: str, content: bytes) -> None:
        main = self.directory / "including.yaml"
        main.write_text(f"shaping: {{files: [included.{ending}]}}\nqueues: {{files: [included.{ending}]}}\n")
        (self.directory / f"included.{ending}").write_bytes(content)
        self.read(main)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers(-5, 70000) | st.floats() | st.sampled_from(SCALARS),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
            max_leaves=6,
        ),
        st.sampled_from(SPOTS.split()),
    )
    @settings(QUICK, max_examples=200)
    def test_anything_anywhere(self, value: object, path: str) -> None:
        for key in reversed(path.split(".")):
            value = [value] if key == "0" else {key: value}
        self.outcome(json.dumps(value).encode())

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=2),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(
                    st.sampled_from(["via", "peer", "any", "10.0.0.1", "hostname", "meta", "sni", "relay_hosts"]) | st.integers(),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=8,
        )
    )
    @settings(QUICK, max_examples=200)
    def test_anything_that_a_policy_may_answer_for_a_connection(self, answer: object) -> None:
        try:
            self.assertIsInstance(parse_listener_overrides(answer), ListenerOverrides)
        except BadParameters as wrong:
            self.assertTrue(wrong.wrong)
            self.assertNotIn("\n", str(wrong))

    def test_a_file_that_never_ends(self) -> None:
        if not os.path.exists("/dev/zero"):
            raise SkipTest("no file here never ends")
        faults = self.assertRaises(ConfigFaults, read_config, "/dev/zero")
        self.assertEqual(str(faults), "/dev/zero:1:1: cannot be read: File too large")
