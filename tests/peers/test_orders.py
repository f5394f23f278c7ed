"""Operators' orders that lie on the spool's shelf hold from the start of a server on, before any mail goes out."""

import time

import msgspec

from kumotwist.ready.orders import ReadySuspension
from kumotwist.scheduled.orders import BounceOrder, Criteria, Suspension
from kumotwist.spool.change import Change
from kumotwist.spool.rocks import RocksStore
from tests.peers.evidence import of_type
from tests.peers.support import PeerTestCase

CONFIG = """
queues:
  queue:
    default: {protocol: {smtp: {mx_list: [%(sink)s]}}}
shaping:
  rules:
    default: {prohibited_hosts: [], enable_tls: Disabled}
"""


class OrderTests(PeerTestCase):
    def test_they_hold_from_the_start_on(self) -> None:
        sink = self.sink()
        server = self.server(CONFIG % {"sink": sink.mx})
        server.stop()
        expires = time.time() + 3600.0
        change = Change()
        for key, order in {
            "bounce/b": BounceOrder(id="b", reason="unwanted", criteria=Criteria(domain="bounced.example"), expires=expires),
            "suspension/s": Suspension(id="s", reason="wait", criteria=Criteria(domain="held.example"), expires=expires),
            "suspension/old": Suspension(id="old", reason="over", criteria=Criteria(), expires=1.0),
            "ready/r": ReadySuspension(id="r", name="nowhere", reason="nothing", expires=expires),
        }.items():
            change.shelve(f"orders/{key}", msgspec.json.encode(order))
        store = RocksStore(str(server.place / "spool" / "rocksdb"))
        store.write([change], store.last_sequence() + 1)
        store.close()
        server.start()
        for domain in ("bounced.example", "held.example", "free.example"):
            self.load(server, "--messages", "1", "--domain", domain, name=domain)
        server.wait_for_records(
            lambda records: of_type(records, "Delivery") and of_type(records, "AdminBounce") and of_type(records, "Delayed"),
            "a record for each",
        )
        server.stop()
        records = server.records()
        (delivery,), (bounce,) = of_type(records, "Delivery"), of_type(records, "AdminBounce")
        (delayed,) = of_type(records, "Delayed")
        self.assertEqual((delivery["queue"], bounce["queue"], delayed["queue"]), (
            "free.example", "bounced.example", "held.example"))  # fmt: skip
        self.assertIn("ScheduledQueueWasSuspended", delayed["response"]["content"])
        self.assertEqual([one.queue_name() for one in server.spooled().values()], ["held.example"])
        store = RocksStore(str(server.place / "spool" / "rocksdb"))
        self.assertEqual([key for key, _ in store.shelved("orders/")], [
            "orders/bounce/b", "orders/ready/r", "orders/suspension/s"])  # fmt: skip
        store.close()
