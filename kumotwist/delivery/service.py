"""How delivery sessions are opened, and what all of them share: trust, MTA-STS and DANE, what was found broken, the end."""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredSemaphore

from kumotwist.config.queues import MaildirDelivery, PolicyDelivery, XferDelivery
from kumotwist.config.server import Config
from kumotwist.delivery.broken import BrokenOffers
from kumotwist.delivery.dnssec import SecuredRecords
from kumotwist.delivery.hand_over import Around, hand_over
from kumotwist.delivery.keys import AskPolicy
from kumotwist.delivery.maildir import Maildirs
from kumotwist.delivery.means import Classify
from kumotwist.delivery.mta_sts import PolicyServers, StsPolicies
from kumotwist.delivery.plan import Resolver
from kumotwist.delivery.session import deliver
from kumotwist.delivery.stop import Stop
from kumotwist.delivery.supply import Supply
from kumotwist.delivery.takers import taker_of
from kumotwist.delivery.tls import Trust
from kumotwist.delivery.transfer import Courier
from kumotwist.hooks.policy import Policy
from kumotwist.mail.disposition import Attempt, Outcome
from kumotwist.mail.message import Message
from kumotwist.mail.reply import Reply
from kumotwist.metrics.family import Family, counter, counters
from kumotwist.smtp.watching import Dialogues

MOST_WRITES = 4  # messages written to maildirs at a time: each takes a thread


class Told(Protocol):
    """Who hears of what befalls sessions beside the outcome of an attempt; the scheduler."""

    def source_missing(self, name: str) -> bool:
        """The source's address is not on this machine.  True: it is out of use now."""

    def proxy_unhealthy(self, name: str) -> bool:
        """The source's proxy does not do its part.  True: it is out of use now."""

    def source_usable(self, name: str) -> bool:
        """Whether connections may be made from it."""

    def went_on(self, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        """An attempt ended for some of the recipients, and the session goes on with the others."""

    def dropped(self, message: Message, answer: Reply, delay: float) -> None:
        """A stuck session was ended: its message waits, uncounted."""


class Counted(Protocol):
    """What a path's sessions have done."""

    def count(self, attempt: Attempt, outcomes: Sequence[Outcome], pool: str | None, now: float) -> None:
        """An attempt of one of them has ended, with a message that went through that pool."""


class Sessions(Supply, Protocol):
    """A ready queue, for which sessions are opened."""

    @property
    def sessions(self) -> Counted:
        """Where outcomes are counted."""

    def let_go(self, message: Message) -> None:
        """Its session is gone without an answer for this message, which somebody else answers for."""


class Delivery:
    """Opens sessions.  told: set once, by the composition root, before the first is opened."""

    told: Told

    def __init__(
        self,
        config: Config,
        reactor: Any,
        resolver: Resolver,
        secured: SecuredRecords,
        *,
        draw: Callable[[], float],
        session_id: Callable[[], str],
        in_thread: "Callable[..., Deferred[Any]]",
        policy: Callable[[], Policy],
        ask_policy: AskPolicy,
        classify: Classify,
    ) -> None:
        """
        secured: DNS answers of which it is known whether they are authentic.  draw: uniform in [0, 1).
        session_id: a new one for each connection.  in_thread: runs what blocks.  policy: the one that holds now.
        classify: the class of bounces that a reply on one line belongs to.
        """
        self._reactor = reactor
        self._resolver = resolver
        self._draw = draw
        self._session_id = session_id
        self._policy = policy
        self._ask_policy = ask_policy
        self._classify = classify
        self._write = partial(DeferredSemaphore(MOST_WRITES).run, in_thread)
        self.hostname = config.hostname
        self.trust = Trust(config.tls.ca_file)
        self.secured = secured
        self.policies = StsPolicies(reactor, secured.find, PolicyServers(reactor, resolver, lambda: self.trust).fetch)
        self.broken = BrokenOffers()
        self.courier = Courier(reactor)
        self.dialogues = Dialogues(reactor.seconds)  # for who watches them
        self.bind_failures = self.proxy_failures = 0
        self.stuck: dict[str, int] = {}  # sessions that the watchdog ended, by protocol
        self.end = Stop()  # given: sessions finish what is on the wire and part

    def configure(self, config: Config, old: Config) -> None:
        """For sessions that begin from now on."""
        self.hostname = config.hostname
        if config.tls != old.tls:
            self.trust = Trust(config.tls.ca_file)
        if config.dns != old.dns:
            self.secured.configure(config.dns)

    def open(self, supply: Sessions) -> "Deferred[None]":
        """A session for what is ready there; fires when it has ended."""
        instead = supply.path.destination.instead_of_smtp
        session = self._deliver(supply) if instead is None else self._hand_over(supply, instead)
        return Deferred.fromCoroutine(session)

    def _deliver(self, supply: Sessions) -> Coroutine[Any, Any, None]:
        told = self.told
        return deliver(
            supply,
            reactor=self._reactor,
            resolver=self._resolver,
            trust=self.trust,
            hostname=self.hostname,
            draw=self._draw,
            session_id=self._session_id,
            stop=self.end,
            source_unplumbed=self._source_missing,
            proxy_unhealthy=self._proxy_unhealthy,
            source_usable=told.source_usable,
            broken=self.broken,
            policies=self.policies,
            secured=self.secured,
            ask_policy=self._ask_policy,
            went_on=partial(self._went_on, supply),
            dropped=partial(self._dropped, supply),
            dialogues=self.dialogues,
            classify=self._classify,
        )

    def _hand_over(self, supply: Sessions, instead: MaildirDelivery | PolicyDelivery | XferDelivery) -> Coroutine[Any, Any, None]:
        """A session that needs no host."""
        maildirs = Maildirs(in_thread=self._write, seconds=self._reactor.seconds, hostname=self.hostname)
        around = Around(
            reactor=self._reactor,
            draw=self._draw,
            session_id=self._session_id,
            stop=self.end,
            dropped=partial(self._dropped, supply),
        )
        return hand_over(supply, taker_of(instead, self._policy(), maildirs, self.courier), around)

    def _dropped(self, supply: Sessions, message: Message, answer: Reply, delay: float) -> None:
        supply.let_go(message)
        protocol = supply.path.destination.service
        self.stuck[protocol] = self.stuck.get(protocol, 0) + 1
        self.told.dropped(message, answer, delay)

    def _went_on(self, supply: Sessions, message: Message, attempt: Attempt, outcomes: Sequence[Outcome]) -> None:
        supply.sessions.count(attempt, outcomes, message.through, self._reactor.seconds())
        self.told.went_on(message, attempt, outcomes)

    def _source_missing(self, name: str) -> bool:
        self.bind_failures += 1
        return self.told.source_missing(name)

    def _proxy_unhealthy(self, name: str) -> bool:
        self.proxy_failures += 1
        return self.told.proxy_unhealthy(name)

    def measures(self) -> Iterator[Family]:
        """For the metrics."""
        what = "connections that failed since the source's address is not on this machine"
        yield counter("bind_failures", what, self.bind_failures)
        yield counter("proxy_connection_failures", "connections that failed since a proxy did not do its part", self.proxy_failures)
        stuck = [((protocol,), count) for protocol, count in self.stuck.items()]
        yield counters("dispatcher_watchdog_aborted_total", "sessions that were ended since they got stuck", ("service",), stuck)
