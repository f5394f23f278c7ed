"""The answer of `/metrics.json`, taken apart: one number, numbers by a label, or rows of several labels.  Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec


class Metrics:
    """One answer.  A family that is not there counts as 0: counters appear with their first use."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._told = told

    @classmethod
    def read(cls, answer: bytes) -> "Metrics":
        """Raises msgspec.DecodeError."""
        return cls(msgspec.json.decode(answer, type=dict[str, Any]))

    def _value(self, name: str) -> Any:
        family = self._told.get(name)
        return family.get("value") if isinstance(family, dict) else None

    def number(self, name: str) -> float:
        """A family without labels."""
        value = self._value(name)
        return float(value) if isinstance(value, int | float) else 0.0

    def by(self, name: str, label: str) -> dict[str, float]:
        """A family of one label."""
        value = self._value(name)
        found = value.get(label) if isinstance(value, dict) else None
        return (
            {str(key): float(one) for key, one in found.items() if isinstance(one, int | float)} if isinstance(found, dict) else {}
        )

    def rows(self, name: str) -> list[tuple[dict[str, str], float]]:
        """A family of several labels: each row's labels, and its number."""
        value = self._value(name)
        if not isinstance(value, list):
            return []
        return [
            ({key: str(one) for key, one in row.items() if key != "@"}, float(row["@"]))
            for row in value
            if _is_number(row.get("@"))
        ]

    def histograms(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Every histogram, by its family's name and what its labels say."""
        for name, family in sorted(self._told.items()):
            if not isinstance(family, dict) or family.get("type") != "histogram":
                continue
            value = family.get("value")
            if isinstance(value, list):
                for row in value:
                    yield f"{name} {' '.join(str(one) for key, one in row.items() if key != '@')}", row["@"]
            elif isinstance(value, dict) and "bucket" in value:
                yield name, value
            elif isinstance(value, dict):
                for labelled in value.values():
                    yield from ((f"{name} {key}", one) for key, one in labelled.items())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
