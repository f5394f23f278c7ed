"""What receiving sites offer and cannot do, remembered for a while, so that not every message has to find out anew."""

from enum import Enum

from kumotwist.dns.cache import Cache

_MOST = 65536  # ready queues, as in the model; those noted longest ago are forgotten first


class Offer(Enum):
    """Extensions that we can do without."""

    STARTTLS = "STARTTLS"
    CHUNKING = "CHUNKING"


class BrokenOffers:
    """One for all sessions.  Sites are known by the names of their ready queues."""

    __slots__ = ("_noted",)

    def __init__(self, most: int = _MOST) -> None:
        self._noted = {offer: Cache[bool](most) for offer in Offer}

    def note(self, name: str, offer: Offer, until: float) -> None:
        """until: epoch seconds."""
        self._noted[offer].keep(name, True, until)

    def holds(self, name: str, offer: Offer, now: float) -> bool:
        """Whether it is known to be broken just now."""
        return self._noted[offer].get(name, now) is not None
