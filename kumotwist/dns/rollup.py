"""
Which sites the domains of shaping rules lead to: a rule for gmail.com holds for every domain whose mail Gmail takes.

Sites change as the DNS does, so they are looked up again as the answers expire.  A domain whose lookup fails keeps the
site that was known; with none known its rule holds for the domain alone until a lookup succeeds.
"""

from collections.abc import Callable, Iterable, Mapping

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.dns.answers import LookupFailed
from kumotwist.dns.resolver import Resolver
from kumotwist.egress.path import Destination

# Seconds between two looks.  Often enough to try failures again as soon as the resolver does; what has not expired costs a
# look into its cache.
_PAUSE = 60.0


class Rollup:
    """
    The sites of rule domains.

    sites: rule domain → site name, for the domains whose site is known.  A null MX makes no site: the empty name would
    throw all domains that take no mail together.
    """

    log = Logger()

    def __init__(self, domains: Iterable[str], resolver: Resolver, clock: IReactorTime, changed: Callable[[], None]) -> None:
        """changed: called after each look that found `sites` to be different."""
        self.domains = tuple(domains)
        self.sites: Mapping[str, str] = {}
        self._resolver = resolver
        self._clock = clock
        self._changed = changed
        self._next: IDelayedCall | None = None
        self._stopped = False

    def start(self) -> None:
        """Look now, and again and again until `stop`."""
        self.refresh().addErrback(self._report).addCallback(self._again)

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def refresh(self) -> "Deferred[None]":
        """Look up every domain; fires when all lookups have ended, well or not, and `sites` is what they say."""
        found: dict[str, str] = {}
        return gatherResults([self._look_up(domain, found) for domain in self.domains], consumeErrors=True).addCallback(
            self._learn, found
        )

    def _look_up(self, domain: str, found: dict[str, str]) -> "Deferred[None]":
        def note(destination: Destination) -> None:
            found[domain] = destination.site

        def failed(failure: Failure) -> None:
            if not isinstance(failure.value, LookupFailed):
                failure.raiseException()
            self.log.debug("the site of rule domain {domain} is not known: {fault}", domain=domain, fault=str(failure.value))

        return maybeDeferred(self._resolver.destination, domain).addCallbacks(note, failed)

    def _learn(self, _: object, found: dict[str, str]) -> None:
        sites = {domain: site for domain, site in (dict(self.sites) | found).items() if site}
        if self._stopped or sites == self.sites:
            return
        self.sites = sites
        self._changed()

    def _report(self, failure: Failure) -> None:
        self.log.failure("sites of shaping rules cannot be kept up to date", failure)

    def _again(self, _: None) -> None:
        if not self._stopped:
            self._next = self._clock.callLater(_PAUSE, self.start)
