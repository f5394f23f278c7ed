"""`kumo.make_throttle`: a policy's own rates."""

import math

from msgspec import Struct
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from kumotwist.config.fields import BadValue, Rate, format_rate, parse_rate
from kumotwist.egress.limits import RateLimit
from kumotwist.hooks.context import services
from kumotwist.hooks.message import PolicyMessage, message_of


class ThrottleResult(Struct, frozen=True, kw_only=True):
    """
    What one spending came to.

    throttled: it was refused, and nothing was spent.  limit: so many are admitted at once from idle; remaining: of those, now.
    reset_after: seconds until all are there again.  retry_after: seconds until one is; None if it was admitted.
    """

    throttled: bool
    limit: int
    remaining: int
    reset_after: float
    retry_after: float | None


class Throttle:
    """A rate by its name.  All that have the same name and the same rate spend from one bucket, in this process."""

    def __init__(self, name: str, rate: Rate, limit: RateLimit, clock: IReactorTime) -> None:
        self.name = name
        self._rate = rate
        self._limit = limit
        self._clock = clock
        self._capacity = min(rate.limit if rate.max_burst is None else rate.max_burst, rate.limit - 1) + 1

    def throttle(self) -> ThrottleResult:
        """Spend one, if it is there."""
        now = self._clock.seconds()
        wait = self._limit.spend(now)
        empty = self._limit.wait(now, self._capacity)  # seconds until the bucket is empty
        return ThrottleResult(
            throttled=wait > 0.0,
            limit=self._capacity,
            remaining=self._capacity - math.ceil(round(empty * self._rate.limit / self._rate.period, 6)),
            reset_after=empty,
            retry_after=wait or None,
        )

    async def sleep_if_throttled(self) -> bool:
        """Wait until one is there, and spend it; whether it had to wait."""
        slept = False
        while wait := self._limit.spend(self._clock.seconds()):
            slept = True
            await deferLater(self._clock, wait)
        return slept

    def delay_message_if_throttled(self, message: PolicyMessage) -> bool:
        """Spend one; if none is there, have the message wait for it (in `throttle_insert_ready_queue`); whether it must."""
        now = self._clock.seconds()
        wait = self._limit.spend(now)
        if wait:
            message.set_due(now + wait)
            message_of(message).waits_for = f"throttle {self.name} ({format_rate(self._rate)})"
        return wait > 0.0

    def explain(self) -> str:
        """The rate and what is left of it, for people."""
        now = self._clock.seconds()
        wait = self._limit.wait(now)
        state = f"free again in {wait:.3f} s" if wait else "free now"
        return f"{self.name}: {format_rate(self._rate)}, {self._capacity} at once from idle, {state}"


def set_httpinject_recipient_rate_limit(spec: str | Rate | None) -> None:
    """
    How many recipients HTTP injection takes in a time, over all listeners; None: as many as come.  Requests beyond it wait.

    Holds with the configuration that this policy belongs to.  Raises ValueError for what is no rate.
    """
    around = services("set_httpinject_recipient_rate_limit")
    try:
        rate = spec if isinstance(spec, Rate) or spec is None else parse_rate(spec)
    except BadValue as fault:
        raise ValueError(f"set_httpinject_recipient_rate_limit: {fault}, expected a rate such as 100/s or 1,000/hr") from None
    around.injection_rate[:] = [] if rate is None else [rate]


def make_throttle(name: str, spec: str | Rate) -> Throttle:
    """
    A rate such as `100/s`, `1,000/hr` or `local:20/30min,max_burst=5`.  Raises ValueError for what is none.

    Made where the policy loads or in a handler: it is the same bucket for the same name and rate, over reloads too.
    """
    around = services("make_throttle")
    try:
        rate = spec if isinstance(spec, Rate) else parse_rate(spec)
    except BadValue as fault:
        raise ValueError(f"make_throttle: {fault}, expected a rate such as 100/s or 1,000/hr") from None
    if not isinstance(name, str) or not name:
        raise ValueError(f"make_throttle: {name!r} as a name, expected a text")
    return Throttle(name, rate, around.throttles.get(f"policy:{name}", rate), around.clock)
