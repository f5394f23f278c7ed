"""
Thousands of destinations at once: those that are dead and those that are slow hold up nobody.

Mail for all of them comes over some minutes, on a simulated clock; each healthy message takes half a second to be connected
for and a quarter to be sent.  What counts is how long healthy mail is under way, beside a run with nothing else.
"""

import os
from bisect import insort_right

from msgspec.structs import replace
from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Limit
from kumotwist.config.queues import QueueSettings
from kumotwist.ready.queue import ReadyQueue
from tests.support.house import House
from tests.support.senders import Sender

DESTINATIONS = int(os.environ.get("KUMOTWIST_DESTINATIONS", "5000"))
MESSAGES = 3  # for each
DURING = 120.0  # seconds in which they come


class ManyCalls(Clock):
    """A clock for tens of thousands of calls: a new one is put into its place instead of all being sorted."""

    def _sortCalls(self) -> None:
        if self.calls:
            insort_right(self.calls, self.calls.pop(), key=DelayedCall.getTime)


def latency(destinations: int, *, only_healthy: bool) -> float:
    """The mean seconds from reception to delivery of the healthy third's mail."""
    house = House(memory=1 << 28, clock=ManyCalls())
    senders: list[Sender] = []

    def opened(supply: ReadyQueue) -> "Deferred[None]":
        kind = int(supply.path.destination.domain[1:].partition(".")[0]) % 3
        times = {0: (0.5, 0.25), 1: (60.0, 0.0), 2: (20.0, 300.0)}[kind]
        return Sender.start(supply, house.clock, senders, connecting=times[0], latency=times[1], alive=kind != 1)

    house.open_with(opened)
    taken: dict[str, float] = {}
    for n in range(destinations):
        house.queues[f"d{n}.example"] = QueueSettings(retry_interval=60.0)
        house.paths[f"d{n}.example"] = PathSettings(connection_limit=Limit(2))
    count = destinations * MESSAGES
    for n in range(count):
        destination = n % destinations
        if not only_healthy or destination % 3 == 0:
            message = house.take(f"x@d{destination}.example")
            if destination % 3 == 0:
                taken[message.id] = house.clock.seconds()
        house.run(DURING / count)
    house.run(60.0)
    done = {message.id: instant + 0.25 for sender in senders for instant, message in sender.sent}
    return sum(done[message_id] - began for message_id, began in taken.items()) / len(taken)


class DestinationTests(SynchronousTestCase):
    def test_dead_and_slow_destinations_cost_the_healthy_ones_nothing(self) -> None:
        alone = latency(DESTINATIONS, only_healthy=True)
        among_others = latency(DESTINATIONS, only_healthy=False)
        self.assertGreater(alone, 0.25)
        self.assertLess(among_others / alone, 1.2)

    def test_dead_and_slow_destinations_of_one_source_fill_no_queue_of_another_site(self) -> None:
        house = House()
        house.paths = dict.fromkeys(("dead.example", "well.example"), replace(PathSettings(), max_ready=10))
        senders: list[Sender] = []
        house.open_with(lambda supply: Sender.start(supply, house.clock, senders, alive="dead" not in supply.name, connecting=1.0))
        for _ in range(200):
            house.take("x@dead.example")
            house.take("x@well.example")
        house.run(5.0)
        self.assertEqual({one["queue"] for one in house.records("Delivery")}, {"well.example"})
        self.assertEqual(len(house.records("Delivery")), 200)
