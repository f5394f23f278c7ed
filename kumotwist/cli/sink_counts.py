"""
What a sink counts: connections, and what became of recipients, by their domain and by the client's address.

A message counts once for each of its recipients.  What ends before any recipient is known counts for no domain.
"""

from typing import Any

from kumotwist.cli.sink_behaviour import Kind

UNKNOWN_DOMAIN = "(before any recipient)"


class Tally:
    """Recipients by outcome; for a client also its connections and the names it greeted with."""

    __slots__ = ("accepted", "connections", "deferred", "disconnected", "greetings", "refused")

    def __init__(self) -> None:
        self.accepted = 0
        self.deferred = 0
        self.refused = 0
        self.disconnected = 0
        self.connections = 0
        self.greetings: dict[str, int] = {}

    def count(self, kind: Kind) -> None:
        setattr(self, kind.value, getattr(self, kind.value) + 1)

    def outcomes(self) -> dict[str, int]:
        return {kind.value: getattr(self, kind.value) for kind in Kind}


class Counts:
    """The books of one sink.  messages, octets: what was accepted."""

    def __init__(self) -> None:
        self.domains: dict[str, Tally] = {}
        self.clients: dict[str, Tally] = {}
        self.connections = 0
        self.open = 0
        self.messages = 0
        self.octets = 0

    def domain(self, name: str) -> Tally:
        return self.domains.setdefault(name, Tally())

    def client(self, address: str) -> Tally:
        return self.clients.setdefault(address, Tally())

    def total(self) -> dict[str, int]:
        """Recipients by outcome, over all domains."""
        return {kind.value: sum(getattr(tally, kind.value) for tally in self.domains.values()) for kind in Kind}

    def as_json(self) -> dict[str, Any]:
        """What `--stats` writes."""
        return {
            "connections": self.connections,
            "open": self.open,
            "messages": self.messages,
            "octets": self.octets,
            "recipients": self.total(),
            "domains": {name: tally.outcomes() for name, tally in sorted(self.domains.items())},
            "clients": {
                address: {"connections": tally.connections, "greetings": tally.greetings, **tally.outcomes()}
                for address, tally in sorted(self.clients.items())
            },
        }
