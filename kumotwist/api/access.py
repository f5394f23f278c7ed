"""
Who may ask what: the model's access control lists, as decisions.

A resource is `http_listener/ADDRESS/PATH`.  The lists of the path and of each path above it are looked at, then those of the
address, then the same under `*`, then that of `http_listener`.  The first rule that is about the client and the method
decides; where none is, it is no.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from msgspec import Struct

from kumotwist.config.fields import Networks
from kumotwist.config.http import DEFAULT_ACCESS, AccessRule, Criterion, networks_of
from kumotwist.hooks.connection import AuthInfo

Rules = tuple[AccessRule, ...]
Find = Callable[[str], Rules | None]  # the list of a resource, if it has one

_LONGEST_PATH = 256  # characters of a path that are looked at
_MOST_PARTS = 10


class Decision(Struct, frozen=True):
    """allowed: whether it may.  explicit: a rule said so.  resource: whose list it was, or what was asked for."""

    allowed: bool
    explicit: bool
    resource: str


def resources(listen: str, path: str) -> Iterator[str]:
    """The resources whose lists are looked at, in order."""
    parts = [part for part in path[:_LONGEST_PATH].split("/") if part][:_MOST_PARTS]
    paths = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
    yield from (f"http_listener/{listen}/{one}" for one in paths)
    yield f"http_listener/{listen}"
    yield from (f"http_listener/*/{one}" for one in paths)
    yield "http_listener"


def finder(configured: Mapping[str, Rules]) -> Find:
    """What a configuration says, before what holds by default."""
    return lambda resource: configured.get(resource, DEFAULT_ACCESS.get(resource))


def judged(rules: Rules, method: str, auth: AuthInfo) -> bool | None:
    """What a list says; None: nothing."""
    return next((rule.allow for rule in rules if method in rule.privileges and fits(rule.criteria, auth)), None)


def fits(who: Criterion, auth: AuthInfo) -> bool:
    """Whether a client is meant."""
    if who.Individual is not None:
        return any(one.identity == who.Individual for one in auth.identities)
    if who.Group is not None:
        return who.Group in auth.groups
    if who.MachineSet is not None:
        return auth.peer_address is not None and auth.peer_address in _networks(who.MachineSet)
    if who.AllOf is not None:
        return all(fits(one, auth) for one in who.AllOf)
    if who.AnyOf is not None:
        return any(fits(one, auth) for one in who.AnyOf)
    if who.Not is not None:
        return not fits(who.Not, auth)
    return who.Any or (who.Authenticated and bool(auth.identities)) or (who.Unauthenticated and not auth.identities)


@lru_cache(maxsize=256)
def _networks(machines: tuple[str, ...]) -> Networks:
    return networks_of(machines)


def shown(auth: AuthInfo) -> str:
    """A client as refusals name it."""
    names = ", ".join(one.identity for one in auth.identities)
    return f"{names} at {auth.peer_address}" if names else str(auth.peer_address)
