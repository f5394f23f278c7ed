"""Durations, sizes and addresses with ports as they stand on a command line; a ValueError says what was expected."""

from kumotwist.config import fields
from kumotwist.config.fields import BadValue


def parse_duration(text: str) -> float:
    """`10 s`, `200 ms`, `1d 2h`, `1.5`: seconds."""
    try:
        return fields.parse_duration(text)
    except BadValue as fault:
        raise ValueError(f"{fault}; expected a duration like 10 s, 200 ms or 1m 30s") from None


def parse_size(text: str) -> int:
    """`10kb` (1000 octets each), `1MiB` (1024²), `4096`: octets."""
    try:
        return fields.parse_size(text)
    except BadValue as fault:
        raise ValueError(f"{fault}; expected a size like 4096, 10kb or 1MiB") from None


def parse_ip(text: str) -> str:
    """An IPv4 or IPv6 address, in its usual form; brackets around it are taken off."""
    return str(fields.parse_ip(text.removeprefix("[").removesuffix("]")))


def parse_host_port(text: str, port: int | None = None) -> tuple[str, int]:
    """`host:port`, `1.2.3.4:25`, `[::1]:25`; without a port, `port` if that is given."""
    host, colon, digits = text.rpartition(":")
    if not colon or digits.endswith("]") or (":" in host and not host.endswith("]")):
        host, digits = text, "" if port is None else str(port)
    if not digits.isascii() or not digits.isdigit() or int(digits) > 65535:
        raise ValueError(f"expected {'HOST:PORT' if port is None else 'ADDRESS[:PORT]'}, got {text!r}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host:
        raise ValueError(f"expected a host before the port, got {text!r}")
    return host, int(digits)
