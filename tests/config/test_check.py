"""`kumotwist check`, and the configuration that is shipped."""

import re
from pathlib import Path

from click.testing import CliRunner
from msgspec import Struct

from kumotwist.cli.check import check
from kumotwist.config.egress import UNSPECIFIED, EgressSource, PathSettings, PoolEntry
from kumotwist.config.listeners import ListenerDomain, ListenerSettings, TraceHeaders
from kumotwist.config.queues import QueueSettings, QueuesSettings
from kumotwist.config.read import read_config
from kumotwist.config.reading import fields_of
from kumotwist.config.routing import RoutingMatch, RoutingRule
from kumotwist.config.server import Config, DnsSettings, LogSettings, RecordSettings, SpoolSettings, TlsSettings
from tests.config.certificate import certificate_and_key
from tests.config.files import ConfigTestCase

SHIPPED = Path(__file__).parent.parent.parent / "conf" / "kumotwist.yaml"
STRUCTS: tuple[type[Struct], ...] = (
    Config, SpoolSettings, LogSettings, RecordSettings, DnsSettings, ListenerSettings, TraceHeaders, ListenerDomain,
    EgressSource, PoolEntry, QueuesSettings, QueueSettings, RoutingMatch, RoutingRule, PathSettings, TlsSettings,
)  # fmt: skip


def switched_on(text: str) -> str:
    """The shipped configuration with every line that is switched off: its # stands directly before a key."""
    return re.sub(r"(?m)^( *)#(?=\S)", r"\1", text)


class CheckTests(ConfigTestCase):
    def test_a_valid_configuration_ends_with_0_and_one_line(self) -> None:
        path = self.write(
            "main.yaml", "esmtp_listeners: [{listen: 0.0.0.0:25}]\negress: {source: {a: {}, b: {}}, pool: {p: {a: }}}\n"
        )
        result = CliRunner().invoke(check, [str(path)])
        self.assertEqual((result.exit_code, result.stdout), (0, f"{path}: valid (1 listener, 2 sources, 1 pool, 1 file)\n"))
        self.assertEqual(result.stderr, "")

    def test_a_faulty_one_ends_with_2_and_a_line_a_fault_on_stderr(self) -> None:
        path = self.write("main.yaml", "hostnam: a\nspool: {flush: maybe}\n")
        result = CliRunner().invoke(check, [str(path)])
        self.assertEqual((result.exit_code, result.stdout), (2, ""))
        self.assertEqual(
            result.stderr.splitlines(),
            [
                f'{path}:1:1: unknown key "hostnam" in the configuration, did you mean "hostname"?',
                f'{path}:2:16: flush: "maybe" is not a switch, expected true or false',
            ],
        )

    def test_a_file_that_is_not_there_ends_with_2(self) -> None:
        result = CliRunner().invoke(check, ["absent.yaml"])
        self.assertEqual((result.exit_code, result.stderr), (2, "absent.yaml:1:1: cannot be read: No such file or directory\n"))


class ShippedConfigurationTests(ConfigTestCase):
    def test_it_is_valid_as_it_is(self) -> None:
        result = CliRunner().invoke(check, [str(SHIPPED)])
        self.assertEqual((result.exit_code, result.stderr), (0, ""))

    def test_what_is_switched_on_in_it_is_the_default(self) -> None:
        config = read_config(SHIPPED)
        self.assertEqual(config.spool, SpoolSettings())
        self.assertEqual(config.logs, LogSettings())
        self.assertEqual(config.dns, DnsSettings())
        self.assertEqual(config.esmtp_listeners, (ListenerSettings(),))
        self.assertEqual(config.tls, TlsSettings())
        self.assertEqual(PathSettings(**config.shaping.rules["default"].options), PathSettings())
        self.assertEqual(QueueSettings(**config.queues.queue["default"].options), QueueSettings())
        self.assertEqual(config.queues.tenant, {})
        self.assertEqual(list(config.egress.source), [UNSPECIFIED])

    def test_it_is_valid_with_every_line_switched_on(self) -> None:
        certificate, key = certificate_and_key("mail.example.com")
        self.write("cert.pem", certificate)
        self.write("key.pem", key)
        self.write("ca.pem", certificate)
        for name in ("sources.toml", "queues.toml", "shaping.toml", "listener_domains.toml"):
            self.write(name, "")
        text = switched_on(SHIPPED.read_text()).replace("/etc/ssl/certs/ca-certificates.crt", "ca.pem")
        config = self.read(text)
        self.assertEqual(config.hostname, "mta1.example.com")
        self.assertEqual([entry.weight for entry in config.egress.pool["bulk"].entries], [2, 1])
        self.assertEqual(config.routing[0].set, {"queue": "null"})
        self.assertEqual(
            config.queues.queue["example.com"].tenants["customer-1"].tenants["newsletter"].options, {"max_age": 3600.0}
        )
        self.assertEqual(len(config.listener_domains.domains), 3)
        self.assertEqual(config.esmtp_listeners[0].hostname, "mail.example.com")

    def test_every_parameter_is_in_it(self) -> None:
        named = set(re.findall(r"([a-z0-9_]+):(?:\s|$)", SHIPPED.read_text()))
        for struct in STRUCTS:
            with self.subTest(struct.__name__):
                self.assertEqual(set(fields_of(struct)) - named, set())
