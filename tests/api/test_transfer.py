"""Mail from one node to another: what it was stays what it is, and kill -9 of either loses and doubles nothing."""

import gzip
import os
import time
from collections import Counter
from typing import Any

import requests
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.fields import BadValue
from kumotwist.config.xfer import parse_target
from kumotwist.egress.transfer import bring_back, packed, send_away, unpacked
from kumotwist.mail.address import stored_mailbox
from kumotwist.mail.message import Message
from kumotwist.mail.message_id import another_of, created
from kumotwist.mail.schedule import Schedule
from tests.api.operated import Operated, OperatedCase
from tests.peers.evidence import of_type
from tests.peers.support import wait_until

MESSAGES = int(os.environ.get("KUMOTWIST_XFER_MESSAGES", "150"))
KILLS = int(os.environ.get("KUMOTWIST_XFER_KILLS", "4"))
NOWHERE = '"[127.0.0.9]:9"'
ID = "8c0e7374e5a411f19f84abd0abb5180a"


def message(**meta: Any) -> Message:
    made = Message(ID, stored_mailbox("a@b.example"), (stored_mailbox("c@d.example"),), b"x\r\n", dict(meta), attempts=3, due=3.9e9)
    made.schedule = Schedule(expires=4e9)
    made.name_queue()
    return made


class TransferTests(SynchronousTestCase):
    def test_what_comes_back_is_as_it_was(self) -> None:
        for meta in ({}, {"tenant": "t", "campaign": "c"}, {"queue": "q", "other": 5}, {"routing_domain": "r"}):
            one = message(**meta)
            queue = one.queue
            send_away(one, "http://127.0.0.1:8000")
            one.name_queue()
            self.assertEqual(one.queue, "http://127.0.0.1:8000.xfer.kumomta.internal")
            self.assertEqual((one.attempts, one.due, one.schedule), (0, 0.0, None))
            send_away(one, "https://elsewhere")  # it remembers where it belongs, not where it waited
            told, content = unpacked(packed(one, "node", None))
            self.assertEqual((told.id, told.recipients, content), (ID, ("c@d.example",), b"x\r\n"))
            bring_back(one)
            one.name_queue()
            self.assertEqual((one.queue, one.meta, one.attempts, one.due), (queue, meta, 3, 3.9e9))
            self.assertEqual(one.schedule, Schedule(expires=4e9))

    def test_what_is_a_node_and_what_is_none(self) -> None:
        self.assertEqual(parse_target("HTTP://Node.example:8000/"), "http://node.example:8000")
        no_nodes = "node ftp://x http:// http://u:p@x http://x/path http://x!y http://x:99999 http://x?q http://\xfc"
        for wrong in (*no_nodes.split(" "), "", "http://x y"):
            with self.subTest(wrong):
                self.assertRaises(BadValue, parse_target, wrong)

    def test_another_id_of_the_same_moment(self) -> None:
        other = another_of(ID, lambda bits: 5)
        self.assertEqual((len(other), created(other)), (32, created(ID)))
        self.assertNotEqual(other, ID)


class NodesTests(OperatedCase):
    def held(self, name: str) -> Operated:
        """A node where mail waits: it was tried in vain."""
        return self.operated(NOWHERE, name, retry="1 h")

    def waiting(self, node: Operated, queue: str) -> int:
        answer = requests.get(f"{node.base}/api/admin/inspect-sched-q/v1", params={"queue_name": queue, "limit": "0"}, timeout=60)
        count: int = answer.json()["num_scheduled"] if answer.status_code == 200 else 0
        return count

    def transfer(self, source: Operated, target: Operated, **criteria: Any) -> None:
        source.post("xfer/v1", target=target.base, reason="drain", **criteria)

    def test_a_message_moves_with_all_that_is_known_of_it(self) -> None:
        sink = self.sink()
        target = self.operated(sink.mx, "target")
        source = self.held("source")
        theirs = source.send("bob@rcpt.example", tenant="acme")
        source.send("carol@stays.example")
        wait_until(lambda: self.waiting(source, "acme@rcpt.example") == 1, "it waits")
        self.transfer(source, target, tenant="acme")
        # It is due there when it was due here, unless somebody flushes it.
        wait_until(lambda: self.waiting(target, "acme@rcpt.example") == 1, "it waits at the other node")
        target.post("rebind/v1", reason="now", data={}, always_flush=True)
        (delivered,) = sink.wait_for(1)
        self.assertEqual(delivered["recipients"], ["bob@rcpt.example"])
        self.assertEqual(source.get("inspect-sched-q/v1", queue_name="stays.example")["num_scheduled"], 1)
        source.wait_for_records(lambda found: of_type(found, "XferOut"), "it has left")
        target.wait_for_records(lambda found: of_type(found, "Delivery"), "it was delivered")
        source.stop()
        target.stop()
        (out,), (moved,) = of_type(source.records(), "XferOut"), of_type(source.records(), "AdminRebind")
        (came,), (sent,) = of_type(target.records(), "XferIn"), of_type(target.records(), "Delivery")
        self.assertEqual((out["id"], came["queue"]), (theirs, "acme@rcpt.example"))
        self.assertEqual((came["id"], came["created"]), (sent["id"], out["created"]))
        self.assertIn(came["id"], out["response"]["content"])
        self.assertEqual(moved["queue"], f"{target.base}.xfer.kumomta.internal")
        self.assertEqual([one.queue_name() for one in source.spooled().values()], ["stays.example"])

    def test_what_has_not_left_can_be_called_back(self) -> None:
        source = self.held("source")
        source.send("bob@rcpt.example", tenant="acme")
        queue = "http://127.0.0.9:9.xfer.kumomta.internal"
        source.post("xfer/cancel/v1", 404, queue_name=queue, reason="x")
        source.post("xfer/cancel/v1", 400, queue_name="rcpt.example", reason="x")
        wait_until(lambda: self.waiting(source, "acme@rcpt.example") == 1, "it waits")
        source.post("xfer/v1", 422, target="nonsense", reason="x")
        source.post("xfer/v1", target="http://127.0.0.9:9", reason="wrong")
        source.wait_for_records(lambda found: len(of_type(found, "TransientFailure")) > 1, "the other node is not there")
        source.post("xfer/cancel/v1", queue_name=queue, reason="back")
        wait_until(lambda: source.get("inspect-sched-q/v1", queue_name="acme@rcpt.example")["num_scheduled"] == 1, "it is back")
        (one,) = source.get("inspect-sched-q/v1", queue_name="acme@rcpt.example")["messages"]
        self.assertNotIn("xfer_queue_info", one["message"]["meta"])
        self.assertEqual(one["message"]["meta"]["tenant"], "acme")

    def test_the_same_message_again_gets_the_same_answer(self) -> None:
        target = self.held("target")
        one = message(tenant="acme")
        send_away(one, target.base)
        body = gzip.compress(packed(one, "another", None))

        def push(octets: bytes) -> requests.Response:
            return requests.post(f"{target.base}/api/xfer/inject/v1", data=octets, timeout=60)

        first = push(body)
        self.assertEqual(push(body).json(), first.json())
        target.kill()
        target.start()
        self.assertEqual(push(body).json(), first.json())
        for wrong in (b"", b"nonsense", body[:-20], gzip.compress(b"{}\n"), gzip.compress(b"x" * 1000)):
            self.assertEqual(push(wrong).status_code, 400)
        large = message()
        large.content = os.urandom(5_000_000)
        large.id = another_of(ID, lambda bits: 9)
        self.assertEqual(push(gzip.compress(packed(large, "another", None))).status_code, 200)
        target.stop()
        self.assertEqual(len(target.spooled()), 2)
        (kept,) = [one for one in target.spooled().values() if one.meta.get("xfer_prior_id") == ID]
        self.assertEqual(
            (kept.attempts, kept.due, kept.meta["tenant"], kept.meta["xfer_prior_node"]), (3, 3.9e9, "acme", "another")
        )

    def test_a_node_does_not_send_to_itself(self) -> None:
        node = self.held("node")
        node.send("bob@rcpt.example")
        wait_until(lambda: self.waiting(node, "rcpt.example") == 1, "it waits")
        self.transfer(node, node)
        found = node.wait_for_records(lambda found: len(of_type(found, "TransientFailure")) > 1, "it is refused")
        self.assertIn("this is the node that it comes from", of_type(found, "TransientFailure")[1]["response"]["content"])

    def test_kill_9_of_either_loses_and_doubles_nothing(self) -> None:
        source, target = self.held("source"), self.held("target")
        self.load(source, "--messages", str(MESSAGES), "--domain", "one.example", "--domain", "two.example")
        wait_until(lambda: sum(self.waiting(source, one) for one in ("one.example", "two.example")) == MESSAGES, "all wait")
        for n in range(KILLS):
            self.transfer(source, target)
            time.sleep(0.1 + 0.2 * n)
            victim = (target, source)[n % 2]
            victim.kill()
            victim.start()
        self.transfer(source, target)
        away = f"{target.base}.xfer.kumomta.internal"

        def drained() -> bool:
            # What waits for its next try goes at once.
            source.post("rebind/v1", reason="now", data={}, domain=away, always_flush=True)
            return self.waiting(source, away) == 0

        wait_until(drained, "everything has left", every=1.0)
        wait_until(lambda: len(of_type(source.records(), "XferOut")) >= MESSAGES, "all records are there")
        source.stop()
        target.stop()
        taken = {one["id"] for one in of_type(source.records(), "Reception")}
        self.assertEqual(len(taken), MESSAGES)
        self.assertEqual(source.spooled(), {})
        prior = Counter(one.meta["xfer_prior_id"] for one in target.spooled().values())
        self.assertEqual(set(prior), taken)
        self.assertEqual(set(prior.values()), {1})
        self.assertEqual(Counter(one["id"] for one in of_type(source.records(), "XferOut")), dict.fromkeys(taken, 1))
        self.assertEqual(len(of_type(target.records(), "XferIn")), MESSAGES)
