"""What a conversation waits for: its client, through a wire, and the policy; and how waiting may end."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLContextFactory

Ask = Callable[[Any], Awaitable[Any]]  # the policy's answer, waited for if need be


class BadAnswer(Exception):
    """A policy's answer that is not of the kind that was asked for; the argument says what was expected.  For the operator."""


class Hangup(Exception):
    """No more will come from the client.  The argument says why, for a last 421; empty where nobody is there to hear it."""


class Overdue(Exception):
    """A policy did not answer in time.  For the operator."""


class Wire(Protocol):
    """What a conversation needs from its connection."""

    choked: bool  # the client does not read what we say, or is gone
    timeout: float  # seconds that a client may take for each thing it says

    def read_by(self, octets: int) -> None:
        """So many at once, at most."""

    def write(self, octets: bytes) -> None:
        """Send; dropped if the connection is gone."""

    def more(self) -> Awaitable[None]:
        """Until the session has more bytes.  Raises Hangup."""

    def drained(self) -> Awaitable[None]:
        """Until the client has read most of what we said.  Raises Hangup."""

    def result(self, deferred: "Deferred[None]") -> Awaitable[None]:
        """Until it fires; raises what it fails with.  Goes on waiting when the connection is lost."""

    def answer(self, deferred: "Deferred[Any]", within: float) -> Awaitable[Any]:
        """
        What it fires with, or raises; within so many seconds, else it is cancelled and Overdue raised.

        Cancelled, too, with Hangup raised, when the connection is lost or the server can wait no longer.
        """

    def start_tls(self, context: IOpenSSLContextFactory) -> None:
        """TLS begins after what was written."""

    def close(self) -> None:
        """End the connection after what was written."""
