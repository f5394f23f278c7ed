"""What checks ask of the DNS; whoever calls them brings the answers."""

from collections.abc import Sequence
from typing import Protocol


class Unanswered(Exception):
    """The DNS did not answer: nobody knows, which is not the same as nothing."""


class Lookups(Protocol):
    """Questions to the DNS.  Empty: there is no such record, or no such name.  All raise Unanswered."""

    async def texts(self, name: str) -> Sequence[str]:
        """TXT records, the strings of each joined; an octet that is not ASCII is that character of Latin-1."""

    async def addresses(self, name: str, version: int) -> Sequence[str]:
        """Addresses of a host.  version: 4 or 6."""

    async def exchangers(self, name: str) -> Sequence[str]:
        """Hosts of MX records, in lower case and without a final dot; a null MX is an empty name."""

    async def names(self, address: str) -> Sequence[str]:
        """Names that an address points back to."""
