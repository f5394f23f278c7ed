"""
Names of directories with places for what a message says: `/var/mail/{{ domain_part }}/{{ local_part }}`.

A place is a name in double braces, as the model's templates have it; filters and conditions there are none.  What is filled in
is always part of one name: nothing that a sender or a client can write leads to another directory.
"""

import os
import re
from collections.abc import Callable

from msgspec import Struct

from kumotwist.config.fields import BadValue, nearest, shown
from kumotwist.config.placed import has_controls

PLACES = (
    "queue", "campaign", "tenant", "domain", "routing_domain", "local_part", "domain_part", "email",
    "sender_local_part", "sender_domain_part", "sender_email", "meta",
)  # fmt: skip

_PLACE = re.compile(r"\{\{(.*?)\}\}")
_META = re.compile(r"""meta(?:\.(\w+)|\[(?:'([^']+)'|"([^"]+)")\])\Z""")


class NothingThere(ValueError):
    """A place for which the message has nothing; the argument is its name."""


class PathTemplate(Struct, frozen=True):
    """text: as it was written.  pieces: what stands there, and the names of places, in turn; the first is what stands there."""

    text: str
    pieces: tuple[str, ...]

    def fill(self, value_of: Callable[[str], str | None]) -> str:
        """The name of the directory.  Raises NothingThere."""
        filled = list(self.pieces)
        for n in range(1, len(filled), 2):
            value = value_of(filled[n])
            if not value:
                raise NothingThere(filled[n])
            filled[n] = within_a_name(value)
        return "".join(filled)


def parse_path_template(text: str, file: str) -> PathTemplate:
    """file: what names it; a relative name starts from its directory.  Raises BadValue."""
    if not text or has_controls(text):
        raise BadValue(f"{shown(text)} is no name of a directory")
    pieces = _PLACE.split(os.path.abspath(os.path.join(os.path.dirname(file), text)))
    for n, piece in enumerate(pieces):
        if n % 2:
            pieces[n] = _place(piece.strip())
        elif "{{" in piece or "}}" in piece or "{%" in piece:
            raise BadValue(f"{shown(text)} has braces that name no place")
    return PathTemplate(text, tuple(pieces))


def _place(name: str) -> str:
    found = _META.match(name)
    if found:
        return "meta." + next(key for key in found.groups() if key)
    if name in PLACES and name != "meta":
        return name
    meant = "meta.KEY" if name == "meta" else nearest(name, PLACES)
    raise BadValue(f"{{{{ {name} }}}} is no place in a template (there are {', '.join(PLACES)}.KEY)", meant)


_UNFIT = re.compile(r"[/%\x00-\x1f\x7f]|\A\.")


def within_a_name(value: str) -> str:
    """What can stand within the name of a file: slashes, controls and a dot in front become `%2F` and the like."""
    return _UNFIT.sub(lambda found: f"%{ord(found[0]):02X}", value)
