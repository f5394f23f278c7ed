"""
MTA-STS policies of domains: found in the DNS, fetched over HTTPS, kept for as long as they say.  RFC 8461.

What a policy means is in `sts_policy`.  A policy that was once fetched holds until it is too old, even if its record or its
web server is gone; a DNS that does not answer leaves open whether there is one, and mail then waits.  Where a record names a
policy that cannot be fetched, and none is known from before, section 5.1 wants the mail to go as if there were none.
"""

from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from OpenSSL import SSL
from zope.interface import implementer

from kumotwist.config.egress import IpLookupStrategy
from kumotwist.delivery.dnssec import Found
from kumotwist.delivery.plan import Resolver
from kumotwist.delivery.sts_policy import BadPolicy, StsPolicy, read_policy, read_record
from kumotwist.delivery.tls import Handshake, TlsParameters, TlsUnusable, Trust, WrongCertificate, verify_host
from kumotwist.delivery.wire import Reactor
from kumotwist.dns.answers import LookupFailed
from kumotwist.dns.cache import Cache
from kumotwist.dns.lookups import SharedLookups
