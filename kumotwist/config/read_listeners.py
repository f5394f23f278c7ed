"""Sections `esmtp_listeners`, `listener_domains` and `tls`, with what can be wrong about them beyond their types."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kumotwist.config.certificates import certificates, check_authorities, fits, public_key
from kumotwist.config.faults import Place
from kumotwist.config.fields import BadValue, parse_listen, shown
from kumotwist.config.kinds import domain_name
from kumotwist.config.listeners import ListenerDomain, ListenerDomains, ListenerSettings
from kumotwist.config.placed import Entry, Placed, Table
from kumotwist.config.reading import Reading, Settings, values_of
from kumotwist.config.server import TlsSettings

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


def read_listeners(reading: Reading, given: Placed) -> tuple[ListenerSettings, ...]:
    """The listeners in the order of the file."""
    taken: dict[str, Place] = {}
    listeners = []
    for item in reading.items(given, "esmtp_listeners"):
        table = reading.table(item, "esmtp_listeners")
        settings = reading.settings(ListenerSettings, table, "esmtp_listeners")
        _check_certificate(reading, table, settings)
        listener = ListenerSettings(**values_of(settings))
        place = settings["listen"].place if "listen" in settings else table.place
        if "listen" in settings or "listen" not in table.entries:
            _check_address(reading, listener.listen, place, taken)
        listeners.append(listener)
    return tuple(listeners)


def _check_address(reading: Reading, listen: str, place: Place, taken: dict[str, Place]) -> None:
    """An address with a port is for one listener; 0.0.0.0 and an address of this machine are two."""
    first = taken.setdefault(listen, place)
    if first is not place and parse_listen(listen)[1]:
        reading.faults.note(place, f"listen: {shown(listen)} is taken by the listener in line {first.line}")


def _check_certificate(reading: Reading, table: Table, settings: Settings) -> None:
    """Both files or none; each what it should be; and made for each other."""
    certificate, key = settings.get("tls_certificate"), settings.get("tls_private_key")
    named = {name for name in ("tls_certificate", "tls_private_key") if name in table.entries}
    if len(named) == 1:
        (name,) = named
        other = "tls_private_key" if name == "tls_certificate" else "tls_certificate"
        reading.faults.note(table.entries[name].place, f"{name} without {other}, expected both or neither")
    chain: list[Certificate] | None = None
    public: bytes | None = None
    if certificate and certificate.value:
        chain = _loaded(reading, certificate.place, "tls_certificate", certificates, certificate.value)
    if key and key.value:
        public = _loaded(reading, key.place, "tls_private_key", public_key, key.value)
        if chain and public and not fits(chain[0], public):
            reading.faults.note(key.place, "tls_private_key: not the key of the certificate in tls_certificate")


def _loaded(reading: Reading, place: Place, name: str, load: Callable[[str], Any], file: str) -> Any:
    try:
        return load(file)
    except BadValue as fault:
        reading.faults.note(place, f"{name}: {fault.wrong}")
        return None


def read_tls(reading: Reading, given: Placed) -> TlsSettings:
    settings = reading.settings(TlsSettings, reading.table(given, "tls"), "tls")
    ca_file = settings.get("ca_file")
    if ca_file and ca_file.value:
        _loaded(reading, ca_file.place, "ca_file", check_authorities, ca_file.value)
    return TlsSettings(**values_of(settings))


# --- listener domains ------------------------------------------------------------------------------------------------


def read_listener_domains(reading: Reading, given: Placed) -> ListenerDomains:
    """Files, then `domains`; for a domain in several of them each parameter of the later wins."""
    section = reading.table(given, "listener_domains")
    merged: dict[str, Settings] = {}
    for table in reading.included(section):
        _add_domains(reading, table, merged)
    for key, entry in section.entries.items():
        if key == "domains":
            _add_domains(reading, reading.table(entry.value, key), merged)
        elif key != "files":
            reading.unknown(key, entry, "listener_domains", ["files", "domains"], "listener_domains")
    return ListenerDomains({domain: ListenerDomain(**values_of(settings)) for domain, settings in merged.items()})


def _add_domains(reading: Reading, table: Table | None, merged: dict[str, Settings]) -> None:
    for key, entry in table.entries.items() if table else ():
        if key == "listener":
            reading.unknown(key, entry, "listener_domains", (), "listener_domains")
            continue
        domain = "*" if key == "*" else read_domain_key(reading, key, entry)
        settings = reading.settings(ListenerDomain, reading.table(entry.value, key), f"listener domain {shown(key)}")
        if domain:
            merged.setdefault(domain, {}).update(settings)


def read_domain_key(reading: Reading, key: str, entry: Entry, *, wildcards: bool = True) -> str | None:
    """A key that names a domain, or with `*.` all below one, as it is looked up; None, and a fault, if it is neither."""
    star = "*." if key.startswith("*.") and wildcards else ""
    try:
        return star + domain_name(key.removeprefix(star))
    except BadValue as fault:
        expected = "a name such as example.com, or *.example.com" if wildcards else "a name such as example.com"
        meant = f", did you mean {fault.meant}?" if fault.meant else ""
        wrong = fault.wrong.replace(shown(key.removeprefix(star)), shown(key), 1)
        reading.faults.note(entry.place, f"{wrong}, expected {expected}{meant}")
        return None
