"""Which address mail leaves from, as the receiver sees it: weights, EHLO names, addresses that go away and come back."""

import os
import shutil
import socket
import subprocess
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.peers.evidence import Record, of_type
from tests.peers.support import PeerTestCase, Running, Server, Sink, wait_until

CONFIG = """
egress:
  source:
    one: {source_address: %(one)s, ehlo_domain: one.peers.example}
    two: {source_address: %(two)s, ehlo_domain: two.peers.example}
  pool:
    pair: {one: {weight: 2}, two: {weight: 1}}
    only-two: {two: {}}
queues:
  queue:
    default: {egress_pool: pair, protocol: {smtp: {mx_list: [%(sink)s]}}}
    lone.example: {egress_pool: only-two}
shaping:
  rules:
    default: {prohibited_hosts: [], enable_tls: Disabled, idle_timeout: 1 second}
"""

ONE, TWO = "127.0.0.21", "127.0.0.22"
NOWHERE = "192.0.2.1"  # RFC 5737: nobody has it
SKIPPED = "cannot be used"  # what the server says of a source without its address
FOUND = "can be used again"


class SourcesCase(PeerTestCase):
    """A server whose pool `pair` has two sources with weights 2 and 1."""

    def begin(self, one: str = ONE, two: str = TWO, prefix: list[str] | None = None) -> tuple[Server, Sink]:
        sink = self.sink(prefix=prefix or [])
        return self.server(CONFIG % {"one": one, "two": two, "sink": sink.mx}, prefix=prefix or []), sink

    def finish(self, server: Server, sink: Sink) -> list[Record]:
        """The log, after all was delivered."""
        server.stop()
        sink.end()
        records = server.records()
        self.assert_books_balance(records, server.spooled())
        return records


class WeightTests(SourcesCase):
    """Weights 2:1 are 2:1 at the receiver."""

    def test_weights_addresses_and_greetings_are_seen_at_the_receiver(self) -> None:
        server, sink = self.begin()
        self.load(server, "--messages", "600", "--domain", "a.example", "--domain", "b.example", "--seed", "2")
        sink.wait_for(600)
        records = self.finish(server, sink)
        arrived = sink.accepted()
        self.assertEqual(len(arrived), 600)
        for domain in ("a.example", "b.example"):  # each is a queue with a rotation of its own
            clients = [one["client"] for one in arrived if one["recipients"][0].endswith(domain)]
            self.assertGreater(len(clients), 200)
            self.assertEqual(set(clients), {ONE, TWO})
            self.assertAlmostEqual(clients.count(ONE), len(clients) * 2 / 3, delta=2)
        seen = {(one["client"], one["ehlo"]) for one in arrived}
        self.assertEqual(seen, {(ONE, "one.peers.example"), (TWO, "two.peers.example")})
        # Each connection, also one that nothing came through.
        clients = sink.stats()["clients"]
        self.assertEqual(set(clients), {ONE, TWO})
        self.assertEqual(clients[ONE]["greetings"], {"one.peers.example": clients[ONE]["connections"]})
        self.assertEqual(clients[TWO]["greetings"], {"two.peers.example": clients[TWO]["connections"]})
        self.assert_the_log_agrees(records, arrived)

    def assert_the_log_agrees(self, records: list[Record], arrived: list[Record]) -> None:
        told = {
            (one["recipient"], one["egress_pool"], one["egress_source"], one["source_address"]["address"].rpartition(":")[0])
            for one in of_type(records, "Delivery")
        }
        names = {ONE: "one", TWO: "two"}
        self.assertEqual(told, {(one["recipients"][0], "pair", names[one["client"]], one["client"]) for one in arrived})


class Ipv6Tests(SourcesCase):
    """A source and a receiver with IPv6 addresses."""

    def test_mail_leaves_from_an_ipv6_address(self) -> None:
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
                port = probe.getsockname()[1]
        except OSError as fault:
            raise SkipTest(f"this machine has no IPv6: {fault}") from None
        sink = self.sink(options=["--listen", f"[::1]:{port}"])
        mx = f'{{name: mx.six.example, addr: "[::1]:{port}"}}'
        server = self.server(CONFIG % {"one": ONE, "two": '"::1"', "sink": mx})
        self.load(server, "--messages", "30", "--domain", "lone.example")
        sink.wait_for(30)
        delivered = of_type(self.finish(server, sink), "Delivery")
        self.assertEqual({one["client"] for one in sink.accepted()}, {"::1"})
        self.assertEqual({one["source_address"]["address"].rpartition(":")[0] for one in delivered}, {"[::1]"})
        peers = {(one["peer_address"]["name"], one["peer_address"]["addr"]) for one in delivered}
        self.assertEqual(peers, {("mx.six.example.", f"[::1]:{port}")})


class MissingAddressTests(SourcesCase):
    """A source whose address this machine does not have."""

    def test_it_is_said_once_and_the_other_source_carries_everything(self) -> None:
        with socket.socket() as probe:
            try:
                probe.bind((NOWHERE, 0))
            except OSError:
                pass
            else:
                raise SkipTest("this machine binds addresses that it has not (ip_nonlocal_bind)")
        server, sink = self.begin(two=NOWHERE)
        for number in range(3):
            self.load(server, "--messages", "60", name=f"traffic-{number}")
            sink.wait_for(60 * (number + 1))
        records = self.finish(server, sink)
        self.assertEqual({one["client"] for one in sink.accepted()}, {ONE})
        self.assertEqual(len(sink.accepted()), 180)
        self.assertEqual(server.said().count(SKIPPED), 1, server.said())
        self.assertIn(f"its address {NOWHERE} is not on this machine", server.said())
        # It cost no message an attempt, and no message waited.
        self.assertEqual({(one["type"], one["num_attempts"]) for one in records}, {("Reception", 0), ("Delivery", 0)})


class VanishingAddressTests(SourcesCase):
    """An address that goes away while we use it: in a network namespace of its own, where we may take addresses away."""

    STAYS, GOES = "10.99.0.1", "10.99.0.2"

    def setUp(self) -> None:
        super().setUp()
        for needed in ("unshare", "nsenter", "ip"):
            if shutil.which(needed) is None:
                raise SkipTest(f"{needed} (Debian packages `util-linux` and `iproute2`) is not installed")
        if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
            raise SkipTest("no network namespace may be made here: not root, or not allowed")
        holder = self.started(Running(self.place, "namespace", ["unshare", "--net", "sleep", "1000"]))
        assert holder.process is not None
        self.inside = ["nsenter", f"--target={holder.process.pid}", "--net"]
        itself = f"/proc/{holder.process.pid}/ns/net"
        wait_until(lambda: os.readlink(itself) != os.readlink("/proc/self/ns/net"), "the namespace is there")
        self.run_to_end(*self.inside, "ip", "link", "set", "lo", "up")
        for address in (self.STAYS, self.GOES):
            self.address("add", address)

    def address(self, word: str, address: str) -> None:
        self.run_to_end(*self.inside, "ip", "address", word, f"{address}/32", "dev", "lo")

    def send(self, server: Server, sink: Sink, name: str, domain: str = "a.example") -> list[Any]:
        """30 messages; returns the addresses that they came from."""
        before = len(sink.accepted())
        self.load(server, "--messages", "30", "--domain", domain, name=name, prefix=self.inside)
        return [one["client"] for one in sink.wait_for(before + 30)[before:]]

    def test_it_is_skipped_while_it_is_away_and_used_again_when_it_is_back(self) -> None:
        server, sink = self.begin(self.STAYS, self.GOES, self.inside)
        self.assertEqual(set(self.send(server, sink, "both")), {self.STAYS, self.GOES})
        sink.wait_until_idle()
        self.address("delete", self.GOES)
        self.assertEqual(set(self.send(server, sink, "without")), {self.STAYS})
        self.assertEqual(server.said().count(SKIPPED), 1, server.said())
        # A pool that has no other source waits for it, without counting attempts.
        self.load(server, "--messages", "5", "--domain", "lone.example", name="waiting", prefix=self.inside)
        server.wait_for_records(lambda records: of_type(records, "Delayed"), "a Delayed record")
        self.address("add", self.GOES)
        wait_until(lambda: FOUND in server.said(), "the source is found again", patience=30.0)
        arrived = sink.wait_for(65)
        self.assertEqual([one["client"] for one in arrived[60:]], [self.GOES] * 5)
        self.assertEqual(set(self.send(server, sink, "again")), {self.STAYS, self.GOES})
        records = self.finish(server, sink)
        self.assertEqual(len(sink.accepted()), 95)
        self.assertEqual(server.said().count(SKIPPED), 1, server.said())
        self.assertEqual(server.said().count(FOUND), 1, server.said())
        self.assertEqual({one["num_attempts"] for one in records}, {0})
        (delayed,) = of_type(records, "Delayed")  # one for all that wait for the same
        self.assertIn("a source of pool only-two can be used", delayed["response"]["content"])
