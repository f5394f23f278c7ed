"""The resolver against NSD, a name server of the real world; skipped where it is not installed."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from kumotwist.config.egress import IpLookupStrategy
from kumotwist.config.server import DnsSettings
from kumotwist.dns.answers import LookupFailed, NoSuchDomain
from kumotwist.dns.resolver import Resolver
from kumotwist.egress.path import Destination

NSD = shutil.which("nsd", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))

CONFIG = """
server:
    ip-address: 127.0.0.1@{port}
    do-ip6: no
    server-count: 1
    username: ""
    chroot: ""
    verbosity: 0
    zonesdir: "{place}"
    pidfile: "{place}/nsd.pid"
    database: ""
    xfrdfile: "{place}/xfrd.state"
    xfrdir: "{place}"
    zonelistfile: "{place}/zone.list"
    logfile: "{place}/nsd.log"
remote-control:
    control-enable: no
zone:
    name: example
    zonefile: example.zone
"""

ZONE = """
$ORIGIN example.
$TTL 600
@        IN SOA ns hostmaster 1 7200 900 1209600 120
@        IN NS  ns
ns       IN A   127.0.0.1
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


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        return int(udp.getsockname()[1])


class NsdTests(TestCase):
    timeout = 60
    skip = None if NSD else "nsd (Debian package `nsd`) is not installed"

    async def setUp(self) -> None:
        place = Path(self.mktemp()).resolve()
        place.mkdir(parents=True)
        port = _free_port()
        many = "\n".join(f"many IN MX {n} mx{n:03}.a-rather-long-name-for-a-host.many" for n in range(200))
        (place / "example.zone").write_text(ZONE.format(many=many))
        (place / "nsd.conf").write_text(CONFIG.format(port=port, place=place))
        command = [NSD, "-d", "-c", str(place / "nsd.conf")]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(self.end, server)
        await self.answers(server, f"127.0.0.1:{port}", place)
        self.resolver = self.resolve(f"127.0.0.1:{port}", 5.0)

    def resolve(self, address: str, patience: float) -> Resolver:
        resolver = Resolver(DnsSettings(nameservers=(address,), timeout=patience), reactor)
        self.addCleanup(resolver.stop)
        return resolver

    async def answers(self, server: "subprocess.Popen[bytes]", address: str, place: Path) -> None:
        """Wait until the server has loaded its zone."""
        self.resolver = self.resolve(address, 0.1)
        ends = time.monotonic() + 20.0
        while time.monotonic() < ends and server.poll() is None:
            try:
                await self.found("web.example")
                return
            except LookupFailed:
                self.resolver.forget("web.example")
                await deferLater(reactor, 0.02)
        log = place / "nsd.log"
        self.fail(f"nsd does not answer: exit code {server.poll()}, {log.read_text() if log.exists() else 'no log'}")

    async def end(self, server: "subprocess.Popen[bytes]") -> None:
        server.terminate()  # it ends the processes that it made
        await deferToThread(server.wait, 20)

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
