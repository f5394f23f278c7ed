"""
Questions to the DNS whose answers come with a word on whether they are authentic.

We do not validate ourselves: a validating resolver does, and says so with the AD bit.  Nobody else may have touched that bit
on its way, so it counts from a resolver on this machine only (RFC 7672 section 2.1.1, RFC 4035 section 4.9.3); what is bogus
such a resolver does not hand out, and the lookup fails.
"""

from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import Any, cast

import dns.flags
import dns.rdatatype
from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.config.server import DnsSettings
from kumotwist.delivery.wire import Reactor
from kumotwist.dns.answers import FAILURE_KEPT, NO_SUCH_DOMAIN_KEPT, LookupFailed, NoSuchDomain, kept_until
from kumotwist.dns.cache import Cache
from kumotwist.dns.lookups import LookupQueue, LookupThreads, RunInThread, SharedLookups
from kumotwist.dns.nameservers import Nameservers

_MOST_KNOWN = 65536
_PAYLOAD = 1232  # octets of a UDP answer that no path has to fragment


class Found(Struct, frozen=True, kw_only=True):
    """
    What was answered.  records: as dnspython has them; none: there are none, and if not `exists`, not even the name.

    secure: authentic.  alias: the name is another name for something.  ttl: seconds.
    """

    records: tuple[Any, ...] = ()
    secure: bool = False
    exists: bool = True
    alias: bool = False
    ttl: float = 0.0


class SecuredNameservers(Nameservers):
    """Asks for authenticity too.  Each call blocks, as the parent's."""

    def __init__(self, settings: DnsSettings, seconds: Callable[[], float]) -> None:
        super().__init__(settings, seconds)
        self._stub.use_edns(0, dns.flags.DO, _PAYLOAD)
        self._stub.set_flags(dns.flags.RD | dns.flags.AD)

    def find(self, name: str, kind: str) -> Found:
        """Raises LookupFailed; a name that does not exist is an answer."""
        try:
            answer, ttl = self._ask(kind, name, dns.rdatatype.from_text(kind))
        except NoSuchDomain:
            return Found(exists=False, ttl=NO_SUCH_DOMAIN_KEPT)
        # Where an alias had to be asked for apart, the bit of the last answer says nothing of the first.
        whole = answer.qname.to_text().lower().rstrip(".") == name.lower().rstrip(".")
        authentic = bool(answer.response.flags & dns.flags.AD) and ip_address(answer.nameserver or "").is_loopback
        return Found(
            records=() if answer.rrset is None else tuple(answer.rrset),
            secure=authentic and whole,
            alias=not whole or answer.canonical_name != answer.qname,
            ttl=ttl,
        )


class SecuredRecords:
    """What was learnt, until it expires; each question under way is asked once, however many wait for it."""

    log = Logger()

    def __init__(
        self,
        settings: DnsSettings,
        reactor: Reactor,
        run_in_thread: RunInThread | None = None,
        find: Callable[[str, str], Found] | None = None,
    ) -> None:
        """find: blocks; by default the servers of the settings.  run_in_thread: by default threads of our own."""
        self._seconds = reactor.seconds
        self._find = find or SecuredNameservers(settings, reactor.seconds).find
        self._threads: LookupThreads | None = None
        if run_in_thread is None:
            self._threads = LookupThreads(cast(IReactorFromThreads, reactor))
            run_in_thread = self._threads.run
        self._queue = LookupQueue(run_in_thread)
        self._known: Cache[Found] = Cache(_MOST_KNOWN)
        self._failures: Cache[LookupFailed] = Cache(_MOST_KNOWN)
        self._asked: SharedLookups[Found] = SharedLookups()

    def configure(self, settings: DnsSettings) -> None:
        """Ask other servers from now on; what others vouched for does not count any more."""
        self._find = SecuredNameservers(settings, self._seconds).find
        self._known.clear()
        self._failures.clear()

    def stop(self) -> "Deferred[None]":
        """No more lookups; fires when the last that runs has ended."""
        return self._queue.stop().addCallback(self._stop_threads)

    def _stop_threads(self, _: None) -> None:
        if self._threads is not None:
            self._threads.stop()

    def find(self, name: str, kind: str) -> "Deferred[Found]":
        """kind: `TXT`, `TLSA`, `MX` …  Fails with LookupFailed, which is remembered for a while."""
        key, now = f"{name} {kind}", self._seconds()
        known = self._known.get(key, now)
        if known is not None:
            return succeed(known)
        failure = self._failures.get(key, now)
        if failure is not None:
            return fail(failure.again())
        return self._asked.ask(key, partial(self._look_up, key, name, kind))

    def _look_up(self, key: str, name: str, kind: str) -> "Deferred[Found]":
        asked = self._queue.run(partial(self._find, name, kind), doubtful=key in self._failures)
        return asked.addCallbacks(self._learn, self._note_failure, callbackArgs=(key,), errbackArgs=(key,))

    def _learn(self, found: Found, key: str) -> Found:
        self._failures.forget(key)
        self._known.keep(key, found, kept_until(found.ttl, self._seconds()))
        return found

    def _note_failure(self, failure: Failure, key: str) -> Found:
        fault = failure.value
        if isinstance(fault, CancelledError):
            raise fault
        if not isinstance(fault, LookupFailed):
            # Our own bug, or a library's, with an answer that nobody foresaw: it costs this lookup and nothing else.
            self.log.failure("lookup of {key} broke", failure, key=key)
            fault = LookupFailed(f"lookup for {key} failed: {type(fault).__name__}")
        self._failures.keep(key, fault.again(), self._seconds() + FAILURE_KEPT)
        raise fault
