"""
The kinds of scalar: how each is read from its text, and what a fault says was expected.

A scalar is read by what is wanted, never by what it looks like: YAML's `on`, `25:30` or `0123` mean nothing by themselves.
Numbers and switches must stand without quotes; texts may stand either way.
"""

import os
import re
import ssl
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Annotated, Any, get_args, get_origin
from urllib.parse import urlsplit

import idna
from jinja2 import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Meta, Struct

from kumotwist.config.dkim import CONFORMANCE
from kumotwist.config.egress import RESERVED_LIMITS
from kumotwist.config.fields import (
    BadValue,
    Limit,
    Rate,
    format_duration,
    join_port,
    nearest,
    parse_duration,
    parse_ip,
    parse_limit,
    parse_listen,
    parse_rate,
    parse_size,
    parse_whole,
    shown,
)
from kumotwist.config.listeners import ReportHandling
from kumotwist.config.openssl import checked_suites, openssl_options
from kumotwist.config.placed import Text, has_controls
from kumotwist.mail.address import BadAddress, parse_domain


class Kind(Struct, frozen=True):
    """expected: as in `expected a duration`.  read: text → value; raises BadValue."""

    expected: str
    read: Callable[[Text], Any]


def kind_of(wanted: Any) -> Kind | None:
    """The kind that an annotation asks for; None where it wants something other than a scalar."""
    if get_origin(wanted) is Annotated:
        meta = next((given for given in get_args(wanted)[1:] if isinstance(given, Meta)), Meta())
        name = (meta.extra or {}).get("kind")
        return _KINDS[name](meta) if name else kind_of(get_args(wanted)[0])
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return _choice({member.value: member for member in wanted})
    return _PLAIN.get(wanted)


# --- texts -----------------------------------------------------------------------------------------------------------


def _text(given: Text) -> str:
    if has_controls(given.text):
        raise BadValue(f"{shown(given.text)} has control characters")
    return given.text


def _path(given: Text) -> str:
    if not _text(given):
        raise BadValue("an empty name")
    return os.path.abspath(os.path.join(os.path.dirname(given.place.file), given.text))


def _choice(choices: Mapping[str, Any]) -> Kind:
    def read(given: Text) -> Any:
        if given.text not in choices:
            meant = nearest(given.text, choices)
            raise BadValue(f"{shown(given.text)} is not known", shown(meant) if meant else "")
        return choices[given.text]

    return Kind(_alternatives(list(choices)), read)


def _alternatives(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _lines(given: Text) -> str:
    """A text that may have line ends and tabs in it."""
    if has_controls(given.text.replace("\n", "").replace("\t", "")):
        raise BadValue(f"{shown(given.text)} has control characters")
    return given.text


def _record_template(given: Text) -> str:
    text = _lines(given)
    try:
        ImmutableSandboxedEnvironment().parse(text)
    except TemplateSyntaxError as fault:
        raise BadValue(f"{shown(text)} is no template: {fault.message} in its line {fault.lineno}") from None
    return text


def _reports(given: Text) -> ReportHandling:
    """One of the model's words, or its older switch."""
    if given.text in _REPORTS:
        return _REPORTS[given.text]
    if given.plain and given.text.lower() in _SWITCHES:
        return ReportHandling.LOG_THEN_RELAY if _parse_switch(given.text) else ReportHandling.IGNORE
    meant = nearest(given.text, _REPORTS)
    raise BadValue(f"{shown(given.text)} is not known", shown(meant) if meant else "")


_REPORTS = {member.value: member for member in ReportHandling}
_MOST_CREDENTIAL = 255  # octets: RFC 1929 section 2


def _credential(given: Text) -> str:
    octets = len(_text(given).encode())
    if not 0 < octets <= _MOST_CREDENTIAL:
        raise BadValue(f"{shown(given.text)} has {octets} octets")
    return given.text


def _limit_name(given: Text) -> str:
    if _text(given).startswith(RESERVED_LIMITS):
        raise BadValue(f"{shown(given.text)} is a name of the server's own")
    return given.text


def _cipher_list(given: Text) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(_text(given))
    except (ssl.SSLError, ValueError):
        raise BadValue(f"{shown(given.text)} selects no cipher") from None
    return given.text


def _cipher_suites(given: Text) -> str:
    try:
        return checked_suites(_text(given))
    except ValueError:
        raise BadValue(f"{shown(given.text)} selects no suite") from None


def _openssl_options(given: Text) -> str:
    try:
        openssl_options(_text(given))
    except ValueError as fault:
        raise BadValue(str(fault)) from None
    return given.text


def _suffix(given: Text) -> str:
    if "/" in _text(given):
        raise BadValue(f"{shown(given.text)} would name another directory")
    return given.text


_FIELD_NAME = re.compile(r"[!-9;-~]{1,200}\Z")  # RFC 5322 section 3.6.8


def _header(given: Text) -> str:
    if not _FIELD_NAME.match(given.text):
        name = given.text.partition(":")[0].strip().replace(" ", "-")
        raise BadValue(f"{shown(given.text)} is not the name of a header field", shown(name) if _FIELD_NAME.match(name) else "")
    return given.text


_SELECTOR = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\Z")


def _selector(given: Text) -> str:
    if not _SELECTOR.match(given.text) or ".." in given.text or len(given.text) > 200:
        raise BadValue(f"{shown(given.text)} is no selector")
    return given.text


def _dkim_identity(given: Text) -> str:
    local, at, domain = _text(given).rpartition("@")
    if not at or not re.fullmatch(r"[!-:<-?A-~]*", local):
        raise BadValue(f"{shown(given.text)} is no identity")
    return f"{local}@{domain_name(domain)}"


def _conformance(given: Text) -> str:
    for name in filter(None, (one.strip() for one in _text(given).split("|"))):
        if name not in CONFORMANCE:
            meant = nearest(name, CONFORMANCE)
            raise BadValue(f"{shown(name)} is not known", shown(meant) if meant else "")
    return given.text


# --- numbers and switches --------------------------------------------------------------------------------------------


def _unquoted(given: Text, parse: Callable[[str], Any]) -> str:
    if not given.plain:
        try:
            parse(given.text)
        except BadValue:
            meant = ""
        else:
            meant = f"{given.text} without quotes"
        raise BadValue(f"{shown(given.text)} is a text", meant)
    return given.text


def _whole(meta: Meta) -> Kind:
    least, most = meta.ge, meta.le

    def read(given: Text) -> int:
        number = parse_whole(_unquoted(given, parse_whole))
        if (least is not None and number < least) or (most is not None and number > most):
            raise BadValue(f"{number} is out of range")
        return number

    if least is None:
        return Kind("a whole number", read)
    return Kind(f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}", read)


_SWITCHES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _parse_switch(text: str) -> bool:
    if text not in (text.lower(), text.upper(), text.capitalize()) or text.lower() not in _SWITCHES:
        meant = nearest(text, _SWITCHES)
        raise BadValue(f"{shown(text)} is not a switch", meant)
    return _SWITCHES[text.lower()]


def _duration(meta: Meta) -> Kind:
    least = meta.ge

    def read(given: Text) -> float:
        if not given.plain and given.text.strip().replace(".", "", 1).isdigit():
            raise BadValue(f"{shown(given.text)} has no unit", shown(f"{given.text.strip()} seconds"))
        seconds = parse_duration(given.text)
        if least is not None and seconds < least:
            raise BadValue(f"{shown(given.text)} is too short")
        return seconds

    least_shown = f"at least {format_duration(float(least))}: " if least else ""
    return Kind(f'{least_shown}a number of seconds, or a text such as "5 minutes" or "1d 2h"', read)


def _size(meta: Meta) -> Kind:
    least = meta.ge or 0

    def read(given: Text) -> int:
        octets = parse_size(given.text)
        if octets < least:
            raise BadValue(f"{shown(given.text)} is too small")
        return octets

    return Kind("a number of octets, 1 or more, or a text such as 10kb or 1MiB", read)


def _free_space(given: Text) -> str | int:
    share = given.text.strip().removesuffix("%")
    if share == given.text.strip():
        return parse_size(given.text)
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", share.strip()) or float(share) > 100:
        raise BadValue(f"{shown(given.text)} is not a share of a whole")
    return f"{share.strip()}%"


# --- names and addresses ---------------------------------------------------------------------------------------------


def domain_name(text: str) -> str:
    """A domain name or a bracketed literal, in the form of `mail.address`; a bare IP address is neither."""
    try:
        address = parse_ip(text)
    except BadValue:
        pass
    else:
        literal = f"IPv6:{address}" if address.version == 6 else str(address)
        raise BadValue(f"{shown(text)} is an IP address", f'"[{literal}]"')
    try:
        return parse_domain(text)
    except BadAddress:
        raise BadValue(f"{shown(text)} is not a domain name") from None


def domain_pattern(text: str) -> str:
    """A shell pattern for domain names, made lower case and, label by label, ASCII."""
    if "@" in text:
        raise BadValue(f"{shown(text)} is an address", shown(text.rpartition("@")[2]))
    if not text or has_controls(text) or " " in text:
        raise BadValue(f"{shown(text)} fits no domain name")
    return ".".join(_ascii_label(label) for label in text.lower().split("."))


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    try:
        return idna.encode(label, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise BadValue(f"{shown(label)} has no ASCII form") from None


_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^\[\]:]*)(?::(?P<port>[1-9][0-9]{0,4}))?\Z")


_PORT_INSIDE = re.compile(r"\[(?P<address>[0-9.]+):(?P<port>[0-9]+)\]\Z")


def host_and_port(text: str) -> tuple[str, int | None]:
    """`host`, `host:25`, `[10.0.0.1]`, `[IPv6:::1]:25`, `[10.0.0.1:25]`: the part before the port as it stands, and the port."""
    found = _PORT.match(_PORT_INSIDE.sub(r"[\g<address>]:\g<port>", text))
    if not found or (found["port"] and int(found["port"]) > 65535):
        raise BadValue(f"{shown(text)} is neither a host nor a host with a port")
    return found["host"], int(found["port"]) if found["port"] else None


def routing_domain(text: str) -> str:
    """Where mail is to be sent instead: a domain or a literal, perhaps with a port."""
    host, port = host_and_port(text)
    inside = host[1:-1] if host.startswith("[") else ""
    if ":" in inside and not inside.lower().startswith("ipv6:"):
        host = f"[IPv6:{inside}]"  # `[::1]` is not of RFC 5321's grammar, but what people write
    domain = domain_name(host)
    return domain if port is None else f"{domain}:{port}"


def _server_name(given: Text) -> str:
    """What a client may ask for in its TLS greeting: never an address (RFC 6066 section 3)."""
    try:
        parse_ip(given.text.removeprefix("[").removesuffix("]"))
    except BadValue:
        return domain_name(given.text)
    raise BadValue(f"{shown(given.text)} is an address")


def _host_and_port(given: Text) -> str:
    host, port = host_and_port(given.text)
    if port is None:
        raise BadValue(f"{shown(given.text)} has no port from 1 to 65535")
    try:
        return join_port(str(parse_ip(host.removeprefix("[").removesuffix("]"))), port)
    except BadValue:
        return f"{_server_name(Text(host, given.place))}:{port}"


_HOOK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")  # it is part of a key on the shelf, and a label in metrics


def _hook_name(given: Text) -> str:
    if not _HOOK_NAME.match(given.text):
        raise BadValue(f"{shown(given.text)} is no name for a hook")
    return given.text


def _url(*schemes: str) -> Callable[[Text], str]:
    def read(given: Text) -> str:
        try:
            parts = urlsplit(_text(given))
            usable = parts.scheme in schemes and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable or not given.text.isascii() or " " in given.text:
            raise BadValue(f"{shown(given.text)} is no URL of {' or '.join(schemes)}")
        if parts.password:
            # Texts of the configuration end up in logs; a password has a parameter of its own.
            raise BadValue("a URL with a password in it")
        return given.text

    return read


def _nameserver(given: Text) -> str:
    address, port = address_and_port(given.text)
    return address if port is None else join_port(address, port)


def address_and_port(text: str) -> tuple[str, int | None]:
    """`10.0.0.1`, `::1`, `[::1]`, `10.0.0.1:53`, `[::1]:53`."""
    bracketed = text.startswith("[") and text.endswith("]")
    try:
        return str(parse_ip(text[1:-1] if bracketed else text)), None
    except BadValue:
        if bracketed or ":" not in text:
            raise
    address, port = parse_listen(text)
    if not port:
        raise BadValue(f"{shown(text)} has no port from 1 to 65535")
    return address, port


# --- the tables ------------------------------------------------------------------------------------------------------


def _fixed(expected: str, read: Callable[[Text], Any]) -> Callable[[Meta], Kind]:
    kind = Kind(expected, read)
    return lambda meta: kind


_KINDS: Mapping[str, Callable[[Meta], Kind]] = {
    "duration": _duration,
    "size": _size,
    "whole": _whole,
    "choice": lambda meta: _choice({choice: choice for choice in (meta.extra or {})["of"]}),
    "unknown_tenant": lambda meta: _choice({"reject": False, "accept": True}),
    "path": _fixed("the name of a file or directory", _path),
    "suffix": _fixed("the end of a file name", _suffix),
    "ip": _fixed("an IPv4 or IPv6 address", lambda given: str(parse_ip(given.text))),
    "domain": _fixed("a name such as mx.example.com", lambda given: domain_name(given.text)),
    "domain_pattern": _fixed(
        "a name such as example.com, or a pattern such as *.example.com", lambda given: domain_pattern(given.text)
    ),
    "routing_domain": _fixed("a name such as mx.example.com, or mx.example.com:25", lambda given: routing_domain(given.text)),
    "header": _fixed("a name such as X-Tenant", _header),
    "free_space": _fixed('a share such as "10%", or a number', _free_space),
    "listen": _fixed(
        "ADDRESS:PORT such as 0.0.0.0:25 or [::]:25", lambda given: join_port(*parse_listen(given.text))
    ),
    "server_name": _fixed("a name such as mx.example.com", _server_name),
    "host_and_port": _fixed("HOST:PORT such as proxy.example.com:5000 or 10.0.0.1:5000", _host_and_port),
    "reports": _fixed("Ignore, LogThenRelay or LogThenDrop", _reports),
    "credential": _fixed("a text of 1 to 255 octets", _credential),
    "limit_name": _fixed("a name of your own, shared by the paths that are to share the limit", _limit_name),
    "cipher_list": _fixed("a list of ciphers in OpenSSL's form", _cipher_list),
    "cipher_suites": _fixed("suites of TLS 1.3 such as TLS_AES_128_GCM_SHA256", _cipher_suites),
    "openssl_options": _fixed("names such as NO_TICKET|NO_TLSV1_3", _openssl_options),
    "hook_name": _fixed("1 to 64 letters, digits, dots, dashes and underscores", _hook_name),
    "http_url": _fixed("a URL such as https://hooks.example.com/records", _url("http", "https")),
    "amqp_url": _fixed("a URL such as amqp://user@broker.example.com/vhost, without a password", _url("amqp", "amqps")),
    "nats_url": _fixed("a URL such as nats://127.0.0.1:4222, without a password", _url("nats", "tls")),
    "selector": _fixed("a selector such as dkim2024", _selector),
    "dkim_identity": _fixed("an identity such as @news.example.com", _dkim_identity),
    "conformance": _fixed("names of faults with | between them, such as LINE_TOO_LONG", _conformance),
    "record_template": _fixed("a template such as {{ type }} {{ recipient }}", _record_template),
    "lines": _fixed("a text of one or several lines", _lines),
    "nameserver": _fixed("an address such as 127.0.0.1 or 127.0.0.1:53", _nameserver),
}  # fmt: skip

_PLAIN: Mapping[Any, Kind] = {
    str: Kind("a text", _text),
    bool: Kind("true or false", lambda given: _parse_switch(_unquoted(given, _parse_switch))),
    Rate: Kind("a rate such as 100/s, 1,000/hr or local:20/30min,max_burst=5", lambda given: parse_rate(given.text)),
    Limit: Kind("a whole number, 1 or more, or local:N", lambda given: parse_limit(given.text)),
}
