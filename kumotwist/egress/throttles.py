"""Rates that are shared by name: whoever asks for the same name and the same rate spends from the same bucket."""

from kumotwist.config.fields import Rate, format_rate
from kumotwist.egress.limits import RateLimit


class Throttles:
    """All named rates of this process.  A changed rate is another bucket, as in the model."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, RateLimit] = {}

    def get(self, name: str, rate: Rate) -> RateLimit:
        key = f"{name}:{format_rate(rate)}"
        limit = self._known.get(key)
        if limit is None:
            limit = self._known[key] = RateLimit(rate)
        return limit

    def __len__(self) -> int:
        return len(self._known)
