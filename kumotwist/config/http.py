"""Sections `http_listeners` and `access_control`: where programs inject mail and operators ask, and who may do what there."""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from kumotwist.config.fields import BadValue, DomainText, Networks, Size, parse_networks
from kumotwist.config.keys import KeySource
from kumotwist.config.listeners import LOOPBACK, Listen, ServerName, TlsIdentity

TRUSTED = "kumomta:http-listener-trusted-ip"  # the group of those whose address is among `trusted_hosts`
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")


class HttpListenerSettings(Struct, frozen=True, kw_only=True):
    """
    One entry of `http_listeners`; names, units and defaults are the model's.

    request_body_limit: octets, after what is compressed was unpacked.
    """

    listen: Listen = "127.0.0.1:8000"
    hostname: DomainText = ""  # empty: the server's hostname
    use_tls: bool = False
    tls_certificate: KeySource | None = None  # with tls_private_key; None: self-signed, for the hostname
    tls_private_key: KeySource | None = None
    sni: Mapping[ServerName, TlsIdentity] = {}
    request_body_limit: Size = 2 * 1024 * 1024
    trusted_hosts: Networks = LOOPBACK


class Criterion(Struct, frozen=True, kw_only=True):
    """
    Who a rule is about: one of these is given.

    Individual: an identity that was proved.  Group: one of the client's groups.  Machine, MachineSet: its address.
    Any, Authenticated, Unauthenticated: with the value true.
    """

    Individual: str | None = None
    Group: str | None = None
    Machine: str | None = None
    MachineSet: tuple[str, ...] | None = None
    Authenticated: bool = False
    Unauthenticated: bool = False
    Any: bool = False
    AllOf: "tuple[Criterion, ...] | None" = None
    AnyOf: "tuple[Criterion, ...] | None" = None
    Not: "Criterion | None" = None


class AccessRule(Struct, frozen=True, kw_only=True):
    """One line of an access control list: whether those whom it is about may do these things."""

    allow: bool
    criteria: Criterion
    privileges: frozenset[str]  # HTTP methods


AccessControl = Annotated[Mapping[str, tuple[AccessRule, ...]], Meta(extra={"key": ""})]

_WORDS = ("Any", "Authenticated", "Unauthenticated")


def parse_rules(given: Any) -> tuple[AccessRule, ...]:
    """
    An access control list from plain values, as files and the policy give it.  Raises BadValue.

    Each rule is a mapping of `allow`, `privileges` (a method or a list of them) and `criteria`, or `identity` as the model's
    files have it.
    """
    if not isinstance(given, list | tuple):
        raise BadValue("an access control list is a list of rules")
    return tuple(_rule(one) for one in given)


def _rule(given: Any) -> AccessRule:
    if isinstance(given, AccessRule):
        return given
    if not isinstance(given, Mapping):
        raise BadValue("a rule is a mapping with allow, privileges and criteria")
    unknown = set(given) - {"allow", "privileges", "privilege", "criteria", "identity"}
    if unknown:
        raise BadValue(f"unknown key {sorted(map(str, unknown))[0]!r} in a rule")
    allow, privileges = given.get("allow"), given.get("privileges", given.get("privilege"))
    who = given.get("criteria", given.get("identity"))
    if not isinstance(allow, bool):
        raise BadValue("allow: expected true or false")
    privileges = [privileges] if isinstance(privileges, str) else privileges
    if not isinstance(privileges, list | tuple) or not privileges or any(one not in METHODS for one in privileges):
        raise BadValue(f"privileges: expected some of {', '.join(METHODS)}")
    return AccessRule(allow=allow, criteria=_criterion(who), privileges=frozenset(privileges))


def _criterion(given: Any, depth: int = 0) -> Criterion:
    """One criterion, `Any` or `{Group: name}`; what is nested in `identity.X` or `Identity` is the same."""
    if depth > 16:
        raise BadValue("criteria are nested too deep")
    if isinstance(given, str) and given in _WORDS:
        return _with(given, True)
    if not isinstance(given, Mapping) or len(given) != 1:
        raise BadValue("criteria: expected one criterion, such as Any or {Group: name}")
    ((name, value),) = given.items()
    if name == "Identity":
        return _criterion(value, depth + 1)
    if name in _WORDS and value is True:
        return _with(name, True)
    if name in ("Individual", "Group") and isinstance(value, str):
        return _with(name, value)
    if (name == "Machine" and isinstance(value, str)) or (name == "MachineSet" and isinstance(value, list | tuple)):
        return _machines(value)
    if name in ("AllOf", "AnyOf") and isinstance(value, list | tuple):
        return _with(name, tuple(_criterion(one, depth + 1) for one in value))
    if name == "Not":
        return Criterion(Not=_criterion(value, depth + 1))
    raise BadValue(f"criteria: {name!r} with such a value is none")


def _with(name: str, value: Any) -> Criterion:
    chosen: dict[str, Any] = {name: value}
    return Criterion(**chosen)


def _machines(value: Any) -> Criterion:
    machines = [value] if isinstance(value, str) else list(value)
    for one in machines:
        if not isinstance(one, str):
            raise BadValue("MachineSet: expected addresses and networks")
        parse_networks(one)
    return Criterion(MachineSet=tuple(machines))


def networks_of(machines: tuple[str, ...]) -> Networks:
    """The networks of a MachineSet that was read."""
    return Networks(tuple(network for one in machines for network in parse_networks(one)))


def _to(criteria: Any, *privileges: str) -> tuple[AccessRule, ...]:
    return parse_rules([{"allow": True, "criteria": criteria, "privileges": list(privileges)}])


_TRUSTED_GROUP = {"Group": TRUSTED}

# Who may do what where nobody says otherwise.  The model shows its description to anyone; here everything but liveness
# needs some right, since what an installation can do is nobody else's business.
DEFAULT_ACCESS: Mapping[str, tuple[AccessRule, ...]] = {
    "http_listener/*/api/check-liveness": _to("Any", "GET"),
    "http_listener/*/api/inject": _to({"AnyOf": [_TRUSTED_GROUP, "Authenticated"]}, "POST"),
    "http_listener/*/api/admin": _to(_TRUSTED_GROUP, "GET", "POST", "DELETE"),
    "http_listener/*/api/machine-info": _to(_TRUSTED_GROUP, "GET"),
    "http_listener/*/api/xfer": _to(_TRUSTED_GROUP, "POST"),
    "http_listener/*/metrics": _to(_TRUSTED_GROUP, "GET"),
    "http_listener/*/metrics.json": _to(_TRUSTED_GROUP, "GET"),
    "http_listener/*/openapi.json": _to({"AnyOf": [_TRUSTED_GROUP, "Authenticated"]}, "GET"),
    "http_listener/*/api-docs": _to({"AnyOf": [_TRUSTED_GROUP, "Authenticated"]}, "GET"),
}
