"""
Destinations that need no MX: address literals, with or without a port; and the port behind a domain name.

RFC 5321 section 4.1.3 writes `[192.0.2.1]` and `[IPv6:2001:db8::1]`; `[2001:db8::1]` is understood too.  A port stands
behind the bracket or, where the address is IPv4, before it: `[192.0.2.1]:2025`, `[192.0.2.1:2025]`.
"""

from ipaddress import IPv6Address, ip_address

from kumotwist.config.queues import MxHost
from kumotwist.egress.path import Destination
from kumotwist.egress.site import NEVER


class BadDestination(ValueError):
    """Text that names no place to deliver to; the argument says why.  Its mail waits and is never bounced for it."""


def split_port(text: str) -> tuple[str, int | None]:
    """`example.com:2025` as (`example.com`, 2025); without a port None.  Raises BadDestination."""
    name, colon, port = text.partition(":")
    return (name, _port(port, text)) if colon else (text, None)


def literal_destination(text: str) -> Destination | None:
    """The one address that a literal names; None for what is no literal (no bracket).  Raises BadDestination."""
    if not text.startswith("["):
        return None
    inside, bracket, rest = text[1:].partition("]")
    if not bracket or (rest and not rest.startswith(":")):
        raise BadDestination(f"not an address literal: {text!r}")
    address, port = _address(inside, text)
    if rest:
        if port is not None:
            raise BadDestination(f"two ports in an address literal: {text!r}")
        port = _port(rest[1:], text)
    label = _label(address, port)
    host = MxHost(name=address, label=label, addr=address, port=port)
    return Destination(domain=text, site=label, groups=((host,),), expires=NEVER)


def _label(address: str, port: int | None) -> str:
    # An IPv6 address keeps its brackets before a port: `::1:25` is an address itself, and would be another site.
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _address(inside: str, text: str) -> tuple[str, int | None]:
    """The address between the brackets, and the port if one follows it there."""
    try:
        if inside[:5].lower() == "ipv6:":
            return address_text(str(IPv6Address(inside[5:]))), None
        if inside.count(":") > 1:
            return address_text(inside), None
        address, colon, port = inside.partition(":")
        return address_text(address), _port(port, text) if colon else None
    except BadDestination:
        raise
    except ValueError:
        raise BadDestination(f"not an address literal: {text!r}") from None


def address_text(text: str) -> str:
    """
    An IP address as we write it.  Raises ValueError, also for one with a scope, of which mail knows nothing.

    ::ffff:127.0.0.1 reaches 127.0.0.1, and is called so: then prohibited_hosts and skip_hosts recognise it.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"an address with a scope: {text!r}")
        return str(address.ipv4_mapped or address)
    return str(address)


def _port(digits: str, text: str) -> int:
    if digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) < 65536:
        return int(digits)
    raise BadDestination(f"not a port: {digits!r} in {text!r}")
