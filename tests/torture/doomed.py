"""
twistd, with a server that kills itself (-9) when it passes a named point for the n-th time: KUMOTWIST_DIES_AT=POINT:N.

The points lie around every sync: of the spool, of the log's files, and of the journal that forgets what these have.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from kumotwist.logs.segment import Disk
from kumotwist.spool.directory import DirectoryStore
from kumotwist.spool.rocks import RocksStore

# What each point is the beginning or the end of.
STEPS: dict[str, tuple[tuple[type, str], ...]] = {
    "spool write": ((RocksStore, "write"), (DirectoryStore, "write")),
    "journal forgetting": ((RocksStore, "forget_records"), (DirectoryStore, "forget_records")),
    "spool reading": ((RocksStore, "load"), (DirectoryStore, "load")),
    "log write": ((Disk, "write"),),
    "log sync": ((Disk, "sync"),),
    "log segment": ((Disk, "create"),),
    "log seal": ((Disk, "seal"),),
}
POINTS = tuple(f"{when} {step}" for step in STEPS for when in ("before", "after"))


def arm(point: str, count: int) -> None:
    """Die at the count-th time that this point is passed.  Raises KeyError for a point that there is not."""
    when, _, step = point.partition(" ")
    left = [count]

    def pass_by() -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **named: Any) -> Any:
            if when == "before":
                pass_by()
            result = original(*arguments, **named)
            if when == "after":
                pass_by()
            return result

        return act

    for owner, name in STEPS[step]:
        setattr(owner, name, watched(getattr(owner, name)))


def main() -> None:
    point, _, count = os.environ.get("KUMOTWIST_DIES_AT", "").rpartition(":")
    if point:
        arm(point, int(count))
    sys.argv[0] = "twistd"
    from twisted.scripts.twistd import run

    run()


if __name__ == "__main__":
    main()
