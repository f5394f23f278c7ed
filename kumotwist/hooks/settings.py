"""`kumo.make_…`: settings that a policy answers with, checked at once and frozen."""

from collections.abc import Mapping
from typing import Any, Unpack

from kumotwist.config.egress import EgressPool, EgressSource, PathSettings
from kumotwist.config.given import GivenParameters
from kumotwist.config.listeners import ListenerDomain
from kumotwist.config.queues import QueueSettings
from kumotwist.hooks.parameters import (
    ListenerDomainParameters,
    PathParameters,
    PoolParameters,
    QueueParameters,
    SourceParameters,
)
from kumotwist.hooks.registration import calling_place

# All of these take one mapping, or keywords, or both, and then keywords win.  None for a parameter is its default.  They raise
# BadParameters (a ValueError), which names each key that is wrong, what it is, and what was expected.


def make_egress_source(given: Mapping[str, Any] | None = None, /, **parameters: Unpack[SourceParameters]) -> EgressSource:
    """One address to send from.  name is required.  Raises BadParameters."""
    return given_parameters("make_egress_source", given, parameters).source()


def make_egress_pool(given: Mapping[str, Any] | None = None, /, **parameters: Unpack[PoolParameters]) -> EgressPool:
    """Sources to share messages among.  name is required; entries: `{"name": …, "weight": …}` each.  Raises BadParameters."""
    return given_parameters("make_egress_pool", given, parameters).pool()


def make_egress_path(given: Mapping[str, Any] | None = None, /, **parameters: Unpack[PathParameters]) -> PathSettings:
    """How mail goes from one source to one site.  Raises BadParameters."""
    return given_parameters("make_egress_path", given, parameters).path()


def make_queue_config(given: Mapping[str, Any] | None = None, /, **parameters: Unpack[QueueParameters]) -> QueueSettings:
    """What holds for one scheduled queue.  Raises BadParameters."""
    return given_parameters("make_queue_config", given, parameters).queue()


def make_listener_domain(
    given: Mapping[str, Any] | None = None, /, **parameters: Unpack[ListenerDomainParameters]
) -> ListenerDomain:
    """What a domain may do here.  Raises BadParameters."""
    return given_parameters("make_listener_domain", given, parameters).listener_domain()


def given_parameters(of: str, given: Mapping[str, Any] | None, parameters: Mapping[str, Any]) -> GivenParameters:
    """Mapping and keywords together; relative names of files start from the directory of the file that calls."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"{of}: a {type(given).__name__}, expected keywords or one mapping")
    return GivenParameters(of, {**given, **parameters} if given else parameters, calling_place()[0])
