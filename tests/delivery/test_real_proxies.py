"""HAProxy, and Dante's SOCKS server, as Debian ships them; skipped where they are not installed."""

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from kumotwist.config.egress import EgressSource, EnableTls
from tests.delivery.case import DELIVERED, POSTPONED, Supply, settled
from tests.delivery.test_loopback import QUEUED, Hosts
from tests.delivery.test_loopback_tls import ServerTls, TlsCase

PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
HAPROXY, DANTE = shutil.which("haproxy", path=PLACES), shutil.which("danted", path=PLACES)
OURS = "127.0.0.9"

HAPROXY_CONFIG = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 10s
    timeout server 10s
listen out
    bind 127.0.0.1:{port} accept-proxy
    source 0.0.0.0 usesrc clientip
    server where-the-header-says 0.0.0.0
"""

DANTE_CONFIG = """
logoutput: {place}/log
internal: 127.0.0.1 port = {port}
external: {ours}
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: root
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 command: connect }}
"""


class RealProxyCase(TlsCase):
    """A proxy on a port of 127.0.0.1."""

    program: str | None = None
    config = ""

    async def setUp(self) -> None:
        super().setUp()
        assert self.program is not None
        place = Path(self.mktemp()).resolve()
        place.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        file = place / "proxy.conf"
        file.write_text(self.config.format(port=port, place=place, ours=OURS))
        self.server_at = f"127.0.0.1:{port}"
        proxy = subprocess.Popen([self.program, "-f", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(self.end, proxy)
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            await deferLater(self.reactor, 0.02)
        self.fail(f"{self.program} does not listen: exit code {proxy.poll()}")

    async def end(self, proxy: "subprocess.Popen[bytes]") -> None:
        proxy.terminate()
        await deferToThread(proxy.wait, 20)

    async def send(self, tls: Any = None, **source: Any) -> tuple[Supply, Hosts]:
        mode = EnableTls.DISABLED if tls is None else EnableTls.REQUIRED
        sender = EgressSource(name="source-1", **source)
        return await self.deliver(tls, sender=sender, enable_tls=mode, connect_timeout=5.0)

    def delivered(self, supply: Supply, hosts: Hosts) -> None:
        self.assertEqual(supply.calls, [("connected",), settled(1, DELIVERED, QUEUED)])
        self.assertEqual([connection.transport.getPeer().host for connection in hosts.connections], [OURS])


class HaproxyTests(RealProxyCase):
    """HAProxy connects to where the header says, from where it says."""

    skip = None if HAPROXY and os.geteuid() == 0 else "haproxy (Debian package `haproxy`) is not installed, or we are not root"
    program = HAPROXY
    config = HAPROXY_CONFIG

    async def test_mail_leaves_from_the_address_that_the_source_names(self) -> None:
        for tls in (None, ServerTls(self.authority.sign("mx.example.com"))):
            supply, hosts = await self.send(tls, ha_proxy_server=self.server_at, ha_proxy_source_address=OURS)
            self.delivered(supply, hosts)
            self.assertEqual(supply.attempts[0].source_address.address, f"{OURS}:0")  # type: ignore[union-attr]


class DanteTests(RealProxyCase):
    """Dante chooses the address itself: it knows BIND only for connections that come in."""

    skip = None if DANTE and os.geteuid() == 0 else "danted (Debian package `dante-server`) is not installed, or we are not root"
    program = DANTE
    config = DANTE_CONFIG

    async def test_mail_goes_through_from_the_address_that_the_server_chooses(self) -> None:
        for tls in (None, ServerTls(self.authority.sign("mx.example.com"))):
            supply, hosts = await self.send(tls, socks5_proxy_server=self.server_at, socks5_proxy_source_address="0.0.0.0")
            self.delivered(supply, hosts)
            source = supply.attempts[0].source_address
            assert source is not None
            self.assertEqual((source.protocol, source.server), ("socks5", self.server_at))
            self.assertEqual(source.address.rpartition(":")[0], OURS)

    async def test_an_address_of_our_choice_is_refused_and_nothing_leaves_from_another(self) -> None:
        supply, hosts = await self.send(None, socks5_proxy_server=self.server_at, socks5_proxy_source_address=OURS)
        ((verdict, _, text),) = supply.calls[0][2]
        self.assertEqual((verdict, hosts.connections), (POSTPONED, []))
        self.assertIn("BIND was answered", text)

    async def test_a_host_that_is_not_there(self) -> None:
        facts = {"socks5_proxy_server": self.server_at, "socks5_proxy_source_address": "0.0.0.0", "remote_port": 9}
        supply, _ = await self.send(None, **facts)
        self.assertIn("CONNECT was answered", supply.outcomes[0].reply.text)
