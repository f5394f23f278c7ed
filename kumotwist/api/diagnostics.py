"""Looking into the process: what it logs, what memory it uses, what it is doing, and its spool made compact."""

import gc
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CoroutineType
from typing import Any

from msgspec import Struct
from twisted.logger import InvalidLogLevelError, LogEvent, LogLevel, LogLevelFilterPredicate, PredicateResult

from kumotwist.api.endpoint import Call, Endpoint, Plain, Problem, text
from kumotwist.api.stages import Stages

_TAG = "debugging"
_LEVELS = {"trace": "debug", "off": "critical", "warning": "warn"}  # the model's names for some of Twisted's levels
_OURS = {"kumod": "kumotwist"}
_SPOOLS = ("data", "meta", "spool")  # the model has two; here they are one
_MOST_LINES = 200
_STATUS = "/proc/self/status"


class SetDiagnosticFilterRequest(Struct, frozen=True, kw_only=True):
    """filter: levels by name, such as `kumotwist.delivery=debug,warn`."""

    filter: str


class SpoolCompactV1Request(Struct, frozen=True, kw_only=True):
    """name: `data` or `meta`, which are one here."""

    name: str


class DumpQuery(Struct, frozen=True, kw_only=True):
    """timeout: seconds that it may take; it takes none that mail would have to wait for longer than a moment."""

    timeout: float = 5.0


class DiagnosticLog:
    """What of the operator's log is written: everything, until somebody says otherwise."""

    def __init__(self, publisher: Any) -> None:
        """publisher: Twisted's, whose observers are asked from now on."""
        self._publisher = publisher
        self._levels: LogLevelFilterPredicate | None = None

    def choose(self, directives: str) -> None:
        """Raises Problem."""
        self._levels = levels_of(directives)
        # Twisted has no other way to put a filter before observers that twistd has chosen.
        observers: list[Any] = self._publisher._observers
        observers[:] = [one if isinstance(one, _Sifted) else _Sifted(one, self._passes) for one in observers]

    def _passes(self, event: LogEvent) -> bool:
        return self._levels is None or self._levels(event) is not PredicateResult.no


class _Sifted:
    """An observer that gets what passes."""

    def __init__(self, observer: Callable[[LogEvent], None], passes: Callable[[LogEvent], bool]) -> None:
        self._observer = observer
        self._passes = passes

    def __call__(self, event: LogEvent) -> None:
        if self._passes(event):
            self._observer(event)


def levels_of(directives: str) -> LogLevelFilterPredicate:
    """`NAME=LEVEL` for a part of the server, `LEVEL` for the rest, between commas.  Raises Problem."""
    named: dict[str, Any] = {}
    rest = LogLevel.info
    for directive in directives.split(","):
        name, equals, level = directive.strip().rpartition("=")
        if not equals and level.startswith(tuple(_OURS.keys() | _OURS.values())):
            name, level = level, "debug"
        if not level:
            raise Problem(422, "filter: expected levels such as kumotwist.delivery=debug,warn")
        try:
            found = LogLevel.levelWithName(_LEVELS.get(level.lower(), level.lower()))
        except InvalidLogLevelError:
            raise Problem(422, f"filter: {level[:60]!r}: expected trace, debug, info, warn, error or off") from None
        if name:
            named[_namespace(name)] = found
        else:
            rest = found
    levels = LogLevelFilterPredicate(defaultLogLevel=rest)
    for name, level in named.items():
        levels.setLogLevelForNamespace(name, level)
    return levels


def _namespace(name: str) -> str:
    first, dot, more = name.strip().replace("::", ".").partition(".")
    return f"{_OURS.get(first, first)}{dot}{more}"


def diagnostic_endpoints(stages: Stages, log: DiagnosticLog) -> tuple[Endpoint, ...]:
    looking = _Looking(stages)

    def choose(call: Call, asked: SetDiagnosticFilterRequest) -> Plain:
        log.choose(asked.filter)
        return text("OK")

    return (
        Endpoint(
            method="POST",
            path="/api/admin/set_diagnostic_log_filter/v1",
            summary="What of the operator's log is written, until the next start",
            tag=_TAG,
            asks=SetDiagnosticFilterRequest,
            run=choose,
        ),
        Endpoint(method="GET", path="/api/admin/memory/stats", summary="What memory is used for", tag=_TAG, run=looking.memory),
        Endpoint(
            method="GET",
            path="/api/admin/task-dump",
            summary="What the process is doing: threads, timers, coroutines",
            tag=_TAG,
            query=DumpQuery,
            run=looking.tasks,
        ),
        Endpoint(
            method="POST",
            path="/api/admin/spool-compact/v1",
            summary="Have the spool give back the room of what has gone",
            tag="spool",
            asks=SpoolCompactV1Request,
            run=looking.compact,
            refusals={404: "there is no such spool"},
        ),
    )


class _Looking:
    """What the endpoints do."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages

    async def memory(self, call: Call) -> Plain:
        status = await self._stages.in_thread(_status)
        queues = self._stages.scheduler.queues
        lines = [
            *(line for line in status if line.startswith(("VmRSS", "VmHWM", "VmSize", "VmSwap", "Threads"))),
            f"messages resident (octets): {self._stages.resident()}",
            f"scheduled queues: {len(queues)}",
            f"ready queues: {sum(1 for _ in self._stages.ready)}",
            f"messages that wait: {sum(queue.parked + len(queue.held) for queue in queues.values())}",
            *(f"garbage collection {n}: {counts}" for n, counts in enumerate(gc.get_stats())),
        ]
        return text("\n".join(lines) + "\n")

    def tasks(self, call: Call, asked: DumpQuery) -> Plain:
        return text("\n".join([*_threads(), *_timers(self._stages.reactor), *_coroutines()]) + "\n")

    async def compact(self, call: Call, asked: SpoolCompactV1Request) -> Plain:
        if asked.name not in _SPOOLS:
            raise Problem(404, f"there is no spool {asked.name[:60]!r}, expected one of {', '.join(_SPOOLS)}")
        if not await self._stages.in_thread(self._stages.spool.compact):
            raise Problem(400, "a spool of this kind is never compacted: what has gone takes no room")
        return text("OK")


def _status() -> list[str]:
    try:
        return Path(_STATUS).read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _threads() -> Iterator[str]:
    frames = sys._current_frames()
    for thread in threading.enumerate():
        yield f"thread {thread.name}:"
        frame = frames.get(thread.ident or 0)
        if frame is not None:
            yield from ("  " + line for entry in traceback.format_stack(frame) for line in entry.splitlines())


def _timers(reactor: Any) -> Iterator[str]:
    calls = Counter(getattr(call.func, "__qualname__", repr(type(call.func))) for call in reactor.getDelayedCalls())
    yield f"timers: {sum(calls.values())}"
    yield from (f"  {count} {name}" for name, count in calls.most_common(_MOST_LINES))


def _coroutines() -> Iterator[str]:
    """Where they wait.  Looks at every object there is: for when something is wrong."""
    places = Counter(
        f"{one.__qualname__} at {one.cr_frame.f_code.co_filename}:{one.cr_frame.f_lineno}"
        for one in gc.get_objects()
        if isinstance(one, CoroutineType) and one.cr_frame is not None
    )
    yield f"coroutines: {sum(places.values())}"
    yield from (f"  {count} {place}" for place, count in places.most_common(_MOST_LINES))
