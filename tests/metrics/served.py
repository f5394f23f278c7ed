"""A whole server that has seen mail of each kind, and what its metrics say."""

from typing import Any
from urllib.request import urlopen

import msgspec

from tests.peers.support import SERVER_HOST, PeerTestCase, Server, free_port

CONFIG = """
http_listeners: [{listen: "%s"}]
policy: events.py
queues: {queue: {default: {retry_interval: 1 hour, protocol: {smtp: {mx_list: [%s]}}}}}
shaping: {rules: {default: {prohibited_hosts: [], enable_tls: Disabled}}}
"""
POLICY = """
from kumotwist import kumo

@kumo.on("smtp_server_message_received")
def received(msg):
    msg.set_meta("tenant", "t1")
    msg.set_meta("campaign", "c1")
"""
BEHAVIOUR = """
domains:
  defer.example: {defer: {share: 100}}
  refuse.example: {refuse: {share: 100}}
"""


class ServedTestCase(PeerTestCase):
    def seen(self, messages: int = 60) -> tuple[Server, str]:
        """A server that has dealt with so many messages, and where its metrics are."""
        sink = self.sink(BEHAVIOUR)
        listen = f"{SERVER_HOST}:{free_port(SERVER_HOST)}"
        (self.place / "server").mkdir()
        (self.place / "server" / "events.py").write_text(POLICY, "utf-8")
        server = self.server(CONFIG % (listen, sink.mx))
        domains = [option for one in ("good.example:2", "defer.example:1", "refuse.example:1") for option in ("--domain", one)]
        self.load(server, "--messages", str(messages), "--concurrency", "3", *domains)
        done = ("Delivery", "Bounce", "TransientFailure")
        server.wait_for_records(lambda found: sum(one["type"] in done for one in found) >= messages, "every message was tried")
        return server, f"http://{listen}"


def told(base: str) -> dict[str, Any]:
    """`/metrics.json`."""
    with urlopen(f"{base}/metrics.json") as answer:
        return msgspec.json.decode(answer.read(), type=dict[str, Any])


def text_of(base: str) -> str:
    with urlopen(f"{base}/metrics") as answer:
        found: bytes = answer.read()
    return found.decode()
