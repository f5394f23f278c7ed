"""
Kinds of value that settings are made of: durations, rates, sizes, networks.  Text → value, and back for messages.

Durations are seconds as float; instants are epoch seconds; sizes are octets as int.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Annotated

from msgspec import Meta, Struct

Duration = Annotated[float, Meta(description="duration", extra={"kind": "duration"})]
Size = Annotated[int, Meta(description="size", extra={"kind": "size"})]
Count = Annotated[int, Meta(description="count", extra={"kind": "count"})]  # a whole number, 0 or more
Port = Annotated[int, Meta(description="port", extra={"kind": "port"})]
FilePath = Annotated[str, Meta(description="path", extra={"kind": "path"})]  # made absolute by its file's place
IpText = Annotated[str, Meta(description="IP address", extra={"kind": "ip"})]
DomainText = Annotated[str, Meta(description="domain name", extra={"kind": "domain"})]
FreeSpace = Annotated[str | int, Meta(description="free space", extra={"kind": "free_space"})]  # "10%" or octets


class Rate(Struct, frozen=True):
    """`limit` events in `period` seconds; `max_burst` at once from idle (default: limit); local: never shared with other nodes."""

    limit: int
    period: float
    max_burst: int | None = None
    local: bool = False


class Limit(Struct, frozen=True):
    """So many at a time; local: never shared with other nodes."""

    limit: int
    local: bool = False


class Networks(Struct, frozen=True):
    """A set of addresses and networks."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def __contains__(self, address: object) -> bool:
        return _lies_in(str(address), self.networks)


@lru_cache(maxsize=8192)
def _lies_in(text: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    address: IPv4Address | IPv6Address = ip_address(text)
    return any(address.version == network.version and address in network for network in networks)
