"""Where mail for a domain would go from a source, and what would limit it: asked of the policy and the DNS as they are now."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred

from kumotwist.api.endpoint import Call, Endpoint, Problem
from kumotwist.api.forms import settings_shown
from kumotwist.api.origins import SettingOrigin, origins_shown
from kumotwist.api.ready_queues import EffectiveConstraints, MxResolution, constraints_shown, resolution
from kumotwist.api.stages import Stages
from kumotwist.config.egress import UNSPECIFIED, PathSettings
from kumotwist.config.fields import Rate, format_rate
from kumotwist.config.queues import QueueSettings
from kumotwist.dns.answers import LookupFailed
from kumotwist.egress.limits import RateLimit, RateLimits
from kumotwist.egress.path import Destination, path_name
from kumotwist.egress.site import destination_of_mx_list, destination_without_hosts
from kumotwist.hooks.policy import HookFailed
from kumotwist.mail.queue_name import parse_queue_name
from kumotwist.ready.inspection import Constraints, constraints


class PathQuery(Struct, frozen=True, kw_only=True):
    """domain: or the name of a scheduled queue.  source: an egress source."""

    domain: str
    source: str = UNSPECIFIED


class ResolveEgressPathV1Response(Struct, frozen=True, kw_only=True):
    """
    What holds for this domain from this source.

    mx: null where it could not be found out, or mail goes to no host.  disagrees: where another domain decides what holds on
    this path now, because it sorts first among those that feed it: that domain, and what differs.  origins: who says each
    parameter of the path that is not as by default.
    """

    domain: str
    source: str
    queue_name: str
    queue_config: dict[str, Any]
    path_config: dict[str, Any]
    constraints: EffectiveConstraints
    mx: MxResolution | None = None
    disagrees: dict[str, Any] | None = None
    origins: dict[str, SettingOrigin] = {}


def resolving_endpoint(stages: Stages) -> Endpoint:
    async def resolve(call: Call, asked: PathQuery) -> ResolveEgressPathV1Response:
        directions, name = stages.directions(), parse_queue_name(asked.domain)
        try:
            await _now(directions.source(asked.source))
        except HookFailed:
            raise Problem(404, f"there is no egress source {asked.source[:100]!r}") from None
        try:
            queue = await _now(directions.queue(name))
            destination = await _destination(stages, name.routed_to, queue)
            known = destination or Destination(domain=name.routed_to, site=name.routed_to, groups=())
            settings = await _now(directions.path(name.routed_to, asked.source, known))
        except HookFailed as fault:
            raise Problem(500, f"the policy cannot say what holds: {fault}") from None
        path = path_name(asked.source, known.site, known.protocol)
        return ResolveEgressPathV1Response(
            domain=asked.domain,
            source=asked.source,
            queue_name=path,
            queue_config=settings_shown(queue),
            path_config=settings_shown(settings),
            constraints=constraints_shown(_constraints(path, settings)),
            mx=resolution(destination) if destination is not None else None,
            disagrees=_disagreement(stages, path, name.routed_to, settings),
            origins=origins_shown(
                settings,
                directions.path_origins(name.routed_to, asked.source, known),
                stages.in_force(asked.source, known.site, name.routed_to),
            ),
        )

    return Endpoint(
        method="GET",
        path="/api/admin/resolve-egress-path/v1",
        summary="Where mail for a domain would go from a source, and what would limit it",
        tag="inspect",
        query=PathQuery,
        answers=ResolveEgressPathV1Response,
        run=resolve,
        refusals={404: "there is no such egress source"},
    )


async def _now(found: Any) -> Any:
    return await found if isinstance(found, Deferred) else found


async def _destination(stages: Stages, domain: str, queue: QueueSettings) -> Destination | None:
    """None: nobody knows now."""
    if queue.instead_of_smtp is not None:
        return destination_without_hosts(domain, queue.instead_of_smtp)
    if queue.mx_list:
        return destination_of_mx_list(domain, queue.mx_list)
    try:
        found: Destination = await _now(stages.resolver.destination(domain))
    except LookupFailed:
        return None
    return found


def _constraints(path: str, settings: PathSettings) -> Constraints:
    limits = {path: settings.connection_limit.limit}
    limits |= {name: limit.limit for name, limit in settings.additional_connection_limits.items()}
    return constraints(
        settings,
        limits,
        _rates("max_message_rate", settings.max_message_rate, settings.additional_message_rate_throttles),
        _rates("max_connection_rate", settings.max_connection_rate, {}),
        _rates("source_selection_rate", settings.source_selection_rate, settings.additional_source_selection_rates),
    )


def _rates(option: str, own: Rate | None, additional: Mapping[str, Rate]) -> RateLimits | None:
    named = [(option, own)] if own is not None else []
    named += [(f"additional_rates {name}", rate) for name, rate in additional.items()]
    return RateLimits([(f"{what} ({format_rate(rate)})", RateLimit(rate)) for what, rate in named]) if named else None


def _disagreement(stages: Stages, path: str, domain: str, settings: PathSettings) -> dict[str, Any] | None:
    view = stages.ready.inspect(path)
    if view is None or view.path.settings == settings:
        return None
    now, here = settings_shown(view.path.settings), settings_shown(settings)
    differing = sorted(key for key in {*now, *here} if now.get(key) != here.get(key))
    return {"domain": stages.ready.decided_by(path), "path_config": {key: now.get(key) for key in differing}}
