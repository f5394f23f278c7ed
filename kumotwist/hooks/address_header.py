"""Header fields that hold addresses (From, To, Cc …), read as RFC 5322 section 3.4 has them."""

import json
from email import errors
from email.headerregistry import HeaderRegistry
from typing import Any

from msgspec import Struct

_LONGEST = 65536  # octets: the parser slows down with the square of a field's length
_ADDRESSES: Any = HeaderRegistry()["to"]
_WRONG = (errors.InvalidHeaderDefect, errors.HeaderMissingRequiredValue)


def _is_atom(text: str) -> bool:
    return bool(text) and all(c.isalnum() or c in "!#$%&'*+-/=?^_`{|}~" for c in text)


class HeaderAddress(Struct, frozen=True):
    """One address.  name: its display name, decoded, or None.  user: without quotes.  domain: as it stands."""

    name: str | None
    user: str
    domain: str

    @property
    def email(self) -> str:
        """user and domain together, the user in quotes if it needs them."""
        escaped = self.user.replace("\\", "\\\\").replace('"', '\\"')
        local = self.user if all(map(_is_atom, self.user.split("."))) else f'"{escaped}"'
        return f"{local}@{self.domain}" if self.domain else local


class AddressHeader(Struct, frozen=True):
    """
    The addresses of one field.

    list: all of them, those of groups too.  user, domain, email and name are those of the only one: ValueError where there
    are several, or none, or a group.
    """

    list: tuple[HeaderAddress, ...]
    has_groups: bool = False

    @property
    def user(self) -> str:
        return self._only().user

    @property
    def domain(self) -> str:
        return self._only().domain

    @property
    def email(self) -> str:
        return self._only().email

    @property
    def name(self) -> str | None:
        return self._only().name

    def _only(self) -> HeaderAddress:
        if len(self.list) != 1 or self.has_groups:
            raise ValueError(f"{len(self.list)} addresses{' in groups' if self.has_groups else ''}, expected exactly one")
        return self.list[0]

    def __str__(self) -> str:
        """As JSON: one object, or a list of them."""
        made = [{"name": one.name, "address": one.email} for one in self.list]
        return json.dumps(made[0] if len(made) == 1 else made, ensure_ascii=False)


def parse_address_header(name: str, raw: bytes) -> AddressHeader:
    """The addresses in a field's value as it stands in the message.  Raises ValueError where it cannot be understood."""
    if len(raw) > _LONGEST:
        raise ValueError(f"header field {name} has {len(raw)} octets, too many to be read as addresses")
    value = raw.replace(b"\r\n", b"").replace(b"\n", b"").strip()
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    try:
        parsed = _ADDRESSES("to", text)
        wrong = [defect for defect in parsed.defects if isinstance(defect, _WRONG)]
        addresses = tuple(HeaderAddress(one.display_name or None, one.username, one.domain) for one in parsed.addresses)
        has_groups = any(group.display_name is not None for group in parsed.groups)
    except (errors.MessageError, ValueError, LookupError, AttributeError, TypeError) as fault:
        # Python's parser stumbles over some of what is no address at all instead of saying so.
        raise ValueError(f"header field {name} holds no addresses: {text[:100]!r}") from fault
    if wrong or not (addresses or has_groups):
        raise ValueError(f"header field {name} holds no valid addresses: {text[:100]!r}")
    return AddressHeader(addresses, has_groups)
