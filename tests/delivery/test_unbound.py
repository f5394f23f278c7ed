"""DANE and MTA-STS with Unbound, which validates what NSD serves: signed, unsigned, bogus and nothing at all; skipped without."""

import os
import shutil
import socket
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import dns.dnssec
import dns.name
import dns.rdatatype
import dns.rrset
import dns.zone
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from kumotwist.config.server import DnsSettings
from kumotwist.delivery.dane import secure_hosts, tlsa_of
from kumotwist.delivery.dnssec import SecuredRecords
from kumotwist.delivery.mta_sts import StsPolicies
from kumotwist.delivery.plan import Address
from kumotwist.delivery.sts_policy import StsMode, StsPolicy
from kumotwist.delivery.tlsa import Tlsa
from kumotwist.dns.answers import LookupFailed

PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
NSD, UNBOUND = shutil.which("nsd", path=PLACES), shutil.which("unbound", path=PLACES)
DIGEST = "aa" * 32
RECORD = Tlsa(3, 1, 1, b"\xaa" * 32)

NSD_CONFIG = """
server:
    ip-address: 127.0.0.1@{nsd}
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
{zones}
"""

UNBOUND_CONFIG = """
server:
    interface: 127.0.0.1@{unbound}
    do-ip6: no
    username: ""
    chroot: ""
    directory: "{place}"
    pidfile: "{place}/unbound.pid"
    logfile: "{place}/unbound.log"
    use-syslog: no
    num-threads: 1
    do-not-query-localhost: no
    module-config: "validator iterator"
    infra-host-ttl: 1
{anchors}
remote-control:
    control-enable: no
{stubs}
"""

ZONE = f"""
$TTL 600
@        IN SOA ns hostmaster 1 7200 900 1209600 120
@        IN NS  ns
@        IN MX  10 mx
ns       IN A   127.0.0.1
mx       IN A   192.0.2.1
_25._tcp.mx IN TLSA 3 1 1 {DIGEST}
none     IN A   192.0.2.2
odd      IN A   192.0.2.3
_25._tcp.odd IN TLSA 1 1 1 {DIGEST}
alias    IN CNAME mx.plain.example.
_25._tcp.alias IN TLSA 3 1 1 {DIGEST}
_mta-sts IN TXT "v=STSv1; id=1;"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def signed(name: str, *, spoilt: bool = False) -> tuple[str, str]:
    """A zone with signatures, as text; and its key.  spoilt: what was signed is not what is there."""
    zone = dns.zone.from_text(ZONE, origin=f"{name}.", relativize=False)
    private = generate_private_key(SECP256R1())
    key = dns.dnssec.make_dnskey(private.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)
    with zone.writer() as txn:
        dns.dnssec.sign_zone(zone, txn, keys=[(private, key)], lifetime=int(timedelta(days=2).total_seconds()))
    if spoilt:
        for host, kind, text in ((name, "MX", "10 evil"), (f"mx.{name}", "A", "192.0.2.66")):
            at = dns.name.from_text(host)
            rdataset = zone.find_rdataset(at, dns.rdatatype.from_text(kind))
            rdataset.clear()
            rdataset.add(dns.rrset.from_text(at, 600, "IN", kind, text)[0], 600)
    return zone.to_text(relativize=False), f"{name}. IN DNSKEY {key.to_text()}"


class UnboundTests(TestCase):
    timeout = 60
    skip = None if NSD and UNBOUND else "nsd and unbound (Debian packages of these names) are not installed"

    async def setUp(self) -> None:
        self.place = Path(self.mktemp()).resolve()
        self.place.mkdir(parents=True)
        ports = {"nsd": free_port(), "unbound": free_port(), "nobody": free_port()}
        anchors = []
        for name in ("signed.example", "bogus.example"):
            text, key = signed(name, spoilt=name == "bogus.example")
            (self.place / f"{name}.zone").write_text(text)
            anchors.append(f'    trust-anchor: "{key}"')
        (self.place / "plain.example.zone").write_text(f"$ORIGIN plain.example.\n{ZONE}")
        zones = ("signed.example", "bogus.example", "plain.example")
        served = "".join(f"zone:\n    name: {name}\n    zonefile: {name}.zone\n" for name in zones)
        at = {**dict.fromkeys(zones, ports["nsd"]), "dead.example": ports["nobody"]}
        stubs = "".join(f"stub-zone:\n    name: {name}\n    stub-addr: 127.0.0.1@{port}\n" for name, port in at.items())
        facts = {"place": self.place, "zones": served, "anchors": "\n".join(anchors), "stubs": stubs, **ports}
        self.run_server(NSD, "nsd.conf", NSD_CONFIG.format(**facts))
        self.run_server(UNBOUND, "unbound.conf", UNBOUND_CONFIG.format(**facts))
        settings = DnsSettings(nameservers=(f"127.0.0.1:{ports['unbound']}",), timeout=2.0)
        await self.answers(settings)
        self.records = SecuredRecords(settings, reactor)  # type: ignore[arg-type]
        self.addCleanup(self.records.stop)

    def run_server(self, program: str | None, name: str, text: str) -> None:
        assert program is not None
        (self.place / name).write_text(text)
        command = [program, "-d", "-c", str(self.place / name)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(self.end, server)

    async def end(self, server: "subprocess.Popen[bytes]") -> None:
        server.terminate()
        await deferToThread(server.wait, 20)

    async def answers(self, settings: DnsSettings) -> None:
        """Wait until both serve."""
        ends = time.monotonic() + 20.0
        while time.monotonic() < ends:
            records = SecuredRecords(settings, reactor)  # type: ignore[arg-type]
            try:
                if (await records.find("mx.plain.example", "A")).records:
                    return
            except LookupFailed:
                pass
            finally:
                await records.stop()
            await deferLater(reactor, 0.05)
        logs = [path.read_text() for path in self.place.glob("*.log")]
        self.fail(f"no answer: {logs}")

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
