"""What reception needs from whoever takes messages into custody.  `custody` implements it; tests use a list."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from kumotwist.mail.disposition import Arrival, Peer
from kumotwist.mail.message import Message
from kumotwist.mail.reply import Reply
from kumotwist.reports.arrived import Reported

__all__ = ["Arrival", "Desk"]


class Desk(Protocol):
    """Where accepted messages are handed over."""

    def take(self, messages: Sequence[Message], arrival: Arrival) -> "Deferred[None]":
        """
        Make the messages ours.  Fires once all of them are on disk: then, and only then, 250 may be said.

        Fails with Refusal if they cannot be kept now; none of them is then kept.
        """

    def take_reports(self, messages: Sequence[Message], arrival: Arrival, reports: Mapping[str, Reported]) -> "Deferred[None]":
        """
        As `take`, where some of the messages are reports (by id): what they tell is on disk with them when it fires.

        One that is consumed is not kept; its records are all that stays of it.
        """

    def refused(self, reply: Reply, *, sender: str, recipient: str, peer: Peer, session_id: str, meta: Mapping[str, Any]) -> None:
        """Note a 4xx or 5xx that was said to a client (a Rejection record)."""

    def closed_for(self) -> str | None:
        """Why nothing can be accepted just now, as the text of a 421 4.3.2 (`disk is too full. Try later`); None: all is well."""
