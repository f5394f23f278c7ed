"""What `origins` shows is what `compose` composed, and each value has its file and line."""

import msgspec

from kumotwist.config.compose import path_settings
from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Limit, Rate
from kumotwist.config.origins import path_origins
from kumotwist.config.shaping import JOINED
from tests.config.files import ConfigTestCase, use_all_values

FILE = """\
["default"]
connection_limit = 10
max_ready = 100

["default".additional_connection_limits]
a = 1

["example.org"]
max_ready = 200
additional_connection_limits = {b = 2}
[["example.org".automation]]
regex = "slow"
action = "Suspend"
duration = 60

["example.org".sources."ip-1"]
smtp_port = 26

[provider."p"]
match = [{MXSuffix=".p.example"}]
connection_limit = 5
provider_connection_limit = 7

[provider."p".sources."ip-1"]
provider_source_selection_rate = "3/d"
"""
INLINE = "{own.example: {mx_rollup: false, max_ready: 7}, default: {idle_timeout: 1}}"


class OriginsTests(ConfigTestCase):
    def setUp(self) -> None:
        super().setUp()
        use_all_values(self)
        self.shaping = self.read(f"shaping:\n  files: [s.toml]\n  rules: {INLINE}\n", s_toml=FILE).shaping

    def said(
        self, domain: str, source: str = "ip-1", hosts: tuple[str, ...] = ("mx.p.example",)
    ) -> dict[str, tuple[object, str, str]]:
        found = path_origins(self.shaping, {"example.org": "site"}, domain=domain, source=source, site="site", mx_hosts=hosts)
        return {name: (one.value, one.by, one.place.rpartition("/")[2]) for name, one in found.items()}

    def test_each_value_has_its_file_and_line(self) -> None:
        self.assertEqual(
            self.said("other.example"),
            {
                "connection_limit": (Limit(5), "provider p", "s.toml:21"),
                "max_ready": (200, "example.org", "s.toml:9"),
                "additional_connection_limits.a": (Limit(1), "default", "s.toml:5"),
                "additional_connection_limits.b": (Limit(2), "example.org", "s.toml:10"),
                "additional_connection_limits.shaping-provider-p-ip-1-limit": (Limit(7), "provider p", "s.toml:22"),
                "additional_source_selection_rates.shaping-provider-p-ip-1-selection-rate": (
                    Rate(3, 86400.0),
                    "provider p, source ip-1",
                    "s.toml:25",
                ),
                "smtp_port": (26, "example.org, source ip-1", "s.toml:17"),
                "idle_timeout": (1.0, "default", "main.yaml:3"),
                "provider_name": ("p", "provider p", ""),
            },
        )

    def test_a_domains_own_rule_and_a_site_of_nobody(self) -> None:
        self.assertEqual(self.said("own.example")["max_ready"], (7, "own.example", "main.yaml:3"))
        self.assertEqual(self.said("own.example", "ip-2", ())["connection_limit"], (Limit(10), "default", "s.toml:2"))

    def test_rules_of_automation_have_theirs(self) -> None:
        place = self.shaping.places["rule", "example.org", "automation", "0"]
        self.assertEqual(place.rpartition("/")[2], "s.toml:11")

    def test_what_is_shown_is_what_holds(self) -> None:
        for domain in ("example.org", "own.example", "other.example"):
            for source in ("ip-1", "ip-2"):
                for hosts in ((), ("mx.p.example",), ("mx.q.example",)):
                    facts = {"domain": domain, "source": source, "site": "site", "mx_hosts": hosts}
                    holds = msgspec.structs.asdict(path_settings(self.shaping, {"example.org": "site"}, **facts))  # type: ignore[arg-type]
                    shown = path_origins(self.shaping, {"example.org": "site"}, **facts)  # type: ignore[arg-type]
                    for name, default in msgspec.structs.asdict(PathSettings()).items():
                        if name in JOINED:
                            named = {key: shown[f"{name}.{key}"].value for key in holds[name]}
                            self.assertEqual(named, holds[name])
                        else:
                            self.assertEqual(shown[name].value if name in shown else default, holds[name])
