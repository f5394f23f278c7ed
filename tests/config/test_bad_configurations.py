"""
More than two hundred configurations that are wrong, as `kumotwist check` meets them: by what is wrong with them.

Each is refused with status 2 and a line for each fault, with its place, and never with a traceback.  Here is what is said in
few words; `test_faults` has whole files with every word, `test_bad_values` and `test_robust` have thousands that were made.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from click.testing import CliRunner
from msgspec import Struct
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.cli.check import check
from tests.config.certificate import certificate_and_key
from tests.config.test_bad_values import PLACES

_PLACE = re.compile(r"^(?P<file>[^:\s]+):(?P<line>[1-9][0-9]*):((?P<column>[1-9][0-9]*):)? \S")


class Bad(Struct, frozen=True):
    """One of them.  says: what some line must contain.  files: those beside it."""

    text: str
    says: str
    files: Mapping[str, str] = {}


def listener(inside: str) -> str:
    return f"esmtp_listeners: [{{{inside}}}]"


def path(inside: str) -> str:
    return f"shaping: {{rules: {{a.example: {{{inside}}}}}}}"


def queue(inside: str) -> str:
    return f"queues: {{queue: {{a.example: {{{inside}}}}}}}"


WRONG_TYPES = [
    Bad("hostname: [a]", "hostname: a list, expected"),
    Bad("hostname: {a: b}", "hostname: a mapping, expected"),
    Bad("spool: here", 'spool: "here", expected a mapping'),
    Bad("spool: {flush: perhaps}", "flush: "),
    Bad("spool: {path: [a]}", "path: a list, expected"),
    Bad("spool: {kind: sqlite}", "kind: "),
    Bad("spool: {min_free_space: lots}", "min_free_space: "),
    Bad("logs: []", "logs: a list, expected a mapping"),
    Bad("logs: {compression: zip}", "compression: "),
    Bad("logs: {headers: Subject}", "headers: "),
    Bad("logs: {max_file_size: huge}", "max_file_size: "),
    Bad("logs: {max_segment_duration: 1 fortnight}", "max_segment_duration: "),
    Bad("dns: {timeout: soon}", "timeout: "),
    Bad("dns: {nameservers: 5}", "nameservers: "),
    Bad("esmtp_listeners: 5", "esmtp_listeners: "),
    Bad("esmtp_listeners: [5]", "expected a mapping"),
    Bad(listener("max_connections: many"), "max_connections: "),
    Bad(listener("max_connections: -1"), "max_connections: "),
    Bad(listener("max_message_size: big"), "max_message_size: "),
    Bad(listener("client_timeout: forever"), "client_timeout: "),
    Bad(listener("invalid_line_endings: Ignore"), "invalid_line_endings: "),
    Bad(listener("batch_handling: Sometimes"), "batch_handling: "),
    Bad(listener("trace_headers: yes"), "trace_headers: "),
    Bad(listener("allow_xclient: 7"), "allow_xclient: "),
    Bad(listener("meta: [a]"), "meta: a list, expected a mapping"),
    Bad(listener("banner: [hello]"), "banner: a list, expected a text"),
    Bad("egress: {source: [ip-1]}", "source: a list, expected a mapping"),
    Bad("egress: {source: {ip-1: here}}", "expected a mapping"),
    Bad("egress: {source: {ip-1: }, pool: {p: {ip-1: {weight: heavy}}}}", "weight: "),
    Bad("egress: {source: {ip-1: }, pool: {p: {ip-1: {weight: -1}}}}", "weight: "),
    Bad("egress: {source: {ip-1: {remote_port: 70000}}}", "remote_port: "),
    Bad(queue("max_age: long"), "max_age: "),
    Bad(queue("retry_interval: [1]"), "retry_interval: a list"),
    Bad(queue("max_message_rate: fast"), "max_message_rate: "),
    Bad(queue("max_message_rate: 100/fortnight"), "max_message_rate: "),
    Bad(queue("protocol: smtp"), "protocol: "),
    Bad("queues: {tenant: [a]}", "tenant: a list, expected a mapping"),
    Bad("queues: {unknown_tenant: ignore}", "unknown_tenant: "),
    Bad("queues: {require_tenant: 3}", "require_tenant: "),
    Bad("routing: {a: b}", "routing: a mapping, expected a list"),
    Bad("routing: [a]", "expected a mapping"),
    Bad("routing: [{set: [a]}]", "set: a list, expected a mapping"),
    Bad("routing: [{match: {peer: here}, set: {queue: a}}]", "peer: "),
    Bad("routing: [{set: {tenant: [a]}}]", "tenant: "),
    Bad(path("connection_limit: plenty"), "connection_limit: "),
    Bad(path("connection_limit: 0"), "connection_limit: "),
    Bad(path("enable_tls: Maybe"), "enable_tls: "),
    Bad(path("max_connection_rate: 5"), "max_connection_rate: "),
    Bad(path("max_message_rate: /hr"), "max_message_rate: "),
    Bad(path("smtp_port: smtp"), "smtp_port: "),
    Bad(path("prohibited_hosts: 10.0.0.0/8"), "prohibited_hosts: "),
    Bad(path("idle_timeout: {a: b}"), "idle_timeout: a mapping"),
    Bad("listener_domains: {domains: [a.example]}", "domains: a list, expected a mapping"),
    Bad("listener_domains: {domains: {a.example: {relay_to: both}}}", "relay_to: "),
    Bad("tls: {ca_file: [a]}", "ca_file: a list"),
    Bad("policy: {a: b}", "policy: "),
]

UNKNOWN_KEYS = [
    Bad("hostnme: a.example", 'did you mean "hostname"?'),
    Bad("esmtp_listener: []", 'did you mean "esmtp_listeners"?'),
    Bad("spool: {pth: a}", 'did you mean "path"?'),
    Bad("logs: {log_directory: a}", "unknown key"),
    Bad("dns: {nameserver: []}", 'did you mean "nameservers"?'),
    Bad(listener("hostnam: a"), 'did you mean "hostname"?'),
    Bad(listener("tls_cert: a.pem"), "unknown key"),
    Bad(listener("via: {10.0.0.1: {bannr: a}}"), 'did you mean "banner"?'),
    Bad(listener("peer: {10.0.0.1: {relay_host: []}}"), 'did you mean "relay_hosts"?'),
    Bad(listener("via: {10.0.0.1: {listen: 0.0.0.0:25}}"), "listen holds for the whole listener"),
    Bad(listener("trace_headers: {recieved_header: true}"), 'did you mean "received_header"?'),
    Bad("egress: {sources: {}}", 'did you mean "source"?'),
    Bad("egress: {source: {ip-1: {source_adress: 10.0.0.1}}}", 'did you mean "source_address"?'),
    Bad("egress: {source: {ip-1: }, pool: {p: {ip-1: {wieght: 1}}}}", 'did you mean "weight"?'),
    Bad("queues: {tenants: {}}", 'did you mean "tenant"?'),
    Bad("queues: {tenant: {a: {egres_pool: unspecified}}}", 'did you mean "egress_pool"?'),
    Bad(queue("retry_intervall: 5"), 'did you mean "retry_interval"?'),
    Bad("routing: [{mach: {}, set: {queue: a}}]", 'did you mean "match"?'),
    Bad("routing: [{match: {recipient_domian: a}, set: {queue: a}}]", 'did you mean "recipient_domain"?'),
    Bad("shaping: {rule: {}}", 'did you mean "rules"?'),
    Bad(path("conection_limit: 5"), 'did you mean "connection_limit"?'),
    Bad("listener_domains: {domains: {a.example: {relay_too: true}}}", 'did you mean "relay_to"?'),
    Bad("tls: {ca_files: a}", 'did you mean "ca_file"?'),
    Bad("shaping: {files: [s.toml]}", 'did you mean "max_ready"?', {"s.toml": '["a.example"]\nmax_redy = 5\n'}),
    Bad("queues: {files: [q.json]}", 'did you mean "egress_pool"?', {"q.json": '{"tenant": {"a": {"egress_pol": "x"}}}'}),
]

MISSING_FILES = [
    Bad("policy: absent.py", "cannot be read"),
    Bad("egress: {files: [absent.toml]}", '"absent.toml" cannot be read'),
    Bad("queues: {files: [absent.json]}", '"absent.json" cannot be read'),
    Bad("shaping: {files: [absent.yaml]}", '"absent.yaml" cannot be read'),
    Bad("listener_domains: {files: [absent.toml]}", '"absent.toml" cannot be read'),
    Bad("esmtp_listeners: [{listen: 127.0.0.1:25, files: [absent.toml]}]", '"absent.toml" cannot be read'),
    Bad("tls: {ca_file: absent.pem}", '"absent.pem" cannot be read'),
    Bad(listener("tls_certificate: absent.pem, tls_private_key: key.pem"), '"absent.pem" cannot be read'),
    Bad(listener("tls_certificate: cert.pem, tls_private_key: absent.pem"), '"absent.pem" cannot be read'),
    Bad(listener("sni: {a.example: {tls_certificate: absent.pem, tls_private_key: key.pem}}"), '"absent.pem" cannot be read'),
    Bad(listener("via: {10.0.0.1: {tls_certificate: absent.pem, tls_private_key: key.pem}}"), '"absent.pem" cannot be read'),
    Bad(listener("tls_required_client_ca: absent.pem"), '"absent.pem" cannot be read'),
    Bad("queues: {files: [q.ini]}", "q.ini", {"q.ini": "a"}),
]

BAD_SYNTAX = [
    Bad("hostname: [a", "not YAML"),
    Bad("hostname: a: b", "not YAML"),
    Bad("hostname: 'a", "not YAML"),
    Bad("a:\n b: 1\n   c: 2\n", "not YAML"),
    Bad("\thostname: a", "not YAML"),
    Bad("hostname: *a", 'alias of "a"'),
    Bad("hostname: !!python/object:os.system a", "main.yaml:1:"),
    Bad("", "the file is empty"),
    Bad("- a\n- b\n", "expected a mapping"),
    Bad("--- {}\n--- {}\n", "main.yaml:"),
    Bad("shaping: {files: [s.toml]}", "not TOML", {"s.toml": "[a\n"}),
    Bad("shaping: {files: [s.toml]}", "not TOML", {"s.toml": "a = \n"}),
    Bad("shaping: {files: [s.json]}", "not JSON", {"s.json": "{"}),
    Bad("shaping: {files: [s.json]}", "not JSON", {"s.json": "{'a': 1}"}),
    Bad("shaping: {files: [s.yaml]}", "not YAML", {"s.yaml": "a: [\n"}),
]

BAD_ADDRESSES = [
    Bad(listener("listen: 127.0.0.1"), "listen: "),
    Bad(listener("listen: 127.0.0.1:99999"), "listen: "),
    Bad(listener("listen: mx.example.com:25"), "listen: "),
    Bad(listener("listen: '::1:25'"), "listen: "),
    Bad(listener("listen: 127.0.0.256:25"), "listen: "),
    Bad(listener("relay_hosts: [10.0.0.1/8]"), 'did you mean "10.0.0.0/8"?'),
    Bad(listener("relay_hosts: [10.0.0.0/33]"), "relay_hosts"),
    Bad(listener("relay_hosts: [localhost]"), "relay_hosts"),
    Bad(listener("via: {10.0.0: {banner: a}}"), "10.0.0"),
    Bad(listener("peer: {here: {banner: a}}"), "here"),
    Bad(listener("peer: {10.0.0.0/99: {banner: a}}"), "10.0.0.0/99"),
    Bad("egress: {source: {ip-1: {source_address: 10.0.0}}}", "source_address: "),
    Bad("egress: {source: {ip-1: {source_address: 10.0.0.0/8}}}", "source_address: "),
    Bad("egress: {source: {ip-1: {source_address: '10.0.0.1:25'}}}", "source_address: "),
    Bad("egress: {source: {ip-1: {ehlo_domain: 'a b'}}}", "ehlo_domain: "),
    Bad("egress: {source: {ip-1: {socks5_proxy_server: here}}}", "socks5_proxy_server: "),
    Bad("dns: {nameservers: [ns.example.com]}", "nameservers"),
    Bad("dns: {nameservers: ['127.0.0.1:0x35']}", "nameservers"),
    Bad(queue("protocol: {smtp: {mx_list: [{name: a.example, addr: b.example}]}}"), "addr: "),
    Bad(queue("protocol: {smtp: {mx_list: ['[10.0.0.999]']}}"), "mx_list"),
    Bad(queue("protocol: {smtp: {mx_list: ['a.example:port']}}"), "mx_list"),
    Bad("listener_domains: {domains: {a.example: {relay_from: [10.0.0.1/8]}}}", "relay_from"),
    Bad("hostname: 'a..example'", "hostname: "),
    Bad(path("skip_hosts: [nowhere/8]"), "skip_hosts"),
]

OVERLAPS = [
    Bad(listener("via: {10.0.0.1: {banner: a}, 10.0.0.1/32: {banner: b}}"), "stands here already"),
    Bad(listener("peer: {10.0.0.0/8: {banner: a}, '10.0.0.0/08': {banner: b}}"), "10.0.0.0/08"),
    Bad(listener("via: {'::1': {banner: a}, '0:0:0:0:0:0:0:1': {banner: b}}"), "stands here already"),
    Bad(listener("peer: {any: {banner: a}, 0.0.0.0/0: {banner: b}}"), "stands here already"),
    Bad(
        "esmtp_listeners: [{listen: 127.0.0.1:25, files: [l.toml]}]",
        "stands here already",
        {"l.toml": "[via.'10.0.0.1']\nbanner = 'a'\n[via.'10.0.0.1/32']\nbanner = 'b'\n"},
    ),
    Bad("esmtp_listeners: [{listen: 127.0.0.1:25}, {listen: 127.0.0.1:25}]", "127.0.0.1:25"),
    Bad("esmtp_listeners: [{listen: 127.0.0.1:2525}, {listen: '0.0.0.0:2525'}]", "2525"),
    Bad("esmtp_listeners: [{}, {}]", "127.0.0.1:2025"),
]

ABSENT_NAMES = [
    Bad("egress: {pool: {p: {ip-1: {}}}}", "ip-1"),
    Bad("egress: {source: {ip-1: }, pool: {p: {ip-2: {}}}}", 'did you mean "ip-1"?'),
    Bad("egress: {files: [e.toml]}", "ip-9", {"e.toml": '[pool."p"."ip-9"]\nweight = 2\n'}),
    Bad("queues: {tenant: {a: {egress_pool: pool-1}}}", "pool-1"),
    Bad("queues: {queue: {default: {egress_pool: pool-1}}}", "pool-1"),
    Bad("queues: {tenant: {a: {domain_to_pool: {a.example: pool-1}}}}", "pool-1"),
    Bad("queues: {tenant: {a: {}}, queue: {default: {egress_pool: pool-2}}}", "pool-2"),
    Bad("queues: {queue: {a.example: {t: {c: {egress_pool: pool-1}}}}}", "pool-1"),
    Bad("queues: {files: [q.toml]}", "pool-7", {"q.toml": '[tenant.a]\negress_pool = "pool-7"\n'}),
    Bad("queues: {default_tenant: nobody, tenant: {a: {}}}", "nobody"),
    Bad("egress: {source: {ip-1: }, pool: {p: {}}}\nqueues: {tenant: {a: {egress_pool: q}}}", '"q"'),
]

DUPLICATES = [
    Bad("hostname: a.example\nhostname: b.example\n", "hostname"),
    Bad("spool: {path: a, path: b}", "path"),
    Bad(listener("listen: 127.0.0.1:25, listen: 127.0.0.1:26"), "listen"),
    Bad("egress: {source: {ip-1: {}, ip-1: {}}}", "ip-1"),
    Bad("egress: {source: {ip-1: }, pool: {p: {ip-1: {}, ip-1: {}}}}", "ip-1"),
    Bad("queues: {tenant: {a: {}, a: {}}}", '"a"'),
    Bad("shaping: {rules: {a.example: {}, a.example: {}}}", "a.example"),
    Bad("listener_domains: {domains: {a.example: {}, a.example: {}}}", "a.example"),
    Bad("listener_domains: {domains: {a.example: {}, A.example: {}}}", "a.example"),
    Bad("egress: {files: [e.json]}", "ip-1", {"e.json": '{"source": {"ip-1": {}, "ip-1": {}}}'}),
    Bad("egress: {files: [e.toml]}", "not TOML", {"e.toml": "[source.ip-1]\n[source.ip-1]\n"}),
    Bad("queues: {files: [q.yaml]}", '"a"', {"q.yaml": "tenant: {a: {}, a: {}}\n"}),
    Bad(listener("sni: {a.example: {}, A.example: {}}"), "a.example"),
]

CERTIFICATES = [
    Bad(listener("tls_certificate: cert.pem, tls_private_key: other.pem"), "not the key of the certificate"),
    Bad(listener("via: {10.0.0.1: {tls_certificate: cert.pem, tls_private_key: other.pem}}"), "not the key of the certificate"),
    Bad(listener("peer: {10.0.0.1: {tls_certificate: cert.pem, tls_private_key: other.pem}}"), "not the key of the certificate"),
    Bad(listener("sni: {a.example: {tls_certificate: cert.pem, tls_private_key: other.pem}}"), "not the key of the certificate"),
    Bad(
        "esmtp_listeners: [{listen: 127.0.0.1:25, files: [l.toml]}]",
        "not the key of the certificate",
        {"l.toml": "tls_certificate = 'cert.pem'\ntls_private_key = 'other.pem'\n"},
    ),
    Bad(listener("tls_certificate: cert.pem"), "tls_certificate without tls_private_key"),
    Bad(listener("tls_private_key: key.pem"), "tls_private_key without tls_certificate"),
    Bad(listener("sni: {a.example: {tls_certificate: cert.pem}}"), "tls_private_key"),
    Bad(listener("tls_certificate: key.pem, tls_private_key: key.pem"), "holds no certificate"),
    Bad(listener("tls_certificate: cert.pem, tls_private_key: cert.pem"), "holds no private key"),
    Bad(listener("tls_certificate: cert.pem, tls_private_key: encrypted.pem"), "is encrypted"),
    Bad(listener("tls_certificate: {key_data: nothing}, tls_private_key: key.pem"), "holds no certificate"),
    Bad(listener("tls_required_client_ca: key.pem"), "holds no certificate"),
    Bad("tls: {ca_file: key.pem}", "holds no certificate"),
    Bad(listener("tls_certificate: {vault_mount: a, vault_path: b}, tls_private_key: key.pem"), "vault"),
    Bad(listener("tls_certificate: {event_name: smtp_server_ehlo}, tls_private_key: {event_name: k}"), "smtp_server_ehlo"),
]

INTERVALS = [
    Bad(queue("retry_interval: 1 hour, max_retry_interval: 1 minute"), "max_retry_interval"),
    Bad(queue("retry_interval: 0"), "retry_interval"),
    Bad(queue("max_age: -5"), "max_age"),
    Bad(path("max_deliveries_per_connection: 0"), "max_deliveries_per_connection"),
    Bad("queues: {tenant: {a: {retry_interval: 2 hours, max_retry_interval: 1 hour}}}", "max_retry_interval"),
]

POLICIES = [
    Bad("policy: p.py", "p.py:1:", {"p.py": "def ("}),
    Bad("policy: p.py", "cannot import: No module named 'absent_module'", {"p.py": "import absent_module\n"}),
    Bad("policy: p.py", "cannot import", {"p.py": "from kumotwist.kumo import nothing_of_it\n"}),
    Bad("policy: p.py", "ZeroDivisionError", {"p.py": "\n\n1 / 0\n"}),
    Bad("policy: p.py", "ends the process", {"p.py": "import sys\nsys.exit()\n"}),
    Bad("policy: p.py", "unknown event", {"p.py": "from kumotwist import kumo\nkumo.on('smtp_server_rcpt', print)\n"}),
    Bad("policy: p.py", "as an event", {"p.py": "from kumotwist import kumo\nkumo.on(5, print)\n"}),
    Bad("policy: p.py", "expected a function", {"p.py": "from kumotwist import kumo\nkumo.on('init', None)\n"}),
    Bad(
        "policy: p.py", "requires 2 arguments", {"p.py": "from kumotwist import kumo\nkumo.on('get_egress_pool', lambda a, b: 1)\n"}
    ),
    Bad("policy: p.py", "by name", {"p.py": "from kumotwist import kumo\nkumo.on('get_egress_pool', lambda *, a: 1)\n"}),
    Bad(
        "policy: p.py",
        "a second handler of get_queue_config",
        {"p.py": "from kumotwist import kumo\nkumo.on('get_queue_config', print)\nkumo.on('get_queue_config', print)\n"},
    ),
    Bad("policy: p.py", 'did you mean "make_queue_config"?', {"p.py": "from kumotwist import kumo\nkumo.make_queue_confg()\n"}),
    Bad("policy: p.py", "max_age", {"p.py": "from kumotwist import kumo\nkumo.make_queue_config(max_age='1 dayz')\n"}),
    Bad("policy: p.py", "unknown key", {"p.py": "from kumotwist import kumo\nkumo.make_egress_path(limit=5)\n"}),
    Bad("policy: p.py", "name", {"p.py": "from kumotwist import kumo\nkumo.make_egress_source(source_address='10.0.0.1')\n"}),
    Bad("policy: p.py", "absent.toml", {"p.py": "from kumotwist import kumo\nkumo.serde.toml_load('absent.toml')\n"}),
    Bad(
        "policy: p.py",
        "half.json",
        {"p.py": "from kumotwist import kumo\nkumo.serde.json_load('half.json')\n", "half.json": "{"},
    ),
    Bad("policy: p.py", "memoize", {"p.py": "from kumotwist import kumo\nkumo.memoize(print, name='a', ttl=0, capacity=1)\n"}),
    Bad(
        "policy: p.py",
        "listen",
        {"p.py": "from kumotwist import kumo\nkumo.on('init', lambda: kumo.start_esmtp_listener(listen='here'))\n"},
    ),
    Bad("policy: p.py", "ZeroDivisionError", {"p.py": "from kumotwist import kumo\nkumo.on('init', lambda: 1 / 0)\n"}),
    Bad("policy: p.py", "ZeroDivisionError", {"p.py": "from kumotwist import kumo\nkumo.on('pre_init', lambda: 1 / 0)\n"}),
    Bad("policy: [good.py, p.py]", "p.py:1:", {"p.py": "1 +\n", "good.py": "\n"}),
    Bad("policy: p.py", "beside.py:2:", {"p.py": "import beside\n", "beside.py": "\nraise KeyError('a')\n"}),
    Bad("policy: p.py", "p.py:1:", {"p.py": "\x00"}),
    Bad("policy: p.py", "recursion", {"p.py": "def f():\n    f()\nf()\n"}),
]

CATEGORIES = {
    "wrong types": WRONG_TYPES,
    "unknown keys": UNKNOWN_KEYS,
    "missing files": MISSING_FILES,
    "bad syntax": BAD_SYNTAX,
    "bad addresses": BAD_ADDRESSES,
    "overlapping networks": OVERLAPS,
    "names of nothing": ABSENT_NAMES,
    "duplicate keys": DUPLICATES,
    "certificates and keys": CERTIFICATES,
    "intervals": INTERVALS,
    "policies": POLICIES,
}


def generated() -> Iterator[Bad]:
    """Every block that there is, with a key that is none, and with a list where a mapping belongs."""
    for cls, place in PLACES:
        if "suspend_when" in place("") or "shrink_policy" in place(""):
            continue  # refused as a whole as long as they are awaited
        yield Bad(place("no_such_key: 5"), "no_such_key")
        yield Bad(place("[a]: 5"), "main.yaml:1:")
        yield Bad(place("? {a: b}\n"), "main.yaml:")
        yield Bad(place(f"5: {cls.__name__}"), "5")


class BadConfigurationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.count = 0

    def said(self, bad: Bad) -> str:
        """What `kumotwist check` says of it, without the directory; each line has been looked at."""
        self.count += 1
        place = self.directory / str(self.count)
        place.mkdir(parents=True)
        (place / "main.yaml").write_text(bad.text, "utf-8")
        for name, pem in self.keys().items():
            (place / name).write_bytes(pem)
        for name, text in bad.files.items():
            (place / name).write_text(text, "utf-8")
        done = CliRunner().invoke(check, [str(place / "main.yaml")])
        said = done.output.replace(f"{place}/", "")
        self.assertEqual(done.exit_code, 2, f"{bad}: {said}{done.exception!r}")
        self.assertNotIn("Traceback", said)
        for line in said.splitlines():
            found = _PLACE.match(line)
            self.assertIsNotNone(found, f"{bad}: {line}")
            assert found is not None
            self.assertTrue((place / found["file"]).exists() or "cannot be read" in line, line)
        return said

    _keys: Mapping[str, bytes] = {}

    def keys(self) -> Mapping[str, bytes]:
        if not self._keys:
            certificate, key = certificate_and_key("mx.example.com")
            _, other = certificate_and_key("mx.example.com")
            _, encrypted = certificate_and_key("mx.example.com", passphrase=b"secret")
            type(self)._keys = {"cert.pem": certificate, "key.pem": key, "other.pem": other, "encrypted.pem": encrypted}
        return self._keys

    def test_there_are_two_hundred_of_them_and_no_two_are_the_same(self) -> None:
        by_hand = [(bad.text, tuple(bad.files.items())) for table in CATEGORIES.values() for bad in table]
        self.assertEqual(len(set(by_hand)), len(by_hand))
        self.assertGreaterEqual(len(by_hand), 200)

    def test_a_configuration_that_is_right_passes(self) -> None:
        place = self.directory
        place.mkdir(parents=True)
        (place / "main.yaml").write_text("hostname: mta.example.com\n", "utf-8")
        self.assertEqual(CliRunner().invoke(check, [str(place / "main.yaml")]).exit_code, 0)


def _test_of(name: str, table: list[Bad]) -> None:
    def test(self: BadConfigurationTests) -> None:
        said = [(bad, self.said(bad)) for bad in table]
        self.assertEqual([(bad, what) for bad, what in said if bad.says not in what], [])

    setattr(BadConfigurationTests, f"test_{name.replace(' ', '_')}", test)


for _name, _table in (*CATEGORIES.items(), ("generated ones", list(generated()))):
    _test_of(_name, _table)
