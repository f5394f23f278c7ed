"""
`kumo.memoize`: a function whose answers are kept for a while.

Answers are kept by the name that is given, in a cache that belongs to the loaded policy: a new epoch of the configuration
loads the policy anew and begins with nothing.  The least recently used answer goes when there are too many; a failure is
never kept.  Callers that come while an answer is on its way wait for that one, so one question is asked once.
"""

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Mapping
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, overload

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from kumotwist.config.fields import BadValue, parse_duration
from kumotwist.hooks.context import SERVICES, NoPolicyRuns

P = ParamSpec("P")
R = TypeVar("R")

LONGEST_WAIT = 120.0  # seconds that an answer may be on its way, as in the model
NOTHING: Any = object()


class Cache:
    """The answers under one name.  origin: of which function; ttl: seconds that one is kept; capacity: how many are."""

    def __init__(self, origin: object, ttl: float, capacity: int, clock: IReactorTime) -> None:
        self.origin = origin
        self.ttl = ttl
        self.capacity = capacity
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()  # until when, and the answer
        self._coming: dict[Hashable, list[Deferred[Any]]] = {}

    def get(self, key: Hashable) -> Any:
        """The answer, a `Late` where it once had to be waited for, or NOTHING."""
        kept = self._kept.get(key)
        if kept is None:
            return NOTHING
        until, answer = kept
        if self._clock.seconds() >= until:
            del self._kept[key]
            return NOTHING
        self._kept.move_to_end(key)
        return answer

    def keep(self, key: Hashable, answer: Any) -> Any:
        self._kept[key] = (self._clock.seconds() + self.ttl, answer)
        self._kept.move_to_end(key)
        while len(self._kept) > self.capacity:
            self._kept.popitem(last=False)
        return answer

    def is_coming(self, key: Hashable) -> bool:
        """Whether the answer is on its way."""
        return key in self._coming

    def join(self, key: Hashable) -> "Deferred[Any]":
        """Fires with the answer that is on its way.  Cancelling it ends only this waiting."""
        waiter: Deferred[Any] = Deferred(lambda gone: self._coming.get(key, [gone]).remove(gone))
        self._coming[key].append(waiter)
        return waiter

    def expect(self, key: Hashable, asked: "Deferred[Any]") -> "Deferred[Any]":
        """The answer is on its way now, for at most LONGEST_WAIT; fires as `join` does."""
        self._coming[key] = []
        waiter = self.join(key)
        asked.addTimeout(LONGEST_WAIT, self._clock)
        asked.addCallbacks(self._came, self._failed, callbackArgs=(key,), errbackArgs=(key,))
        return waiter

    def _came(self, answer: Any, key: Hashable) -> None:
        self.keep(key, Late(answer))
        for waiter in self._coming.pop(key):
            waiter.callback(answer)

    def _failed(self, failure: Failure, key: Hashable) -> None:
        for waiter in self._coming.pop(key):
            waiter.errback(failure)


class Late:
    """An answer that had to be waited for, so that it is given by a Deferred again."""

    __slots__ = ("answer",)

    def __init__(self, answer: Any) -> None:
        self.answer = answer


class CacheName:
    """The name of a cache and its size, and how the policy's cache of that name is found."""

    def __init__(self, name: str, ttl: float, capacity: int) -> None:
        self._name = name
        self._ttl = ttl
        self._capacity = capacity
        self._home = SERVICES.get()  # for calls from where no policy runs, such as a callback of a Deferred

    def claim(self, function: Callable[..., Any]) -> None:
        """Raises ValueError where the name is that of another function."""
        if self._home is not None:
            self.cache(_origin(function))

    def cache(self, origin: object) -> Cache:
        around = SERVICES.get() or self._home
        if around is None:
            raise NoPolicyRuns(f"what is memoized as {self._name!r} can only be called while a policy loads or runs")
        cache: Cache | None = around.caches.get(self._name)
        if cache is not None and cache.origin != origin:
            raise ValueError(f"memoize: the name {self._name!r} is taken by another function")
        if cache is None or cache.ttl != self._ttl or cache.capacity != self._capacity:
            cache = around.caches[self._name] = Cache(origin, self._ttl, self._capacity, around.clock)
        return cache


def _origin(function: Callable[..., Any]) -> object:
    """What is the same for a function that is made again and again, as in a handler: its code."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(inspect.unwrap(function), "__code__", type(function))


@overload
def memoize(
    function: Callable[P, R], /, *, name: str, ttl: float | str | timedelta, capacity: int, invalidate_with_epoch: bool = True
) -> Callable[P, R]: ...
@overload
def memoize(
    *, name: str, ttl: float | str | timedelta, capacity: int, invalidate_with_epoch: bool = True
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def memoize(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str,
    ttl: float | str | timedelta,
    capacity: int,
    invalidate_with_epoch: bool = True,
) -> Any:
    """
    A function that remembers its answers: `kumo.memoize(function, name=…, ttl=…, capacity=…)`, or `@kumo.memoize(…)` before it.

    The function may be plain, `async def`, or return a Deferred.  Whoever gets an answer shares it with all others: leave it
    as it is.  Arguments may be whatever has a value: texts, numbers, lists and mappings of such.
    name: of the cache; functions of the same name share it, so it may be made again in a handler.  ttl: seconds, or a text
    such as "5 minutes".  capacity: answers kept, 1 or more.  invalidate_with_epoch: always so here; the model has it off.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"memoize: {name!r} as a name, expected a text")
    if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
        raise ValueError(f"memoize: capacity is {capacity!r}, expected a whole number, 1 or more")
    cache_name = CacheName(name, _seconds(ttl), capacity)
    if function is None:
        return lambda given: _remembering(given, cache_name)
    return _remembering(function, cache_name)


def _seconds(ttl: float | str | timedelta) -> float:
    try:
        seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else parse_duration(ttl) if isinstance(ttl, str) else float(ttl)
    except (BadValue, TypeError, ValueError) as fault:
        raise ValueError(f'memoize: ttl: {fault}, expected a number of seconds, or a text such as "5 minutes"') from None
    if not seconds > 0:
        raise ValueError(f"memoize: ttl is {ttl!r}, expected more than nothing")
    return seconds


def _remembering(function: Callable[..., Any], cache_name: CacheName) -> Callable[..., Any]:
    if not callable(function):
        raise ValueError(f"memoize: a {type(function).__name__}, expected a function")
    cache_name.claim(function)
    origin = _origin(function)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def later(*arguments: Any, **named: Any) -> Any:
            cache, key = cache_name.cache(origin), _key(arguments, named)
            known = cache.get(key)
            if known is not NOTHING:
                return known.answer
            if cache.is_coming(key):
                return await cache.join(key)
            return await cache.expect(key, Deferred.fromCoroutine(function(*arguments, **named)))

        return later

    @functools.wraps(function)
    def now(*arguments: Any, **named: Any) -> Any:
        cache, key = cache_name.cache(origin), _key(arguments, named)
        known = cache.get(key)
        if known is not NOTHING:
            return succeed(known.answer) if isinstance(known, Late) else known
        if cache.is_coming(key):
            return cache.join(key)
        answer = function(*arguments, **named)
        if isinstance(answer, Coroutine):
            answer = Deferred.fromCoroutine(answer)
        return cache.expect(key, answer) if isinstance(answer, Deferred) else cache.keep(key, answer)

    return now


def _key(arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Hashable:
    """The arguments as something that can be looked up.  Raises TypeError for what has no value, such as an open file."""
    key = (arguments, tuple(sorted(named.items()))) if named else arguments
    try:
        hash(key)
    except TypeError:
        return _frozen(arguments), _frozen(named)
    return key


def _frozen(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return "mapping", frozenset((key, _frozen(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return "list", tuple(map(_frozen, value))
    if isinstance(value, set | frozenset):
        return "set", frozenset(map(_frozen, value))
    hash(value)
    return value  # type: ignore[no-any-return]  # what can be hashed is Hashable
