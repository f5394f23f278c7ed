"""Whether the disks that mail and its log are on have room left; below a minimum, new mail is refused while there is still some."""

import os
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from kumotwist.config.server import Config
from kumotwist.metrics.family import Family, gauges

LOOK_AGAIN = 5.0  # seconds


class Minimum(Struct, frozen=True):
    """What must stay free below `path`: octets and inodes, or shares of all there are (`10%`)."""

    path: str
    space: str | int
    inodes: str | int


def minima(config: Config) -> list[Minimum]:
    """What the configuration wants free: where the spool is, and where the logs are."""
    return [
        Minimum(config.spool.path, config.spool.min_free_space, config.spool.min_free_inodes),
        Minimum(config.logs.log_dir, config.logs.min_free_space, config.logs.min_free_inodes),
    ]


class Room(Struct, frozen=True):
    """What is free and what there is, of one kind."""

    free: int
    whole: int

    def below(self, minimum: str | int) -> bool:
        """A file system that does not count (whole 0) is never too full."""
        if not self.whole:
            return False
        if isinstance(minimum, str):
            return self.free * 100 < float(minimum.rstrip("% ")) * self.whole
        return self.free < minimum


def measure(path: str) -> tuple[Room, Room]:
    """Space in octets and inodes, as an ordinary user may use them; where the path is still to be made, of its parent."""
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    found = os.statvfs(path)
    space = Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
    return space, Room(found.f_favail, found.f_files)


class DiskSpace:
    """Looks at the minima every few seconds."""

    log = Logger()

    def __init__(
        self, clock: IReactorTime, minima: Sequence[Minimum], measure: Callable[[str], tuple[Room, Room]] = measure
    ) -> None:
        self._clock = clock
        self._minima = minima
        self._measure = measure
        self._call: IDelayedCall | None = None
        self._room: dict[str, tuple[Room, Room]] = {}  # space and inodes as of the last look, by path
        self.full: str | None = None  # the path that is too full; None: there is room

    @property
    def closed_for(self) -> str | None:
        """Why no new mail is taken; None: it is."""
        return "disk is too full. Try later" if self.full else None

    def start(self) -> None:
        self._look()

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        full = next((one.path for one in self._minima if self._is_full(one)), None)
        if full != self.full:
            if full is not None:
                self.log.error("{path}: less is free than the configured minimum; new mail is refused", path=full)
            else:
                self.log.info("{path}: there is room again", path=self.full)
            self.full = full
        self._call = self._clock.callLater(LOOK_AGAIN, self._look)

    def _is_full(self, minimum: Minimum) -> bool:
        try:
            space, inodes = self._measure(minimum.path)
        except OSError as fault:
            self.log.warn("{path}: how much is free cannot be told: {fault}", path=minimum.path, fault=fault)
            return False
        self._room[minimum.path] = space, inodes
        return space.below(minimum.space) or inodes.below(minimum.inodes)

    def measures(self) -> Iterator[Family]:
        """For the metrics: as of the last look."""
        for position, what in enumerate(("bytes", "inodes")):
            rooms = [((path,), both[position]) for path, both in self._room.items() if both[position].whole]
            free = [(name, room.free) for name, room in rooms]
            yield gauges(f"disk_free_{what}", f"{what} free for spool and logs", ("name",), free)
            percent = "disk_free_percent" if what == "bytes" else "disk_free_inodes_percent"
            yield gauges(percent, f"{what} free, of 100", ("name",), [(name, 100 * room.free / room.whole) for name, room in rooms])
