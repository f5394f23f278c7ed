"""A message sees one configuration, however often another comes: in the queues, on a clock; and in a real server under load."""

import json
import os
import signal
import smtplib
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.queues import QueueSettings
from kumotwist.config.server import Config
from kumotwist.hooks.policy import Handler
from kumotwist.mail.disposition import Verdict
from kumotwist.mail.message import Message
from kumotwist.reload import LOOK_AGAIN, FilesChange, Reload
from tests.peers.evidence import Record
from tests.peers.support import PeerTestCase, Server, wait_until
from tests.support.house import ARRIVAL, LATER, Directed, House


class QueueTests(SynchronousTestCase):
    """Queue, pool and source of a message are of one configuration."""

    def setUp(self) -> None:
        self.house = House()
        for name in ("old", "new"):
            self.house.pool(name, **{f"{name}-source": 1})

    def hold(self, pool: Any, epoch: int) -> Directed:
        """Another configuration: all mail goes through that pool (or as that handler says)."""
        handler = pool if callable(pool) else lambda *_: QueueSettings(egress_pool=pool)
        self.house.handlers = {"get_queue_config": (Handler(handler, 4, "policy.py:1"),)}
        directions = self.house.directions = Directed(self.house, epoch)
        self.house.ready.direct(directions)
        self.house.scheduler.direct(directions)
        return directions

    def receive(self, directions: Directed) -> Message:
        """A message that was received under it, and is on disk now."""
        message = self.house.messages.make("bob@example.org")
        message.directions = directions
        self.assertTrue(self.house.custody.take([message], ARRIVAL).called)
        return message

    def through(self) -> list[tuple[str, str]]:
        """Pool and source of each message that is delivered, as its record shows them."""
        self.house.clock.advance(0)
        for session in self.house.sessions:
            session.drain()
        return [(one["egress_pool"], one["egress_source"]) for one in self.house.records("Delivery")]

    def test_what_was_received_under_the_configuration_before_goes_as_that_has_it(self) -> None:
        old = self.hold("old", 1)
        self.receive(old)
        new = self.hold("new", 2)
        self.receive(new)
        self.receive(old)
        self.assertEqual(sorted(self.through()), [("new", "new-source"), ("old", "old-source"), ("old", "old-source")])

    def test_so_it_does_where_the_policy_of_that_time_takes_its_time(self) -> None:
        answer: Deferred[QueueSettings] = Deferred()
        old = self.hold(lambda *_: answer, 1)
        new = self.hold("new", 2)
        self.receive(old)
        self.receive(new)
        self.assertEqual(self.through(), [("new", "new-source")])
        answer.callback(QueueSettings(egress_pool="old"))
        self.assertEqual(self.through(), [("new", "new-source"), ("old", "old-source")])

    def test_where_that_policy_breaks_the_message_goes_as_the_present_configuration_has_it(self) -> None:
        def broken(*_: Any) -> QueueSettings:
            raise ZeroDivisionError

        old = self.hold(broken, 1)
        self.hold("new", 2)
        self.receive(old)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.through(), [("new", "new-source")])

    def test_what_has_to_wait_goes_as_the_configuration_of_its_time_has_it(self) -> None:
        old = self.hold("old", 1)
        self.receive(old)
        self.house.sessions[0].answer(Verdict.POSTPONED, LATER)
        self.hold("new", 2)
        self.house.forward(2000, 10.0)
        self.assertEqual(self.through(), [("new", "new-source")])

    def test_a_record_shows_the_pool_that_the_message_went_through_whatever_its_queue_uses_since(self) -> None:
        self.receive(self.hold("old", 1))
        self.receive(self.hold("new", 2))
        self.assertEqual(sorted(self.through()), [("new", "new-source"), ("old", "old-source")])

    def test_a_queue_waits_for_what_a_new_policy_says_and_does_not_go_on_with_what_was(self) -> None:
        self.receive(self.hold("old", 1))
        self.assertEqual(self.through(), [("old", "old-source")])
        answer: Deferred[QueueSettings] = Deferred()
        self.receive(self.hold(lambda *_: answer, 2))
        self.assertEqual(len(self.through()), 1)
        answer.callback(QueueSettings(egress_pool="new"))
        self.assertEqual(self.through(), [("old", "old-source"), ("new", "new-source")])


class TornFilesTests(SynchronousTestCase):
    """Files that are written while they are read."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.file = Path(self.mktemp())
        self.writing = 0
        self.applied: list[str] = []
        self._write()
        config = Config(hostname="mta.example", files=(str(self.file),))
        in_thread = lambda call, *arguments: maybeDeferred(call, *arguments)  # noqa: E731
        self.reload = Reload(self.clock, self._read, self._change, config, in_thread)
        self.reload.start()

    def _write(self) -> None:
        self.writing += 1
        self.file.write_text("x" * self.writing, "utf-8")

    def _read(self) -> Config:
        config = Config(hostname=f"{self.file.read_text('utf-8')}.example", files=(str(self.file),))
        if self.writing in self.torn:
            self._write()
        return config

    def _change(self, config: Config) -> None:
        self.reload.check_unchanged()
        self.applied.append(config.hostname)

    def test_what_may_be_half_of_each_is_not_taken_but_read_again(self) -> None:
        self.torn = {1}
        self.reload.now()
        self.assertEqual(self.applied, ["xx.example"])
        self.clock.advance(2 * LOOK_AGAIN)
        self.assertEqual(self.applied, ["xx.example"])

    def test_files_that_never_rest_are_left_until_the_next_look(self) -> None:
        self.torn = set(range(1, 5))
        self.reload.now()
        self.assertEqual((self.applied, self.writing), ([], 4))
        self.clock.advance(LOOK_AGAIN)
        self.assertEqual(self.applied, ["xxxxx.example"])

    def test_it_is_said_where_it_is_asked(self) -> None:
        self.torn = set()
        self.reload.now()
        self._write()
        self.assertRaises(FilesChange, self.reload.check_unchanged)


GENERATIONS = int(os.environ.get("KUMOTWIST_GENERATIONS", "8"))
TENANTS = 1000

POLICY = """
from kumotwist import kumo

GENERATION_OF = {name: int(one["egress_pool"][5:]) for name, one in kumo.serde.json_load("tenants.json")["tenant"].items()}


@kumo.on("smtp_server_mail_from")
def mail_from(address: kumo.Address, conn_meta: kumo.ConnMeta) -> None:
    conn_meta.set_meta("x_mail", GENERATION_OF["tenant-0"])


@kumo.on("smtp_server_rcpt_to")
def rcpt_to(address: kumo.Address, conn_meta: kumo.ConnMeta) -> None:
    conn_meta.set_meta("x_rcpt", GENERATION_OF["tenant-1"])


@kumo.on("smtp_server_message_received")
def received(msg: kumo.Message) -> None:
    msg.set_meta("generation", GENERATION_OF[msg.get_meta("tenant")])
"""


class Client(threading.Thread):
    """Sends on one connection until it is told to end.  pause: seconds between MAIL and DATA.  fault: why it could not."""

    def __init__(self, server: Server, number: int, pause: float) -> None:
        super().__init__(daemon=True)
        self._server, self._number, self._pause = server, number, pause
        self._ended = threading.Event()
        self.sent: list[str] = []
        self.fault: Exception | None = None

    def run(self) -> None:
        try:
            with smtplib.SMTP(self._server.host, self._server.port, local_hostname="client.example", timeout=60) as client:
                client.ehlo()
                while not self._ended.is_set():
                    self._send(client, len(self.sent))
        except Exception as fault:  # noqa: BLE001  for the test, in its own thread
            self.fault = fault

    def _send(self, client: smtplib.SMTP, count: int) -> None:
        recipient = f"r{count}-{self._number}@example.org"
        tenant = f"tenant-{(count * 7 + self._number) % TENANTS}"
        client.mail("sender@example.net")
        self._ended.wait(self._pause)
        client.rcpt(recipient)
        code, text = client.data(f"X-Tenant: {tenant}\r\nSubject: x\r\n\r\ntext\r\n")
        if code != 250:
            raise AssertionError(f"{code} {text!r}")
        self.sent.append(recipient)

    def end(self) -> None:
        self._ended.set()
        self.join(60)


class LoadTests(PeerTestCase):
    """A real server, whose thousand tenants change while mail comes in on connections that stay."""

    def _tenants(self, generation: int) -> None:
        """All of them use the pool of this generation."""
        tenants = {f"tenant-{n}": {"egress_pool": f"pool-{generation}"} for n in range(TENANTS)}
        new = self.place / "server" / "tenants.new"
        new.write_text(json.dumps({"tenant": tenants}), "utf-8")
        new.replace(new.with_name("tenants.json"))

    def _config(self, mx: str) -> str:
        sources = ", ".join(f"ip-{n}: {{source_address: 127.0.0.{40 + n}}}" for n in range(GENERATIONS + 1))
        pools = ", ".join(f"pool-{n}: {{ip-{n}: {{}}}}" for n in range(GENERATIONS + 1))
        return textwrap.dedent(f"""\
            policy: policy.py
            logs: {{log_dir: log, min_free_space: 0, min_free_inodes: 0, meta: [tenant, generation, x_mail, x_rcpt]}}
            egress: {{source: {{{sources}}}, pool: {{{pools}}}}}
            queues:
              files: [tenants.json]
              tenant_header: X-Tenant
              queue: {{example.org: {{protocol: {{smtp: {{mx_list: [{mx}]}}}}}}}}
            shaping: {{rules: {{default: {{prohibited_hosts: [], connection_limit: 5, enable_tls: Disabled}}}}}}
        """)

    def test_no_connection_is_lost_and_no_message_mixes_two_configurations(self) -> None:
        sink = self.sink()
        (self.place / "server").mkdir()
        (self.place / "server" / "policy.py").write_text(POLICY, "utf-8")
        self._tenants(0)
        server = Server(self.place / "server", "spool: {path: spool, min_free_space: 0, min_free_inodes: 0}\n")
        whole = "hostname: mta.peers.example\nspool: {path: spool, min_free_space: 0, min_free_inodes: 0}\n" + self._config(sink.mx)
        (server.place / "kumotwist.yaml").write_text(f'{whole}esmtp_listeners: [{{listen: "{server.address}"}}]\n', "utf-8")
        self.started(server)
        clients = [Client(server, n, pause) for n, pause in enumerate((0.0, 0.005, 0.05, 0.4))]
        for client in clients:
            client.start()
        for generation in range(1, GENERATIONS + 1):
            before = server.said().count("configuration: in force")
            self._tenants(generation)
            if generation > 1:  # the first is noticed without being told
                server.signal(signal.SIGHUP)
            wait_until(lambda: server.said().count("configuration: in force") > before, f"generation {generation}")  # noqa: B023
            time.sleep(0.3)
        for client in clients:
            client.end()
        self.assertEqual([client.fault for client in clients], [None] * len(clients), server.said()[-3000:])
        sent = {recipient for client in clients for recipient in client.sent}
        self.assertTrue(all(client.sent for client in clients))
        records = server.wait_for_records(
            lambda found: sum(one["type"] == "Delivery" for one in found) >= len(sent), "every message is delivered"
        )
        server.stop()
        self._assert_each_is_of_one(records, sent)

    def _assert_each_is_of_one(self, records: list[Record], sent: set[str]) -> None:
        delivered = [one for one in records if one["type"] == "Delivery"]
        self.assertEqual(sorted(one["recipient"] for one in delivered), sorted(sent))
        mixed = []
        for one in delivered:
            meta = one["meta"]
            told = {meta["generation"], meta["x_mail"], meta["x_rcpt"], int(one["egress_pool"][5:]), int(one["egress_source"][3:])}
            told.add(int(one["source_address"]["address"].rpartition(":")[0].rpartition(".")[2]) - 40)
            if len(told) > 1:
                mixed.append((one["recipient"], meta, one["egress_pool"], one["egress_source"]))
        self.assertEqual(mixed, [])
        self.assertEqual({one["meta"]["generation"] for one in delivered}, set(range(GENERATIONS + 1)))
