"""python -m tests.fuzz NAME --minutes N: feed one parser for so long; `all`: one after the other."""

import argparse
import sys
import time

from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.parsers import PARSERS

AT_A_TIME = 300


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    options.add_argument("name", choices=[*PARSERS, "all"])
    options.add_argument("--minutes", type=float, default=1.0)
    asked = options.parse_args()
    names = list(PARSERS) if asked.name == "all" else [asked.name]
    return sum(fuzz(name, asked.minutes * 60.0) for name in names)


def fuzz(name: str, seconds: float) -> int:
    """1 if something was found; hypothesis has printed the smallest input then."""
    parser, ends, inputs = PARSERS[name], time.monotonic() + seconds, 0

    @settings(max_examples=AT_A_TIME, deadline=None, database=None, suppress_health_check=list(HealthCheck),
              phases=(Phase.generate, Phase.shrink))  # fmt: skip
    @given(parser.given)
    def feed(given: object) -> None:
        parser.feed(given)

    while time.monotonic() < ends:
        try:
            feed()
        except Exception as found:  # noqa: BLE001  whatever it is, it is what we look for
            print(f"{name}: {found!r}", *getattr(found, "__notes__", ()), sep="\n")
            return 1
        inputs += AT_A_TIME
    print(f"{name}: {inputs} inputs, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
