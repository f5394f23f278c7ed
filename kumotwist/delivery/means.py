"""What delivery sessions work with, beside their supply: the world around them, and whom they tell."""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct
from twisted.internet.defer import Deferred

from kumotwist.delivery.broken import BrokenOffers
from kumotwist.delivery.dnssec import Found
from kumotwist.delivery.keys import AskPolicy
from kumotwist.delivery.plan import Resolver
from kumotwist.delivery.stop import Stop
from kumotwist.delivery.sts_policy import StsPolicy
from kumotwist.delivery.tls import Trust
from kumotwist.delivery.wire import Reactor
from kumotwist.mail.disposition import Attempt, Outcome
from kumotwist.mail.message import Message
from kumotwist.mail.reply import Reply
from kumotwist.smtp.watching import UNWATCHED, Dialogues

Classify = Callable[[str], str]
WentOn = Callable[[Message, Attempt, Sequence[Outcome]], None]
Dropped = Callable[[Message, Reply, float], None]


class Policies(Protocol):
    """Where MTA-STS policies come from."""

    def policy(self, domain: str) -> "StsPolicy | Deferred[StsPolicy | None] | None":
        """What a domain publishes.  Fails with LookupFailed where that cannot be known now."""


class Secured(Protocol):
    """Where records come from of which it is known whether they are authentic."""

    def find(self, name: str, kind: str) -> "Deferred[Found]":
        """kind: `TLSA`, `MX` …  Fails with LookupFailed where they cannot be known now."""


class Means(Struct, frozen=True, kw_only=True):
    """See `delivery.session.deliver`."""

    reactor: Reactor
    resolver: Resolver
    trust: Trust
    hostname: str
    draw: Callable[[], float]
    session_id: Callable[[], str]
    stop: Stop
    broken: BrokenOffers
    policies: Policies | None = None
    secured: Secured | None = None
    ask_policy: AskPolicy | None = None
    source_unplumbed: Callable[[str], bool | None] | None = None
    proxy_unhealthy: Callable[[str], bool | None] | None = None
    source_usable: Callable[[str], bool] | None = None
    went_on: WentOn | None = None
    dropped: Dropped | None = None
    dialogues: Dialogues = UNWATCHED
    classify: Classify | None = None  # the class of bounces that a reply on one line belongs to
