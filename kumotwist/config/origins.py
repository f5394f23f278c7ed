"""
Which rule of `shaping` said what holds on a path, and in which line of which file.

The rules are laid over one another by `config.compose` itself, with each value marked by where it stands: so what is shown is
what was composed, whatever the order of the layers.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from kumotwist.config.compose import path_settings
from kumotwist.config.shaping import JOINED, Provider, ShapingRule, ShapingSettings, Spot

_PROVIDERS_OWN = ("connection_limit", "max_message_rate")


class Origin(Struct, frozen=True, kw_only=True):
    """
    Who says a parameter.  by: `default`, `example.org`, `provider google`, each perhaps `, source ip-1`.

    place: `file:line`; empty where it was not read from a file.
    """

    value: Any
    by: str
    place: str = ""


def path_origins(
    shaping: ShapingSettings,
    rollup: Mapping[str, str],
    *,
    domain: str,
    source: str,
    site: str,
    mx_hosts: tuple[str, ...] = (),
) -> dict[str, Origin]:
    """
    Parameter → who says it, for those that some rule says.  The arguments are those of `config.compose.path_settings`.

    Of limits by name, each name has an entry of its own: `additional_connection_limits.NAME`.
    """
    marked = _marked(shaping)
    found = path_settings(marked, rollup, domain=domain, source=source, site=site, mx_hosts=mx_hosts)
    origins: dict[str, Origin] = {}
    for name, value in msgspec.structs.asdict(found).items():
        if isinstance(value, Origin):
            origins[name] = value
        elif name in JOINED and isinstance(value, Mapping):
            origins |= {f"{name}.{key}": one for key, one in value.items() if isinstance(one, Origin)}
    if isinstance(found.provider_name, str):
        origins.setdefault("provider_name", Origin(value=found.provider_name, by=f"provider {found.provider_name}"))
    return origins


def _marked(shaping: ShapingSettings) -> ShapingSettings:
    """The same with an Origin in the place of each value."""
    return replace(
        shaping,
        rules={name: _marked_rule(shaping.places, name, rule) for name, rule in shaping.rules.items()},
        provider={name: _marked_provider(shaping.places, name, one) for name, one in shaping.provider.items()},
    )


def _marked_rule(places: Mapping[Spot, str], name: str, rule: ShapingRule) -> ShapingRule:
    options, sources = _marked_options(places, "rule", name, rule)
    return replace(rule, options=options, sources=sources)


def _marked_provider(places: Mapping[Spot, str], name: str, provider: Provider) -> Provider:
    options, sources = _marked_options(places, "provider", name, provider)
    own: dict[str, Any] = {}
    for key in _PROVIDERS_OWN:
        value = getattr(provider, key)
        if value is not None:
            place = places.get(("provider", name, "", f"provider_{key}"), "")
            own[key] = Origin(value=value, by=f"provider {name}", place=place)
    rates: dict[str, Any] = {
        source: Origin(
            value=rate,
            by=f"provider {name}, source {source}",
            place=places.get(("provider", name, source, "provider_source_selection_rate"), ""),
        )
        for source, rate in provider.source_selection_rates.items()
    }
    return replace(provider, options=options, sources=sources, source_selection_rates=rates, **own)


def _marked_options(
    places: Mapping[Spot, str], kind: str, name: str, block: ShapingRule | Provider
) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
    def marked(source: str, options: Mapping[str, object]) -> dict[str, object]:
        by = f"provider {name}" if kind == "provider" else name
        by += f", source {source}" if source else ""
        found: dict[str, object] = {}
        for key, value in options.items():
            place = places.get((kind, name, source, key), "")
            if key in JOINED and isinstance(value, Mapping):
                found[key] = {one: Origin(value=inner, by=by, place=place) for one, inner in value.items()}
            else:
                found[key] = Origin(value=value, by=by, place=place)
        return found

    return marked("", block.options), {source: marked(source, options) for source, options in block.sources.items()}
