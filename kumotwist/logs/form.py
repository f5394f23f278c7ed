"""
What a record looks like in its file: JSON as it is, or what the template of its type makes of it.

Templates are Jinja's; each field of the record is a variable, and `log_record` is the whole of it.
"""

from collections.abc import Callable, Mapping

import msgspec
from jinja2 import ChainableUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kumotwist.config.server import RecordSettings

_BREAKS = str.maketrans(dict.fromkeys([*range(32), 127, 0x85, 0x2028, 0x2029], " "))
_decode = msgspec.json.Decoder(dict[str, object]).decode

Complain = Callable[[str], None]


def _on_one_line(value: object) -> object:
    """What a value is in a template's text: nothing that a peer or a header says begins a line of its own."""
    return value.translate(_BREAKS) if isinstance(value, str) and not value.isprintable() else value


class Forms:
    """The templates of all types of records.  A type with an entry of its own and no template has nothing from `Any`."""

    __slots__ = ("_complain", "_other", "_templates", "_told", "any")

    def __init__(self, per_record: Mapping[str, RecordSettings], complain: Complain) -> None:
        """complain: told once of each type whose template fails; its records are then written as they are."""
        environment = ImmutableSandboxedEnvironment(undefined=ChainableUndefined, finalize=_on_one_line, keep_trailing_newline=True)
        self._templates: dict[str, Template | None] = {
            kind: environment.from_string(chosen.template) if chosen.template is not None else None
            for kind, chosen in per_record.items()
        }
        self._other = self._templates.pop("Any", None)
        self._complain = complain
        self._told: set[str] = set()
        self.any = any(chosen.template is not None for chosen in per_record.values())

    def shown(self, kind: str, line: bytes) -> bytes:
        """A record as it stands in its file, without the newline behind it; it may have newlines within."""
        template = self._templates.get(kind, self._other)
        if template is None:
            return line
        try:
            record = _decode(line)
            return template.render({**record, "log_record": record}).removesuffix("\n").encode("utf-8", "replace")
        except Exception as fault:  # noqa: BLE001  whatever a template does, the record must not be lost
            if kind not in self._told:
                self._told.add(kind)
                self._complain(f"the template for {kind} fails, and records are written as they are: {fault}")
            return line
