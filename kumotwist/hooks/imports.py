"""Header fields copied into metadata: which, under which key, and whether they leave the message."""

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from msgspec import Struct

from kumotwist.config.fields import nearest, shown
from kumotwist.mail.headers import Field, Wanted


class Match(Enum):
    """Which of several fields of one name counts."""

    FIRST = "first"
    LAST = "last"
    ALL = "all"  # each, as a list


class Transform(Enum):
    """How a name becomes a key: of X-Campaign-ID."""

    SNAKE_CASE = "snake_case"  # x_campaign_id
    KEBAB_CASE = "kebab_case"  # x-campaign-id
    CAMEL_CASE = "camel_case"  # xCampaignId
    PASCAL_CASE = "pascal_case"  # XCampaignId


class HeaderImport(Struct, frozen=True, kw_only=True):
    """One entry of `import_headers`.  name: in any case, with `*` at its end for any ending; target: the key instead."""

    name: str
    match: Match = Match.LAST
    transform: Transform = Transform.SNAKE_CASE
    target: str | None = None
    remove: bool = False

    def fits(self, lower: str) -> bool:
        wanted = self.name.lower()
        return lower.startswith(wanted[:-1]) if wanted.endswith("*") else lower == wanted

    def key(self, name: str) -> str:
        return self.target or _TRANSFORMS[self.transform](name)


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[-_]", name.lower()) if word] or [name.lower()]


_TRANSFORMS: Mapping[Transform, Callable[[str], str]] = {
    Transform.SNAKE_CASE: lambda name: name.lower().replace("-", "_"),
    Transform.KEBAB_CASE: lambda name: name.lower().replace("_", "-"),
    Transform.CAMEL_CASE: lambda name: _words(name)[0] + "".join(map(str.capitalize, _words(name)[1:])),
    Transform.PASCAL_CASE: lambda name: "".join(map(str.capitalize, _words(name))),
}


def read_imports(given: Iterable[Mapping[str, Any]]) -> tuple[HeaderImport, ...]:
    """What a policy wants imported.  Raises ValueError, naming what is wrong."""
    return tuple(map(_read_import, given))


def _read_import(given: Mapping[str, Any]) -> HeaderImport:
    if not isinstance(given, Mapping):
        raise ValueError(f"import_headers: {given!r}, expected a mapping with the name of a header")
    for key in given:
        if key not in HeaderImport.__struct_fields__:
            meant = nearest(str(key), HeaderImport.__struct_fields__)
            hint = f"did you mean {shown(meant)}?" if meant else f"expected one of {', '.join(HeaderImport.__struct_fields__)}"
            raise ValueError(f"import_headers: unknown key {key!r}, {hint}")
    name = given.get("name")
    if not isinstance(name, str) or not name.rstrip("*") or "*" in name[:-1]:
        raise ValueError(f"import_headers: name is {name!r}, expected a header's name, perhaps with one * at its end")
    target = given.get("target")
    if target is not None and (not isinstance(target, str) or not target or name.endswith("*")):
        raise ValueError(f"import_headers: target is {target!r}, expected one key for one name without *")
    return HeaderImport(
        name=name,
        match=Match(given.get("match", Match.LAST)),
        transform=Transform(given.get("transform", Transform.SNAKE_CASE)),
        target=target,
        remove=bool(given.get("remove", False)),
    )


def imported(content: bytes, imports: tuple[HeaderImport, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The metadata that a message's header gives, and the names of fields to remove.  For each field the first import that fits."""
    found: dict[str, Any] = {}
    removed: dict[str, None] = {}
    for field in Wanted([one.name for one in imports]).read(content):
        lower = field.name.lower()
        one = next(one for one in imports if one.fits(lower))
        _note(found, one, field)
        if one.remove:
            removed[lower] = None
    return found, tuple(removed)


def _note(found: dict[str, Any], one: HeaderImport, field: Field) -> None:
    key = one.key(field.name)
    if one.match is Match.ALL:
        before = found.get(key)
        found[key] = [*before, field.value] if isinstance(before, list) else [field.value]
    elif one.match is Match.LAST or key not in found:
        found[key] = field.value
