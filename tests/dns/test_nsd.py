"""The resolver against NSD, a name server of the real world."""

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from kumotwist.config.egress import IpLookupStrategy
from kumotwist.config.server import DnsSettings
from kumotwist.dns.answers import LookupFailed, NoSuchDomain
from kumotwist.dns.resolver import Resolver
from kumotwist.egress.path import Destination
from tests.peers.nsd import Nsd, zone

ZONE = """
gmail    IN MX  5 gmail-smtp-in.l
gmail    IN MX  10 alt1.gmail-smtp-in.l
gmail    IN MX  20 alt2.gmail-smtp-in.l
pair     IN MX  10 Mx2.Pair
pair     IN MX  10 mx1.pair
mx1.pair IN A   10.0.0.1
mx1.pair IN A   10.0.0.2
mx1.pair IN AAAA 2001:db8::1
null     IN MX  0 .
web      IN A   10.0.0.80
www      IN CNAME web
away     IN CNAME target.elsewhere.test.
alias    IN CNAME pair
*.wild   IN MX  10 mx1.pair
xn--mnchen-3ya IN MX 10 mx1.pair
{many}
"""


class NsdTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        many = "\n".join(f"many IN MX {n} mx{n:03}.a-rather-long-name-for-a-host.many" for n in range(200))
        nsd = Nsd(Path(self.mktemp()).resolve(), {"example": zone("example", ZONE.format(many=many))})
        self.addCleanup(nsd.kill)
        nsd.start()
        self.resolver = self.resolve(nsd.address, 5.0)

    def resolve(self, address: str, patience: float) -> Resolver:
        resolver = Resolver(DnsSettings(nameservers=(address,), timeout=patience), reactor)
        self.addCleanup(resolver.stop)
        return resolver

    async def found(self, domain: str) -> Destination:
        where = self.resolver.destination(domain)
        return await where if isinstance(where, Deferred) else where

    async def test_what_a_zone_says_is_where_the_mail_goes(self) -> None:
        for domain, site, is_mx in [
            ("gmail.example", "(alt1|alt2)?.gmail-smtp-in.l.example", True),
            ("pair.example", "(mx1|mx2).pair.example", True),
            ("pair.example:2025", "(mx1|mx2).pair.example:2025", True),
            ("null.example", "", True),
            ("web.example", "web.example", False),
            ("www.example", "www.example", False),
            ("alias.example", "(mx1|mx2).pair.example", True),
            ("any.wild.example", "mx1.pair.example", True),
            ("MÜNCHEN.example", "mx1.pair.example", True),
        ]:
            where = await self.found(domain)
            self.assertEqual((where.site, where.is_mx), (site, is_mx), domain)
            self.assertEqual(where.null_mx, domain == "null.example")
        self.assertEqual([len(group) for group in (await self.found("gmail.example")).groups], [1, 1, 1])
        self.assertEqual([len(group) for group in (await self.found("pair.example")).groups], [2])

    async def test_ttl_and_negative_ttl_are_the_zones(self) -> None:
        now = reactor.seconds()
        for domain, ttl in [("pair.example", 600.0), ("ns.example", 120.0)]:
            kept = (await self.found(domain)).expires - now
            self.assertTrue(ttl <= kept <= ttl + 30.0, (domain, kept))

    async def test_an_answer_too_long_for_udp_is_had_over_tcp(self) -> None:
        where = await self.found("many.example")
        self.assertEqual(len(where.groups), 64)
        self.assertEqual(where.groups[63][0].name, "mx063.a-rather-long-name-for-a-host.many.example")

    async def test_what_does_not_exist_or_is_not_served_is_tried_again_later(self) -> None:
        for domain, kind, text in [
            ("nobody.example", NoSuchDomain, "NXDOMAIN"),
            ("elsewhere.test", LookupFailed, "REFUSED"),
            ("away.example", LookupFailed, "REFUSED"),  # an alias that leads out of the zone
        ]:
            with self.assertRaises(LookupFailed) as caught:
                await self.found(domain)
            self.assertIs(type(caught.exception), kind)
            self.assertIn(text, str(caught.exception))

    async def test_hosts_have_the_addresses_of_the_zone(self) -> None:
        both = await self.resolver.addresses("mx1.pair.example", IpLookupStrategy.IPV4_AND_IPV6)
        self.assertEqual((sorted(both[:2]), both[2:]), (["10.0.0.1", "10.0.0.2"], ("2001:db8::1",)))
        self.assertEqual(await self.resolver.addresses("www.example", IpLookupStrategy.IPV6_THEN_IPV4), ("10.0.0.80",))
        for host in ("gmail.example", "nobody.example"):
            self.assertEqual(await self.resolver.addresses(host, IpLookupStrategy.IPV4_AND_IPV6), ())
