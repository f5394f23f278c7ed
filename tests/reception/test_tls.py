"""What a listener shows of itself under TLS."""

import contextlib
import os
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.keys import KeyData
from kumotwist.reception.tls import BadCertificate, Certificates, Shown
from tests.config.certificate import certificate_and_key


def shaken(factory: IOpenSSLContextFactory, *, version: int | None = None) -> tuple[list[X509], str]:
    """A handshake in memory: the server's certificates as a client sees them, and the version agreed on."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    client, _ = met(factory, context, version=version)
    return client.get_peer_cert_chain() or [], client.get_protocol_version_name()


def met(
    factory: IOpenSSLContextFactory, context: SSL.Context, *, version: int | None = None, asked: str | None = None
) -> tuple[SSL.Connection, SSL.Connection]:
    """Client and server after a handshake in memory.  asked: the name that the client asks for."""
    if version is not None:
        context.set_max_proto_version(version)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
    client, server = SSL.Connection(context, None), SSL.Connection(factory.getContext(), None)
    if asked is not None:
        client.set_tlsext_host_name(asked.encode())
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(10):
        for end, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                end.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(end.bio_read(65536))
    return client, server


def written(directory: str, name: str) -> tuple[str, str]:
    """Paths of a certificate for that name and of its key."""
    paths = Path(directory, f"{name}.cert.pem"), Path(directory, f"{name}.key.pem")
    for path, octets in zip(paths, certificate_and_key(name), strict=True):
        path.write_bytes(octets)
    return str(paths[0]), str(paths[1])


def name(certificate: X509) -> str:
    return certificate.get_subject().CN


class CertificatesTests(SynchronousTestCase):
    """Certificates.options."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.certificates = Certificates(self.clock)
        self.directory = self.mktemp()
        os.mkdir(self.directory)

    def touch(self, path: str) -> None:
        """As if the file had been written later than within the clock's resolution."""
        facts = os.stat(path)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1_000_000))

    def test_without_files_a_certificate_is_made_for_the_hostname(self) -> None:
        chain, version = shaken(self.certificates.options("mx.example.com", None, None))
        certificate = chain[0].to_cryptography()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["mx.example.com"])
        self.assertLess(certificate.not_valid_before_utc.timestamp(), 1_700_000_000)
        self.assertGreater(certificate.not_valid_after_utc.timestamp(), 1_700_000_000 + 9 * 365 * 86400)
        self.assertEqual(version, "TLSv1.3")

    def test_it_is_made_once_for_each_hostname(self) -> None:
        one = self.certificates.options("one.example", None, None)
        self.assertIs(self.certificates.options("one.example", None, None), one)
        self.assertIsNot(self.certificates.options("other.example", None, None), one)

    def test_a_long_hostname_is_no_fault(self) -> None:
        long = ".".join(["x" * 60] * 3)
        self.assertEqual(name(shaken(self.certificates.options(long, None, None))[0][0]), long[:64])

    def test_the_configured_certificate_with_its_chain(self) -> None:
        certificate, key = written(self.directory, "leaf.example")
        above, _ = written(self.directory, "ca.example")
        Path(certificate).write_bytes(Path(certificate).read_bytes() + Path(above).read_bytes())
        chain, _ = shaken(self.certificates.options("mx.example.com", certificate, key))
        self.assertEqual([name(one) for one in chain], ["leaf.example", "ca.example"])

    def test_nothing_older_than_tls_1_2(self) -> None:
        options = self.certificates.options("mx.example.com", None, None)
        self.assertEqual(shaken(options, version=SSL.TLS1_2_VERSION)[1], "TLSv1.2")
        with self.assertRaises(SSL.Error):
            shaken(options, version=SSL.TLS1_1_VERSION)

    def test_files_are_read_once_until_they_change(self) -> None:
        certificate, key = written(self.directory, "one.example")
        options = self.certificates.options("mx.example.com", certificate, key)
        self.assertIs(self.certificates.options("mx.example.com", certificate, key), options)
        other, other_key = written(self.directory, "two.example")
        os.rename(other, certificate)
        os.rename(other_key, key)
        chain, _ = shaken(self.certificates.options("mx.example.com", certificate, key))
        self.assertEqual(name(chain[0]), "two.example")

    def test_files_that_cannot_be_used_are_named(self) -> None:
        certificate, key = written(self.directory, "one.example")
        _, other_key = written(self.directory, "two.example")
        empty = os.path.join(self.directory, "empty")
        Path(empty).write_bytes(b"")
        for given in ((certificate, other_key), (certificate, empty), (empty, key), (key, certificate), (certificate, "/nowhere")):
            with self.assertRaisesRegex(BadCertificate, given[1]):
                self.certificates.options("mx.example.com", *given)

    def test_one_without_the_other_is_a_fault(self) -> None:
        certificate, key = written(self.directory, "one.example")
        for given in ((certificate, None), (None, key)):
            self.assertRaises(BadCertificate, self.certificates.options, "mx.example.com", *given)

    def test_while_a_renewal_is_half_written_the_old_certificate_stays(self) -> None:
        certificate, key = written(self.directory, "one.example")
        options = self.certificates.options("mx.example.com", certificate, key)
        other, _ = written(self.directory, "two.example")
        whole = Path(certificate).read_bytes()
        os.rename(other, certificate)  # the key is not there yet
        self.assertIs(self.certificates.options("mx.example.com", certificate, key), options)
        self.assertIs(self.certificates.options("mx.example.com", certificate, key), options)
        Path(certificate).write_bytes(whole)
        self.touch(certificate)
        self.assertIsNot(self.certificates.options("mx.example.com", certificate, key), options)

    def test_what_stands_in_the_configuration_itself(self) -> None:
        certificate, key = (KeyData(octets) for octets in certificate_and_key("inside.example"))
        options = self.certificates.options("mx.example.com", certificate, key)
        self.assertEqual(name(shaken(options)[0][0]), "inside.example")
        self.assertIs(self.certificates.options("mx.example.com", certificate, key), options)

    def test_each_name_that_is_asked_for_gets_its_own(self) -> None:
        one, two = written(self.directory, "one.example"), written(self.directory, "two.example")
        bad = ("/nowhere/cert.pem", "/nowhere/key.pem")
        shown = Shown(
            hostname="mx.example.com", certificate=one[0], private_key=one[1], sni={"two.example": two, "bad.example": bad}
        )
        for asked, seen in (
            ("two.example", "two.example"),
            ("Two.Example", "two.example"),
            ("other.example", "one.example"),
            (None, "one.example"),
            ("bad.example", "one.example"),
        ):
            client, _ = met(self.certificates.factory(shown), SSL.Context(SSL.TLS_CLIENT_METHOD), asked=asked)
            chain = client.get_peer_cert_chain()
            assert chain is not None
            self.assertEqual(name(chain[0]), seen, asked)

    def test_a_name_with_a_renewed_certificate(self) -> None:
        two = written(self.directory, "two.example")
        shown = Shown(hostname="mx.example.com", sni={"two.example": two})
        for renewed in ("two.example", "three.example"):
            for path, other in zip(two, written(self.directory, renewed), strict=True):
                os.rename(other, path)
            client, _ = met(self.certificates.factory(shown), SSL.Context(SSL.TLS_CLIENT_METHOD), asked="two.example")
            chain = client.get_peer_cert_chain()
            assert chain is not None
            self.assertEqual(name(chain[0]), renewed)


class ClientCertificateTests(SynchronousTestCase):
    """tls_required_client_ca: who proves what, and that nobody is turned away for it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.certificates = Certificates(self.clock)
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        self.ca = written(self.directory, "client.example")
        self.shown = Shown(hostname="mx.example.com", client_ca=self.ca[0])

    def proved(self, own: tuple[str, str] | None) -> tuple[str, ...]:
        """What a client proves that shows its certificate and key."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if own is not None:
            context.use_certificate_file(own[0])
            context.use_privatekey_file(own[1])
        client, server = met(self.certificates.factory(self.shown), context)
        self.assertEqual(client.get_protocol_version_name(), server.get_protocol_version_name())
        server.send(b"x")  # the handshake is whole
        return self.certificates.proved(server)

    def test_who_is_known_has_a_name(self) -> None:
        self.assertEqual(self.proved(self.ca), ("CN=client.example",))

    def test_who_is_not_known_or_shows_nothing_has_none(self) -> None:
        self.assertEqual(self.proved(written(self.directory, "stranger.example")), ())
        self.assertEqual(self.proved(None), ())

    def test_authorities_that_cannot_be_read(self) -> None:
        self.assertEqual(self.proved(self.ca), ("CN=client.example",))
        Path(self.shown.client_ca or "").write_text("-----BEGIN CERTIFICATE-----")
        with self.assertRaisesRegex(BadCertificate, "client.example.cert.pem"):
            Certificates(self.clock).factory(self.shown)
        self.certificates.factory(self.shown)  # those that were good stay
