"""DANE and MTA-STS with Unbound, which validates what NSD serves: signed, unsigned, bogus and nothing at all."""

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import TestCase

from kumotwist.config.server import DnsSettings
from kumotwist.delivery.dane import secure_hosts, tlsa_of
from kumotwist.delivery.dnssec import SecuredRecords
from kumotwist.delivery.mta_sts import StsPolicies
from kumotwist.delivery.plan import Address
from kumotwist.delivery.sts_policy import StsMode, StsPolicy
from kumotwist.delivery.tlsa import Tlsa
from kumotwist.dns.answers import LookupFailed
from tests.peers.nsd import Nsd, Unbound, signed, zone
from tests.peers.support import free_port

DIGEST = "aa" * 32
RECORD = Tlsa(3, 1, 1, b"\xaa" * 32)

ZONE = f"""
@        IN MX  10 mx
mx       IN A   192.0.2.1
_25._tcp.mx IN TLSA 3 1 1 {DIGEST}
none     IN A   192.0.2.2
odd      IN A   192.0.2.3
_25._tcp.odd IN TLSA 1 1 1 {DIGEST}
alias    IN CNAME mx.plain.example.
_25._tcp.alias IN TLSA 3 1 1 {DIGEST}
_mta-sts IN TXT "v=STSv1; id=1;"
"""


class UnboundTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        place = Path(self.mktemp()).resolve()
        zones, keys = {"plain.example": zone("plain.example", ZONE)}, []
        spoilt = {"@ MX": "10 evil", "mx A": "192.0.2.66"}
        for name in ("signed.example", "bogus.example"):
            zones[name], key = signed(name, zone(name, ZONE), spoilt if name == "bogus.example" else None)
            keys.append(key)
        nsd = Nsd(place / "nsd", zones)
        dead = {"dead.example": f"{nsd.host}:{free_port(nsd.host)}"}
        unbound = Unbound(place / "unbound", {**dict.fromkeys(zones, nsd.address), **dead}, keys)
        for server in (nsd, unbound):
            self.addCleanup(server.kill)
            server.start()
        settings = DnsSettings(nameservers=(unbound.address,), timeout=2.0)
        self.records = SecuredRecords(settings, reactor)  # type: ignore[arg-type]
        self.addCleanup(self.records.stop)

    async def test_the_chain_to_the_hosts(self) -> None:
        for domain, hosts in (
            ("signed.example", {"mx.signed.example"}),
            ("none.signed.example", {"none.signed.example"}),  # proves that it has no MX
            ("nobody.signed.example", None),
            ("plain.example", None),
        ):
            found = await secure_hosts(self.records.find, domain)
            self.assertEqual(found, None if hosts is None else frozenset(hosts), domain)

    async def test_the_records_of_a_host(self) -> None:
        for host, ip, expected in (
            ("mx.signed.example", "192.0.2.1", (RECORD,)),
            ("none.signed.example", "192.0.2.2", None),
            ("odd.signed.example", "192.0.2.3", ()),
            ("alias.signed.example", "192.0.2.1", (RECORD,)),  # a signed alias for a host that is not
            ("mx.plain.example", "192.0.2.1", None),
        ):
            found = await tlsa_of(self.records.find, host, Address(name=f"{host}.", ip=ip, port=25))
            self.assertEqual(found, expected, host)

    async def test_what_is_bogus_or_does_not_answer_leaves_it_open(self) -> None:
        for domain in ("bogus.example", "dead.example"):
            with self.assertRaises(LookupFailed):
                await secure_hosts(self.records.find, domain)
            address = Address(name=f"mx.{domain}.", ip="192.0.2.66", port=25)
            with self.assertRaises(LookupFailed):
                await tlsa_of(self.records.find, address.host, address)

    async def test_policies(self) -> None:
        text = b"version: STSv1\nmode: enforce\nmx: mx.signed.example\nmax_age: 86400\n"
        policies = StsPolicies(reactor, self.records.find, lambda domain: succeed(text))  # type: ignore[arg-type]

        async def mode(domain: str) -> StsMode | None:
            found: Any = policies.policy(domain)
            policy: StsPolicy | None = await found if isinstance(found, Deferred) else found
            return None if policy is None else policy.mode

        for domain, expected in (
            ("signed.example", StsMode.ENFORCE),
            ("plain.example", StsMode.ENFORCE),
            ("none.signed.example", None),
        ):
            self.assertIs(await mode(domain), expected)
        with self.assertRaises(LookupFailed):
            await mode("dead.example")
