"""
`kumo.on`: handlers make themselves known while a policy loads.

Whatever is wrong with one is noted with its place, and the loading goes on, so that all faults are found at once.
"""

import inspect
import os
import sys
from collections.abc import Callable, Collection
from contextvars import ContextVar
from types import CodeType
from typing import Any

from kumotwist.config.fields import nearest, shown
from kumotwist.hooks.points import POINTS, Answer, Point, constructor_point
from kumotwist.hooks.policy import Handler

_ANY_NUMBER = sys.maxsize


class NotLoading(RuntimeError):
    """`kumo.on` outside the loading of a policy: from then on the set of handlers is fixed."""


class Registry:
    """The handlers of one policy while its files load, and what is wrong with them."""

    def __init__(self, own_events: Collection[str] = ()) -> None:
        """own_events: events that the configuration names beside the known ones (`{event_name: …}`)."""
        self.handlers: dict[str, list[Handler]] = {}
        self.faults: list[tuple[str, int, str]] = []  # file, line, what
        self._points = {**{name: Point(name, (), Answer.FIRST) for name in own_events}, **POINTS}
        self._own = frozenset(own_events) - POINTS.keys()
        self._first: dict[tuple[str, str], int] = {}  # (file, single-answer event) → the line of its handler
        self._closed = False

    def close(self) -> None:
        """The policy is loaded."""
        self._closed = True

    @property
    def closed(self) -> bool:
        return self._closed

    def add(self, event: object, handler: object, file: str, line: int) -> None:
        """One registration, at that place."""
        what = self._fault(event, handler, file, line)
        if what:
            self.faults.append((file, line, what))

    def known(self, event: object, file: str, line: int) -> Point | None:
        """The event of that name; None, and a fault, if there is none."""
        if isinstance(event, str) and event in self._points:
            return self._points[event]
        if isinstance(event, str) and "." in event.strip("."):
            # No event of ours has a dot: it is the constructor of something that a queue's mail is handed over to.
            return self._points.setdefault(event, constructor_point(event))
        if not isinstance(event, str):
            self.faults.append((file, line, f"kumo.on: {event!r} as an event, expected its name"))
            return None
        meant = nearest(event, self._points)
        hint = f"did you mean {shown(meant)}?" if meant else f"expected one of {', '.join(sorted(self._points))}"
        self.faults.append((file, line, f"kumo.on: unknown event {shown(event)}, {hint}"))
        return None

    def _fault(self, event: object, handler: object, file: str, line: int) -> str | None:
        """What is wrong with a handler; None if nothing is, and then it is registered."""
        point = self.known(event, file, line)
        if point is None:
            return None
        if not callable(handler):
            return f"kumo.on: the handler of {point.name} is {_described(handler)}, expected a function"
        if point.single:
            first = self._first.get((file, point.name))
            self._first.setdefault((file, point.name), line)
            if first is not None:
                return f"kumo.on: a second handler of {point.name}, which would never be asked; the first is in line {first}"
        most = _ANY_NUMBER if point.name in self._own else len(point.arguments)
        takes, what = _arguments_taken(handler, point, most)
        if what:
            return f"kumo.on: {what}"
        self.handlers.setdefault(point.name, []).append(Handler(handler, takes, _place_of(handler, file, line)))
        return None


# The registry of the policy that loads; set by `hooks.loading`.
REGISTRY: ContextVar[Registry | None] = ContextVar("kumotwist policy registry", default=None)


MISSING: Any = object()  # no handler was given, not even None


def register(event: str, handler: Any = MISSING) -> Any:
    """What `hooks.events.on` does, which says it with types."""
    registry = REGISTRY.get()
    if registry is None or registry.closed:
        raise NotLoading(f"kumo.on({event!r}): handlers can only be registered while the policy loads")
    file, line = calling_place()
    if handler is not MISSING:
        registry.add(event, handler, file, line)
        return handler

    def decorate(function: Any) -> Any:
        registry.add(event, function, file, line)
        return function

    return decorate


_OURS = os.path.join(os.path.dirname(__file__), "")


def calling_place() -> tuple[str, int]:
    """File and line of the policy that calls one of our functions: the first frame that is not in this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _place_of(handler: Any, file: str, line: int) -> str:
    """`file:line` of a function, as people look for it; of anything else, where it was registered."""
    code = getattr(inspect.unwrap(handler), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if isinstance(code, CodeType) else f"{file}:{line}"


def _described(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _arguments_taken(handler: Callable[..., Any], point: Point, most: int) -> tuple[int, str | None]:
    """How many of an event's arguments a handler is given, and what is wrong with it, if anything is."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):  # some of what is written in C does not say
        return most, None
    by_place = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    required = [one.name for one in by_place if one.default is one.empty]
    by_name = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty]
    name = getattr(handler, "__name__", type(handler).__name__)
    if by_name:
        return 0, f"{name} requires {by_name[0]} by name, but {point.name} passes its arguments by place"
    if len(required) > most:
        passed = f"{most} ({', '.join(point.arguments)})" if most else "none"
        plural = "s" if len(required) > 1 else ""
        return 0, f"{name} requires {len(required)} argument{plural} ({', '.join(required)}), {point.name} passes {passed}"
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return most, None
    return min(len(by_place), most), None
