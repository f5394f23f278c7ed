"""
How much memory the server uses, and what it may still take: below one threshold all is well, above another no new mail.

Two things are watched.  What the process uses is measured every few seconds, and is the truth, but a late one.  What clients
are just sending can fill the memory between two looks, so it is counted to the octet from the first that arrives until the
last copy is on disk (`Arrivals`); where the count grows fast, it is measured again at once.  A message that would bring the
server above its hard limit is read to its end, forgotten, and refused with 452, and nothing else suffers.

Delivery goes on in all this: it is what gives memory back.
"""

import ctypes
import gc
import os
import resource
from collections.abc import Callable, Iterator

from msgspec import Struct
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from kumotwist.config.server import MemorySettings
from kumotwist.metrics.family import Family, counter, gauge
from kumotwist.spool.residence import Memory

LOOK_AGAIN = 3.0  # seconds, the model's
SOFT, LOW = 0.75, 0.8  # of the hard limit, and of the soft one
COPIES = 3  # of one message at a time, beside what is counted: while its end is found, its lines looked at, its fields added
WRITTEN = 3  # copies of what is on its way to the disk: ours, and two of the store's
WASTE = 0.05  # of the hard limit: what allocators lose between the blocks that they give out
_UNEXPLAINED = 4 * 1024 * 1024  # octets of arrivals after which the next look does not wait for its time

_RESIDENT = 256 * 1024 * 1024
_AMPLE = 8 * 1024 * 1024 * 1024
_GROUPS = "/sys/fs/cgroup"


class Thresholds(Struct, frozen=True, kw_only=True):
    """Octets.  own: whether the limit is about this process alone, and not about all that share its control group."""

    low: int
    soft: int
    hard: int
    own: bool

    @property
    def resident(self) -> int:
        """What waiting messages may keep in memory beside the spool."""
        return min(_RESIDENT, self.soft // 4)

    @property
    def buffers(self) -> int | None:
        """What the store may take for its writes and its cache; None: as many as are good for it."""
        return self.hard // 8 if self.hard < _AMPLE else None


def thresholds(settings: MemorySettings, machine: tuple[int, bool]) -> Thresholds:
    """What holds; machine: the octets there are, and whether a control group says so."""
    found, grouped = machine
    hard = settings.hard_limit or found
    soft = min(settings.soft_limit or int(hard * SOFT), hard)
    low = min(settings.low_threshold or int(soft * LOW), soft)
    return Thresholds(low=low, soft=soft, hard=hard, own=settings.hard_limit is not None or not grouped)


class Machine:
    """What the system says of memory.  group: the directory of our control group, None: there is none with a limit."""

    def __init__(self, groups: str = _GROUPS, proc: str = "/proc/self") -> None:
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._proc = proc
        self._group: str | None = None
        self._v2 = True
        self._limit: int | None = None
        for directory, v2 in ((_own_group(groups, proc), True), (groups, True), (os.path.join(groups, "memory"), False)):
            limit = _number(os.path.join(directory, "memory.max" if v2 else "memory.limit_in_bytes"))
            if limit is not None and limit < self.physical():
                self._group, self._v2, self._limit = directory, v2, limit
                break

    def physical(self) -> int:
        return self._page * os.sysconf("SC_PHYS_PAGES")

    def limit(self) -> tuple[int, bool]:
        """The octets there are for us, and whether a control group says so."""
        rss = resource.getrlimit(resource.RLIMIT_RSS)[0]
        there_are = self._limit or self.physical()
        return (min(rss, there_are) if rss > 0 else there_are), self._limit is not None

    def used(self, own: bool) -> int:
        """Octets in use by this process, or by its control group without what the kernel can drop."""
        if not own and self._group is not None:
            found = self._working_set(self._group)
            if found is not None:
                return found
        with open(os.path.join(self._proc, "statm"), "rb") as file:
            return int(file.read().split()[1]) * self._page

    def _working_set(self, group: str) -> int | None:
        current = _number(os.path.join(group, "memory.current" if self._v2 else "memory.usage_in_bytes"))
        if current is None:
            return None
        with open(os.path.join(group, "memory.stat")) as file:
            stat = {name: int(value) for name, _, value in (line.partition(" ") for line in file)}
        inactive, anonymous = ("inactive_file", "anon") if self._v2 else ("total_inactive_file", "total_rss")
        return max(current - stat.get(inactive, 0), stat.get(anonymous, 0))


def _own_group(groups: str, proc: str) -> str:
    """The directory of the control group (version 2) that we are in."""
    try:
        with open(os.path.join(proc, "cgroup")) as file:
            path = next((line.strip()[3:] for line in file if line.startswith("0::")), "/")
    except OSError:
        path = "/"
    return os.path.join(groups, path.lstrip("/"))


def _number(path: str) -> int | None:
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError):  # "max" is no limit
        return None


def purge() -> None:
    """Give what was freed back to the system: what the interpreter keeps for later, and what the C library does."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


class Arrivals:
    """
    The octets of messages that arrive and are not yet on disk, and whether there is room for more.

    It is asked with each block that a message grows by, so it only adds and compares, unless much has come since the last look.
    """

    __slots__ = ("_arriving", "_arriving_then", "_ceiling", "_hard", "_look", "_used_then", "_written", "refused")

    def __init__(self, look: Callable[[], None] | None = None) -> None:
        """look: has the memory measured, and `measured` called; None: there is room for everything."""
        self._look = look
        self._arriving = 0
        self._written = 0  # what is being handed to the disk, with its copies
        self.refused = 0  # messages that there was no room for
        self._used_then = 0
        self._arriving_then = 0
        self._ceiling = self._hard = 1 << 62

    @property
    def octets(self) -> int:
        """What is counted just now."""
        return self._arriving + self._written

    def measured(self, used: int, limits: Thresholds) -> None:
        """So much was in use just now, what has arrived among it."""
        self._used_then, self._arriving_then = used, self._arriving
        # Messages that are arriving stay below the soft limit, so that what is done with a whole one has the rest.
        self._hard = int(limits.hard * (1 - WASTE))
        self._ceiling = min(limits.soft, self._hard)

    def take(self, octets: int, whole: int = 0) -> bool:
        """
        So much more arrives; False: there is no room for it, and nothing is counted.

        whole: what has come of that message, this included: for a moment, at its end, there will be copies of it.
        """
        if self._arriving + octets - self._arriving_then > _UNEXPLAINED or not self._fits(octets, whole):
            # Much has come since the last look; or gone, and what was refused then would fit now.
            if self._look is not None:
                self._look()
            if not self._fits(octets, whole):
                return False
        self._arriving += octets
        return True

    def _fits(self, octets: int, whole: int) -> bool:
        used = self._expected() + octets
        return used <= self._ceiling and used + COPIES * whole <= self._hard

    def _expected(self) -> int:
        """
        How much will be in use.

        What is handed to the disk may be there already or not: it counts as if it came beside what was measured.
        """
        return self._used_then + max(0, self._arriving - self._arriving_then) + self._written

    def take_whole(self, octets: int) -> bool:
        """What is handed to the disk at once, in so many octets together; as `take`."""
        needed = WRITTEN * octets
        if self._look is not None and needed > _UNEXPLAINED:
            self._look()
        if self._expected() + needed > self._hard:
            self.refused += 1
            return False
        self._written += needed
        return True

    def most_copies(self, octets: int | None) -> int | None:
        """Of a message of so many octets, how many may be on their way to the disk at once, at least one; None: any number."""
        if self._look is None or not octets:
            return None
        return max(1, (self._hard - self._expected() - COPIES * octets) // (WRITTEN * octets))

    def give_back(self, octets: int) -> None:
        """They are on disk, or refused."""
        self._arriving -= octets

    def give_back_whole(self, octets: int) -> None:
        """What `take_whole` took."""
        self._written -= WRITTEN * octets


class MemoryWatch:
    """Looks every few seconds, and says what that means for mail."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        settings: MemorySettings,
        machine: Machine,
        changed: Callable[[Memory], None],
        purge: Callable[[], None] = purge,
    ) -> None:
        """changed: told how much memory there is, whenever that changes; on the reactor's thread, from a timer."""
        self._clock = clock
        self._machine = machine
        self._changed = changed
        self._purge = purge
        self._call: IDelayedCall | None = None
        self._blind = False
        self.limits = thresholds(settings, machine.limit())
        self.arrivals = Arrivals(self.measure)
        self.used = 0
        self.memory = Memory.ENOUGH
        self.times_low = 0
        self.times_over = 0

    def configure(self, settings: MemorySettings) -> None:
        """Other limits, from now on."""
        self.limits = thresholds(settings, self._machine.limit())
        self.measure()

    @property
    def closed_for(self) -> str | None:
        """Why no new mail is taken; None: it is."""
        return "load shedding. Try later" if self.memory is Memory.NONE else None

    def start(self) -> None:
        self._look()

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self.measure()
        self._judge()
        if self.memory is not Memory.ENOUGH:
            self._purge()
            self.measure()
        self._call = self._clock.callLater(LOOK_AGAIN, self._look)

    def measure(self) -> None:
        """Learn how much is in use."""
        try:
            self.used = self._machine.used(self.limits.own)
        except (OSError, ValueError, IndexError) as fault:
            if not self._blind:
                self._blind = True
                self.log.warn("how much memory is in use cannot be told: {fault}", fault=fault)
            return
        self._blind = False
        self.arrivals.measured(self.used, self.limits)

    def _judge(self) -> None:
        limits, before = self.limits, self.memory
        self.memory = Memory.NONE if self.used > limits.soft else Memory.LOW if self.used > limits.low else Memory.ENOUGH
        if self.memory is before:
            return
        mebibytes = self.used // (1 << 20)
        if self.memory is Memory.NONE:
            self.times_over += 1
            self.log.error("memory: {used} MiB are in use, more than the soft limit; new mail is refused", used=mebibytes)
        elif self.memory is Memory.LOW and before is Memory.ENOUGH:
            self.times_low += 1
            self.log.warn("memory: {used} MiB are in use; messages that are ready wait on disk", used=mebibytes)
        elif before is Memory.NONE:
            self.log.info("memory: {used} MiB are in use; mail is taken again", used=mebibytes)
        self._changed(self.memory)

    def measures(self) -> Iterator[Family]:
        """What the model's metrics of the same names say."""
        yield gauge("memory_usage", "octets in use: resident, or the control group's working set", self.used)
        yield gauge("memory_limit", "octets from which on new mail is refused", self.limits.soft)
        yield gauge("memory_low_thresh", "octets from which on messages that are ready wait on disk", self.limits.low)
        yield gauge("memory_hard_limit", "octets that arriving messages never bring the server above", self.limits.hard)
        yield gauge("memory_arriving", "octets of messages that arrive and are not yet on disk", self.arrivals.octets)
        yield counter("memory_low_count", "how often memory became low", self.times_low)
        yield counter("memory_over_limit_count", "how often new mail had to be refused for want of memory", self.times_over)
        yield counter("memory_refused_messages", "messages that were read and refused for want of memory", self.arrivals.refused)
