"""HAProxy, Dante and microsocks as Debian ships them.  A missing one skips its tests, or fails them if peers are required."""

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from kumotwist.config.egress import EgressSource, EnableTls
from kumotwist.config.keys import KeyData
from tests.delivery.case import DELIVERED, POSTPONED, Supply, settled
from tests.delivery.test_loopback import QUEUED, Hosts
from tests.delivery.test_loopback_tls import ServerTls, TlsCase
from tests.peers.support import lacking, program

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

    program = ("", "")  # its name, and that of Debian's package
    config = ""
    needs_root = False

    async def setUp(self) -> None:
        super().setUp()
        self.unhealthy: list[str] = []
        path = program(*self.program)
        if self.needs_root and os.geteuid() != 0:
            lacking(f"{self.program[0]} can do its part only as root")
        place = Path(self.mktemp()).resolve()
        place.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        file = place / "proxy.conf"
        file.write_text(self.config.format(port=port, place=place, ours=OURS))
        self.server_at = f"127.0.0.1:{port}"
        argv = [path, *self.options(str(file), str(port))]
        self.proxy = proxy = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(self.end, proxy)
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            await deferLater(self.reactor, 0.02)
        self.fail(f"{path} does not listen: exit code {proxy.poll()}")

    def options(self, file: str, port: str) -> list[str]:
        return ["-f", file]

    async def end(self, proxy: "subprocess.Popen[bytes]") -> None:
        proxy.terminate()
        await deferToThread(proxy.wait, 20)

    async def send(self, tls: Any = None, **source: Any) -> tuple[Supply, Hosts]:
        mode = EnableTls.DISABLED if tls is None else EnableTls.REQUIRED
        sender = EgressSource(name="source-1", **source)
        means = {"proxy_unhealthy": self.unhealthy.append}
        return await self.deliver(tls, sender=sender, enable_tls=mode, connect_timeout=5.0, means=means)

    def delivered(self, supply: Supply, hosts: Hosts) -> None:
        self.assertEqual(supply.calls, [("connected",), settled(1, DELIVERED, QUEUED)])
        self.assertEqual([connection.transport.getPeer().host for connection in hosts.connections], [OURS])


class HaproxyTests(RealProxyCase):
    """HAProxy connects to where the header says, from where it says."""

    program = ("haproxy", "haproxy")
    config = HAPROXY_CONFIG
    needs_root = True  # to send from an address that it is told

    async def test_mail_leaves_from_the_address_that_the_source_names(self) -> None:
        for tls in (None, ServerTls(self.authority.sign("mx.example.com"))):
            supply, hosts = await self.send(tls, ha_proxy_server=self.server_at, ha_proxy_source_address=OURS)
            self.delivered(supply, hosts)
            self.assertEqual(supply.attempts[0].source_address.address, f"{OURS}:0")  # type: ignore[union-attr]


class DanteTests(RealProxyCase):
    """Dante chooses the address itself: it knows BIND only for connections that come in."""

    program = ("danted", "dante-server")
    config = DANTE_CONFIG
    needs_root = True

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


class MicrosocksTests(RealProxyCase):
    """microsocks wants a login, and sends from the address that it was given itself."""

    program = ("microsocks", "microsocks")

    def options(self, file: str, port: str) -> list[str]:
        return ["-i", "127.0.0.1", "-p", port, "-u", "mta", "-P", "a secret", "-b", OURS]

    def login(self, secret: bytes) -> dict[str, Any]:
        return {
            "socks5_proxy_server": self.server_at,
            "socks5_proxy_source_address": "0.0.0.0",
            "socks5_proxy_username": "mta",
            "socks5_proxy_password": KeyData(secret),
        }

    async def test_mail_goes_through_with_the_right_login(self) -> None:
        for tls in (None, ServerTls(self.authority.sign("mx.example.com"))):
            supply, hosts = await self.send(tls, **self.login(b"a secret"))
            self.delivered(supply, hosts)

    async def test_nothing_leaves_with_a_wrong_one_or_none(self) -> None:
        facts = self.login(b"another")
        for login, why in ((facts, "it does not accept the login"), (dict(list(facts.items())[:2]), "it wants a login")):
            supply, hosts = await self.send(None, **login)
            ((verdict, _, text),) = supply.calls[0][2]
            self.assertEqual((verdict, hosts.connections), (POSTPONED, []))
            self.assertIn(why, text)
            self.assertNotIn("another", text)

    async def test_one_that_has_gone_is_told_of(self) -> None:
        await self.end(self.proxy)
        supply, hosts = await self.send(None, **self.login(b"a secret"))
        self.assertEqual((self.unhealthy, hosts.connections), (["source-1"], []))
        ((verdict, _, text),) = supply.calls[0][2]
        self.assertEqual(verdict, POSTPONED)
        self.assertIn("no connection to the proxy came about", text)
