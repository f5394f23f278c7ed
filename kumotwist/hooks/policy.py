"""
A policy that was loaded: handlers by event, and how they are asked.

A handler is a plain function, an `async def`, or returns a Deferred.  A plain one costs a call and nothing else; only where
something has to be waited for is there a Deferred.  What a handler raises on purpose (a Refusal) goes through; anything
else is logged with its traceback and becomes HookFailed, and what that means is for the place that asked.
"""

from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any

from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.hooks.context import SERVICES, Services
from kumotwist.hooks.times import Times
from kumotwist.mail.reply import Refusal

SLOW = 0.1  # seconds of the reactor's time that a handler may take before the log names it
LONGEST_ANSWER = 300.0  # seconds that messages wait for a handler which somebody else than a client asked for


class HookFailed(Exception):
    """A handler broke, and the log says where; the argument is the event.  why: what it broke with, on one line."""

    def __init__(self, event: str, why: str = "") -> None:
        super().__init__(event)
        self.why = why or event


class Handler(Struct, frozen=True):
    """One function that was registered.  takes: how many of the event's arguments it is given.  place: `file:line`."""

    call: Callable[..., Any]
    takes: int
    place: str


class Policy:
    """The handlers of all policy files, in the files' order."""

    log = Logger()

    def __init__(
        self,
        handlers: Mapping[str, tuple[Handler, ...]],
        clock: IReactorTime,
        services: Services | None = None,
    ) -> None:
        """services: what the handlers find around them."""
        self._handlers = handlers
        self._clock = clock
        self._seconds = clock.seconds
        self.times = Times()
        self.services = services

    def seconds(self) -> float:
        """The time by the clock that the handlers see."""
        return self._seconds()

    def handlers(self, event: str) -> tuple[Handler, ...]:
        """Those that were registered for an event, in the order in which they are asked."""
        return self._handlers.get(event, ())

    def __contains__(self, event: object) -> bool:
        """Whether anybody wants to be asked: callers on the hot path look first."""
        return event in self._handlers

    def first(self, event: str, *arguments: Any) -> Any:
        """
        The first answer that is not None, or None: at once, or as a Deferred where a handler takes its time.

        Raises (or fails with) Refusal and HookFailed.
        """
        return self._first(event, self._handlers.get(event, ()), 0, arguments)

    def _first(self, event: str, handlers: tuple[Handler, ...], n: int, arguments: tuple[Any, ...]) -> Any:
        """Ask the handlers from the n-th on, until one answers."""
        while n < len(handlers):
            answer = self._ask(event, handlers[n], arguments)
            n += 1
            if isinstance(answer, Deferred):
                return answer.addCallback(self._after, event, handlers, n, arguments)
            if answer is not None:
                return answer
        return None

    def _after(self, answer: Any, event: str, handlers: tuple[Handler, ...], n: int, arguments: tuple[Any, ...]) -> Any:
        """An answer that had to be waited for has come."""
        return self._first(event, handlers, n, arguments) if answer is None else answer

    def each(self, event: str, *arguments: Any) -> "Deferred[Any] | None":
        """Run all handlers; None if that is done already, else a Deferred that fires when it is.  Raises as `first` does."""
        return self._each(None, event, self._handlers.get(event, ()), 0, arguments)

    def _each(
        self, _: Any, event: str, handlers: tuple[Handler, ...], n: int, arguments: tuple[Any, ...]
    ) -> "Deferred[Any] | None":
        """Run the handlers from the n-th on."""
        while n < len(handlers):
            answer = self._ask(event, handlers[n], arguments)
            n += 1
            if isinstance(answer, Deferred):
                return answer.addCallback(self._each, event, handlers, n, arguments)
        return None

    def run(self, event: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call what a handler of that event has brought, as handlers are called.  Raises (or fails with) the same."""
        return self._ask(event, Handler(function, len(arguments), event), arguments)

    def of(self, event: str, handler: Handler, *arguments: Any) -> Any:
        """The answer of one handler.  Raises as `first` does."""
        return self._ask(event, handler, arguments)

    def in_time(self, event: str, answer: Any) -> Any:
        """
        The same answer, or HookFailed where it does not come within LONGEST_ANSWER: for what waits in queues.

        A client's session has times of its own.
        """
        if isinstance(answer, Deferred):
            answer.addTimeout(LONGEST_ANSWER, self._clock, lambda result, _: self._too_late(event, result))
        return answer

    def _too_late(self, event: str, result: Any) -> Any:
        if not (isinstance(result, Failure) and result.check(CancelledError)):
            return result
        places = ", ".join(handler.place for handler in self.handlers(event))
        self.log.error("{event} at {place} did not answer in {limit} s", event=event, place=places, limit=LONGEST_ANSWER)
        raise HookFailed(event)

    def _ask(self, event: str, handler: Handler, arguments: tuple[Any, ...]) -> Any:
        times = self.times.of(event)
        times.started += 1
        late = False
        began = self._seconds()
        token = SERVICES.set(self.services)
        try:
            answer = handler.call(*arguments[: handler.takes])
            if answer is None:
                return None
            if isinstance(answer, Coroutine):
                answer = Deferred.fromCoroutine(Watched(answer, self._seconds, lambda took: self._warn(event, handler, took)))
            if isinstance(answer, Deferred):
                if answer.called and not answer.paused and not isinstance(answer.result, Failure | Deferred):
                    answer = answer.result  # there already, as with a coroutine that found all it wanted in a cache
                else:
                    late = True
        except Refusal:
            raise
        except (Exception, SystemExit):  # noqa: BLE001  whatever a policy does wrong, the server goes on
            raise self._failed(event, handler, Failure()) from None
        finally:
            SERVICES.reset(token)
            took = self._seconds() - began
            times.busy += took
            if not late:
                times.latency.observe(took)
            if took > SLOW:
                self._warn(event, handler, took)
        if not late:
            return answer
        answer.addBoth(lambda result: times.waited(result, began, self._seconds()))
        return answer.addErrback(self._failed_later, event, handler)

    def _warn(self, event: str, handler: Handler, took: float) -> None:
        self.log.warn(
            "{event} at {place} kept the whole server waiting for {took} s: let it await, or use memoize",
            event=event,
            place=handler.place,
            took=round(took, 3),
        )

    def _failed_later(self, failure: Failure, event: str, handler: Handler) -> None:
        if failure.check(Refusal, CancelledError):
            failure.raiseException()
        raise self._failed(event, handler, failure)

    def _failed(self, event: str, handler: Handler, failure: Failure) -> HookFailed:
        self.log.failure("{event} at {place} failed", failure, event=event, place=handler.place)
        broke = f"{failure.type.__name__}: {failure.getErrorMessage()}" if failure.type is not None else event
        return HookFailed(event, " ".join(broke.split()))


class Watched(Coroutine[Any, Any, Any]):
    """
    A handler's coroutine, each of whose steps is timed: between two awaits nobody else has the reactor.

    The first step is timed by whoever starts it, as plain handlers are.
    """

    __slots__ = ("_began", "_coroutine", "_seconds", "_slow")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], seconds: Callable[[], float], slow: Callable[[float], None]) -> None:
        self._coroutine = coroutine
        self._seconds = seconds
        self._slow = slow
        self._began = False

    def send(self, value: Any) -> Any:
        return self._step(self._coroutine.send, value)

    def throw(self, *raised: Any) -> Any:
        return self._step(self._coroutine.throw, *raised)

    def _step(self, resume: Callable[..., Any], *value: Any) -> Any:
        if not self._began:
            self._began = True
            return resume(*value)
        began = self._seconds()
        try:
            return resume(*value)
        finally:
            took = self._seconds() - began
            if took > SLOW:
                self._slow(took)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()
