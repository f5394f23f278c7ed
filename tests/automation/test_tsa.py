"""The shared daemon, spoken to as KumoMTA's publishers and subscribers speak to it."""

import json
import signal
import tomllib
from typing import Any

import requests
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.peers.support import KUMOTWIST, PeerTestCase, Running

CONFIG = """
http_listeners: [{listen: "127.0.0.1:0"}]
spool: {path: spool}
dns: {nameservers: ["127.0.0.1:9"], timeout: 1 s}
shaping:
  rules:
    default:
      automation:
        - {regex: suspend the path, action: Suspend, duration: 1 hour, trigger: {Threshold: 2/hr}}
        - {regex: suspend the tenant, action: SuspendTenant, duration: 1 hour}
        - {regex: bounce it, action: Bounce, duration: 1 hour}
        - regex: slow down
          action: [{SetConfig: {name: max_message_rate, value: 1/min}}, {SetDomainConfig: {name: connection_limit, value: 1}}]
          duration: 1 hour
"""
PATH = "ip-1->mx.example.org@smtp_client"


def record(content: str, kind: str = "TransientFailure", **more: Any) -> dict[str, Any]:
    """As KumoMTA writes them; more than automation looks at."""
    return {
        "type": kind,
        "id": "d7ef132b5d7711eea8c8000c29c33806",
        "sender": "a@sender.example",
        "recipient": "bob@example.org",
        "queue": "c:t@example.org",
        "site": PATH,
        "size": 1047,
        "response": {"code": 421, "enhanced_code": {"class": 4, "subject": 7, "detail": 0}, "content": content, "command": "."},
        "peer_address": {"name": "mx.example.org.", "addr": "192.0.2.1"},
        "timestamp": 4102444800,
        "created": 4102444800,
        "num_attempts": 0,
        "bounce_classification": "Uncategorized",
        "egress_pool": "pool",
        "egress_source": "ip-1",
        "source_address": {"address": "192.0.2.9:1"},
        "feedback_report": None,
        "meta": {},
        "headers": {},
        "delivery_protocol": "ESMTP",
        "reception_protocol": "ESMTP",
        "nodeid": "557f3ad4-2c8c-11ee-976e-782d7e12e173",
    } | more


class Follower(WebSocketClientProtocol):
    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N803  autobahn's names
        self.factory.heard.put(json.loads(payload))

    def onClose(self, wasClean: bool, code: Any, reason: Any) -> None:  # noqa: N803
        if not self.factory.gone.called:
            self.factory.gone.callback(None)


class Tsa(Running):
    def __init__(self, place: Any) -> None:
        place.mkdir(parents=True, exist_ok=True)
        (place / "tsa.yaml").write_text(CONFIG, "utf-8")
        super().__init__(place, "tsa", [*KUMOTWIST, "tsa", "--config", str(place / "tsa.yaml")])
        self.address = ""

    def listening(self) -> "Tsa":
        self.address = self.hear("tsa: listening on ").strip()
        return self

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://{self.address}{path}", timeout=30)

    def publish(self, *records: dict[str, Any]) -> list[int]:
        return [requests.post(f"http://{self.address}/publish_log_v1", json=one, timeout=30).status_code for one in records]


class PublisherTests(PeerTestCase):
    def test_what_is_published_is_concluded_from_and_kept(self) -> None:
        tsa = self.started(Tsa(self.place)).listening()
        self.assertEqual(tsa.get("/tsa/status").text.strip(), "TSA Daemon OK")
        self.assertEqual(tsa.get("/get_suspension_v1/suspended.json").json(), {"ready_q": [], "sched_q": []})
        once = [record("please suspend the path"), record("suspend the tenant"), record("bounce it"), record("slow down")]
        nothing = [
            record("suspend the tenant", queue="example.org"),  # no tenant
            record("bounce it", kind="Delivery", queue="example.net", recipient="bob@example.net"),
            record("bounce it", recipient="postmaster@example.org", queue="example.com"),
            record("KumoMTA internal: bounce it", queue="example.com"),
        ]
        self.assertEqual(tsa.publish(*once, *nothing), [200] * 8)
        self.assertEqual(tsa.get("/get_suspension_v1/suspended.json").json()["ready_q"], [])  # once is not enough
        tsa.publish(record("please suspend the path"))
        self.check(tsa)
        self.assertEqual(requests.post(f"http://{tsa.address}/publish_log_v1", json={"type": 1}, timeout=30).status_code, 422)
        tsa.signal(signal.SIGTERM)
        tsa.wait()
        self.assertNotIn("Traceback", tsa.said())
        tsa.start()
        self.check(tsa.listening())

    def check(self, tsa: Tsa) -> None:
        suspended = tsa.get("/get_suspension_v1/suspended.json").json()
        (path,), (tenant,) = suspended["ready_q"], suspended["sched_q"]
        self.assertEqual((path["site_name"], path["source"], path["expires"][:16]), (PATH, "ip-1", "2100-01-01T01:00"))
        self.assertEqual((tenant["tenant"], tenant["domain"], tenant["campaign"]), ("t", "example.org", None))
        (bounced,) = tsa.get("/get_bounce_v1/bounced.json").json()
        self.assertEqual((bounced["tenant"], bounced["domain"], bounced["campaign"]), (None, "example.org", None))
        self.assertIn("421 4.7.0 bounce it", bounced["reason"])
        overlay = tsa.get("/get_config_v1/shaping.toml").text
        self.assertIn("# expires: 2100-01-01T01:00:00.000000Z", overlay)
        self.assertEqual(
            tomllib.loads(overlay),
            {"example.org": {"mx_rollup": True, "sources": {"ip-1": {"max_message_rate": "1/m", "connection_limit": 1}}}},
        )


class SubscriberTests(TestCase):
    """What stands comes first, then what is concluded; the old endpoint has the old names."""

    timeout = 40

    def follow(self, address: str, path: str) -> Any:
        factory: Any = WebSocketClientFactory(f"ws://{address}{path}")  # type: ignore[no-untyped-call]
        factory.protocol, factory.heard, factory.gone = Follower, DeferredQueue(), Deferred()
        host, _, port = address.rpartition(":")
        connection = reactor.connectTCP(host, int(port), factory)

        def end() -> Any:
            connection.disconnect()
            return factory.gone.addCallback(lambda _: deferLater(reactor, 0))

        self.addCleanup(end)
        return factory.heard

    async def test_subscribers(self) -> None:
        from pathlib import Path

        tsa = Tsa(Path(self.mktemp()).absolute())
        self.addCleanup(tsa.kill)
        tsa.start()
        await deferToThread(tsa.listening)
        await deferToThread(tsa.publish, record("suspend the tenant"))
        new, old = self.follow(tsa.address, "/subscribe_event_v1"), self.follow(tsa.address, "/subscribe_suspension_v1")
        first, older = await new.get(), await old.get()
        self.assertEqual((list(first), list(older)), (["SchedQSuspension"], ["SchedQ"]))
        self.assertEqual(first["SchedQSuspension"], older["SchedQ"])
        self.assertEqual(set(first["SchedQSuspension"]), {"rule_hash", "tenant", "domain", "campaign", "reason", "expires"})
        await deferToThread(tsa.publish, record("bounce it"), record("suspend the path"), record("suspend the path"))
        second, third, older = await new.get(), await new.get(), await old.get()
        self.assertEqual((list(second), list(third), list(older)), (["SchedQBounce"], ["ReadyQSuspension"], ["ReadyQ"]))
        self.assertEqual(set(third["ReadyQSuspension"]), {"rule_hash", "site_name", "source", "reason", "expires"})
