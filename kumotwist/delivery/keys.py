"""Certificates, keys and passwords of a path: where the configuration says they are, read when they are needed."""

import os
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred

from kumotwist.config.keys import KeyData, KeyEvent, KeySource

AskPolicy = Callable[[KeyEvent], "bytes | Deferred[bytes]"]


class KeyUnavailable(Exception):
    """It cannot be had just now; the argument says why, and nothing of the key itself."""


async def read_key(source: KeySource, ask_policy: AskPolicy | None) -> bytes:
    """
    The octets themselves; what a file ends its last line with is not part of them.

    ask_policy: has the policy answer an event; None: there is no policy.  Raises KeyUnavailable.
    """
    if isinstance(source, KeyData):
        return source.data
    if isinstance(source, KeyEvent):
        return await _from_policy(source, ask_policy)
    try:
        with open(source, "rb") as stream:
            return stream.read().removesuffix(b"\n").removesuffix(b"\r")
    except OSError as fault:
        raise KeyUnavailable(f"its file cannot be read: {os.strerror(fault.errno or 0)}") from None


async def _from_policy(source: KeyEvent, ask_policy: AskPolicy | None) -> bytes:
    if ask_policy is None:
        raise KeyUnavailable(f"there is no policy to answer {source.event_name}")
    try:
        answer = ask_policy(source)
        found = await answer if isinstance(answer, Deferred) else answer
    except CancelledError:
        raise
    except Exception as fault:  # noqa: BLE001  whatever a policy raises; its text may hold what it just read
        raise KeyUnavailable(f"{source.event_name} failed: {type(fault).__name__}") from None
    if not isinstance(found, bytes):
        raise KeyUnavailable(f"{source.event_name} has no answer")
    return found
