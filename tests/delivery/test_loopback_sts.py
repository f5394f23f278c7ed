"""Policies from a real web server, and certificates that real TLSA records mean or do not."""

import socket
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate, load_pem_x509_certificate
from OpenSSL import SSL
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from kumotwist.config.egress import EnableTls
from kumotwist.config.keys import KeyData
from kumotwist.delivery.mta_sts import FetchFailed, PolicyServers, StsPolicies
from kumotwist.delivery.tls import Trust
from tests.delivery.case import DELIVERED, POSTPONED, Names, settled
from tests.delivery.certificates import Authority
from tests.delivery.secured import Secured, found
from tests.delivery.test_loopback import QUEUED
from tests.delivery.test_loopback_tls import ServerTls, TlsCase

HOST = "mta-sts.example.com"
TEXT = b"version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 86400\n"
TXT = {"_mta-sts.example.com TXT": found('"v=STSv1; id=1;"')}


class Policy(Resource):
    """Hands out a policy, well or badly.  asked: what for, and by which name."""

    isLeaf = True  # noqa: N815 Twisted's name

    def __init__(self) -> None:
        super().__init__()
        self.code = 200
        self.kind = b"text/plain; charset=utf-8"
        self.text: bytes | None = TEXT
        self.asked: list[tuple[bytes, bytes]] = []

    def render_GET(self, request: Any) -> Any:
        self.asked.append((request.uri, request.getRequestHostname()))
        request.setResponseCode(self.code)
        request.setHeader(b"content-type", self.kind)
        if self.code == 301:
            request.setHeader(b"location", b"https://elsewhere.example.org/")
        return NOT_DONE_YET if self.text is None else self.text


class WebCase(TlsCase):
    """A web server for mta-sts.example.com at 127.0.0.1."""

    async def fetch(self, policy: Policy, *names: str, authority: Authority | None = None, ips: Any = ("127.0.0.1",)) -> bytes:
        options = PrivateCertificate.loadPEM((authority or self.authority).sign(*(names or (HOST,)))).options()
        site = Site(policy)
        listening = self.reactor.listenSSL(0, site, options, interface="127.0.0.1")
        self.servers = PolicyServers(self.reactor, Names({HOST: ips}), lambda: Trust(str(self.ca_file)), listening.getHost().port)
        try:
            return await self.act()
        finally:
            await listening.stopListening()
            await deferLater(self.reactor, 0.01)

    async def act(self) -> bytes:
        return await self.servers.fetch("example.com")

    async def failed(self, policy: Policy, *names: str, **ways: Any) -> str:
        with self.assertRaises(FetchFailed) as raised:
            await self.fetch(policy, *names, **ways)
        return str(raised.exception)


class PolicyServerTests(WebCase):
    """RFC 8461 section 3.3."""

    async def test_a_policy_is_fetched_from_the_well_known_place(self) -> None:
        policy = Policy()
        self.assertEqual(await self.fetch(policy), TEXT)
        self.assertEqual(policy.asked, [(b"/.well-known/mta-sts.txt", HOST.encode())])

    async def test_each_address_is_tried(self) -> None:
        self.assertEqual(await self.fetch(Policy(), ips=("127.0.0.77", "127.0.0.1")), TEXT)

    async def test_an_answer_that_is_no_policy(self) -> None:
        for changes, text in (
            ({"code": 404}, f"{HOST} answered 404"),
            ({"code": 301}, f"{HOST} answered 301"),
            ({"code": 500}, f"{HOST} answered 500"),
            ({"kind": b"text/html"}, f"{HOST} sent text/html instead of text/plain"),
            ({"kind": b"text/plainly"}, f"{HOST} sent text/plainly instead of text/plain"),
            ({"text": b"x" * 70000}, "it is longer than 65536 octets"),
        ):
            policy = Policy()
            for name, value in changes.items():
                setattr(policy, name, value)
            self.assertEqual(await self.failed(policy), text)
            self.assertEqual(len(policy.asked), 1, "nothing is followed or repeated")

    async def test_a_certificate_of_somebody_else(self) -> None:
        policy = Policy()
        self.assertIn(f"the certificate is not for {HOST}", await self.failed(policy, "www.example.com"))
        self.assertIn("certificate verify failed", await self.failed(policy, authority=Authority("stranger")))
        self.assertEqual(policy.asked, [])

    async def test_a_server_that_is_not_there(self) -> None:
        self.assertIn("Connection was refused", await self.failed(Policy(), ips=("127.0.0.77",)))
        self.assertIn("it has no address", await self.failed(Policy(), ips=()))
        self.assertIn("SERVFAIL", await self.failed(Policy(), ips=OSError("SERVFAIL")))

    async def test_whom_we_trust_cannot_be_read(self) -> None:
        self.ca_file.unlink()
        self.assertIn("the trusted certificates cannot be read", await self.failed(Policy()))

    async def test_a_server_that_does_not_get_on_is_given_up(self) -> None:
        policy = Policy()
        policy.text = None

        async def give_up() -> bytes:
            fetching = self.servers.fetch("example.com")
            while not policy.asked:
                await deferLater(self.reactor, 0.001)
            fetching.cancel()
            return await fetching

        self.act = give_up  # type: ignore[method-assign]
        await self.failed(policy)

    async def test_mail_heeds_what_was_fetched(self) -> None:
        for mode, certificate, verdict in (
            (b"enforce", "mx.example.com", DELIVERED),
            (b"enforce", "mx.example.org", POSTPONED),
            (b"testing", "mx.example.org", DELIVERED),
            (b"none", "mx.example.org", POSTPONED),  # as the path says: Opportunistic
        ):
            policy = Policy()
            policy.text = TEXT.replace(b"enforce", mode)
            calls: list[Any] = []

            async def send(certificate: str = certificate, calls: list[Any] = calls) -> bytes:
                policies = StsPolicies(self.reactor, Secured(TXT).find, self.servers.fetch)
                supply, _ = await self.deliver(self.server(certificate), by_name=True, means={"policies": policies})
                calls += supply.calls
                return b""

            self.act = send  # type: ignore[method-assign]
            await self.fetch(policy)
            outcome = next(call[2][0][0] for call in calls if call[0] == "settle")
            self.assertEqual(outcome, verdict, (mode, certificate))
            self.assertEqual(len(policy.asked), 1)


class DaneTests(TlsCase):
    """Real handshakes under TLSA records."""

    def setUp(self) -> None:
        super().setUp()
        self.pem = Authority("nobody knows it").sign("elsewhere.example.org")

    async def send(self, records: Any, server: Any, **changes: Any) -> Any:
        port = changes.pop("port", 0) or self.free_port()
        answers = {
            "example.com MX": found("10 mx.example.com.", kind="MX"),
            "mx.example.com A": found("127.0.0.1", kind="A"),
            f"_{port}._tcp.mx.example.com TLSA": records,
        }
        self.port = port
        means = {"secured": Secured(answers)}
        settings = {"enable_dane": True, "port": port, **changes}
        supply, self.hosts = await self.deliver(server, by_name=True, means=means, **settings)
        return supply

    def free_port(self) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def record(self, usage: int, pem: bytes) -> Any:
        certificate: Certificate = load_pem_x509_certificate(pem)
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return found(f"{usage} 1 1 {sha256(key).hexdigest()}", kind="TLSA")

    async def test_a_certificate_that_a_record_means_is_good_whoever_signed_it_for_whomever(self) -> None:
        for mode in EnableTls:
            supply = await self.send(self.record(3, self.pem), ServerTls(self.pem), enable_tls=mode)
            self.assertEqual(supply.calls, [("connected",), settled(1, DELIVERED, QUEUED)], mode)
            self.assertEqual(supply.attempts[0].tls.protocol_version, "TLSv1.3")

    async def test_another_is_not_however_good_it_is_otherwise(self) -> None:
        for mode in EnableTls:
            supply = await self.send(self.record(3, self.pem), self.server(), enable_tls=mode)
            ((verdict, _, text),) = supply.calls[0][2]
            self.assertEqual(verdict, POSTPONED, mode)
            self.assertIn("no TLSA record of mx.example.com means its certificate", text)
            self.assertEqual(len(self.hosts.connections), 1, "and the mail does not go in clear")

    async def test_an_authority_that_a_record_means(self) -> None:
        for name, verdict in (("mx.example.com", DELIVERED), ("example.com", DELIVERED), ("mx.example.org", POSTPONED)):
            server = ServerTls(self.authority.sign(name))
            server.context.add_extra_chain_cert(load_pem_x509_certificate(self.authority.pem))
            supply = await self.send(self.record(2, self.authority.pem), server)
            self.assertEqual(next(call[2][0][0] for call in supply.calls if call[0] == "settle"), verdict, name)

    async def test_a_resumed_session_is_as_good_as_its_first(self) -> None:
        trust = Trust(str(self.ca_file))
        server = ServerTls(self.authority.sign("mx.example.com"))
        server.context.add_extra_chain_cert(load_pem_x509_certificate(self.authority.pem))
        self.port = 0
        for _ in range(3):
            supply = await self.send(self.record(2, self.authority.pem), server, trust=trust, port=self.port)
            self.assertEqual(supply.calls[-1], settled(1, DELIVERED, QUEUED))
        reused = [bool(SSL._lib.SSL_session_reused(connection._ssl)) for connection in server.connections]
        self.assertEqual(reused, [False, True, True])

    async def test_records_that_cannot_be_used_want_any_encryption(self) -> None:
        unusable = found(f"0 1 1 {'aa' * 32}", kind="TLSA")
        supply = await self.send(unusable, ServerTls(self.pem), enable_tls=EnableTls.OPPORTUNISTIC)
        self.assertEqual(supply.calls[-1], settled(1, DELIVERED, QUEUED))
        supply = await self.send(unusable, ServerTls(self.pem), enable_tls=EnableTls.REQUIRED)
        self.assertIn("certificate verify failed", supply.outcomes[0].reply.text)

    async def test_without_records_it_is_as_configured(self) -> None:
        supply = await self.send(found(kind="TLSA"), ServerTls(self.pem), enable_tls=EnableTls.OPPORTUNISTIC)
        self.assertIn("certificate verify failed", supply.outcomes[0].reply.text)

    async def test_a_broken_handshake_is_neither_remembered_nor_followed_by_clear_text(self) -> None:
        supply = await self.send(
            self.record(3, self.pem),
            None,
            enable_tls=EnableTls.OPPORTUNISTIC_INSECURE,
            opportunistic_tls_reconnect_on_failed_handshake=True,
            remember_broken_tls=3600.0,
        )
        self.assertEqual((supply.calls[0][0], len(self.hosts.connections)), ("settle", 1))

    async def test_a_password_may_go_where_a_record_vouches(self) -> None:
        auth = {"smtp_auth_plain_username": "user", "smtp_auth_plain_password": KeyData(b"secret")}
        supply = await self.send(self.record(3, self.pem), ServerTls(self.pem), **auth)
        self.assertEqual(supply.calls[-1], settled(1, DELIVERED, QUEUED))
