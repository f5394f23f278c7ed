"""The server's DNS, as checks of mail ask it: records become text, and a lookup that failed is unanswered."""

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from kumotwist.authentication.lookups import Unanswered
from kumotwist.dns.answers import LookupFailed


class Found(Protocol):
    """What the DNS has: records as dnspython makes them; none where there are none."""

    @property
    def records(self) -> tuple[Any, ...]: ...


Find = Callable[[str, str], "Deferred[Any]"]  # name, kind → Found; fails with LookupFailed


class MailLookups:
    """`authentication.lookups.Lookups`, answered by the server's resolver and its cache."""

    def __init__(self, find: Find) -> None:
        self._find = find

    async def texts(self, name: str) -> Sequence[str]:
        return [b"".join(record.strings).decode("latin-1") for record in await self._records(name, "TXT")]

    async def addresses(self, name: str, version: int) -> Sequence[str]:
        return [str(record.address) for record in await self._records(name, "A" if version == 4 else "AAAA")]

    async def exchangers(self, name: str) -> Sequence[str]:
        records = sorted(await self._records(name, "MX"), key=lambda record: int(record.preference))
        return [record.exchange.to_text(omit_final_dot=True).lower().removesuffix(".") for record in records]

    async def names(self, address: str) -> Sequence[str]:
        records = await self._records(ip_address(address).reverse_pointer, "PTR")
        return [record.target.to_text(omit_final_dot=True).lower() for record in records]

    async def _records(self, name: str, kind: str) -> tuple[Any, ...]:
        try:
            found: Found = await self._find(name, kind)
        except LookupFailed as fault:
            raise Unanswered(str(fault)) from None
        return found.records
