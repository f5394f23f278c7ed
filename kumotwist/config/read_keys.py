"""What can be wrong with the certificates, keys and passwords that a configuration names, beyond how they are named."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kumotwist.config.certificates import certificates, check_authorities, fits, octets_of, public_key
from kumotwist.config.faults import Place
from kumotwist.config.fields import BadValue
from kumotwist.config.keys import KeyData
from kumotwist.config.reading import Reading, Setting

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

CERTIFICATE, KEY = PAIR = ("tls_certificate", "tls_private_key")


def check_both(reading: Reading, named: Mapping[str, Place]) -> None:
    """Both of PAIR or none.  named: where they stand, faulty ones too."""
    here = [name for name in PAIR if name in named]
    if len(here) == 1:
        other = KEY if here == [CERTIFICATE] else CERTIFICATE
        reading.faults.note(named[here[0]], f"{here[0]} without {other}, expected both or neither")


def check_fit(reading: Reading, certificate: Setting | None, key: Setting | None) -> None:
    """Each is what it should be, and they are made for each other; as far as they are known now."""
    chain: list[Certificate] | None = _loaded(reading, certificate, CERTIFICATE, certificates)
    public: bytes | None = _loaded(reading, key, KEY, public_key)
    if key and chain and public and not fits(chain[0], public):
        reading.faults.note(key.place, f"{KEY}: not the key of the certificate in {CERTIFICATE}")


def check_ca(reading: Reading, setting: Setting | None, name: str) -> None:
    """Certificates of authorities."""
    _loaded(reading, setting, name, check_authorities)


def check_secret(reading: Reading, setting: Setting | None, name: str) -> None:
    """A password's file can be read.  Its name is not said: it may be the password itself, put where a file's name goes."""
    if setting is not None and isinstance(setting.value, str):
        try:
            octets_of(setting.value)
        except BadValue as fault:
            what = fault.wrong.rpartition(": ")[2]
            reading.faults.note(
                setting.place, f"{name}: the file cannot be read: {what}, expected the name of a file, or {{key_data: ...}}"
            )


def _loaded(reading: Reading, setting: Setting | None, name: str, load: Callable[[Any], Any]) -> Any:
    """What was loaded, or None: also for what is not named, or left to the policy."""
    if setting is None or not isinstance(setting.value, str | KeyData):
        return None
    try:
        return load(setting.value)
    except BadValue as fault:
        reading.faults.note(setting.place, f"{name}: {fault.wrong}")
        return None
