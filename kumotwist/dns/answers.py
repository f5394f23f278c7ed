"""
What the DNS answered, and what that means for a domain's mail.  No queries, no clock.

RFC 5321 section 5.1 (MX, implicit MX), RFC 7505 (null MX).  An answer of the DNS never bounces a message, but for the
null MX with which a domain itself says that it takes no mail; all that goes wrong is a LookupFailed, to be tried again.
"""

from collections import defaultdict
from enum import Enum

from msgspec import Struct

from kumotwist.config.queues import MxHost
from kumotwist.egress.path import Destination
from kumotwist.egress.site import site_name

# Seconds that an answer is kept, whatever its TTL says.  At least one: TTL 0 would mean a query for each message.
LEAST_KEPT = 1.0
MOST_KEPT = 86400.0

# Seconds for which a failure is the answer.  A name that does not exist is a fact, and stays one for a while.  Any other
# failure may end at any moment (a resolver restarts, a link comes back), so a minute: a queue full of messages for a dead
# domain then costs one lookup a minute, and no queue's first retry (20 minutes by default) sees an old failure.
NO_SUCH_DOMAIN_KEPT = 300.0
FAILURE_KEPT = 60.0

# NOERROR without a record lasts as its SOA says (RFC 2308 section 5), at most so long; without a SOA, briefly.
MOST_NOTHING_KEPT = 10800.0
NOTHING_WITHOUT_SOA_KEPT = 60.0

# Hosts of one domain, and addresses of one host, that are looked at; the first by preference.  The model takes all of a
# 64 KiB answer, so that anyone's zone could fill our memory and send us through a thousand connections.
MOST_HOSTS = 64


class LookupFailed(Exception):
    """Nothing was learnt: try again later.  The argument says what was asked and how it went."""

    def again(self) -> "LookupFailed":
        """The same for another asker: an exception gathers the traceback of whoever awaits it."""
        return type(self)(*self.args)


class NoSuchDomain(LookupFailed):
    """NXDOMAIN.  Still no bounce: a zone may be broken today and whole tomorrow."""


class NotAsked(LookupFailed):
    """No question was put (too many wait already, or we are stopping): says nothing about the name."""


class Family(Enum):
    """Kinds of address record."""

    A = "A"
    AAAA = "AAAA"


class MailExchangers(Struct, frozen=True):
    """A domain's MX records as (preference, lower-case host without its final dot); `` is the root.  ttl: seconds."""

    hosts: tuple[tuple[int, str], ...]
    ttl: float


class HostAddresses(Struct, frozen=True):
    """A host's addresses of one family, in the order in which they were answered.  ttl: seconds."""

    addresses: tuple[str, ...]
    ttl: float


def kept_until(ttl: float, now: float) -> float:
    """Until when an answer with this TTL is used, in epoch seconds."""
    return now + min(max(ttl, LEAST_KEPT), MOST_KEPT)


def destination(domain: str, name: str, port: int | None, found: MailExchangers, now: float) -> Destination:
    """
    Where mail for a domain goes, given its MX records.

    domain: as it was asked for, `name` or `name:port`.  The port holds for each host and stands in the site's name.
    """
    expires = kept_until(found.ttl, now)
    if any(not host for _, host in found.hosts):
        # RFC 7505 wants the null MX to stand alone; like the model we believe it beside others too.
        return Destination(domain=domain, site="", groups=(), null_mx=True, is_mx=True, expires=expires)
    preferred: defaultdict[int, set[str]] = defaultdict(set)
    for preference, host in sorted(found.hosts or ((0, name),))[:MOST_HOSTS]:
        preferred[preference].add(host)
    groups = tuple(tuple(_host(host, port) for host in sorted(hosts)) for _, hosts in sorted(preferred.items()))
    return Destination(
        domain=domain,
        site=site_name([host.label for group in groups for host in group]),
        groups=groups,
        is_mx=bool(found.hosts),
        expires=expires,
    )


def _host(name: str, port: int | None) -> MxHost:
    return MxHost(name=name, label=name if port is None else f"{name}:{port}", port=port)
