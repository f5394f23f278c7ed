"""Real sockets on this machine: TLS with real certificates, real source addresses, real refusals."""

import errno
import os
import socket
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.ssl import PrivateCertificate
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import SkipTest, TestCase

from kumotwist.config.egress import EgressSource, EnableTls, PathSettings
from kumotwist.config.fields import Networks
from kumotwist.delivery.session import deliver
from kumotwist.delivery.stop import Stop
from kumotwist.delivery.tls import TlsContext, Trust, tls_parameters
from kumotwist.egress.path import EgressPath
from tests.delivery.case import CONTENT, DELIVERED, POSTPONED, Names, Supply, destination, host, message, settled
from tests.delivery.certificates import Authority

QUEUED = "250 2.0.0 Ok: queued"
FAILED = "400 KumoMTA internal: failed to connect to any candidate hosts: "
MODES = set(EnableTls) - {EnableTls.DISABLED}
VERIFYING = {EnableTls.OPPORTUNISTIC, EnableTls.REQUIRED}


class Host(LineReceiver):
    """A receiving host with STARTTLS."""

    encrypted = False
    in_body = False

    def connectionMade(self) -> None:
        self.factory.connections.append(self)
        self.say("220 mx.example.com ESMTP")

    def say(self, text: str) -> None:
        self.sendLine(text.encode())

    def lineReceived(self, line: bytes) -> None:
        self.factory.heard.append(line)
        if self.in_body:
            self.in_body = line != b"."
            if not self.in_body:
                self.say(QUEUED)
            return
        verb = line.split()[0].decode()
        if verb == "EHLO":
            if self.encrypted and self.factory.after_tls is not None:
                self.say(self.factory.after_tls)
                return
            self.say("250-mx.example.com")
            self.say("250-AUTH PLAIN")
            self.say("250-PIPELINING" if self.encrypted or self.factory.starttls == "" else "250-STARTTLS")
            self.say("250 8BITMIME")
        elif verb == "STARTTLS" and self.factory.starttls is not None:
            self.say(self.factory.starttls)
        elif verb == "STARTTLS":
            self.say("220 go")
            if self.factory.tls is None:
                self.setRawMode()
                return
            self.encrypted = True
            self.transport.startTLS(self.factory.tls)
        elif verb == "AUTH":
            self.say("235 2.7.0 welcome")
        elif verb == "QUIT":
            self.say("221 bye")
            self.transport.loseConnection()
        else:
            self.in_body = verb == "DATA"
            self.say("354 go" if self.in_body else "250 2.0.0 Ok")

    def rawDataReceived(self, data: bytes) -> None:
        self.transport.write(b"this is no handshake at all\r\n" * 10)
        self.transport.loseConnection()

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self.factory.lost(self)


class Hosts(Factory):
    """
    tls: what to do at STARTTLS, or None: break the handshake.  after_tls: what to answer EHLO with when encrypted.

    starttls: what to answer STARTTLS with, and leave it at that; empty: it is not offered.
    """

    protocol = Host

    def __init__(self, tls: Any) -> None:
        self.tls = tls
        self.connections: list[Host] = []
        self.open: set[Host] = set()
        self.heard: list[bytes] = []
        self.after_tls: str | None = None
        self.starttls: str | None = None
        self._emptied: Deferred[None] | None = None

    def buildProtocol(self, addr: Any) -> Any:
        made: Any = super().buildProtocol(addr)
        self.open.add(made)
        return made

    def lost(self, one: Host) -> None:
        self.open.discard(one)
        if not self.open and self._emptied is not None:
            self._emptied.callback(None)

    async def emptied(self) -> None:
        if self.open:
            self._emptied = Deferred()
            await self._emptied


class LoopbackCase(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.ca_file = Path(self.mktemp())

    async def deliver(
        self,
        tls: Any,
        *,
        ip: str = "127.0.0.1",
        port: int = 0,
        name: str = "mx.example.com",
        source: str | None = None,
        sender: EgressSource | None = None,
        content: bytes = CONTENT,
        trust: Trust | None = None,
        after_tls: str | None = None,
        starttls: str | None = None,
        by_name: bool = False,
        means: Any = None,
        **changes: Any,
    ) -> tuple[Supply, Hosts]:
        """Send one message to a host that listens at this address.  by_name: it is found by its name."""
        hosts = Hosts(tls)
        hosts.after_tls, hosts.starttls = after_tls, starttls
        listening = IReactorTCP(self.reactor).listenTCP(port, hosts, interface=ip)
        try:
            settings = {"prohibited_hosts": Networks(), "smtp_port": listening.getHost().port, "idle_timeout": 0.2, **changes}
            path = EgressPath(
                source=sender or EgressSource(name="source-1", source_address=source),
                destination=destination(host(name, None if by_name else ip), is_mx=by_name),
                settings=PathSettings(**settings),
            )
            supply = Supply(self.reactor, path, [message(1, content=content)])
            supply.ready[0].queue = "example.com"
            supply.message_or_none = lambda patience: Deferred.fromCoroutine(nothing())  # type: ignore[method-assign]
            await deliver(
                supply,
                reactor=self.reactor,
                resolver=Names({name: (ip,)} if by_name else {}),
                trust=trust or Trust(str(self.ca_file)),
                hostname="here.example.net",
                draw=lambda: 0.0,
                session_id=lambda: "session",
                stop=Stop(),
                **(means or {}),
            )
            self.assertEqual(supply.answered, supply.taken)
        finally:
            await hosts.emptied()
            await listening.stopListening()
        return supply, hosts


async def nothing() -> None:
    """No further message."""


class TlsTests(LoopbackCase):
    """Handshakes with a good certificate, one of another host, one of an unknown authority, and none."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority()
        self.ca_file.write_bytes(self.authority.pem)

    def certificate(self, *names: str, authority: Authority | None = None) -> Any:
        return PrivateCertificate.loadPEM((authority or self.authority).sign(*names)).options()

    async def test_a_good_certificate_is_good_in_every_mode(self) -> None:
        for mode in MODES:
            supply, hosts = await self.deliver(self.certificate("mx.example.com"), enable_tls=mode)
            self.assertEqual(supply.calls, [("connected",), settled(1, DELIVERED, QUEUED)])
            tls = supply.attempts[0].tls
            assert tls is not None
            self.assertEqual(tls.protocol_version, "TLSv1.3")
            self.assertEqual(tls.peer_subject_name, ("O=Test", "CN=mx.example.com"))
            self.assertTrue(tls.cipher.startswith("TLS_"), tls.cipher)
            self.assertTrue(hosts.connections[0].encrypted)
            self.assertEqual([line for line in hosts.heard if line.startswith(b"EHLO")], [b"EHLO here.example.net"] * 2)

    async def test_a_certificate_of_another_host_will_not_do_where_it_is_looked_at(self) -> None:
        for mode in MODES:
            supply, hosts = await self.deliver(self.certificate("mx.example.org"), enable_tls=mode)
            self.outcome(supply, hosts, mode, "the certificate is not for mx.example.com")

    async def test_nor_one_of_an_authority_that_we_do_not_know(self) -> None:
        for mode in MODES:
            tls = self.certificate("mx.example.com", authority=Authority("somebody"))
            supply, hosts = await self.deliver(tls, enable_tls=mode)
            self.outcome(supply, hosts, mode, "certificate verify failed")

    def outcome(self, supply: Supply, hosts: Hosts, mode: EnableTls, why: str) -> None:
        if mode not in VERIFYING:
            self.assertEqual(supply.calls, [("connected",), settled(1, DELIVERED, QUEUED)], mode)
            self.assertIsNotNone(supply.attempts[0].tls)
            return
        where = f"mx.example.com./127.0.0.1:{supply.path.settings.smtp_port}"
        text = f"{FAILED}TLS handshake with {where} failed: {why}"
        self.assertEqual(supply.calls, [settled(1, POSTPONED, text), ("connection_failed",)], mode)
        self.assertEqual([line for line in hosts.heard if line.startswith(b"MAIL")], [])

    async def test_a_broken_handshake_leads_to_mail_in_clear_only_where_the_path_says_so(self) -> None:
        for mode in MODES:
            supply, hosts = await self.deliver(None, enable_tls=mode)
            if mode is EnableTls.OPPORTUNISTIC_INSECURE:
                self.assertEqual(supply.calls, [("connected",), settled(1, DELIVERED, QUEUED)])
                self.assertIsNone(supply.attempts[0].tls)
                self.assertEqual(len(hosts.connections), 2)
            else:
                self.assertEqual([call[0] for call in supply.calls], ["settle", "connection_failed"])
                self.assertIn("TLS handshake with", supply.outcomes[0].reply.text)
                self.assertEqual(len(hosts.connections), 1)

    async def test_an_address_is_looked_for_in_the_certificate_as_an_address(self) -> None:
        good, _ = await self.deliver(self.certificate("127.0.0.1"), name="127.0.0.1", enable_tls=EnableTls.REQUIRED)
        self.assertEqual(good.calls, [("connected",), settled(1, DELIVERED, QUEUED)])
        self.assertEqual(good.attempts[0].peer.name, "127.0.0.1")  # type: ignore[union-attr]
        bad, _ = await self.deliver(self.certificate("mx.example.com"), name="127.0.0.1", enable_tls=EnableTls.REQUIRED)
        self.assertIn("the certificate is not for 127.0.0.1", bad.outcomes[0].reply.text)

    async def test_without_a_file_the_environment_says_whom_to_trust(self) -> None:
        self.patch_environment("SSL_CERT_FILE", str(self.ca_file))
        for _ in range(2):
            tls = self.certificate("mx.example.com")
            supply, _ = await self.deliver(tls, trust=Trust(), enable_tls=EnableTls.REQUIRED)
            self.assertEqual(supply.calls, [("connected",), settled(1, DELIVERED, QUEUED)])

    def patch_environment(self, name: str, value: str) -> None:
        before = os.environ.get(name)
        os.environ[name] = value
        self.addCleanup(lambda: os.environ.pop(name) if before is None else os.environ.__setitem__(name, before))

    async def test_trust_that_cannot_be_read_fails_only_those_who_need_it_and_only_until_it_can(self) -> None:
        trust = Trust(str(self.ca_file) + ".missing")
        for mode in MODES:
            supply, _ = await self.deliver(self.certificate("mx.example.com"), trust=trust, enable_tls=mode)
            if mode in VERIFYING:
                self.assertIn("the trusted certificates cannot be read", supply.outcomes[0].reply.text)
                self.assertEqual(supply.outcomes[0].verdict.value, POSTPONED)
            else:
                self.assertEqual(supply.calls, [("connected",), settled(1, DELIVERED, QUEUED)])
        Path(str(self.ca_file) + ".missing").write_bytes(self.authority.pem)
        supply, _ = await self.deliver(self.certificate("mx.example.com"), trust=trust, enable_tls=EnableTls.REQUIRED)
        self.assertEqual(supply.calls, [("connected",), settled(1, DELIVERED, QUEUED)])

    async def test_contexts_are_made_once(self) -> None:
        trust = Trust(str(self.ca_file))

        async def context(verify: bool) -> TlsContext:
            return await trust.context(tls_parameters(PathSettings(), verify=verify), None, 0.0)

        self.assertIs(await context(True), await context(True))
        self.assertIs(await context(False), await context(False))
        self.assertIsNot(await context(True), await context(False))
        self.assertEqual((await context(False)).ssl.get_verify_mode(), SSL.VERIFY_NONE)


class AddressTests(LoopbackCase):
    """Source addresses, bound for real."""

    plain = {"enable_tls": EnableTls.DISABLED}

    async def test_the_connection_comes_from_the_source_s_address(self) -> None:
        for source in ("127.0.0.2", "127.0.0.3"):
            supply, hosts = await self.deliver(None, source=source, **self.plain)
            self.assertEqual(supply.calls, [("connected",), settled(1, DELIVERED, QUEUED)])
            self.assertEqual(hosts.connections[0].transport.getPeer().host, source)
            (attempt,) = supply.attempts
            self.assertEqual(attempt.source_address.address.rpartition(":")[0], source)  # type: ignore[union-attr]
            port = supply.path.settings.smtp_port
            self.assertEqual(attempt.peer.addr, f"127.0.0.1:{port}")  # type: ignore[union-attr]

    async def test_ipv6_too(self) -> None:
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError:
            raise SkipTest("no IPv6 on this machine's loopback") from None
        supply, _ = await self.deliver(None, ip="::1", source="::1", **self.plain)
        self.assertEqual(supply.calls, [("connected",), settled(1, DELIVERED, QUEUED)])
        self.assertTrue(supply.attempts[0].source_address.address.startswith("[::1]:"))  # type: ignore[union-attr]

    async def test_an_address_of_another_machine_is_noticed(self) -> None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", 9)) not in (0, errno.ECONNREFUSED):
                raise SkipTest("no loopback")
        supply, _ = await self.deliver(None, source="192.0.2.77", **self.plain)
        self.assertEqual(supply.calls, [("give_back", 1, "SourceIsUnhealthyAndSuspended", 30.0)])
