"""A real server, a sink that answers as a rule has it: the next connections are otherwise, and then as they were."""

import smtplib
from itertools import count
from typing import Any

import requests

from kumotwist.automation.rules import Layer
from tests.dns.server import Answer, code, nothing, records
from tests.examples.nameserver import Nameserver
from tests.peers.evidence import Record
from tests.peers.support import KUMOTWIST, SINK_HOST, PeerTestCase, Running, Server, Sink, wait_until

BEHAVIOUR = """
local_parts:
  slow: {defer: {share: 100, replies: ["421 4.7.0 please slow down"]}}
  almost: {defer: {share: 100, replies: ["421 4.7.0 please slow up"]}}
"""

CONFIG = """
egress:
  source: {{ip-1: {{source_address: 127.0.0.31}}, ip-2: {{source_address: 127.0.0.32}}}}
  pool: {{one: {{ip-1: {{}}}}, other: {{ip-2: {{}}}}}}
queues:
  tenant_header: X-Tenant
  tenant: {{t: {{egress_pool: one}}, u: {{egress_pool: other}}}}
  queue: {{default: {{retry_interval: 1 hour, max_age: 1 day}}}}
http_listeners: [{{listen: "127.0.0.1:0"}}]
dns: {{nameservers: ["{nameserver}"]}}
shaping:
  rules:
    default: {{prohibited_hosts: [], smtp_port: {port}, enable_tls: Disabled, enable_mta_sts: false, idle_timeout: "100 ms"}}
    {rules}
"""
LASTS = 4  # seconds


def zone() -> dict[str, Answer]:
    return {
        "example.org MX": records("example.org. 300 IN MX 10 mx.provider.test."),
        "example.net MX": records("example.net. 300 IN MX 10 mx.provider.test."),
        "mx.provider.test A": records(f"mx.provider.test. 300 IN A {SINK_HOST}"),
        "mx.provider.test AAAA": nothing(),
        "example.com": code("NXDOMAIN"),
    }


class AutomationCase(PeerTestCase):
    """Mail through a server to a sink that wants it slower."""

    def begin(self, layer: Layer, action: str, trigger: str = "Immediate") -> Server:
        rule = f"automation: [{{regex: slow down, action: {action}, trigger: {trigger}, duration: {LASTS}}}]"
        rules = {
            Layer.PROVIDER: f"provider: {{p: {{match: [{{MXSuffix: .provider.test}}], {rule}}}}}",
            Layer.SITE: f"example.net: {{{rule}}}",  # the same site as example.org's
            Layer.DOMAIN: f"example.org: {{mx_rollup: false, {rule}}}",
        }[layer]
        self.sink_: Sink = self.sink(BEHAVIOUR)
        nameserver = Nameserver(zone())
        self.server_ = self.server(CONFIG.format(nameserver=nameserver.address, port=self.sink_.port, rules=rules))
        self.numbers = count(1)
        self.seen = 0
        return self.server_

    def send(self, local: str = "", tenant: str = "t") -> str:
        recipient = f"{local or f'r{next(self.numbers)}'}@example.org"
        with smtplib.SMTP(self.server_.host, self.server_.port, timeout=30) as client:
            client.sendmail("a@sender.example", [recipient], f"X-Tenant: {tenant}\r\nSubject: x\r\n\r\nhello\r\n")
        return recipient

    def arrived(self, recipient: str) -> Record:
        look = lambda: [one for one in self.sink_.accepted() if recipient in one["recipients"]]  # noqa: E731
        (found,) = wait_until(look, f"{recipient} arrives")
        return found

    def record(self, kind: str, recipient: str) -> Record:
        """The next one of that type about the recipient."""
        fits = lambda all_: [one for one in all_ if one["type"] == kind and one["recipient"] == recipient]  # noqa: E731
        found: Record = fits(self.server_.wait_for_records(fits, f"{kind} of {recipient}"))[-1]
        return found

    def refuse(self, times: int = 1, local: str = "slow") -> None:
        """The sink answers as the rule has it."""
        for _ in range(times):
            self.seen += 1
            self.send(local)
            self.server_.wait_for_records(
                lambda all_: sum(one["type"] == "TransientFailure" for one in all_) >= self.seen, f"answer {self.seen}"
            )

    def origins(self) -> Any:
        """What resolve-egress-path says of who says what."""
        base = self.server_.hear("HTTP listens on ").strip()
        query = {"domain": "example.org", "source": "ip-1"}
        answer = requests.get(f"http://{base}/api/admin/resolve-egress-path/v1", params=query, timeout=30)
        self.assertEqual(answer.status_code, 200, answer.text)
        return answer.json()["origins"]


class AutomationTests(AutomationCase):
    """Rules stand for a provider, a site and a domain in turn; they last four seconds."""

    def test_a_provider_suspends_one_source(self) -> None:
        self.begin(Layer.PROVIDER, "Suspend", "{Threshold: 2/hr}")
        self.refuse()
        self.arrived(self.send())  # once is not enough
        self.refuse(local="almost")
        self.arrived(self.send())
        self.refuse()
        waiting = self.send()
        self.assertEqual(self.arrived(self.send(tenant="u"))["client"], "127.0.0.32")
        self.assertIn("ReadyQueueWasSuspended", self.record("Delayed", waiting)["response"]["content"])
        self.assertEqual(self.arrived(waiting)["client"], "127.0.0.31")
        self.server_.stop()
        self.assertIn("Suspend: ip-1->mx.provider.test@smtp_client, for", self.server_.said())

    def test_a_site_changes_a_parameter(self) -> None:
        self.begin(Layer.SITE, "{SetConfig: {name: ehlo_domain, value: slower.example}}")
        self.assertEqual(self.arrived(self.send())["ehlo"], "mta.peers.example")
        self.refuse()
        self.assertEqual(self.arrived(self.send())["ehlo"], "slower.example")
        origin = self.origins()["ehlo_domain"]
        self.assertRegex(origin["by"], "^automation [0-9a-f]{16} of example.net$")
        self.assertRegex(origin["place"], r"kumotwist.yaml:\d+$")
        self.assertIn("421 4.7.0 please slow down", origin["reason"])
        self.assertIn("until", origin)
        look = lambda: self.arrived(self.send())["ehlo"] == "mta.peers.example"  # noqa: E731
        wait_until(look, "it is undone", every=0.5)
        self.assertNotIn("ehlo_domain", self.origins())
        self.assertEqual(self.origins()["smtp_port"]["by"], "default")

    def test_a_domain_bounces_for_a_while(self) -> None:
        self.begin(Layer.DOMAIN, "Bounce")
        self.refuse()
        bounced = self.send()
        self.assertIn("slow down", self.record("AdminBounce", bounced)["response"]["content"])
        wait_until(lambda: self.sink_.accepted() or not self.send(), "it is undone", every=1.0)

    def test_a_tenant_waits(self) -> None:
        self.begin(Layer.DOMAIN, "SuspendTenant")
        self.refuse()
        waiting = self.send()
        self.arrived(self.send(tenant="u"))
        self.assertIn("ScheduledQueueWasSuspended", self.record("Delayed", waiting)["response"]["content"])
        self.arrived(waiting)


TOGETHER = """
http_listeners: [{{listen: "127.0.0.1:0"}}]
spool: {{path: tsa}}
dns: {{nameservers: ["{nameserver}"]}}
shaping:
  rules:
    provider:
      p:
        match: [{{MXSuffix: .provider.test}}]
        automation:
          - regex: slow down
            action: [{{SetConfig: {{name: ehlo_domain, value: slower.example}}}}, SuspendTenant]
            duration: 12
"""


class SharedTests(AutomationCase):
    """Two programs: one that delivers, and one that reacts."""

    def begin_both(self) -> None:
        self.sink_ = self.sink(BEHAVIOUR)
        nameserver = Nameserver(zone()).address
        (self.place / "tsa.yaml").write_text(TOGETHER.format(nameserver=nameserver), "utf-8")
        tsa = self.started(Running(self.place, "tsa", [*KUMOTWIST, "tsa", "--config", str(self.place / "tsa.yaml")]))
        url = f"http://{tsa.hear('tsa: listening on ').strip()}"
        config = CONFIG.format(nameserver=nameserver, port=self.sink_.port, rules="")
        self.server_ = self.server(config.replace("shaping:\n", f"shaping:\n  publish: [{url}]\n  subscribe: [{url}]\n"))
        self.numbers, self.seen = count(1), 0

    def test_what_a_shared_daemon_concludes_holds_here(self) -> None:
        self.begin_both()
        self.assertEqual(self.arrived(self.send())["ehlo"], "mta.peers.example")
        self.refuse()
        self.server_.hear("SuspendTenant: domain=example.org, tenant=t, for ")
        waiting = self.send()
        self.assertIn("ScheduledQueueWasSuspended", self.record("Delayed", waiting)["response"]["content"])
        look = lambda: self.arrived(self.send(tenant="u"))["ehlo"] == "mta.peers.example"  # noqa: E731
        self.assertTrue(look(), "what one source was told is for that source")
        wait_until(lambda: "ehlo_domain" in self.origins(), "the parameter is known here", every=0.5)
        self.arrived(waiting)
        self.server_.stop()
