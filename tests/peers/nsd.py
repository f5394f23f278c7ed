"""NSD as a peer: the authority for zones of a test's own."""

import socket
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from tests.peers.support import Running, program, wait_until

NSD_HOST = "127.0.0.5"

CONFIG = """
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
zone:
    name: {zone}
    zonefile: {zone}.zone
"""

HEAD = """\
$ORIGIN {zone}.
$TTL 600
@  IN SOA ns hostmaster 1 7200 900 1209600 120
@  IN NS  ns
ns IN A   {host}
"""


class Nsd(Running):
    """records: lines of a zone file, relative to the zone."""

    def __init__(self, place: Path, zone: str, records: str) -> None:
        place.mkdir(parents=True)
        self.zone = zone
        self.host, self.port = NSD_HOST, _port_for_both(NSD_HOST)
        facts = {"host": self.host, "port": self.port, "place": place, "zone": zone}
        (place / f"{zone}.zone").write_text(HEAD.format(**facts) + records, encoding="utf-8")
        (place / "nsd.conf").write_text(CONFIG.format(**facts), encoding="utf-8")
        super().__init__(place, "nsd", [program("nsd", "nsd"), "-d", "-c", str(place / "nsd.conf")])

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        super().start()
        wait_until(self._answers, f"nsd answers for {self.zone}")

    def _answers(self) -> bool:
        assert self.runs, self.said()
        question = dns.message.make_query(self.zone, "SOA")
        try:
            return bool(dns.query.udp(question, self.host, timeout=1.0, port=self.port).answer)
        except (OSError, dns.exception.Timeout):
            return False

    def kill(self) -> None:
        """It ends the processes that it has made, if it is asked to end."""
        if self.runs and self.process is not None:
            self.process.terminate()
            self.wait()


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
