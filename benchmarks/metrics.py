"""
What a scrape costs: `/metrics` of a server with many scheduled and ready queues, each with mail and a past.

    python benchmarks/metrics.py [--queues 10000] [--sites 10000] [--repeat 5]

Prints the processor's time for the whole text, the longest time that a turn of it kept the reactor, its size and samples.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from twisted.internet.defer import Deferred

from kumotwist.api.metrics import Metrics
from kumotwist.config.queues import MxHost
from kumotwist.egress.path import Destination
from kumotwist.mail.disposition import Verdict
from kumotwist.metrics.exposition import as_text
from kumotwist.reception.counts import ReceptionCounts
from kumotwist.scheduled.measures import measures
from tests.support.house import LATER, OK, House


def house_of(queues: int, sites: int) -> House:
    """Each queue has sent one message, has put off one, and has one that is ready or waits for room."""
    house = House(memory=1 << 30)
    for n in range(queues):
        host = MxHost(name=f"mx{n % sites}.example", label=f"mx{n % sites}.example")
        destination = Destination(domain=f"customer-{n}.example", site=host.name, groups=((host,),), expires=1e12)
        house.destinations.answers[destination.domain] = destination
    for n in range(queues):
        domain = f"customer-{n}.example"
        for _ in range(2):
            house.take(f"bob@{domain}")
        if n < sites:
            house.sessions[-1].answer(Verdict.DELIVERED, OK)
            house.sessions[-1].answer(Verdict.POSTPONED, LATER)
        house.take(f"bob@{domain}")
    return house


def turns(house: House, metrics: Metrics) -> Iterator[tuple[str, float]]:
    """Each turn of the reactor in which something is told: what, and the processor's seconds that it took."""
    began = time.process_time()
    families = Deferred.fromCoroutine(metrics.families())
    yield "", time.process_time() - began
    while not families.called:
        began = time.process_time()
        house.clock.advance(0)
        yield "", time.process_time() - began
    told: Any = families.result
    telling = as_text(told)
    while True:
        began = time.process_time()
        portion = next(telling, None)
        if portion is None:
            return
        yield portion, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queues", type=int, default=10000)
    parser.add_argument("--sites", type=int, default=10000, help="ready queues: each of these sites has one")
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    house = house_of(given.queues, given.sites)
    stages = [ReceptionCounts().measures, lambda: measures(house.scheduler, house.ready), house.ready.measures]
    metrics = Metrics(house.clock, stages)
    wholes, longest, text = [], [], ""
    for _ in range(given.repeat):
        told = list(turns(house, metrics))
        text = "".join(portion for portion, _ in told)
        wholes.append(1000 * sum(took for _, took in told))
        longest.append(1000 * max(took for _, took in told))
    samples = sum(not line.startswith("#") for line in text.splitlines())
    print(f"{given.queues} queues to {given.sites} sites, {samples} samples, {len(text) / 1e6:.1f} MB, {len(told)} turns")
    print(f"whole text: {statistics.median(wholes):.1f} ms (least {min(wholes):.1f})")
    print(f"longest turn: {statistics.median(longest):.1f} ms")


if __name__ == "__main__":
    main()
