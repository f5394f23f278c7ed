"""
What a policy answers for `smtp_server_get_dynamic_parameters`: listener parameters as plain values, of the shape of a file.

A policy mostly gives the same answer again, often a whole file that it parsed once.  An answer that was seen lately is not
read again: to recognise one of a thousand addresses takes a fraction of a millisecond, to read it hundreds of times as long.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from kumotwist.config.faults import Broken, Place
from kumotwist.config.fields import shown
from kumotwist.config.given import BadParameters, placed
from kumotwist.config.listeners import ListenerOverrides
from kumotwist.config.placed import Entry, Placed, Table, check_depth
from kumotwist.config.read_overrides import WHOLE, Block, add_table, check_keys
from kumotwist.config.reading import Reading

EVENT = "smtp_server_get_dynamic_parameters"


def parse_listener_overrides(given: object, file: str = "policy") -> ListenerOverrides:
    """
    The answer as it is laid over a listener (`config.virtual_hosts.effective`).  Raises BadParameters.

    file: whose directory relative names of files start from.  Certificates and keys are not opened here: a bad one costs
    the connection that needs it, not every connection.
    """
    if not isinstance(given, Mapping):
        raise BadParameters(EVENT, [f"a {type(given).__name__}, expected a mapping of listener parameters"])
    try:
        said = msgspec.json.encode(given, enc_hook=repr)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _read(given, file)
    return _known(_Answer(given, said, file))


class _Answer:
    """An answer, equal to another that says the same."""

    __slots__ = ("file", "given", "said")

    def __init__(self, given: Mapping[str, object], said: bytes, file: str) -> None:
        self.given = given
        self.said = said
        self.file = file

    def __hash__(self) -> int:
        return hash(self.said)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Answer) and self.said == other.said and self.file == other.file


@lru_cache(maxsize=64)
def _known(answer: _Answer) -> ListenerOverrides:
    return _read(answer.given, answer.file)


def _read(given: Mapping[str, object], file: str) -> ListenerOverrides:
    tree = _Tree(file)
    block = Block()
    try:
        add_table(tree.reading, tree.table(given, "", 1), block, "the listener's parameters", refused=WHOLE)
        check_keys(tree.reading, block, files=False)
    except Broken as fault:
        raise BadParameters(EVENT, [fault.what]) from None
    overrides = block.overrides()
    wrong = [*tree.wrong(), *_late(overrides)]
    if wrong:
        raise BadParameters(EVENT, wrong)
    return overrides


class _Tree:
    """An answer as if a file said it, each block of a `peer` or `via` on a line of its own: so faults are told apart."""

    def __init__(self, file: str) -> None:
        self.reading = Reading()
        self._file = file
        self._blocks: list[str] = []  # by line: which block it is, as faults show it

    def table(self, given: Mapping[str, object], block: str, level: int) -> Table:
        """Raises Broken where blocks are nested too deep."""
        self._blocks.append(block)
        place = Place(self._file, len(self._blocks), 1)
        check_depth(level, place)
        below = {key: value for key, value in given.items() if key in ("peer", "via") and isinstance(value, Mapping)}
        table = self._placed({key: value for key, value in given.items() if key not in below}, place)
        for key, value in below.items():
            table.entries[key] = Entry(self._networks(key, value, block, level, place), place)
        return table

    def _networks(self, key: str, given: Mapping[Any, object], block: str, level: int, place: Place) -> Table:
        table = Table({}, place)
        for network, inner in given.items():
            for name in self._placed({network: None}, place).entries:
                if isinstance(inner, Mapping):
                    value: Placed = self.table(inner, f"{block}{key} {shown(name)}: ", level + 1)
                else:
                    value = placed(inner, self.reading, place)
                table.entries[name] = Entry(value, place)
        return table

    def _placed(self, given: Mapping[Any, object], place: Place) -> Table:
        table = placed(given, self.reading, place)
        assert isinstance(table, Table)
        return table

    def wrong(self) -> list[str]:
        return [f"{self._blocks[fault.line - 1]}{fault.what}" for fault in self.reading.faults.in_order()]


def _late(overrides: ListenerOverrides) -> Iterator[str]:
    """What the policy is asked too late for."""
    if overrides.options.get("require_proxy_protocol"):
        yield (
            "require_proxy_protocol: the PROXY header comes before the policy is asked, "
            "expected it in the listener's own parameters, or in their peer or via"
        )
    for below in (*overrides.peer.values(), *overrides.via.values()):
        yield from _late(below)
