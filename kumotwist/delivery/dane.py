"""
DANE for mail: which hosts a domain's secure MX names, and which TLSA records a host has that count.  RFC 7672.

What cannot be known now is never taken for "nothing there": LookupFailed goes to whoever asked, and the mail waits.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from kumotwist.delivery.dnssec import Found
from kumotwist.delivery.plan import Address, literal_ip
from kumotwist.delivery.tlsa import Tlsa, usable

Find = Callable[[str, str], "Deferred[Found]"]


async def secure_hosts(find: Find, domain: str) -> frozenset[str] | None:
    """
    The hosts that a domain's MX records name, if these are authentic; None: they are not (section 2.2.1).

    A domain that proves that it has none is its own host.  Raises LookupFailed.
    """
    found = await find(domain, "MX")
    if not found.secure or not found.exists:
        return None
    if not found.records:
        return frozenset({domain})
    return frozenset(record.exchange.to_text(omit_final_dot=True).lower() for record in found.records)


async def tlsa_of(find: Find, host: str, address: Address) -> tuple[Tlsa, ...] | None:
    """
    A host's usable TLSA records.  None: it has none that count; empty: it has some, none of them usable.

    They count where its address, or the alias that leads to it, is authentic (section 2.2.2); else nobody asks for them.
    An address that the operator gave with the host, and calls secure, is.
    Those of the name that an alias leads to are not asked for, as in the model.  Raises LookupFailed.
    """
    if literal_ip(host) is not None:
        return None
    if not address.given and not await _address_is_secure(find, host, address.ip):
        return None
    found = await find(f"_{address.port}._tcp.{host}", "TLSA")
    if not found.secure or not found.records:
        return None
    records = (Tlsa(record.usage, record.selector, record.mtype, bytes(record.cert)) for record in found.records)
    return tuple(record for record in records if usable(record))


async def _address_is_secure(find: Find, host: str, ip: str) -> bool:
    found = await find(host, "AAAA" if ":" in ip else "A")
    if found.secure or not found.alias:
        return found.secure
    alias = await find(host, "CNAME")
    return alias.secure and bool(alias.records)
