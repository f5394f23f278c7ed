"""Reading `http_listeners` and `access_control`, with what can be wrong about them beyond their types."""

from collections.abc import Mapping

from kumotwist.config.faults import Place
from kumotwist.config.fields import BadValue, parse_listen, shown
from kumotwist.config.http import AccessRule, HttpListenerSettings, parse_rules
from kumotwist.config.listeners import ListenerSettings, TlsIdentity
from kumotwist.config.placed import Placed, Table
from kumotwist.config.read_keys import PAIR, check_both, check_fit
from kumotwist.config.reading import Reading, values_of


def read_http_listeners(reading: Reading, given: Placed) -> tuple[HttpListenerSettings, ...]:
    """The listeners in the order of the file."""
    taken: dict[str, Place] = {}
    return tuple(
        _listener(reading, reading.table(item, "http_listeners"), taken) for item in reading.items(given, "http_listeners")
    )


def _listener(reading: Reading, table: Table, taken: dict[str, Place]) -> HttpListenerSettings:
    settings = reading.settings(HttpListenerSettings, table, "http_listeners", leave=("sni",))
    check_both(reading, {name: table.entries[name].place for name in PAIR if name in table.entries})
    check_fit(reading, settings.get("tls_certificate"), settings.get("tls_private_key"))
    sni = _sni(reading, table)
    listener = HttpListenerSettings(**values_of(settings), sni=sni)
    place = settings["listen"].place if "listen" in settings else table.place
    first = taken.setdefault(listener.listen, place)
    if first is not place and parse_listen(listener.listen)[1]:
        reading.faults.note(place, f"listen: {shown(listener.listen)} is taken by the listener in line {first.line}")
    secured = sni or "tls_certificate" in settings or "tls_private_key" in settings
    if secured and not listener.use_tls:
        reading.faults.note(table.place, "a certificate without use_tls: true, expected both or neither")
    return listener


def _sni(reading: Reading, table: Table) -> Mapping[str, TlsIdentity]:
    entry = table.entries.get("sni")
    if entry is None:
        return {}
    # Read by the rules of a mail listener, so that a name or an identity is the same thing in both.
    only = Table({"sni": entry}, table.place)
    found: Mapping[str, TlsIdentity] = values_of(reading.settings(ListenerSettings, only, "http_listeners")).get("sni", {})
    return found


def check_addresses(
    reading: Reading, place: Place, mail: tuple[ListenerSettings, ...], web: tuple[HttpListenerSettings, ...]
) -> None:
    """One address is for mail or for HTTP."""
    both = {one.listen for one in mail} & {one.listen for one in web}
    for listen in sorted(both):
        if parse_listen(listen)[1]:
            reading.faults.note(place, f"{shown(listen)} stands in esmtp_listeners and in http_listeners, expected it in one")


def read_access_control(reading: Reading, given: Placed) -> Mapping[str, tuple[AccessRule, ...]]:
    """Resource → its rules: from `files` in the model's form, then `acl` in line; later wins, a resource as a whole."""
    section = reading.table(given, "access_control")
    found: dict[str, tuple[AccessRule, ...]] = {}
    for table in reading.included(section):
        if table is not None:
            _add(reading, table, found)
    _add(reading, Table({key: one for key, one in section.entries.items() if key != "files"}, section.place), found)
    return found


def _add(reading: Reading, table: Table, found: dict[str, tuple[AccessRule, ...]]) -> None:
    for key, entry in table.entries.items():
        if key != "acl":
            reading.unknown(key, entry, "access_control", ["acl", "files"], "access_control")
            continue
        for resource, inner in reading.table(entry.value, "acl").entries.items():
            if resource != "http_listener" and not resource.startswith("http_listener/"):
                reading.faults.note(inner.place, f"{shown(resource)}: expected http_listener, or http_listener/ADDRESS/PATH")
            try:
                found[resource] = parse_rules(reading.free(inner.value, resource))
            except BadValue as fault:
                reading.faults.note(inner.place, f"{shown(resource)}: {fault.wrong}")
