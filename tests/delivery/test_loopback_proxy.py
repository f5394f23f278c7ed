"""Mail through real proxies on this machine: it leaves from where the source says, in clear and over TLS."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from kumotwist.config.egress import EgressSource, EnableTls
from kumotwist.config.keys import KeyData
from tests.delivery.case import DELIVERED, POSTPONED, Supply, settled
from tests.delivery.certificates import Authority
from tests.delivery.proxies import HaproxyServer, Proxies, ProxyServer, SocksServer
from tests.delivery.test_loopback import QUEUED, Hosts, LoopbackCase
from tests.delivery.test_loopback_tls import ServerTls

OURS = "127.0.0.9"


class ProxyCase(LoopbackCase):
    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority()
        self.ca_file.write_bytes(self.authority.pem)

    async def through(
        self, kind: type[ProxyServer], source: dict[str, Any], tls: Any = None, login: Any = None, **changes: Any
    ) -> tuple[Supply, Hosts, Proxies]:
        """One message by way of a proxy of this kind."""
        proxies = Proxies(self.reactor, kind, login)
        listening = self.reactor.listenTCP(0, proxies, interface="127.0.0.1")
        prefix = "socks5" if kind is SocksServer else "ha"
        self.server = f"127.0.0.1:{listening.getHost().port}"
        facts = {f"{prefix}_proxy_server": self.server, f"{prefix}_proxy_source_address": OURS, **source}
        try:
            settings = {"enable_tls": EnableTls.DISABLED if tls is None else EnableTls.REQUIRED, **changes}
            supply, hosts = await self.deliver(tls, sender=EgressSource(name="source-1", **facts), **settings)
        finally:
            await listening.stopListening()
            for _ in range(1000):
                if not proxies.clients:
                    break
                await deferLater(self.reactor, 0.001)
            self.assertEqual(proxies.clients, set(), "no connection to the proxy is left")
        return supply, hosts, proxies

    def came_from(self, hosts: Hosts) -> list[str]:
        return [connection.transport.getPeer().host for connection in hosts.connections]


class LoopbackProxyTests(ProxyCase):
    """127.0.0.9 is no address that anybody would use by chance."""

    async def test_mail_leaves_from_the_address_that_the_source_names(self) -> None:
        for kind, name in ((SocksServer, "socks5"), (HaproxyServer, "haproxy")):
            for tls in (None, ServerTls(self.authority.sign("mx.example.com"))):
                supply, hosts, proxies = await self.through(kind, {}, tls)
                self.assertEqual(supply.calls, [("connected",), settled(1, DELIVERED, QUEUED)])
                self.assertEqual(self.came_from(hosts), [OURS])
                port = supply.path.settings.smtp_port
                self.assertEqual(proxies.asked, [(OURS, "127.0.0.1", port)])
                (attempt,) = supply.attempts
                source = attempt.source_address
                assert source is not None
                self.assertEqual((source.protocol, source.server), (name, self.server))
                self.assertEqual(source.address.rpartition(":")[0], OURS)
                self.assertEqual(attempt.peer.addr, f"127.0.0.1:{port}")  # type: ignore[union-attr]
                self.assertEqual(attempt.tls is None, tls is None)

    async def test_a_login_opens_the_proxy_and_a_wrong_one_does_not(self) -> None:
        for password, verdict in ((b"secret", DELIVERED), (b"wrong", POSTPONED)):
            source = {"socks5_proxy_username": "user", "socks5_proxy_password": KeyData(password)}
            supply, _, _ = await self.through(SocksServer, source, login=(b"user", b"secret"))
            ((outcome, _, text),) = next(call[2] for call in supply.calls if call[0] == "settle")
            self.assertEqual(outcome, verdict)
            self.assertEqual("it does not accept the login" in text, verdict == POSTPONED)

    async def test_a_host_that_the_proxy_cannot_reach(self) -> None:
        for kind, text in (
            (SocksServer, "CONNECT was answered: connection refused"),
            (HaproxyServer, "connection closed by the peer"),
        ):
            supply, _, _ = await self.through(kind, {"remote_port": 9})
            self.assertEqual([call[0] for call in supply.calls], ["settle", "connection_failed"])
            self.assertIn(text, supply.outcomes[0].reply.text)

    async def test_a_large_message_arrives_whole(self) -> None:
        supply, hosts, _ = await self.through(SocksServer, {}, content=b"x" * 998 + b"\r\n" + b"y\r\n" * 100_000)
        self.assertEqual(supply.calls[-1], settled(1, DELIVERED, QUEUED))
        self.assertEqual(len([line for line in hosts.heard if line == b"y"]), 100_000)

    async def test_a_session_that_is_cancelled_leaves_no_connection(self) -> None:
        class Deaf(SocksServer):
            def listen(self) -> None:
                pass

        proxies = Proxies(self.reactor, Deaf)
        listening = self.reactor.listenTCP(0, proxies, interface="127.0.0.1")
        source = {"socks5_proxy_server": f"127.0.0.1:{listening.getHost().port}", "socks5_proxy_source_address": OURS}
        sender = EgressSource(name="source-1", **source)  # type: ignore[arg-type]
        sending: Deferred[Any] = Deferred.fromCoroutine(self.deliver(None, sender=sender, enable_tls=EnableTls.DISABLED))
        while not proxies.clients:
            await deferLater(self.reactor, 0.001)
        sending.addErrback(lambda failure: None)
        sending.cancel()
        while proxies.clients:
            await deferLater(self.reactor, 0.001)
        await listening.stopListening()
