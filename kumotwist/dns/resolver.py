"""
Where a domain's mail goes, and the addresses of hosts: asked once, remembered until the answer expires.

What is remembered answers at once, and that is nearly always: a message costs a look into a dictionary.  All else is one
query in a thread, however many ask.  A DNS that does not answer therefore delays the mail that needs it, and nothing else.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NoReturn, Protocol, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred, DeferredList, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.egress import IpLookupStrategy
from kumotwist.config.server import DnsSettings
from kumotwist.dns.answers import (
    FAILURE_KEPT,
    NO_SUCH_DOMAIN_KEPT,
    Family,
    HostAddresses,
    LookupFailed,
    MailExchangers,
    NoSuchDomain,
    NotAsked,
    destination,
    kept_until,
)
from kumotwist.dns.cache import Cache
from kumotwist.dns.lookups import LookupQueue, LookupThreads, RunInThread, SharedLookups
from kumotwist.dns.nameservers import Nameservers
from kumotwist.egress.literal import address_text, literal_destination, split_port
from kumotwist.egress.path import Destination
from kumotwist.mail.address import parse_domain
from kumotwist.metrics.family import Family as Measure
from kumotwist.metrics.family import counter, gauge, gauges

T = TypeVar("T")
V = TypeVar("V")

_MOST_DOMAINS = 65536
_MOST_HOSTS = 16384
_FAILURES_BEFORE_WARNING = 20  # in a row; dead domains come in twos and threes, a dead resolver fails them all

_FAMILIES = {
    IpLookupStrategy.IPV4_AND_IPV6: (Family.A, Family.AAAA),
    IpLookupStrategy.IPV4_THEN_IPV6: (Family.A, Family.AAAA),
    IpLookupStrategy.IPV6_THEN_IPV4: (Family.AAAA, Family.A),
    IpLookupStrategy.IPV4_ONLY: (Family.A,),
    IpLookupStrategy.IPV6_ONLY: (Family.AAAA,),
}


class Questions(Protocol):
    """What can be asked of the DNS, blocking.  `Nameservers` is it; tests use a table."""

    def mail_exchangers(self, domain: str) -> MailExchangers: ...

    def addresses(self, host: str, family: Family) -> HostAddresses: ...


class Resolver:
    """
    The one resolver of a server.  All methods are called in the reactor's thread.

    succeeded, failed: lookups that ended so; a name that does not exist counts as answered.
    """

    log = Logger()

    def __init__(
        self,
        settings: DnsSettings,
        reactor: IReactorTime,
        run_in_thread: RunInThread | None = None,
        questions: Questions | None = None,
    ) -> None:
        """
        run_in_thread: by default threads of our own, for which the reactor must be an IReactorFromThreads too.

        Raises ValueError if the settings name a server by what is no address.
        """
        self._seconds: Callable[[], float] = reactor.seconds
        self._questions: Questions = questions or Nameservers(settings, self._seconds)
        self._threads: LookupThreads | None = None
        if run_in_thread is None:
            self._threads = LookupThreads(cast(IReactorFromThreads, reactor))
            run_in_thread = self._threads.run
        self._queue = LookupQueue(run_in_thread)
        self._destinations: Cache[Destination] = Cache(_MOST_DOMAINS)
        self._addresses = {family: Cache[tuple[str, ...]](_MOST_HOSTS) for family in Family}
        self._failures: Cache[LookupFailed] = Cache(_MOST_DOMAINS)
        self._domains_asked: SharedLookups[Destination] = SharedLookups()
        self._hosts_asked: SharedLookups[tuple[str, ...]] = SharedLookups()
        self._failures_in_a_row = 0
        self.domains_found = self.domains_failed = 0
        self.succeeded = 0
        self.failed = 0

    @property
    def in_progress(self) -> int:
        """Lookups that run or wait for a thread."""
        return self._queue.in_progress

    def measures(self) -> Iterator[Measure]:
        """For the metrics."""
        yield counter("dns_mx_resolve_status_ok", "domains whose hosts were found", self.domains_found)
        yield counter("dns_mx_resolve_status_fail", "domains whose hosts could not be found", self.domains_failed)
        yield gauge("dns_mx_resolve_in_progress", "lookups of domains and hosts that run or wait for a thread", self.in_progress)
        yield counter("dns_lookups_answered_total", "lookups of domains and hosts that were answered", self.succeeded)
        yield counter("dns_lookups_failed_total", "lookups of domains and hosts that failed", self.failed)
        sizes = [(("dns_resolver_mx",), len(self._destinations)), (("dns_failures",), len(self._failures))]
        sizes += [((f"dns_resolver_{family.value.lower()}",), len(cache)) for family, cache in self._addresses.items()]
        yield gauges("lruttl_cache_size", "answers that are remembered", ("cache_name",), sizes)

    def configure(self, settings: DnsSettings) -> None:
        """Ask other servers from now on.  What was learnt stays, failures do not.  Raises ValueError, and changes nothing."""
        self._questions = Nameservers(settings, self._seconds)
        self._failures.clear()

    def stop(self) -> "Deferred[None]":
        """No more lookups: those that wait fail.  Fires when the last that runs has ended, at most `dns.timeout` later."""
        return self._queue.stop().addCallback(self._stop_threads)

    def _stop_threads(self, _: None) -> None:
        if self._threads is not None:
            self._threads.stop()

    # Domains.

    def destination(self, domain: str) -> "Destination | Deferred[Destination]":
        """
        Where mail for a domain, `domain:port` or address literal goes: itself where it is known, else a Deferred of it.

        Fails with LookupFailed, never with anything that could be taken for "no such recipient".
        """
        known = self._destinations.get(domain, self._seconds())
        return known if known is not None else self._find(domain)

    def cached_site(self, domain: str) -> str | None:
        """The name of a domain's site if it is known just now; looks nothing up."""
        now = self._seconds()
        known = self._destinations.get(domain, now) or self._destinations.get(_key_of(domain), now)
        return None if known is None else known.site

    def forget(self, domain: str) -> None:
        """The next asker for this domain gets a fresh answer."""
        key = _key_of(domain)
        self._destinations.forget(key)
        self._failures.forget(key)

    def _find(self, domain: str) -> "Destination | Deferred[Destination]":
        """What `destination` does when the text as it stands is not known."""
        try:
            literal = literal_destination(domain)
            if literal is not None:
                self._destinations.keep(domain, literal, literal.expires)
                return literal
            name, port = _canonical(domain)
        except ValueError as fault:
            return fail(LookupFailed(f"no MX lookup: {fault}"))
        key = _key(name, port)
        now = self._seconds()
        known = self._destinations.get(key, now)
        if known is not None:
            return known
        failure = self._failures.get(key, now)
        if failure is not None:
            return fail(failure.again())
        return self._domains_asked.ask(key, lambda: self._look_up_domain(key, name, port))

    def _look_up_domain(self, key: str, name: str, port: int | None) -> "Deferred[Destination]":
        def learn(found: MailExchangers) -> Destination:
            learnt = destination(key, name, port, found, self._seconds())
            self._destinations.keep(key, learnt, learnt.expires)
            self.domains_found += 1
            return learnt

        return self._ask(key, partial(self._questions.mail_exchangers, name), learn)

    # Hosts.

    def addresses(self, host: str, strategy: IpLookupStrategy) -> "Deferred[tuple[str, ...]]":
        """
        Fires with a host's addresses in the strategy's order; none if the host has none or does not exist.

        host: a name or an address, which stands for itself.  Fails with LookupFailed if no address was found and a lookup
        failed: then there may be some.
        """
        try:
            literal = literal_destination(host)
            if literal is not None:
                return succeed((literal.groups[0][0].name,))
            if host[-1:].isdigit() or ":" in host:
                return succeed((address_text(host),))
        except ValueError:
            pass  # a name after all, or nothing that the DNS would know; it will say
        name = host.lower().removesuffix(".")
        try:
            name = name if name.isascii() else parse_domain(name)
        except ValueError as fault:
            return fail(LookupFailed(f"no address lookup: {fault}"))
        families = _FAMILIES[strategy]
        if strategy is IpLookupStrategy.IPV4_AND_IPV6:
            return Deferred.fromCoroutine(self._addresses_of_all(name, families))
        return Deferred.fromCoroutine(self._addresses_of_first(name, families))

    async def _addresses_of_all(self, host: str, families: tuple[Family, ...]) -> tuple[str, ...]:
        """Both families at once, one after the other in the answer."""
        outcomes = await DeferredList([self._of_family(host, family) for family in families], consumeErrors=True)
        found = tuple(address for ok, addresses in outcomes if ok for address in addresses)
        for ok, outcome in outcomes:
            if not (ok or found):
                cast(Failure, outcome).raiseException()
        return found

    async def _addresses_of_first(self, host: str, families: tuple[Family, ...]) -> tuple[str, ...]:
        """The first family that has any; the next is asked only then."""
        failure: LookupFailed | None = None
        for family in families:
            try:
                found = await self._of_family(host, family)
            except LookupFailed as fault:
                failure = failure or fault
            else:
                if found:
                    return found
        if failure is not None:
            raise failure
        return ()

    def _of_family(self, host: str, family: Family) -> "Deferred[tuple[str, ...]]":
        now = self._seconds()
        known = self._addresses[family].get(host, now)
        if known is not None:
            return succeed(known)
        key = f"{host} {family.value}"  # no domain has a space: it is no key of another kind
        failure = self._failures.get(key, now)
        if failure is not None:
            return fail(failure.again())
        return self._hosts_asked.ask(key, lambda: self._look_up_host(key, host, family))

    def _look_up_host(self, key: str, host: str, family: Family) -> "Deferred[tuple[str, ...]]":
        def learn(found: HostAddresses) -> tuple[str, ...]:
            self._addresses[family].keep(host, found.addresses, kept_until(found.ttl, self._seconds()))
            return found.addresses

        return self._ask(key, partial(self._questions.addresses, host, family), learn)

    # All lookups.

    def _ask(self, key: str, question: Callable[[], T], learn: Callable[[T], V]) -> "Deferred[V]":
        """Ask in a thread; fires with what is learnt from the answer, or fails with LookupFailed, which is remembered."""
        d = self._queue.run(question, doubtful=key in self._failures).addCallback(learn)
        return d.addCallbacks(self._answered, self._not_answered, callbackArgs=(key,), errbackArgs=(key,))

    def _answered(self, answer: V, key: str) -> V:
        self._failures.forget(key)
        self._dns_answers()
        return answer

    def _not_answered(self, failure: Failure, key: str) -> NoReturn:
        fault = failure.value
        if isinstance(fault, NotAsked | CancelledError):
            raise fault
        if not isinstance(fault, LookupFailed):
            # Our own bug, or a library's, with an answer that nobody foresaw: it costs this lookup and nothing else.
            self.log.failure("lookup of {key} broke", failure, key=key)
            fault = LookupFailed(f"lookup for {key} failed: {type(fault).__name__}")
        if isinstance(fault, NoSuchDomain):
            self._dns_answers()
        else:
            self._dns_fails(fault)
        self.domains_failed += " " not in key  # else it is about a host
        kept = NO_SUCH_DOMAIN_KEPT if isinstance(fault, NoSuchDomain) else FAILURE_KEPT
        self._failures.keep(key, fault.again(), self._seconds() + kept)
        raise fault

    def _dns_answers(self) -> None:
        self.succeeded += 1
        if self._failures_in_a_row >= _FAILURES_BEFORE_WARNING:
            self.log.info("the DNS answers again after {count} failed lookups", count=self._failures_in_a_row)
        self._failures_in_a_row = 0

    def _dns_fails(self, fault: LookupFailed) -> None:
        self.failed += 1
        self._failures_in_a_row += 1
        self.log.debug("{fault}", fault=str(fault))
        if self._failures_in_a_row == _FAILURES_BEFORE_WARNING:
            self.log.warn("the last {count} DNS lookups all failed: {fault}", count=_FAILURES_BEFORE_WARNING, fault=str(fault))


def _canonical(domain: str) -> tuple[str, int | None]:
    """The domain as lower-case A-labels, and the port behind it.  Raises ValueError."""
    name, port = split_port(domain)
    return parse_domain(name.removesuffix(".")), port


def _key(name: str, port: int | None) -> str:
    return name if port is None else f"{name}:{port}"


def _key_of(domain: str) -> str:
    """Under which key a domain is remembered; what is no domain stands for itself."""
    try:
        return _key(*_canonical(domain))
    except ValueError:
        return domain
