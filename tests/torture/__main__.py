"""python -m tests.torture --kills 300: kill the server so often, in rounds that each begin with an empty spool."""

import argparse
import sys
import time
from unittest import TestResult

from tests.peers import test_kills

ROUND = 20  # kills on one spool


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=test_kills.SEED, help="other moments and points")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no other round after so long")
    chosen = parser.parse_args()
    began, done, failed, seed = time.monotonic(), 0, 0, chosen.seed
    while done < chosen.kills and time.monotonic() - began < 60 * chosen.minutes:
        kills = min(ROUND, chosen.kills - done)
        kind = test_kills.RocksdbTests if done // ROUND % 4 else test_kills.LocalDiskTests
        one = kind("torture")
        one.seed, one.kills = seed, kills
        result = TestResult()
        one.run(result)
        done += kills
        for _, trace in (*result.errors, *result.failures):
            failed += 1
            print(f"round with seed {seed}, {kind.kind}:\n{trace}", flush=True)
        print(f"\n{done} kills, {failed} rounds failed, {time.monotonic() - began:.0f} s", flush=True)
        seed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
