"""
Which sources can be used just now, and which are left alone since they failed.

A source fails in two ways: its address is not on this machine, or its proxy does not do its part.  What is left alone is left
out when sources are chosen, and what is ready for it chooses anew.

    its address is missing       left alone at once, or as `suspend_when_unplumbed` says; used again as soon as the address is
                                 back, or when the rule's time is over, whichever comes first
    its proxy is unhealthy       left alone only as `suspend_when_proxy_unhealthy` says, and for as long
"""

import socket
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import closing
from enum import Enum
from math import inf

from msgspec import Struct
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from kumotwist.config.egress import EgressSource, SuspendRule

LOOK_AGAIN = 5.0  # seconds


class Ailment(Enum):
    """What is wrong with a source; as the model's metrics name it."""

    UNPLUMBED = "Unplumbed"
    PROXY_UNHEALTHY = "ProxyUnhealthy"


class Suspended(Struct, frozen=True):
    """until: epoch seconds, inf: until its address is back.  source: as it was when it failed."""

    source: EgressSource
    ailment: Ailment
    until: float


def is_here(address: str) -> bool:
    """Whether a socket can be bound to this address now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


class Sources:
    """The sources that cannot be used just now.  failures: how often each failed, by name and ailment."""

    log = Logger()

    def __init__(self, clock: IReactorTime, returned: Callable[[str], None], here: Callable[[str], bool] = is_here) -> None:
        """returned: told the name of a source that can be used again."""
        self.failures: Counter[tuple[str, Ailment]] = Counter()
        self._clock = clock
        self._returned = returned
        self._here = here
        self._suspended: dict[str, Suspended] = {}
        self._recent: dict[tuple[str, Ailment], deque[float]] = {}  # when it failed, as far back as a threshold counts
        self._look_soon: IDelayedCall | None = None

    def usable(self, name: str) -> bool:
        return name not in self._suspended

    @property
    def all_usable(self) -> bool:
        return not self._suspended

    @property
    def suspended(self) -> tuple[Suspended, ...]:
        """What is left alone now."""
        return tuple(self._suspended.values())

    def earliest(self, names: Iterable[str]) -> float | None:
        """When the first of these can be used again for all that is known; None: when its address is back."""
        until = min((found.until for name in names if (found := self._suspended.get(name)) is not None), default=inf)
        return None if until == inf else until

    # Failing

    def failed(self, source: EgressSource, ailment: Ailment) -> bool:
        """A connection from there did not come about; whether the source is left alone now."""
        self.failures[source.name, ailment] += 1
        if source.name in self._suspended:
            return True
        rule = source.suspend_when_unplumbed if ailment is Ailment.UNPLUMBED else source.suspend_when_proxy_unhealthy
        if rule is None and (ailment is not Ailment.UNPLUMBED or source.source_address is None):
            return False
        if rule is not None and not self._triggers(rule, (source.name, ailment)):
            return False
        until = inf if rule is None else self._clock.seconds() + rule.duration
        self._suspended[source.name] = Suspended(source, ailment, until)
        self._tell(source, ailment, rule)
        self._set_timer()
        return True

    def _triggers(self, rule: SuspendRule, key: tuple[str, Ailment]) -> bool:
        """Whether this failure is the last of as many as the rule admits."""
        threshold, now = rule.trigger, self._clock.seconds()
        if threshold is None:
            return True
        recent = self._recent.get(key)
        if recent is None or recent.maxlen != threshold.limit:
            recent = self._recent[key] = deque(recent or (), threshold.limit)
        recent.append(now)
        if len(recent) < threshold.limit or now - recent[0] > threshold.period:
            return False
        recent.clear()
        return True

    def _tell(self, source: EgressSource, ailment: Ailment, rule: SuspendRule | None) -> None:
        if ailment is Ailment.UNPLUMBED:
            what = f"its address {source.source_address} is not on this machine"
        else:
            what = f"its proxy {source.ha_proxy_server or source.socks5_proxy_server} does not do its part"
        self.log.warn(
            "source {source} cannot be used: {what}; its pools go on without it{ends}",
            source=source.name,
            what=what,
            ends="" if rule is None else f" for {rule.duration:g} s",
        )

    # Coming back

    def heed(self, sources: Iterable[EgressSource]) -> None:
        """These are as they are now: one that was defined otherwise when it failed has another chance."""
        for source in sources:
            found = self._suspended.get(source.name)
            if found is not None and found.source != source:
                self._return(found, "it is defined anew")

    def renew(self) -> None:
        """Another configuration holds: all have another chance."""
        self._recent.clear()
        for found in list(self._suspended.values()):
            self._return(found, "the configuration changed")

    def _look(self) -> None:
        self._look_soon = None
        now = self._clock.seconds()
        for found in list(self._suspended.values()):
            address = found.source.source_address
            if found.ailment is Ailment.UNPLUMBED and address is not None and self._here(address):
                self._return(found, f"{address} is back")
            elif found.until <= now:
                self._return(found, "its time is over")
        self._set_timer()

    def _return(self, found: Suspended, why: str) -> None:
        if self._suspended.pop(found.source.name, None) is not None:
            self.log.info("source {source} can be used again: {why}", source=found.source.name, why=why)
            self._returned(found.source.name)

    def _set_timer(self) -> None:
        if not self._suspended:
            return
        now = self._clock.seconds()
        when = min(found.until for found in self._suspended.values())
        if any(found.ailment is Ailment.UNPLUMBED for found in self._suspended.values()):
            when = min(when, now + LOOK_AGAIN)
        if self._look_soon is not None:
            if self._look_soon.getTime() <= when:
                return
            self._look_soon.cancel()
        self._look_soon = self._clock.callLater(max(0.0, when - now), self._look)
