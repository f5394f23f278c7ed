"""Listening on a real port of this machine."""

import errno
from ipaddress import ip_network
from random import Random

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from kumotwist.config.keys import KeyData
from kumotwist.config.listeners import ListenerOverrides, ListenerSettings, TlsIdentity
from kumotwist.config.networks import ByNetwork
from kumotwist.mail.message_id import MessageIds
from kumotwist.reception.service import CannotListen, EsmtpListener, Reception, listen_address
from tests.config.certificate import certificate_and_key
from tests.reception.fakes import FakeDesk, FakeTransport


def reception(desk: FakeDesk, clock: object) -> Reception:
    random = Random(1)
    return Reception(
        hostname="mx.example.com",
        clock=clock,  # type: ignore[arg-type]  # a reactor or a Clock
        ids=MessageIds(clock.seconds, random.getrandbits),  # type: ignore[attr-defined]
        randbits=random.getrandbits,
        desk=desk,
    )


class Client(Protocol):
    """Says lines and waits for text."""

    def __init__(self) -> None:
        self.heard = b""
        self._until: tuple[bytes, Deferred[bytes]] | None = None
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self._look()

    def _look(self) -> None:
        if self._until is not None and self._until[0] in self.heard:
            (text, waiting), self._until = self._until, None
            before, _, self.heard = self.heard.partition(text)
            waiting.callback(before + text)

    def until(self, text: bytes) -> "Deferred[bytes]":
        """Fires with what was heard up to that text."""
        waiting: Deferred[bytes] = Deferred()
        self._until = (text, waiting)
        self._look()
        return waiting

    def say(self, *lines: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"".join(line + b"\r\n" for line in lines))

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.gone.callback(None)


@implementer(IOpenSSLClientConnectionCreator)
class Asking:
    """A client's TLS that asks for a name and believes everything."""

    def __init__(self, name: str) -> None:
        self._name = name

    def clientConnectionForTLS(self, tls: object) -> SSL.Connection:
        connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        connection.set_tlsext_host_name(self._name.encode())
        return connection


class ListenerTests(TestCase):
    """EsmtpListener over loopback."""

    timeout = 20.0

    def setUp(self) -> None:
        self.desk = FakeDesk()

    def listening(self, listen: str = "127.0.0.1:0", **settings: object) -> EsmtpListener:
        listener = EsmtpListener(ListenerSettings(listen=listen, **settings), reception(self.desk, reactor), reactor, drain=0.5)  # type: ignore[arg-type]
        listener.startService()
        self.addCleanup(listener.stopService)
        return listener

    async def connected(self, listener: EsmtpListener) -> Client:
        host, port = listener.address
        endpoint = (TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint)(reactor, host, port)
        return await connectProtocol(endpoint, Client())

    async def test_a_message_over_ipv4_and_ipv6(self) -> None:
        for listen in ("127.0.0.1:0", "[::1]:0"):
            client = await self.connected(self.listening(listen))
            await client.until(b"220 mx.example.com KumoTwist\r\n")
            client.say(b"EHLO c.example", b"MAIL FROM:<a@example.net>", b"RCPT TO:<b@example.org>", b"DATA")
            await client.until(b"354 ")
            client.say(b"text", b".", b"QUIT")
            await client.until(b"250 OK ids=")
            await client.until(b"221 ")
            await client.gone
        self.assertEqual([message.recipients[0].email for message in self.desk.taken], ["b@example.org"] * 2)

    async def test_a_large_message_in_many_chunks(self) -> None:
        client = await self.connected(self.listening(max_message_size=3_000_000))
        client.say(b"EHLO c.example", b"MAIL FROM:<a@example.net>", b"RCPT TO:<b@example.org>", b"DATA")
        await client.until(b"354 ")
        lines = [b"..%06d" % number + b"x" * 70 for number in range(30_000)]
        client.say(*lines, b".")
        await client.until(b"250 OK ids=")
        content = self.desk.taken[0].content or b""
        self.assertTrue(content.endswith(b"".join(line[1:] + b"\r\n" for line in lines)))

    async def test_starttls_for_real(self) -> None:
        client = await self.connected(self.listening())
        client.say(b"EHLO c.example")
        await client.until(b"250 STARTTLS\r\n")
        client.say(b"STARTTLS")
        await client.until(b"220 Ready to Start TLS\r\n")
        assert client.transport is not None
        client.transport.startTLS(CertificateOptions())  # type: ignore[attr-defined]
        client.say(b"EHLO c.example")
        self.assertNotIn(b"STARTTLS", await client.until(b"250 CHUNKING\r\n"))
        client.say(b"MAIL FROM:<a@example.net>", b"RCPT TO:<b@example.org>", b"DATA")
        await client.until(b"354 ")
        client.say(b"text", b".", b"QUIT")
        await client.until(b"250 OK ids=")
        await client.gone
        tls = self.desk.arrivals[0].tls
        assert tls is not None
        self.assertEqual(tls.protocol_version, "TLSv1.3")
        self.assertTrue(tls.cipher.startswith("TLS_"))
        self.assertIn(b"with ESMTPS (TLSv1.3:" + tls.cipher.encode() + b") id", self.desk.taken[0].content or b"")

    async def test_each_name_that_a_client_asks_for_has_its_certificate(self) -> None:
        one, other = certificate_and_key("one.example"), certificate_and_key("other.example")
        listener = self.listening(
            tls_certificate=KeyData(one[0]),
            tls_private_key=KeyData(one[1]),
            sni={"other.example": TlsIdentity(tls_certificate=KeyData(other[0]), tls_private_key=KeyData(other[1]))},
        )
        for asked, shown in (("other.example", "other.example"), ("one.example", "one.example"), ("x.example", "one.example")):
            client = await self.connected(listener)
            client.say(b"EHLO c.example")
            await client.until(b"250 STARTTLS\r\n")
            client.say(b"STARTTLS")
            await client.until(b"220 Ready to Start TLS\r\n")
            assert client.transport is not None
            client.transport.startTLS(Asking(asked))  # type: ignore[attr-defined]
            client.say(b"EHLO c.example")
            await client.until(b"250 CHUNKING\r\n")
            certificate = client.transport.getHandle().get_peer_certificate()  # type: ignore[attr-defined]
            self.assertEqual(certificate.get_subject().CN, shown)
            client.say(b"QUIT")
            await client.gone

    async def test_by_the_local_address_that_was_connected_to(self) -> None:
        via = ByNetwork({ip_network("127.0.0.2"): ListenerOverrides(options={"hostname": "two.example"})})
        listener = self.listening("0.0.0.0:0", hostname="one.example", via=via)
        for host, greeting in (("127.0.0.1", b"220 one.example "), ("127.0.0.2", b"220 two.example ")):
            client = await connectProtocol(TCP4ClientEndpoint(reactor, host, listener.address[1]), Client())
            await client.until(greeting)
            client.say(b"STARTTLS")
            await client.until(b"220 Ready to Start TLS\r\n")
            client.transport.startTLS(Asking(host))
            client.say(b"EHLO c.example")
            await client.until(b"250 CHUNKING\r\n")
            name = client.transport.getHandle().get_peer_certificate().get_subject().CN
            self.assertEqual(greeting, b"220 %b " % name.encode())
            client.say(b"QUIT")
            await client.gone

    async def test_plain_text_where_tls_should_begin_ends_the_connection(self) -> None:
        client = await self.connected(self.listening())
        client.say(b"EHLO c.example")
        await client.until(b"250 STARTTLS\r\n")
        client.say(b"STARTTLS")
        await client.until(b"220 Ready to Start TLS\r\n")
        client.say(b"MAIL FROM:<evil@example.net>")
        await client.gone
        self.assertNotIn(b"250 ", client.heard)

    async def test_a_client_that_never_reads_costs_little_and_loses_only_its_own_connection(self) -> None:
        listener = self.listening(client_timeout=0.3)
        client = await self.connected(listener)
        await client.until(b"220 ")
        assert client.transport is not None
        client.transport.pauseProducing()  # type: ignore[attr-defined]
        client.say(*[b"VRFY"] * 200_000)
        while listener.connections:
            waiting: Deferred[None] = Deferred()
            reactor.callLater(0.05, waiting.callback, None)  # type: ignore[attr-defined]
            await waiting
        client.transport.abortConnection()  # type: ignore[attr-defined]
        await client.gone

    async def test_stopping_tells_idle_clients_and_lets_messages_arrive(self) -> None:
        listener = self.listening()
        idle, busy = await self.connected(listener), await self.connected(listener)
        await idle.until(b"220 ")
        busy.say(b"EHLO c.example", b"MAIL FROM:<a@example.net>", b"RCPT TO:<b@example.org>", b"DATA")
        await busy.until(b"354 ")
        stopped = listener.stopService()
        await idle.until(b"421 4.3.2 mx.example.com shutting down\r\n")
        await idle.gone
        busy.say(b"text", b".")
        await busy.until(b"250 OK ids=")
        await busy.until(b"421 4.3.2 mx.example.com shutting down\r\n")
        await stopped
        self.assertEqual(len(self.desk.taken), 1)
        self.assertEqual(listener.connections, 0)

    async def test_stopping_waits_only_so_long(self) -> None:
        listener = self.listening()
        busy = await self.connected(listener)
        busy.say(b"EHLO c.example", b"MAIL FROM:<a@example.net>", b"RCPT TO:<b@example.org>", b"DATA")
        await busy.until(b"354 ")
        stopped = listener.stopService()
        await busy.until(b"421 4.3.2 mx.example.com shutting down\r\n")
        await stopped
        self.assertEqual(self.desk.taken, [])

    def test_a_port_that_is_taken_is_named_with_the_remedy(self) -> None:
        host, port = self.listening().address
        with self.assertRaisesRegex(
            CannotListen, rf"cannot listen on {host}:{port}: Address already in use \(something listens there"
        ):
            self.listening(f"{host}:{port}")

    async def test_it_can_listen_again(self) -> None:
        listener = self.listening()
        await listener.stopService()
        self.assertRaises(CannotListen, lambda: listener.address)
        listener.startService()
        client = await self.connected(listener)
        await client.until(b"220 ")


class AddressTests(SynchronousTestCase):
    """Addresses to listen on, and what is wrong with them."""

    def test_host_and_port(self) -> None:
        for listen, address in (
            ("127.0.0.1:2025", ("127.0.0.1", 2025)),
            ("0.0.0.0:25", ("0.0.0.0", 25)),
            ("[::]:25", ("::", 25)),
            ("[2001:db8::1]:0", ("2001:db8::1", 0)),
        ):
            self.assertEqual(listen_address(listen), address)

    def test_each_fault_names_the_address_and_what_to_do(self) -> None:
        class Reactor(MemoryReactorClock):
            fault = OSError()

            def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> object:
                raise CannotListenError(interface, port, self.fault)

        for fault, said in (
            (
                OSError(errno.EACCES, "Permission denied"),
                "cannot listen on 0.0.0.0:25: Permission denied (ports below 1024 need privileges",
            ),
            (
                OSError(errno.EADDRNOTAVAIL, "No such"),
                "cannot listen on 0.0.0.0:25: No such (no interface of this machine has that address",
            ),
            (OSError(errno.ENOMEM, "No memory"), "cannot listen on 0.0.0.0:25: No memory"),
        ):
            fake = Reactor()
            fake.fault = fault
            listener = EsmtpListener(ListenerSettings(listen="0.0.0.0:25"), reception(FakeDesk(), Clock()), fake)
            refusal = self.assertRaises(CannotListen, listener.privilegedStartService)
            self.assertTrue(str(refusal).startswith(said), refusal)

    def test_the_port_is_bound_once_and_before_privileges_go(self) -> None:
        fake = MemoryReactorClock()
        listener = EsmtpListener(ListenerSettings(listen="127.0.0.1:25"), reception(FakeDesk(), fake), fake)
        listener.privilegedStartService()
        listener.startService()
        ((port, factory, backlog, interface),) = fake.tcpServers
        self.assertEqual((port, interface), (25, "127.0.0.1"))
        self.assertGreaterEqual(backlog, 512)
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        protocol.makeConnection(FakeTransport())
        self.assertEqual(listener.connections, 1)
        listener.settings = ListenerSettings(listen="127.0.0.1:25", banner="other")
        transport = FakeTransport()
        factory.buildProtocol(None).makeConnection(transport)
        self.assertEqual(transport.value(), b"220 mx.example.com other\r\n")
