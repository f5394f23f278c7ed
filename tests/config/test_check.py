"""`kumotwist check`, and the configuration that is shipped."""

import re
from pathlib import Path

from click.testing import CliRunner
from msgspec import Struct

from kumotwist.cli.check import check
from kumotwist.config.awaited import AWAITED
from kumotwist.config.egress import UNSPECIFIED, EgressSource, PathSettings, PoolEntry, SuspendRule
from kumotwist.config.fields import Limit
from kumotwist.config.listeners import ListenerDomain, ListenerSettings, TlsIdentity, TraceHeaders
from kumotwist.config.queues import CampaignSettings, QueueSettings, QueuesSettings, ShrinkRule, TenantSettings
from kumotwist.config.read import read_config
from kumotwist.config.reading import fields_of
from kumotwist.config.routing import RoutingMatch, RoutingRule
from kumotwist.config.server import Config, DnsSettings, LogSettings, RecordSettings, SpoolSettings, TlsSettings
from kumotwist.config.shaping import AutomationRule
from tests.config.certificate import certificate_and_key
from tests.config.files import ConfigTestCase, use_all_values

SHIPPED = Path(__file__).parent.parent.parent / "conf" / "kumotwist.yaml"
STRUCTS: tuple[type[Struct], ...] = (
    Config, SpoolSettings, LogSettings, RecordSettings, DnsSettings, ListenerSettings, TraceHeaders, TlsIdentity, ListenerDomain,
    EgressSource, SuspendRule, PoolEntry, QueuesSettings, QueueSettings, ShrinkRule, TenantSettings, CampaignSettings,
    RoutingMatch, RoutingRule, PathSettings, AutomationRule, TlsSettings,
)  # fmt: skip
# Fields that files have as something else: the parameters of its queues stand beside a tenant's own.
ELSEWHERE = {"options"}

_OFF = re.compile(r"( *)#(?=\S)")
_NOT_YET = re.compile(r"not yet\s*$")
_KEY = re.compile(r" *#([a-z0-9_]+):")


def switched_on(text: str, *, all_of_it: bool = False) -> str:
    """
    The shipped configuration with every line that is switched off: its # stands directly before a key.

    all_of_it: also those that are marked `not yet`, with what stands below them.
    """
    lines = []
    below: int | None = None  # the column of a line that stays off, and with it all further right
    for line in text.splitlines():
        off = _OFF.match(line)
        if off and (below is None or len(off[1]) <= below):
            below = len(off[1]) if _NOT_YET.search(line) and not all_of_it else None
        elif not off and line.strip() and not line.lstrip().startswith("#"):
            below = None
        lines.append(line if below is not None else _OFF.sub(r"\1", line, count=1) if off else line)
    return "\n".join(lines) + "\n"


def not_yet(text: str) -> set[str]:
    """The parameters that are marked so."""
    return {found[1] for line in text.splitlines() if _NOT_YET.search(line) and (found := _KEY.match(line))}


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


class CheckOfPolicyTests(ConfigTestCase):
    """A policy is loaded, and what is wrong with it said with all the rest."""

    def check(self, text: str, **files: str) -> tuple[int, list[str]]:
        for name, content in files.items():
            self.write(name.replace("_py", ".py"), content)
        result = CliRunner().invoke(check, [str(self.write("main.yaml", text))])
        self.assertIsNone(result.exception if not isinstance(result.exception, SystemExit) else None)
        here = f"{self.directory}/"
        said = (result.stderr + result.stdout).replace(f"{self.directory.absolute()}/", "").replace(here, "")
        return result.exit_code, said.splitlines()

    def test_a_policy_that_loads(self) -> None:
        policy = 'from kumotwist import kumo\n\n@kumo.on("smtp_server_message_received")\ndef received(msg):\n    pass\n'
        self.assertEqual(self.check("policy: p.py\n", p_py=policy), (0, ["main.yaml: valid (2 files)"]))

    def test_faults_of_all_its_files_and_of_the_data_come_together(self) -> None:
        status, said = self.check(
            "policy: [a.py, b.py, c.py, d.py]\nhostnam: a\n",
            a_py="def f(:\n",
            b_py="import sys\nimport there_is_no_such_module\n",
            c_py='from kumotwist import kumo\n\nkumo.on("smtp_server_message_recieved", print)\n',
            d_py="x = 1\n\n\nraise ValueError('in\\ntwo lines')\n",
        )
        self.assertEqual(status, 2)
        self.assertEqual([line.split(" ")[0] for line in said], ["main.yaml:2:1:", "a.py:1:", "b.py:2:", "c.py:3:", "d.py:4:"])
        self.assertEqual(said[4], "d.py:4: ValueError: in two lines")
        self.assertIn('did you mean "smtp_server_message_received"?', said[3])

    def test_a_parameter_that_a_policy_gives_wrongly_has_its_line(self) -> None:
        policy = "from kumotwist import kumo\n\nPATH = kumo.make_egress_path(\n    conection_limit=5,\n)\n"
        status, (line,) = self.check("policy: p.py\n", p_py=policy)
        self.assertEqual(status, 2)
        self.assertRegex(
            line, r'^p\.py:3: .*make_egress_path: unknown key "conection_limit" .*, did you mean "connection_limit"\?$'
        )

    def test_a_pool_that_only_the_policy_knows(self) -> None:
        text = "policy: p.py\nqueues: {queue: {default: {egress_pool: bulk}}}\n"
        policy = 'from kumotwist import kumo\n\n@kumo.on("get_egress_pool")\ndef pool(name):\n    return None\n'
        self.assertEqual(self.check(text, p_py=policy)[0], 0)
        status, said = self.check(text, p_py="")
        fault = 'main.yaml:2:41: egress_pool: "bulk" is no pool, expected the name of a pool in egress.pool'
        self.assertEqual((status, said), (2, [fault]))

    def test_init_runs_as_far_as_it_does_not_wait(self) -> None:
        policy = (
            "from kumotwist import kumo\n\n"
            '@kumo.on("init")\nasync def waits():\n    await kumo.dns.lookup_mx("example.com")\n'
            '    raise ValueError("not seen")\n\n'
            '@kumo.on("init")\ndef listens():\n    kumo.start_esmtp_listener(listen="10.0.0.1")\n'
        )
        status, (line,) = self.check("policy: p.py\n", p_py=policy)
        self.assertEqual(status, 2)
        self.assertRegex(line, r"^p\.py:10: .*start_esmtp_listener: listen: \"10\.0\.0\.1\" has no port")

    def test_a_policy_file_that_is_not_there_hides_no_other(self) -> None:
        status, said = self.check("policy: [absent.py, a.py]\n", a_py="1 +\n")
        self.assertEqual(status, 2)
        self.assertEqual(said, ['main.yaml:1:10: policy: "absent.py" cannot be read: No such file or directory', said[1]])
        self.assertTrue(said[1].startswith("a.py:1: not Python: "), said[1])


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

    def read_switched_on(self, *, all_of_it: bool = False) -> Config:
        certificate, key = certificate_and_key("mail.example.com")
        self.write("cert.pem", certificate)
        self.write("key.pem", key)
        self.write("ca.pem", certificate)
        for name in ("sources", "queues", "shaping", "listener_domains", "listener_params", "dkim_data"):
            self.write(f"{name}.toml", "")
        self.write("policy.py", "")
        self.write("password.txt", "secret")
        text = switched_on(SHIPPED.read_text(), all_of_it=all_of_it)
        return self.read(text.replace("/etc/ssl/certs/ca-certificates.crt", "ca.pem"))

    def test_it_is_valid_with_every_line_switched_on(self) -> None:
        config = self.read_switched_on()
        self.assertEqual(config.hostname, "mta1.example.com")
        self.assertEqual([entry.weight for entry in config.egress.pool["bulk"].entries], [2, 1])
        self.assertEqual(config.routing[0].set, {"queue": "null"})
        self.assertEqual(
            config.queues.queue["example.com"].tenants["customer-1"].tenants["newsletter"].options, {"max_age": 3600.0}
        )
        self.assertEqual(len(config.listener_domains.domains), 5)
        self.assertEqual(config.esmtp_listeners[0].hostname, "mail.example.com")
        self.assertEqual(len(config.shaping.rules["gmail.com"].automation), 2)

    def test_it_is_valid_with_what_is_not_there_yet_once_that_is(self) -> None:
        use_all_values(self)
        config = self.read_switched_on(all_of_it=True)
        (listener,) = config.esmtp_listeners
        self.assertEqual([str(network) for network in listener.peer], ["10.0.0.0/8", "0.0.0.0/0", "::/0"])
        self.assertEqual(list(listener.sni), ["mx.other.example"])
        self.assertEqual(config.queues.tenant["customer-2"].require_authz, ("user-2",))
        self.assertEqual(config.shaping.provider["google"].connection_limit, Limit(5))
        self.assertEqual(config.policy, (str(self.directory.absolute() / "policy.py"),))
        self.assertEqual(config.listener_domains.by_listener["192.0.2.1:25"], {"example.com": ListenerDomain()})
        # What is switched off in its default rules says what the defaults are.
        self.assertEqual(PathSettings(**config.shaping.rules["default"].options), PathSettings(remember_broken_tls=None))

    def test_what_is_marked_as_not_there_yet_is_what_is_awaited(self) -> None:
        """And whose parameter comes takes the mark away."""
        marked = not_yet(SHIPPED.read_text())
        known = {key for struct in STRUCTS for key in fields_of(struct)} | {"listener", "provider"}
        awaited = {name for names in AWAITED.values() for name in names}
        self.assertEqual(marked - awaited, set())
        self.assertEqual((awaited & known) - marked, set())

    def test_every_parameter_is_in_it(self) -> None:
        named = set(re.findall(r"([a-z0-9_]+):(?:\s|$)", SHIPPED.read_text()))
        for struct in STRUCTS:
            with self.subTest(struct.__name__):
                self.assertEqual(set(fields_of(struct)) - named - ELSEWHERE, set())
