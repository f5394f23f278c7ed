"""Sections `esmtp_listeners`, `listener_domains` and `tls`, with what can be wrong about them beyond their types."""

from kumotwist.config.faults import Place
from kumotwist.config.fields import BadValue, parse_listen, shown
from kumotwist.config.kinds import domain_name, kind_of
from kumotwist.config.listeners import Listen, ListenerDomain, ListenerDomains, ListenerSettings
from kumotwist.config.placed import Entry, Placed, Table, Text
from kumotwist.config.read_keys import check_ca
from kumotwist.config.read_overrides import Block, add_table, check_keys, overrides_by_network
from kumotwist.config.reading import UNFIT, Reading, Settings, values_of
from kumotwist.config.server import TlsSettings

_LISTEN = kind_of(Listen)


def read_listeners(reading: Reading, given: Placed) -> tuple[ListenerSettings, ...]:
    """The listeners in the order of the file."""
    taken: dict[str, Place] = {}
    return tuple(
        _listener(reading, reading.table(item, "esmtp_listeners"), taken) for item in reading.items(given, "esmtp_listeners")
    )


def _listener(reading: Reading, table: Table, taken: dict[str, Place]) -> ListenerSettings:
    block = Block()
    for file in reading.included(table):
        if file is not None:
            add_table(reading, file, block, "esmtp_listeners")
    add_table(reading, table, block, "esmtp_listeners", leave=("files",))
    check_keys(reading, block)
    listener = ListenerSettings(
        **block.values(), meta=block.meta, peer=overrides_by_network(block.peer), via=overrides_by_network(block.via)
    )
    listen = block.options.get("listen")
    if listen is not None or "listen" not in table.entries:
        _check_address(reading, listener.listen, listen.place if listen else table.place, taken)
    return listener


def _check_address(reading: Reading, listen: str, place: Place, taken: dict[str, Place]) -> None:
    """An address with a port is for one listener; 0.0.0.0 is every IPv4 address, so who listens there leaves none to others."""
    first = taken.setdefault(listen, place)
    if not parse_listen(listen)[1]:
        return
    if first is not place:
        reading.faults.note(place, f"listen: {shown(listen)} is taken by the listener in line {first.line}")
        return
    for other, where in taken.items():
        if other != listen and overlap(listen, other):
            what = f"{shown(listen)} and {shown(other)} (line {where.line}) are one address"
            reading.faults.note(place, f"listen: {what}, expected a single address in both, or one listener with via")
            return


def overlap(one: str, other: str) -> bool:
    """Whether one of two `ip:port` is every address of the other's family, on the same port."""
    (host, port), (other_host, other_port) = parse_listen(one), parse_listen(other)
    same_family = (":" in host) == (":" in other_host)
    return port == other_port and same_family and not {host, other_host}.isdisjoint(("0.0.0.0", "::"))


def read_tls(reading: Reading, given: Placed) -> TlsSettings:
    settings = reading.settings(TlsSettings, reading.table(given, "tls"), "tls")
    check_ca(reading, settings.get("ca_file"), "ca_file")
    return TlsSettings(**values_of(settings))


# --- listener domains ------------------------------------------------------------------------------------------------


_Merged = dict[str, Settings]


def read_listener_domains(reading: Reading, given: Placed) -> ListenerDomains:
    """Files, then `domains`; for a domain in several of them each parameter of the later wins."""
    section = reading.table(given, "listener_domains")
    merged: _Merged = {}
    by_listener: dict[str, _Merged] = {}
    for table in reading.included(section):
        _add_domains(reading, table, merged, by_listener)
    for key, entry in section.entries.items():
        if key == "domains":
            _add_domains(reading, reading.table(entry.value, key), merged, by_listener)
        elif key != "files":
            reading.unknown(key, entry, "listener_domains", ["files", "domains"], "listener_domains")
    return ListenerDomains(_domains(merged), {listen: _domains(domains) for listen, domains in by_listener.items()})


def _domains(merged: _Merged) -> dict[str, ListenerDomain]:
    return {domain: ListenerDomain(**values_of(settings)) for domain, settings in merged.items()}


def _add_domains(reading: Reading, table: Table | None, merged: _Merged, by_listener: dict[str, _Merged] | None) -> None:
    """by_listener: where the domains of a single listener belong; None inside of one."""
    seen: dict[str, str] = {}
    for key, entry in table.entries.items() if table else ():
        if key == "listener" and by_listener is not None:
            _add_listeners(reading, entry, by_listener)
            continue
        domain = "*" if key == "*" else read_domain_key(reading, key, entry, seen)
        settings = reading.settings(ListenerDomain, reading.table(entry.value, key), f"listener domain {shown(key)}")
        if domain:
            merged.setdefault(domain, {}).update(settings)


def _add_listeners(reading: Reading, entry: Entry, by_listener: dict[str, _Merged]) -> None:
    """`listener."10.0.0.1:25"."example.com"`: what holds for a domain in mail that came in there."""
    if reading.is_awaited("listener", "listener_domains"):
        reading.unknown("listener", entry, "listener_domains", (), "listener_domains")
        return
    assert _LISTEN is not None
    for name, inner in reading.table(entry.value, "listener").entries.items():
        listen = reading.scalar(_LISTEN, Text(name, inner.place), "listener")
        domains = {} if listen is UNFIT else by_listener.setdefault(listen, {})
        _add_domains(reading, reading.table(inner.value, name), domains, None)


def read_domain_key(reading: Reading, key: str, entry: Entry, seen: dict[str, str], *, wildcards: bool = True) -> str | None:
    """
    A key that names a domain, or with `*.` all below one, as it is looked up; None, and a fault, if it is neither.

    seen: the domains of the same table so far, with the keys that they had; one that comes again is a fault too.
    """
    star = "*." if key.startswith("*.") and wildcards else ""
    try:
        domain = star + domain_name(key.removeprefix(star))
    except BadValue as fault:
        expected = "a name such as example.com, or *.example.com" if wildcards else "a name such as example.com"
        meant = f", did you mean {fault.meant}?" if fault.meant else ""
        wrong = fault.wrong.replace(shown(key.removeprefix(star)), shown(key), 1)
        reading.faults.note(entry.place, f"{wrong}, expected {expected}{meant}")
        return None
    first = seen.setdefault(domain, key)
    if first != key:
        reading.faults.note(entry.place, f"{shown(key)} is the domain of {shown(first)} again, expected each domain once")
    return domain
