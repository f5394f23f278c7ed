"""What holds for an address, kept by network: of the networks that an address lies in, the longest prefix counts."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeVar

T = TypeVar("T")
Network = IPv4Network | IPv6Network


@lru_cache(maxsize=8192)
def _number(address: str) -> tuple[int, int]:
    """Version and value of an address; an IPv4 address in IPv6 clothes, as a dual-stack socket shows it, is IPv4."""
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return 4, int(found.ipv4_mapped)
    return found.version, int(found)


class ByNetwork(Mapping[Network, T]):
    """
    A mapping by network that also answers for addresses.

    The model's answer for networks that overlap depends on the order in which they were given; here it never does.
    """

    __slots__ = ("_entries", "_longest_first")

    def __init__(self, entries: Mapping[Network, T] | None = None) -> None:
        self._entries: dict[Network, T] = dict(entries or {})
        # version → for each length of prefix, how far to shift an address, and what is left of it → what holds
        self._longest_first: dict[int, tuple[tuple[int, dict[int, T]], ...]] = {
            version: tuple(self._tables(version)) for version in (4, 6)
        }

    def _tables(self, version: int) -> Iterator[tuple[int, dict[int, T]]]:
        networks = [network for network in self._entries if network.version == version]
        for prefix in sorted({network.prefixlen for network in networks}, reverse=True):
            shift = (32 if version == 4 else 128) - prefix
            same = [network for network in networks if network.prefixlen == prefix]
            yield shift, {int(network.network_address) >> shift: self._entries[network] for network in same}

    def nearest(self, address: str) -> T | None:
        """What holds for an IP address: the entry of the smallest network around it; None if there is none."""
        if not self._entries:
            return None
        version, number = _number(address)
        for shift, table in self._longest_first[version]:
            found = table.get(number >> shift)
            if found is not None:
                return found
        return None

    def __getitem__(self, network: Network) -> T:
        return self._entries[network]

    def __iter__(self) -> Iterator[Network]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"ByNetwork({self._entries!r})"
