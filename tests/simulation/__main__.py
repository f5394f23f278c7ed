"""python -m tests.simulation SEED...: replay histories; `A-B` is a range of seeds."""

import os
import sys
import time
from collections import Counter

from twisted.logger import globalLogBeginner

from tests.simulation.history import History
from tests.simulation.ledger import Broken


def main(arguments: list[str]) -> int:
    verbose = "-v" in arguments
    seeds = [seed for one in arguments if not one.startswith("-") for seed in seeds_of(one)]
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    began = time.monotonic()
    failed = 0
    counts: Counter[str] = Counter()
    for seed in seeds:
        history = History(seed)
        try:
            history.run()
        except (Broken, AssertionError) as fault:
            failed += 1
            print(f"seed {seed}: {fault}", flush=True)
        if "-t" in arguments:
            print(f"seed {seed}: {time.process_time():.2f} s so far, {history.timeline.steps} steps", flush=True)
        counts.update(history.ledger.counts)
        counts["crashes"] += history._crashes
        counts["letters"] += history.letters
        counts["steps"] += history.timeline.steps
        counts["audits"] += history.audits
        counts["promised"] += len(history.ledger.promised)
        if verbose:
            print("\n".join(history.trace))
    print(f"{len(seeds)} seeds, {failed} failed, {time.monotonic() - began:.1f} s; {dict(counts)}")
    return 1 if failed else 0


def seeds_of(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # the dead of the last history need not be buried
