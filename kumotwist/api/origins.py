"""Who says what holds on a path: a rule in a line of a file, the policy, or automation for a time."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from kumotwist.automation.overrides import InForce
from kumotwist.config.egress import PathSettings
from kumotwist.config.origins import Origin
from kumotwist.config.shaping import JOINED
from kumotwist.logs.record import rfc3339


class SettingOrigin(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Who says a parameter.

    by: a rule of shaping (`default`, a domain, `provider NAME`, perhaps `, source NAME`), `policy`, or a rule of automation.
    place: `file:line` of it.  until, reason: where it is for a time.
    """

    by: str
    place: str | None = None
    until: str | None = None
    reason: str | None = None


def origins_shown(settings: PathSettings, said: dict[str, Origin], in_force: Iterator[InForce]) -> dict[str, SettingOrigin]:
    """
    By parameter, those that have no default's value; of limits by name, `PARAMETER.NAME`.

    said: what the rules say.  in_force: what automation does, later wins.
    """
    shown: dict[str, SettingOrigin] = {}
    defaults = PathSettings()
    for name, value in msgspec.structs.asdict(settings).items():
        if name in JOINED:
            parts: dict[str, Any] = {f"{name}.{key}": one for key, one in value.items()}
        else:
            parts = {name: value}
        for key, one in parts.items():
            origin = said.get(key)
            if origin is not None and origin.value == one:
                shown[key] = SettingOrigin(by=origin.by, place=origin.place or None)
            elif key != name or one != getattr(defaults, name):
                shown[key] = SettingOrigin(by="policy")
    for found in in_force:
        origin_of = SettingOrigin(
            by=f"automation {found.rule.id} of {found.rule.whose}",
            place=found.rule.place or None,
            until=rfc3339(found.override.expires),
            reason=found.override.reason,
        )
        keys = [f"{found.name}.{key}" for key in found.value] if found.name in JOINED else [found.name]
        shown |= dict.fromkeys(keys, origin_of)
    return shown
