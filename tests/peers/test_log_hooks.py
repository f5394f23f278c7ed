"""
Log hooks to real targets that are killed and started again while mail flows: no record is missing there in the end.

What is told twice carries the same id, and without kills nothing is told twice.
"""

import os
import time
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import Any

from kumotwist.logs.read import LogReader
from tests.peers.brokers import KafkaMock, NatsServer, RabbitMq, WebServer
from tests.peers.support import PeerTestCase, Server, Traffic, wait_until

MESSAGES = int(os.environ.get("KUMOTWIST_HOOK_MESSAGES", "800"))
KILLS = int(os.environ.get("KUMOTWIST_HOOK_KILLS", "3"))

CONFIG = """
queues: {queue: {default: {retry_interval: 1 second, max_retry_interval: 1 second, protocol: {smtp: {mx_list: [%s]}}}}}
shaping: {rules: {default: {prohibited_hosts: [], enable_tls: Disabled}}}
log_hooks: [%s]
"""
BEHAVIOUR = """
domains:
  defer.example: {defer: {share: 30}}
  refuse.example: {refuse: {share: 100}}
"""


class HookTests(PeerTestCase):
    def _ids_of_log(self, server: Server) -> Counter[str]:
        """The id of every record that is in the log's files."""
        lines = [line for line in _lines(server.place / "log") if line]
        return Counter(blake2b(line, digest_size=16).hexdigest() for line in lines)

    def _under_load(self, target: Any, *, kills: int, kill_server: bool = False) -> tuple[Counter[str], Counter[str]]:
        """What was told by record id, and what the log has."""
        self.started(target)
        sink = self.sink(BEHAVIOUR)
        server = self.server(CONFIG % (sink.mx, target.hook))
        domains = [option for one in ("good.example:6", "defer.example:2", "refuse.example:1") for option in ("--domain", one)]
        size = ["--messages", str(MESSAGES), "--concurrency", "5", "--body-size", "1kb"]
        traffic = self.started(Traffic(self.place, server.address, *size, *domains, *(["--retry"] if kill_server else [])))
        for n in range(kills):
            time.sleep(0.3 + 0.4 * n)
            target.kill()
            if kill_server and n == 1:
                server.kill()
                server.start()
            time.sleep(0.5)
            target.start()
        traffic.results()
        done = ("Delivery", "Bounce")
        server.wait_for_records(lambda found: sum(one["type"] in done for one in found) >= MESSAGES, "every message ends", 0.5)
        told: list[dict[str, Any]] = []

        def all_told() -> bool:
            told[:] = target.records()
            return {one["record_id"] for one in told} >= set(self._ids_of_log(server))

        wait_until(all_told, "every record of the log is told", every=1.0)
        server.stop()
        return Counter(one["record_id"] for one in target.records()), self._ids_of_log(server)

    def _check(self, target: Any, *, kills: int = KILLS, kill_server: bool = False) -> None:
        told, log = self._under_load(target, kills=kills, kill_server=kill_server)
        self.assertEqual(set(told), set(log))
        self.assertGreater(len(log), 2 * MESSAGES)
        if not kills:
            self.assertEqual(told, log)

    def test_a_web_server_that_is_killed_again_and_again_gets_every_record(self) -> None:
        self._check(WebServer(self.place))

    def test_without_kills_every_record_comes_once(self) -> None:
        self._check(WebServer(self.place), kills=0)

    def test_when_we_are_killed_too_every_record_comes(self) -> None:
        self._check(WebServer(self.place), kill_server=True)

    def test_rabbitmq_that_is_killed_again_and_again_gets_every_record(self) -> None:
        self._check(RabbitMq(self.place), kills=min(KILLS, 2))

    def test_nats_that_is_killed_again_and_again_gets_every_record(self) -> None:
        self._check(NatsServer(self.place))

    def test_kafka_gets_every_record_once(self) -> None:
        self._check(KafkaMock(self.place), kills=0)


def _lines(log: Path) -> list[bytes]:
    reader = LogReader(str(log))
    try:
        return list(reader.lines())
    finally:
        reader.close()
