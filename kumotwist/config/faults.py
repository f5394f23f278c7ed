"""What is wrong with a configuration: each fault with its place, and all of them together."""

from msgspec import Struct


class Place(Struct, frozen=True, gc=False):
    """Where something stands: lines and columns count from 1, columns in characters."""

    file: str
    line: int
    column: int


class Fault(Struct, frozen=True, gc=False):
    """
    One thing that is wrong.  what: what it is, what was expected, and what was probably meant, on one line.

    unless: the event of the policy whose handlers may make it right, as get_egress_pool knows pools that no file has.
    """

    file: str
    line: int
    column: int
    what: str
    unless: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.what}"


class ConfigFaults(Exception):
    """A configuration that is not valid, with every fault of all its files: by file in the order of reading, then by line."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


class Noted(Exception):
    """Nothing can be read here, and its fault is noted."""


class Broken(Exception):
    """A file that cannot be understood at all beyond this place."""

    def __init__(self, place: Place, what: str) -> None:
        super().__init__(place, what)
        self.place = place
        self.what = what


class FaultList:
    """The faults found so far in one reading, and the files that were read."""

    def __init__(self) -> None:
        self._faults: dict[Fault, None] = {}  # ordered, and what an alias repeats is said once
        self.files: list[str] = []

    def note(self, place: Place, what: str, unless: str = "") -> None:
        self._faults[Fault(place.file, place.line, place.column, what, unless)] = None

    def __len__(self) -> int:
        return len(self._faults)

    def in_order(self) -> tuple[Fault, ...]:
        rank = {file: index for index, file in enumerate(self.files)}
        return tuple(sorted(self._faults, key=lambda fault: (rank.get(fault.file, len(rank)), fault.line, fault.column)))
