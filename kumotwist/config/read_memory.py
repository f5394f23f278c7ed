"""Section `memory`: three thresholds that must lie in order."""

from itertools import pairwise

from kumotwist.config.placed import Placed
from kumotwist.config.reading import Reading, values_of
from kumotwist.config.server import MemorySettings

_RISING = ("low_threshold", "soft_limit", "hard_limit")


def read_memory(reading: Reading, given: Placed) -> MemorySettings:
    """Those that are given; one that lies above the next would never have its effect."""
    table = reading.table(given, "memory")
    settings = reading.settings(MemorySettings, table, "memory")
    values = {name: octets for name, octets in values_of(settings).items() if octets is not None}
    named = [name for name in _RISING if name in values]
    for low, high in pairwise(named):
        if values[low] > values[high]:
            reading.note(table.entries[low].value, low, f"{values[low]} octets are more than {high}, expected no more")
            return MemorySettings()
    return MemorySettings(**values)
