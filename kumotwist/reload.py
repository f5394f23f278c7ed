"""
A changed configuration takes effect without a restart: whole, or not at all.

Asked for by SIGHUP or by an administrator, and noticed by itself when one of the files that were read has changed.  A
configuration with faults is reported, every fault of it, and the running one stays.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.faults import ConfigFaults
from kumotwist.config.server import Config

LOOK_AGAIN = 5.0  # seconds; a change is to be noticed within ten
MOST_AT_ONCE = 3  # readings one after the other of files that change meanwhile; then they are left alone until the next look

Marks = Mapping[str, tuple[int, int, int] | None]


def marks(files: Iterable[str]) -> Marks:
    """What tells a changed file from an unchanged one: time, size and inode; None for one that is not there."""
    return {file: _mark(file) for file in files}


def _mark(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def changed_sections(old: Config, new: Config) -> list[str]:
    """The sections that differ."""
    return [
        field
        for field in msgspec.structs.asdict(new)
        if field not in ("files", "doubts", "own_events") and getattr(old, field) != getattr(new, field)
    ]


class FilesChange(Exception):
    """A file was written while the files were read: what was read may be of two configurations."""


class Reload:
    """Reads the configuration again when there is a reason to, one reading at a time."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        read: Callable[[], Config],
        change: Callable[[Config], "Deferred[None] | None"],
        config: Config,
        run_in_thread: Callable[..., "Deferred[Any]"],
        more_files: Callable[[], Collection[str]] = tuple,
        told: Callable[[bool], None] = lambda begins: None,
    ) -> None:
        """
        read: the configuration as its files are now; blocks, raises ConfigFaults.
        change: applies one that is valid; raises (or fails with) ConfigFaults if it cannot be, and has then changed nothing.
        more_files: what else to watch: the files that the policy has read.
        told: that a reading begins (True), and that none is in progress any more.
        """
        self._clock = clock
        self._read = read
        self._change = change
        self._more_files = more_files
        self._told = told
        self._config = config
        self._in_thread = run_in_thread
        self._marks: Marks = {}
        self._timer: IDelayedCall | None = None
        self._reading: Deferred[Any] | None = None
        self._again = False
        self._stopped = False
        self._before: Marks = {}  # of the files, as the reading in progress began
        self._torn = 0  # how often in a row they changed meanwhile

    def start(self) -> None:
        self._marks = marks(self._files())
        self._timer = self._clock.callLater(LOOK_AGAIN, self._look)

    def stop(self) -> None:
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def now(self) -> None:
        """Read and apply; while a reading is in progress, another follows it."""
        if self._reading is not None:
            self._again = True
            return
        self._told(True)
        self._before = marks(self._files())
        self._reading = self._in_thread(self._read)
        self._reading.addCallback(self._apply)
        self._reading.addErrback(self._not_applied, self._before)
        self._reading.addBoth(self._done)

    def check_unchanged(self) -> None:
        """Asked once all has been read, the policy's files too, and before any of it takes effect.  Raises FilesChange."""
        if marks(self._before) != self._before:
            raise FilesChange

    def _files(self) -> frozenset[str]:
        return frozenset((*self._config.files, *self._more_files()))

    def _look(self) -> None:
        self._in_thread(marks, self._files()).addCallback(self._compare).addErrback(self._broken)

    def _compare(self, found: Marks) -> None:
        if self._stopped:
            return
        if found != self._marks:
            self._marks = found
            self.now()
        self._timer = self._clock.callLater(LOOK_AGAIN, self._look)

    def _apply(self, config: Config) -> "Deferred[None] | None":
        if self._stopped:
            return None
        changing = self._change(config)
        if isinstance(changing, Deferred):
            return changing.addCallback(lambda _: self._applied(config))
        self._applied(config)
        return None

    def _applied(self, config: Config) -> None:
        sections = changed_sections(self._config, config)
        self._config = config
        self._torn = 0
        now = marks(self._files())
        # As they were read, so that a change of the last moment is seen at the next look.
        self._marks = {file: self._before.get(file, mark) for file, mark in now.items()}
        for section in sections:
            self.log.info("configuration: {section} has changed", section=section)
        self.log.info("configuration: in force, {count} sections changed", count=len(sections))

    def _not_applied(self, failure: Failure, before: Marks) -> None:
        self._marks = before
        if failure.check(FilesChange):
            self._torn += 1
            self._again = self._again or self._torn < MOST_AT_ONCE
            self.log.info("configuration: files changed while they were read; they are read again")
        elif failure.check(ConfigFaults):
            for line in str(failure.value).splitlines():
                self.log.error("configuration: {fault}", fault=line)
            self.log.error("configuration: the new one has faults; the old one stays in force")
        else:
            self.log.failure("configuration: it cannot be applied; the old one stays in force", failure)

    def _done(self, _: object) -> None:
        self._reading = None
        self._told(False)
        if self._torn >= MOST_AT_ONCE:
            self._torn = 0
        if self._again and not self._stopped:
            self._again = False
            self.now()

    def _broken(self, failure: Failure) -> None:
        self.log.failure("configuration: files cannot be watched", failure)
