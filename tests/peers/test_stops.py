"""Stopped in order, and started again: nothing is lost, nothing is sent twice, and the schedule stays as it was."""

import signal
import time
from random import Random

from tests.peers.evidence import Record, message_ids_in, of_type
from tests.peers.odd import Odd
from tests.peers.support import PeerTestCase, Server, Sink, Traffic, wait_until

SEED = 20260802

CONFIG = """
queues:
  queue:
    default:
      retry_interval: 1 second
      max_retry_interval: 1 second
      protocol: {smtp: {mx_list: [%(sink)s]}}
    patient.example:
      retry_interval: 20 minutes
      max_retry_interval: 1 hour
shaping:
  rules:
    default: {prohibited_hosts: [], enable_tls: Disabled, max_ready: 200}
"""

BEHAVIOUR = """
domains:
  slow.example: {delay: 50 ms}
  slower.example: {delay: 1500 ms}
  defer.example: {defer: {share: 40, stage: dot}}
  patient.example: {defer: {share: 100, replies: ["451 4.2.0 Come back later"]}}
"""


SILENT = """
queues:
  queue:
    early.example: {protocol: {smtp: {mx_list: [%(early)s]}}}
    late.example: {protocol: {smtp: {mx_list: [%(late)s]}}}
shaping:
  rules:
    default: {prohibited_hosts: [], enable_tls: Disabled, system_shutdown_timeout: 1 second}
"""


class StopTests(PeerTestCase):
    """SIGTERM."""

    def begin(self) -> tuple[Server, Sink]:
        sink = self.sink(BEHAVIOUR, keep=True)
        return self.server(CONFIG % {"sink": sink.mx}), sink

    def finish(self, server: Server, sink: Sink) -> list[Record]:
        """The log, after each message has come to its end."""

        def all_delivered(records: list[Record]) -> bool:
            return len(of_type(records, "Delivery")) == len(of_type(records, "Reception"))

        server.wait_for_records(all_delivered, "a delivery of every message", every=0.5)
        server.stop()
        sink.end()
        records = server.records()
        self.assertEqual(list(server.spooled()), [])
        self.assert_books_balance(records, {})
        return records

    def test_under_load_nothing_is_lost_and_nothing_is_doubled(self) -> None:
        chance = Random(SEED)
        server, sink = self.begin()
        domains = [option for name in ("quick.example:5", "slow.example:3", "defer.example:2") for option in ("--domain", name)]
        load = self.started(Traffic(self.place, server.address, "--retry", "--duration", "1 hour", "--seed", str(SEED), *domains))
        left = []
        for _ in range(4):
            load.wait_for_more(100)
            time.sleep(chance.uniform(0.0, 0.5))
            server.stop()
            self.assertEqual(server.journal(), [], "records that are not in the log's files")
            spooled = server.spooled()
            self.assert_books_balance(server.records(), spooled)
            left.append(len(spooled))
            server.start()
        load.signal(signal.SIGINT)
        load.wait()
        records = self.finish(server, sink)
        arrived = [one["traffic_id"] for one in sink.accepted()]
        self.assertEqual(len(arrived), len(set(arrived)), f"doubled, seed {SEED}")
        ids = list(message_ids_in(sink.contents()))
        self.assertEqual(len(ids), len(set(ids)), f"doubled, seed {SEED}")
        self.assertEqual({one["id"] for one in load.acknowledged()} - set(arrived), set(), f"lost, seed {SEED}")
        self.assertEqual(len(of_type(records, "Delivery")), len(arrived))
        print(f"\n    seed {SEED}: {len(arrived)} messages; in the spool at the stops {left}", end=" ")

    def test_what_is_on_the_wire_is_finished_before_the_end(self) -> None:
        server, sink = self.begin()
        self.load(server, "--messages", "40", "--domain", "slower.example")
        sink.wait_for(1)  # it has one message, and takes its time with the answer
        server.stop()
        records = server.records()
        spooled = server.spooled()
        self.assert_books_balance(records, spooled)
        delivered = of_type(records, "Delivery")
        self.assertEqual({one["response"]["code"] for one in delivered}, {250})
        untried = [(one.attempts, one.due) for one in spooled.values()]
        self.assertEqual(untried, [(0, 0.0)] * len(untried))  # to be stopped costs no attempt
        sink.wait_until_idle()
        self.assertEqual(len(delivered), sink.stats()["messages"])
        server.start()
        self.finish(server, sink)
        self.assertEqual(len({one["traffic_id"] for one in sink.accepted()}), 40)
        self.assertEqual(len(sink.accepted()), 40)

    def test_a_receiver_that_keeps_silent_does_not_hold_up_the_end(self) -> None:
        """After system_shutdown_timeout: what it may have got counts as tried, what it cannot have does not."""
        early, late = self.started(Odd("mail", b"")), self.started(Odd("dot", b""))
        facts = {"early": early.mx, "late": late.mx}
        server = self.server(SILENT % facts)
        self.load(server, "--messages", "1", "--domain", "early.example", name="early")
        self.load(server, "--messages", "1", "--domain", "late.example", name="late")
        wait_until(lambda: early.reached and late.reached, "the receivers have come to where they fall silent")
        server.stop()
        records, spooled = server.records(), server.spooled()
        self.assert_books_balance(records, spooled)
        self.assertEqual(len(spooled), 2)
        attempts = sorted((one.queue_name(), one.attempts) for one in spooled.values())
        self.assertEqual(attempts, [("early.example", 0), ("late.example", 1)])
        (failure,) = of_type(records, "TransientFailure")
        self.assertEqual(failure["queue"], "late.example")
        self.assertIn("the end of the message had been sent: it may have been delivered", failure["response"]["content"])

    def test_attempts_and_due_times_survive_stops_and_kills(self) -> None:
        server, sink = self.begin()
        self.load(server, "--messages", "25", "--domain", "patient.example")
        records = server.wait_for_records(lambda records: len(of_type(records, "TransientFailure")) >= 25, "25 deferrals")
        failures = of_type(records, "TransientFailure")
        self.assertEqual({one["num_attempts"] for one in failures}, {0})
        server.stop()
        before = server.spooled()
        self.assertEqual(set(before), {one["id"] for one in failures})
        self.assertEqual({one.attempts for one in before.values()}, {1})
        self.assertEqual({one.last_reply for one in before.values()}, {"451 4.2.0 Come back later"})
        failed_at = {one["id"]: one["timestamp"] for one in failures}
        for message_id, message in before.items():
            # 20 minutes, give or take the jitter of half a minute; the record shows whole seconds
            self.assertTrue(1169.0 <= message.due - failed_at[message_id] <= 1231.0, (message.due, failed_at[message_id]))
        for ended in ("stop", "kill"):
            server.start()
            server.hear("25 messages were in the spool")
            getattr(server, ended)()
            after = server.spooled()
            self.assertEqual(
                {key: (one.attempts, one.due, one.last_reply) for key, one in after.items()},
                {key: (one.attempts, one.due, one.last_reply) for key, one in before.items()},
                ended,
            )
        self.assertEqual(len(server.records()), 50)  # 25 receptions, 25 failures: nothing was tried again
        self.assertEqual(sink.stats()["recipients"]["deferred"], 25)
