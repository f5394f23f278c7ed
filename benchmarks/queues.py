"""
What queues cost: python benchmarks/queues.py [COUNT]: so many scheduled queues and ready queues, with a message each.

Prints octets a queue, and microseconds from the message's admission to its ready queue, with few and with many queues beside it.
"""

import gc
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kumotwist.spool.memory import Machine
from tests.support.house import House


def main(count: int) -> None:
    house = House(memory=0)
    gc.collect()
    before = Machine().used(own=True)
    first = admit(house, 0, min(1000, count))
    for at in range(1000, count - 1000, 1000):
        admit(house, at, 1000)
    last = admit(house, count, 1000)
    gc.collect()
    after = Machine().used(own=True)
    print(f"queues: {len(house.scheduler.queues)} scheduled, {len(list(house.ready))} ready, a message each")
    each = (after - before) / len(house.scheduler.queues)
    print(f"memory: {each:.0f} octets for both queues of a domain, its message, and a spool and sessions in memory")
    print(f"admission and promotion: {first:.0f} us with few queues, {last:.0f} us with all of them")


def admit(house: House, start: int, count: int) -> float:
    """Microseconds for each."""
    began = time.perf_counter()
    for n in range(start, start + count):
        house.take(f"bob@d{n}.example.org")
        house.spool.lines.clear()
    return (time.perf_counter() - began) / count * 1e6


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
