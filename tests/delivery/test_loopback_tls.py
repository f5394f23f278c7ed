"""Real handshakes: what is remembered of failed ones, client certificates, ciphers, resumed sessions, passwords."""

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from kumotwist.config.egress import EnableTls, PathSettings
from kumotwist.config.keys import KeyData, KeyEvent
from kumotwist.config.openssl import CipherSuite, openssl_options
from kumotwist.delivery.broken import BrokenOffers, Offer
from kumotwist.delivery.tls import TlsParameters, Trust, tls_parameters
from tests.delivery.case import DELIVERED, POSTPONED, Supply, settled
from tests.delivery.certificates import Authority
from tests.delivery.test_loopback import QUEUED, VERIFYING, Hosts, LoopbackCase

OPPORTUNISTIC = (EnableTls.OPPORTUNISTIC, EnableTls.OPPORTUNISTIC_INSECURE)
REQUIRED = (EnableTls.REQUIRED, EnableTls.REQUIRED_INSECURE)
OLD, NEW = (CipherSuite.ECDSA_AES_128_GCM,), (CipherSuite.CHACHA20,)
PREFERRED = {"tls_prefer_openssl": True, "openssl_cipher_suites": "TLS_AES_128_GCM_SHA256"}
SITE = "source-1->mx.example.com@smtp_client"


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """A server's TLS with all that Twisted's own leaves out.  connections: those that were made."""

    def __init__(self, pem: bytes, *, want: bytes | None = None, ciphers: bytes | None = None, newest: int = 0) -> None:
        """want: the authority whose certificates clients must show.  newest: the newest version of TLS."""
        self.context = SSL.Context(SSL.TLS_METHOD)
        self.context.use_privatekey(load_pem_private_key(pem, None))  # type: ignore[arg-type]
        self.context.use_certificate(load_pem_x509_certificate(pem))
        self.context.set_session_id(b"tests")
        if ciphers is not None:
            self.context.set_cipher_list(ciphers)
        if newest:
            self.context.set_max_proto_version(newest)
        if want is not None:
            store = self.context.get_cert_store()
            assert store is not None
            store.add_cert(SSL.X509.from_cryptography(load_pem_x509_certificate(want)))
            self.context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *all: bool(all[-1]))
        self.connections: list[SSL.Connection] = []

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: N803 Twisted's name
        connection = SSL.Connection(self.context, None)
        self.connections.append(connection)
        return connection


class TlsCase(LoopbackCase):
    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority()
        self.ca_file.write_bytes(self.authority.pem)

    def server(self, *names: str, **ways: Any) -> ServerTls:
        return ServerTls(self.authority.sign(*(names or ("mx.example.com",))), **ways)

    def starttls(self, hosts: Hosts) -> int:
        return hosts.heard.count(b"STARTTLS")


CLEAR, ENCRYPTED, FAILED = "delivered in clear", "delivered over TLS", "no connection"
D, O, OI, R, RI = EnableTls  # noqa: E741  as the columns below

# What becomes of a message, by the peer and `enable_tls`: D Disabled, O Opportunistic, OI OpportunisticInsecure, R Required,
# RI RequiredInsecure.  The reference's table, but for OI and a handshake that fails: there it goes on in clear on the same
# connection, here on another.
MATRIX = {
    # peer                 D      O          OI         R          RI
    "no TLS":             (CLEAR, CLEAR,     CLEAR,     FAILED,    FAILED),
    "good":               (CLEAR, ENCRYPTED, ENCRYPTED, ENCRYPTED, ENCRYPTED),
    "expired":            (CLEAR, FAILED,    ENCRYPTED, FAILED,    ENCRYPTED),
    "self-signed":        (CLEAR, FAILED,    ENCRYPTED, FAILED,    ENCRYPTED),
    "wrong name":         (CLEAR, FAILED,    ENCRYPTED, FAILED,    ENCRYPTED),
    "TLS 1.1 only":       (CLEAR, FAILED,    CLEAR,     FAILED,    FAILED),
    "broken handshake":   (CLEAR, FAILED,    CLEAR,     FAILED,    FAILED),
    "STARTTLS refused":   (CLEAR, FAILED,    FAILED,    FAILED,    FAILED),
    "silent handshake":   (CLEAR, FAILED,    FAILED,    FAILED,    FAILED),
    "EHLO refused after": (CLEAR, FAILED,    FAILED,    FAILED,    FAILED),
}  # fmt: skip


class MatrixTests(TlsCase):
    """Each peer under each mode."""

    def peer(self, name: str) -> dict[str, Any]:
        return {
            "no TLS": {"tls": None, "starttls": ""},
            "good": {"tls": self.server()},
            "expired": {"tls": ServerTls(self.authority.sign("mx.example.com", days=-3))},
            "self-signed": {"tls": ServerTls(Authority("stranger").sign("mx.example.com"))},
            "wrong name": {"tls": self.server("mx.example.org")},
            "TLS 1.1 only": {"tls": self.server(newest=SSL.TLS1_1_VERSION, ciphers=b"ALL:@SECLEVEL=0")},
            "broken handshake": {"tls": None},
            "STARTTLS refused": {"tls": None, "starttls": "454 4.7.0 not now"},
            "silent handshake": {"tls": None, "starttls": "220 go", "starttls_timeout": 0.1},
            "EHLO refused after": {"tls": self.server(), "after_tls": "554 5.7.0 go away"},
        }[name]

    def outcome(self, supply: Supply) -> str:
        if supply.calls[-1] != settled(1, DELIVERED, QUEUED):
            self.assertEqual([call[0] for call in supply.calls], ["settle", "connection_failed"])
            self.assertEqual(supply.outcomes[0].verdict.value, POSTPONED)
            return FAILED
        return CLEAR if supply.attempts[0].tls is None else ENCRYPTED

    async def test_the_table_holds(self) -> None:
        for name, row in MATRIX.items():
            for mode, expected in zip((D, O, OI, R, RI), row, strict=True):
                supply, _ = await self.deliver(**self.peer(name), enable_tls=mode)
                self.assertEqual(self.outcome(supply), expected, (name, mode, supply.calls))


class BrokenTlsTests(TlsCase):
    """`remember_broken_tls` and `opportunistic_tls_reconnect_on_failed_handshake`."""

    async def twice(self, mode: EnableTls, tls: Any, **changes: Any) -> tuple[Supply, Hosts, Supply, Hosts]:
        """Two sessions one after the other, with one memory."""
        self.broken = BrokenOffers()
        means = {"broken": self.broken}
        first = await self.deliver(tls, enable_tls=mode, means=means, **changes)
        second = await self.deliver(tls, enable_tls=mode, means=means, **changes)
        return (*first, *second)

    async def test_without_the_parameters_nothing_is_remembered(self) -> None:
        for mode in (*OPPORTUNISTIC, *REQUIRED):
            _, hosts, _, again = await self.twice(mode, None)
            self.assertEqual((self.starttls(hosts), self.starttls(again)), (1, 1), mode)

    async def test_a_failed_handshake_is_remembered_where_nobody_insists(self) -> None:
        for mode in (*OPPORTUNISTIC, *REQUIRED):
            first, hosts, second, again = await self.twice(mode, None, remember_broken_tls=3600.0)
            in_clear = mode in OPPORTUNISTIC
            self.assertEqual(self.starttls(hosts), 1)
            self.assertEqual(self.starttls(again), 0 if in_clear else 1, mode)
            delivered = [("connected",), settled(1, DELIVERED, QUEUED)]
            self.assertEqual(first.calls == delivered, mode is EnableTls.OPPORTUNISTIC_INSECURE, mode)
            self.assertEqual(second.calls == delivered, in_clear, mode)

    async def test_a_certificate_that_will_not_do_is_a_failed_handshake(self) -> None:
        _, _, second, again = await self.twice(
            EnableTls.OPPORTUNISTIC, self.server("another.example.com"), remember_broken_tls=3600.0
        )
        self.assertEqual((second.calls[-1], self.starttls(again)), (settled(1, DELIVERED, QUEUED), 0))

    async def test_so_is_a_host_that_does_not_go_on_after_it(self) -> None:
        for mode in (*OPPORTUNISTIC, *REQUIRED):
            first, _, second, again = await self.twice(
                mode, self.server(), after_tls="554 5.7.0 go away", remember_broken_tls=3600.0
            )
            text = first.outcomes[0].reply.text
            self.assertIn("after the TLS handshake with mx.example.com./127.0.0.1:", text)
            self.assertIn("EHLO here.example.net was answered 554 5.7.0 go away", text)
            self.assertEqual(self.starttls(again), 0 if mode in OPPORTUNISTIC else 1, mode)
            self.assertEqual(second.calls[-1] == settled(1, DELIVERED, QUEUED), mode in OPPORTUNISTIC, mode)

    async def test_what_was_remembered_is_forgotten(self) -> None:
        broken = BrokenOffers()
        broken.note(SITE, Offer.STARTTLS, self.reactor.seconds() - 1)
        supply, hosts = await self.deliver(self.server(), enable_tls=EnableTls.OPPORTUNISTIC, means={"broken": broken})
        self.assertEqual((supply.calls[-1], self.starttls(hosts)), (settled(1, DELIVERED, QUEUED), 1))

    async def test_reconnecting_in_clear_at_once(self) -> None:
        for tls, after in ((None, None), (self.server(), "554 go away"), (self.server("another.example.com"), None)):
            for mode in (*OPPORTUNISTIC, *REQUIRED):
                if after is None and tls is not None and mode not in VERIFYING:
                    continue  # there any certificate will do
                _, hosts, second, again = await self.twice(
                    mode, tls, after_tls=after, opportunistic_tls_reconnect_on_failed_handshake=True
                )
                if mode in OPPORTUNISTIC:
                    self.assertEqual((len(hosts.connections), self.starttls(hosts)), (2, 1), (mode, after))
                    self.assertEqual(second.calls[-1], settled(1, DELIVERED, QUEUED), mode)
                    self.assertEqual((len(again.connections), self.starttls(again)), (1, 0), "for a quarter of an hour")
                    self.assertTrue(self.broken.holds(SITE, Offer.STARTTLS, self.reactor.seconds() + 800))
                    self.assertFalse(self.broken.holds(SITE, Offer.STARTTLS, self.reactor.seconds() + 1000))
                else:
                    self.assertEqual((len(hosts.connections), second.calls[0][0]), (1, "settle"), mode)
                    self.assertFalse(self.broken.holds(SITE, Offer.STARTTLS, self.reactor.seconds()))


class OursTests(TlsCase):
    """Certificates that we show."""

    async def test_a_server_that_wants_one_gets_it(self) -> None:
        pem = self.authority.sign("client.example.net")
        file = Path(self.mktemp())
        file.write_bytes(pem)
        sources: tuple[tuple[Any, Any], ...] = (
            (str(file), str(file)),
            (KeyData(pem), KeyData(pem)),
            (KeyEvent("certificate"), KeyEvent("key")),
        )
        for certificate, key in sources:
            server = self.server(want=self.authority.pem, newest=SSL.TLS1_2_VERSION)
            supply, _ = await self.deliver(
                server,
                enable_tls=EnableTls.REQUIRED,
                tls_certificate=certificate,
                tls_private_key=key,
                means={"ask_policy": lambda event: pem},
            )
            self.assertEqual(supply.calls[-1], settled(1, DELIVERED, QUEUED))
            shown = server.connections[0].get_peer_certificate(as_cryptography=True)
            assert shown is not None
            self.assertIn("client.example.net", shown.subject.rfc4514_string())

    async def test_without_one_it_does_not_get_the_mail(self) -> None:
        server = self.server(want=self.authority.pem)
        supply, _ = await self.deliver(server, enable_tls=EnableTls.REQUIRED)
        self.assertEqual(supply.calls[0][2][0][0], POSTPONED)

    async def test_one_that_cannot_be_used_is_told_of_without_its_text(self) -> None:
        pem, other = self.authority.sign("client.example.net"), self.authority.sign("other.example.net")
        missing = self.mktemp()
        for certificate, key, text in (
            (missing, KeyData(pem), "tls_certificate cannot be used: its file cannot be read: No such file or directory"),
            (KeyData(b"hunter2"), KeyData(pem), "tls_certificate cannot be used: it is not what it should be, in PEM form"),
            (KeyData(pem), KeyData(b"hunter2"), "tls_private_key cannot be used: it is not what it should be, in PEM form"),
            (KeyData(pem), KeyData(other), "tls_private_key cannot be used: key values mismatch"),
            (KeyData(pem), KeyEvent("key"), "tls_private_key cannot be used: there is no policy to answer key"),
        ):
            supply, _ = await self.deliver(
                self.server(), enable_tls=EnableTls.OPPORTUNISTIC, tls_certificate=certificate, tls_private_key=key
            )
            self.assertEqual(supply.outcomes[0].verdict.value, POSTPONED)
            self.assertIn(text, supply.outcomes[0].reply.text)
            self.assertNotIn("hunter2", supply.outcomes[0].reply.text)

    async def test_renewed_ones_are_noticed_within_five_minutes(self) -> None:
        file = Path(self.mktemp())
        file.write_bytes(self.authority.sign("client.example.net"))
        trust, parameters = (
            Trust(),
            tls_parameters(PathSettings(tls_certificate=str(file), tls_private_key=str(file)), verify=False),
        )
        first = await trust.context(parameters, None, 1000.0)
        self.assertIs(await trust.context(parameters, None, 1299.0), first)
        self.assertIsNot(await trust.context(parameters, None, 1301.0), first)


class CipherTests(TlsCase):
    """Ciphers and options of the path."""

    async def test_they_decide_what_is_agreed(self) -> None:
        for changes, newest, cipher, version in (
            (
                {"openssl_cipher_list": "ECDHE-ECDSA-AES128-GCM-SHA256"},
                SSL.TLS1_2_VERSION,
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "TLSv1.2",
            ),
            ({"openssl_cipher_suites": "TLS_AES_128_GCM_SHA256"}, 0, "TLS_AES_128_GCM_SHA256", "TLSv1.3"),
            ({"openssl_cipher_suites": "TLS_CHACHA20_POLY1305_SHA256"}, 0, "TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3"),
            ({"openssl_options": "NO_TLSV1_3|NO_TICKET"}, 0, "", "TLSv1.2"),
            ({"rustls_cipher_suites": NEW + OLD}, 0, "TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3"),
            ({"rustls_cipher_suites": OLD}, 0, "ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2"),
            ({"rustls_cipher_suites": NEW + OLD}, SSL.TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2"),
            ({"rustls_cipher_suites": OLD, "openssl_cipher_suites": "TLS_AES_128_GCM_SHA256"}, 0, "ECDHE-ECDSA", "TLSv1.2"),
            ({"rustls_cipher_suites": OLD, **PREFERRED}, 0, "TLS_AES_128_GCM_SHA256", "TLSv1.3"),
        ):
            supply, _ = await self.deliver(self.server(newest=newest), enable_tls=EnableTls.REQUIRED, **changes)
            tls = supply.attempts[0].tls
            assert tls is not None
            self.assertEqual(tls.protocol_version, version)
            self.assertIn(cipher, tls.cipher)

    async def test_a_server_without_any_of_them_will_not_do(self) -> None:
        server = self.server(newest=SSL.TLS1_2_VERSION, ciphers=b"ECDHE-ECDSA-AES256-GCM-SHA384")
        supply, _ = await self.deliver(
            server, enable_tls=EnableTls.OPPORTUNISTIC, openssl_cipher_list="ECDHE-ECDSA-AES128-GCM-SHA256"
        )
        self.assertIn("TLS handshake with", supply.outcomes[0].reply.text)

    async def test_a_server_that_knows_only_an_older_version_than_the_suites_are_for(self) -> None:
        supply, _ = await self.deliver(
            self.server(newest=SSL.TLS1_2_VERSION), enable_tls=EnableTls.OPPORTUNISTIC, rustls_cipher_suites=NEW
        )
        self.assertIn("TLS handshake with", supply.outcomes[0].reply.text)

    async def test_what_openssl_does_not_know_is_told_of(self) -> None:
        for changes, text in (
            ({"openssl_cipher_list": "NONSENSE"}, "openssl_cipher_list cannot be used: no cipher match"),
            ({"openssl_cipher_suites": "TLS_NONSENSE"}, "openssl_cipher_suites cannot be used: no cipher match"),
            ({"openssl_options": "NO_NONSENSE"}, "openssl_options cannot be used: no option of OpenSSL is called 'NO_NONSENSE'"),
        ):
            supply, _ = await self.deliver(self.server(), enable_tls=EnableTls.REQUIRED, **changes)
            self.assertIn(text, supply.outcomes[0].reply.text)

    def test_options_are_counted_together_with_or_without_their_prefix(self) -> None:
        self.assertEqual(openssl_options("NO_TICKET"), SSL.OP_NO_TICKET)
        self.assertEqual(openssl_options("SSL_OP_NO_TLSv1_3 | op_no_ticket"), SSL.OP_NO_TLSv1_3 | SSL.OP_NO_TICKET)
        self.assertRaises(ValueError, openssl_options, "")

    async def test_contexts_are_bounded(self) -> None:
        trust = Trust()
        first = self.parameters("NO_TICKET")
        made = await trust.context(first, None, 0.0)
        for number in range(300):
            await trust.context(self.parameters("|".join(["NO_TICKET"] * (number + 2))), None, 0.0)
        self.assertIsNot(await trust.context(first, None, 0.0), made)

    def parameters(self, options: str) -> TlsParameters:
        return tls_parameters(PathSettings(openssl_options=options), verify=False)


class ResumptionTests(TlsCase):
    """A second handshake with the same host is short."""

    def resumed(self, server: ServerTls) -> list[bool]:
        return [bool(SSL._lib.SSL_session_reused(connection._ssl)) for connection in server.connections]

    async def test_sessions_are_resumed_in_both_versions_and_still_tell_the_facts(self) -> None:
        for newest, version in ((SSL.TLS1_2_VERSION, "TLSv1.2"), (0, "TLSv1.3")):
            server, trust = self.server(newest=newest), Trust(str(self.ca_file))
            facts = []
            port = 0
            for _ in range(3):
                supply, port = await self.deliver_again(server, trust, port)
                tls = supply.attempts[0].tls
                assert tls is not None
                facts.append((tls.protocol_version, tls.peer_subject_name))
            self.assertEqual(self.resumed(server), [False, True, True], version)
            self.assertEqual(facts, [(version, ("O=Test", "CN=mx.example.com"))] * 3)

    async def deliver_again(self, server: ServerTls, trust: Trust, port: int, **changes: Any) -> tuple[Supply, int]:
        settings = {"enable_tls": EnableTls.REQUIRED, **changes}
        supply, _ = await self.deliver(server, trust=trust, port=port, **settings)
        self.assertEqual(supply.calls[-1], settled(1, DELIVERED, QUEUED))
        return supply, supply.path.settings.smtp_port

    async def test_a_session_without_verification_never_stands_in_for_one_with_it(self) -> None:
        server, trust = self.server(), Trust(str(self.ca_file))
        _, port = await self.deliver_again(server, trust, 0, enable_tls=EnableTls.REQUIRED_INSECURE)
        await self.deliver_again(server, trust, port)
        self.assertEqual(self.resumed(server), [False, False])

    async def test_a_host_that_failed_leaves_none(self) -> None:
        server, trust = self.server("another.example.com"), Trust(str(self.ca_file))
        port = 0
        for _ in range(2):
            supply, _ = await self.deliver(server, trust=trust, port=port, enable_tls=EnableTls.REQUIRED)
            port = supply.path.settings.smtp_port
            self.assertIn("not for mx.example.com", supply.outcomes[0].reply.text)
        self.assertEqual(self.resumed(server), [False, False])


class PasswordTests(TlsCase):
    """AUTH PLAIN over TLS."""

    auth = {"smtp_auth_plain_username": "user", "smtp_auth_plain_password": KeyData(b"secret")}

    async def test_a_verified_connection_is_fit_for_it(self) -> None:
        supply, hosts = await self.deliver(self.server(), enable_tls=EnableTls.REQUIRED, **self.auth)
        self.assertEqual(supply.calls[-1], settled(1, DELIVERED, QUEUED))
        self.assertIn(b"AUTH PLAIN AHVzZXIAc2VjcmV0", hosts.heard)

    async def test_one_that_nobody_verified_only_if_allowed(self) -> None:
        supply, hosts = await self.deliver(self.server(), enable_tls=EnableTls.REQUIRED_INSECURE, **self.auth)
        self.assertIn("AUTH PLAIN is required, but the certificate is not verified", supply.outcomes[0].reply.text)
        self.assertEqual([line for line in hosts.heard if line.startswith(b"AUTH")], [])
        supply, hosts = await self.deliver(
            self.server(),
            enable_tls=EnableTls.REQUIRED_INSECURE,
            allow_smtp_auth_plain_without_valid_certificate=True,
            **self.auth,
        )
        self.assertEqual(supply.calls[-1], settled(1, DELIVERED, QUEUED))

    async def test_reconnecting_in_clear_takes_no_password_along(self) -> None:
        supply, hosts = await self.deliver(
            None, enable_tls=EnableTls.OPPORTUNISTIC, opportunistic_tls_reconnect_on_failed_handshake=True, **self.auth
        )
        self.assertIn("AUTH PLAIN is required, but the connection is not encrypted", supply.outcomes[0].reply.text)
        self.assertEqual([line for line in hosts.heard if line.startswith(b"AUTH")], [])

    def test_parameters_with_a_secret_do_not_show_it(self) -> None:
        shown = repr(tls_parameters(PathSettings(tls_private_key=KeyData(b"hunter2")), verify=True))
        self.assertNotIn("hunter2", shown)
