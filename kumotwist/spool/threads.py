"""
What threads of our own are made of: the standard library's, or something that takes turns where one thread plays them all.

Whoever has a thread (the spool, the mail log) takes these three from here and waits on nothing else, so that a simulation can
run the same code with its own time and its own order of events.
"""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from msgspec import Struct


class Threads(Struct, frozen=True):
    """
    thread: called as threading.Thread is, by keyword; what it makes has `start` and `join`.
    queue: made without arguments; has `put`, `get`, `get_nowait` and `empty`, and raises queue.Empty.
    event: made without arguments; has `set`, `clear`, `is_set` and `wait`.
    """

    thread: Callable[..., Any] = Thread
    queue: Callable[[], Any] = SimpleQueue
    event: Callable[[], Any] = Event


REAL = Threads()
