"""`protocol: {smtp: {mx_list: [...]}}`: the hosts that a queue's mail goes to instead of those that its domain's MX names."""

from typing import Any

from msgspec.structs import replace

from kumotwist.config.fields import BadValue, parse_ip
from kumotwist.config.kinds import Kind, address_and_port, domain_name, host_and_port
from kumotwist.config.placed import Items, Placed, Table, Text
from kumotwist.config.queues import MxHost
from kumotwist.config.reading import UNFIT, Reading

_FORMS = 'a host such as mx.example.com, "mx.example.com:25", "[10.0.0.1]" or {name: mx.example.com, addr: 10.0.0.1}'


def read_protocol(reading: Reading, given: Placed) -> tuple[MxHost, ...]:
    """The hosts in their order; none where `smtp` names none, so that the domain's MX holds."""
    hosts: tuple[MxHost, ...] = ()
    secure = False
    for key, entry in reading.table(given, "protocol").entries.items():
        if key == "smtp":
            for inner, found in reading.table(entry.value, key).entries.items():
                if inner == "mx_list":
                    hosts = _hosts(reading, found.value)
                elif inner == "treat_mx_list_as_secure":
                    null = isinstance(found.value, Text) and found.value.is_null
                    secure = not null and reading.value(bool, found.value, inner) is True
                else:
                    known = ["mx_list", "treat_mx_list_as_secure"]
                    reading.unknown(inner, found, "protocol.smtp", known, "protocol.smtp")
        else:
            reading.unknown(key, entry, "protocol", ["smtp", "maildir", "maildir_path", "custom_lua"], "protocol")
    return tuple(replace(host, secure=True) for host in hosts) if secure else hosts


def _hosts(reading: Reading, given: Placed) -> tuple[MxHost, ...]:
    found = [_host(reading, item) for item in reading.items(given, "mx_list")]
    return tuple(host for host in found if isinstance(host, MxHost))


def _host(reading: Reading, given: Placed) -> Any:
    if isinstance(given, Table):
        return _resolved(reading, given)
    if isinstance(given, Items):
        reading.note(given, "mx_list", f"a list, expected {_FORMS}")
        return UNFIT
    return reading.scalar(Kind(_FORMS, lambda text: parse_mx_host(text.text)), given, "mx_list")


def parse_mx_host(text: str) -> MxHost:
    """
    A host, a literal or an address as one text, perhaps with a port.  It stands in the site's name as it is written.

    An address, in brackets or not, is its own name, without brackets.  Raises BadValue.
    """
    try:
        return MxHost(name=text, label=text, addr=str(parse_ip(text)))  # the model takes a bare address too
    except BadValue:
        host, port = host_and_port(text)
    if host.startswith("["):
        inside = host[1:-1]
        address = str(parse_ip(inside[5:] if inside[:5].lower() == "ipv6:" else inside))
        return MxHost(name=address, label=text, addr=address, port=port)
    return MxHost(name=domain_name(host), label=text, port=port)


def _resolved(reading: Reading, given: Table) -> Any:
    """`{name, addr}`: a host whose address is known.  Its address stands in the site's name."""
    found: dict[str, Any] = {}
    for key, entry in given.entries.items():
        if key == "name":
            found[key] = reading.scalar(
                Kind("a name such as mx.example.com", lambda text: domain_name(text.text)), entry.value, key
            )
        elif key == "addr":
            kind = Kind("an IP address, perhaps with a port", lambda text: (*address_and_port(text.text), text.text))
            found[key] = reading.scalar(kind, entry.value, key)
        else:
            reading.unknown(key, entry, "mx_list", ["name", "addr"])
    for key in ("name", "addr"):
        if key not in found:
            reading.faults.note(given.place, f"mx_list: {key} is missing, expected {_FORMS}")
            found[key] = UNFIT
    if UNFIT in found.values():
        return UNFIT
    address, port, label = found["addr"]
    return MxHost(name=found["name"], label=label, addr=address, port=port)
