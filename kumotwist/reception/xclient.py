"""XCLIENT: a trusted client says for whom it speaks (Postfix's extension, as far as the model has it)."""

from collections.abc import Iterable
from ipaddress import ip_address

from msgspec.structs import replace

from kumotwist.mail.reply import refuse
from kumotwist.reception.client import Ends
from kumotwist.reception.intake import shown
from kumotwist.reception.proxy_header import plain

_FIELDS = {"ADDR": "peer_ip", "PORT": "peer_port", "DESTADDR": "local_ip", "DESTPORT": "local_port"}


def moved_by(ends: Ends, attributes: Iterable[tuple[str, str]]) -> Ends:
    """The ends of the connection with what the attributes say of them.  Raises Refusal."""
    told: dict[str, str | int] = {}
    for name, value in attributes:
        field = _FIELDS.get(name)
        if field is None:
            raise refuse(f"501 parameter {shown(name)} is not supported")
        told[field] = _port(name, value) if field.endswith("port") else _address(name, value)
    return replace(ends, **told)


def _address(name: str, value: str) -> str:
    try:
        return plain(ip_address(value))
    except ValueError:
        raise refuse(f"501 {name} {shown(value)} is invalid") from None


def _port(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 5 and int(value) < 65536):
        raise refuse(f"501 {name} {shown(value)} is invalid")
    return int(value)
