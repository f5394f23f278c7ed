"""
Some hundred days of the whole server, each with its own faults; see docs/testing.md.

KUMOTWIST_SIMULATED_SEEDS says how many, KUMOTWIST_SIMULATION_FROM with which to begin.  A seed that fails is named, and
`python -m tests.simulation SEED` plays it again.
"""

import gc
import os
from collections import Counter

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.spool.change import Change
from tests.simulation.history import History
from tests.simulation.ledger import Broken, Ledger
from tests.support.memory import Messages

SEEDS = int(os.environ.get("KUMOTWIST_SIMULATED_SEEDS", "60"))
FIRST = int(os.environ.get("KUMOTWIST_SIMULATION_FROM", "1"))


class SimulationTests(SynchronousTestCase):
    """Invariants 1 to 4, 6 and 8 of the design, by chance."""

    def tearDown(self) -> None:
        gc.collect()  # what dead processes leave behind has its last words here, and not in the middle of another test
        gc.collect()
        self.flushLoggedErrors()  # those that we made; others break the history

    def test_no_history_breaks_an_invariant(self) -> None:
        broken = []
        for seed in range(FIRST, FIRST + SEEDS):
            history = History(seed)
            try:
                history.run()
            except Broken as fault:
                broken.append(f"python -m tests.simulation {seed}: {fault}")
        self.assertEqual(broken, [])

    def test_a_seed_gives_one_history(self) -> None:
        one, other = History(FIRST).run(), History(FIRST).run()
        self.assertEqual((one.trace, one.timeline.steps, one.ledger.lines), (other.trace, other.timeline.steps, other.ledger.lines))


class LedgerTests(SynchronousTestCase):
    """What the simulation would find: each of these is told to the ledger, and must break it."""

    def setUp(self) -> None:
        self.ledger = Ledger()
        self.messages = Messages(lambda: 1_700_000_000.0)
        self.message = self.messages.make("a@one.test")

    def change(self, *, store: bool = False, remove: bool = False, record: str = "") -> Change:
        change = Change()
        if store:
            change.store(self.message)
        if record:
            line = msgspec.json.encode({"type": record, "id": self.message.id, "recipient": "a@one.test"})
            change.records.append((record, line))
        if remove:
            change.removals.append(self.message.id)
        return change

    def received(self) -> None:
        self.ledger.write(self.change(store=True, record="Reception"))

    def test_an_ordinary_life_breaks_nothing(self) -> None:
        self.received()
        self.ledger.heard([self.message.id])
        self.ledger.arrived(self.message.id, ["a@one.test"])
        self.ledger.write(self.change(remove=True, record="Delivery"))
        self.ledger.close(self.ledger.lines, Counter())

    def test_250_without_a_write(self) -> None:
        self.assertRaises(Broken, self.ledger.heard, [self.message.id])

    def test_a_delivery_that_no_receiver_knows_of(self) -> None:
        self.received()
        self.assertRaises(Broken, self.ledger.write, self.change(remove=True, record="Delivery"))

    def test_leaving_the_spool_without_a_final_record(self) -> None:
        self.received()
        self.assertRaises(Broken, self.ledger.write, self.change(remove=True))

    def test_two_final_records(self) -> None:
        self.received()
        self.ledger.write(self.change(record="Bounce"))
        self.assertRaises(Broken, self.ledger.write, self.change(record="Expiration"))

    def test_a_copy_without_a_cause(self) -> None:
        self.received()
        self.ledger.arrived(self.message.id, ["a@one.test"])
        self.assertRaises(Broken, self.ledger.arrived, self.message.id, ["a@one.test"])

    def test_a_copy_after_a_crash_or_a_lost_reply_has_one(self) -> None:
        self.received()
        self.ledger.arrived(self.message.id, ["a@one.test"])
        self.ledger.crashed()
        self.ledger.arrived(self.message.id, ["a@one.test"])
        self.ledger.unheard(self.message.id, ["a@one.test"])
        self.ledger.arrived(self.message.id, ["a@one.test"])
        self.assertEqual(self.ledger.counts["copies"], 2)
        self.assertRaises(Broken, self.ledger.arrived, self.message.id, ["a@one.test"])

    def test_a_message_that_never_ends(self) -> None:
        self.received()
        self.assertRaises(Broken, self.ledger.close, self.ledger.lines, Counter())

    def test_a_record_that_the_log_lost(self) -> None:
        self.ledger.write(self.change(record="Rejection"))
        self.assertRaises(Broken, self.ledger.close, Counter(), Counter())
