"""
Which of our addresses are on this machine.

A source whose address is missing is noticed when it is first needed, said once, left out when sources are chosen, and
looked for again until it is back.
"""

import socket
from collections.abc import Callable
from contextlib import closing

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kumotwist.config.egress import EgressSource

LOOK_AGAIN = 5.0  # seconds


def is_here(address: str) -> bool:
    """Whether a socket can be bound to this address now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


class Sources:
    """The sources that cannot be used just now."""

    log = Logger()

    def __init__(self, clock: IReactorTime, returned: Callable[[str], None], here: Callable[[str], bool] = is_here) -> None:
        """returned: told the name of a source that can be used again."""
        self._clock = clock
        self._returned = returned
        self._here = here
        self._missing: dict[str, str] = {}

    def usable(self, name: str) -> bool:
        return name not in self._missing

    @property
    def all_usable(self) -> bool:
        return not self._missing

    def missing(self, source: EgressSource) -> None:
        """This source's address could not be bound."""
        if source.name in self._missing or source.source_address is None:
            return
        self._missing[source.name] = source.source_address
        self.log.warn(
            "source {source} cannot be used: its address {address} is not on this machine; its pools go on without it",
            source=source.name,
            address=source.source_address,
        )
        if len(self._missing) == 1:
            self._clock.callLater(LOOK_AGAIN, self._look)

    def _look(self) -> None:
        for name, address in list(self._missing.items()):
            if self._here(address):
                del self._missing[name]
                self.log.info("source {source} can be used again: {address} is back", source=name, address=address)
                self._returned(name)
        if self._missing:
            self._clock.callLater(LOOK_AGAIN, self._look)
