"""NSD and Unbound as peers: the authority for zones of a test's own, signed or not, and a resolver that validates them."""

import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dns.dnssec
import dns.dnssectypes
import dns.exception
import dns.message
import dns.query
import dns.rdataset
import dns.zone
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from tests.peers.support import Running, program, wait_until

NSD_HOST = "127.0.0.5"
UNBOUND_HOST = "127.0.0.7"

NSD_CONFIG = """
server:
    ip-address: {host}@{port}
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
remote-control:
    control-enable: no
"""

UNBOUND_CONFIG = """
server:
    interface: {host}@{port}
    access-control: 127.0.0.0/8 allow
    do-ip6: no
    username: ""
    chroot: ""
    directory: "{place}"
    pidfile: "{place}/unbound.pid"
    use-syslog: no
    logfile: ""
    num-threads: 1
    do-not-query-localhost: no
    module-config: "validator iterator"
    infra-host-ttl: 1
    cache-max-negative-ttl: 0
{anchors}
remote-control:
    control-enable: no
{stubs}
"""

HEAD = """\
$ORIGIN {zone}.
$TTL 600
@  IN SOA ns hostmaster 1 7200 900 1209600 120
@  IN NS  ns
ns IN A   {host}
"""


def zone(name: str, records: str) -> str:
    """A whole zone file.  records: its lines, relative to the zone, beside SOA and NS."""
    return HEAD.format(zone=name, host=NSD_HOST) + records


def signed(name: str, text: str, spoil: Mapping[str, str] | None = None, *, until: float = 2.0) -> tuple[str, str]:
    """
    The zone with signatures, as text; and its key.

    spoil: `name TYPE` → what stands there instead of what was signed; the name relative to the zone.
    until: days from now to the end of the signatures' time, which began two weeks ago.
    """
    whole = dns.zone.from_text(text, origin=f"{name}.", relativize=False)
    private = generate_private_key(SECP256R1())
    key = dns.dnssec.make_dnskey(private.public_key(), dns.dnssectypes.Algorithm.ECDSAP256SHA256, flags=257)
    with whole.writer() as txn:
        now = datetime.now(UTC)
        ends = now + timedelta(days=until)
        dns.dnssec.sign_zone(whole, txn, keys=[(private, key)], inception=now - timedelta(days=14), expiration=ends)
    for where, record in (spoil or {}).items():
        host, kind = where.split()
        at = dns.name.from_text(host, dns.name.from_text(name))
        rdataset = whole.find_rdataset(at, dns.rdatatype.from_text(kind))
        rdataset.clear()
        rdataset.update(dns.rdataset.from_text("IN", kind, 600, record))
    return whole.to_text(relativize=False), f"{name}. IN DNSKEY {key.to_text()}"


class NameServer(Running):
    """One of the two.  host, port: where it answers, by UDP and by TCP.  probe: a zone for which it answers once it is ready."""

    host: str
    port: int
    probe: str

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        super().start()
        wait_until(self._answers, f"{self.name} answers for {self.probe}")

    def _answers(self) -> bool:
        assert self.runs, self.said()
        question = dns.message.make_query(self.probe, "SOA")
        try:
            return bool(dns.query.udp(question, self.host, timeout=1.0, port=self.port).answer)
        except (OSError, dns.exception.Timeout):
            return False

    def kill(self) -> None:
        """It ends the processes that it has made, if it is asked to end."""
        if self.runs and self.process is not None:
            self.process.terminate()
            self.wait()


class Nsd(NameServer):
    """zones: name → the whole zone file; see `zone` and `signed`.  One without has none, and each answer is SERVFAIL."""

    def __init__(self, place: Path, zones: Mapping[str, str | None]) -> None:
        place.mkdir(parents=True)
        self.host, self.port = NSD_HOST, _port_for_both(NSD_HOST)
        self.probe = next(iter(zones))
        config = NSD_CONFIG.format(host=self.host, port=self.port, place=place)
        for name, text in zones.items():
            if text is not None:
                (place / f"{name}.zone").write_text(text, encoding="utf-8")
            config += f"zone:\n    name: {name}\n    zonefile: {name}.zone\n"
        (place / "nsd.conf").write_text(config, encoding="utf-8")
        super().__init__(place, "nsd", [program("nsd", "nsd"), "-d", "-c", str(place / "nsd.conf")])


class Unbound(NameServer):
    """A resolver that validates.  served: zone → `address:port` of its server, be there one or not.  keys: whom it trusts."""

    def __init__(self, place: Path, served: Mapping[str, str], keys: list[str]) -> None:
        place.mkdir(parents=True)
        self.host, self.port = UNBOUND_HOST, _port_for_both(UNBOUND_HOST)
        self.probe = next(iter(served))
        anchors = "\n".join(f'    trust-anchor: "{key}"' for key in keys)
        # A zone without a key of its own is not expected to be signed, whatever its parent were.
        anchors += "".join(f'\n    domain-insecure: "{name}"' for name in served if not any(k.startswith(f"{name}.") for k in keys))
        stubs = "".join(
            f"stub-zone:\n    name: {name}\n    stub-addr: {where.replace(':', '@')}\n" for name, where in served.items()
        )
        facts = {"host": self.host, "port": self.port, "place": place, "anchors": anchors, "stubs": stubs}
        (place / "unbound.conf").write_text(UNBOUND_CONFIG.format(**facts), encoding="utf-8")
        super().__init__(place, "unbound", [program("unbound", "unbound"), "-d", "-c", str(place / "unbound.conf")])


def _port_for_both(host: str) -> int:
    """One that is free for UDP and for TCP."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind((host, 0))
            port = int(tcp.getsockname()[1])
            try:
                udp.bind((host, port))
            except OSError:
                continue
            return port
