"""Two local addresses, two names, two certificates: as openssl and an SMTP client see them."""

import smtplib
import socket
import ssl
import subprocess

from cryptography import x509

from tests.examples.support import EXAMPLES, IP_1, IP_2, IP_3, Example, ExampleTestCase
from tests.peers.support import program

CUSTOMERS = {IP_1: ("mx.example-customer.com", "customer1.cert"), IP_2: ("mx.other-customer.com", "customer2.cert")}


def certificate_in(name: str) -> bytes:
    """In DER, as it goes over the wire."""
    return ssl.PEM_cert_to_DER_cert((EXAMPLES / name).read_text("ascii"))


def seen_by_client(server: Example, address: str) -> tuple[str, str, bytes]:
    """What the banner says, what EHLO answers after STARTTLS, and the certificate."""
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((address, server.port), timeout=30) as plain, plain.makefile("r") as lines:
        banner = lines.readline().removeprefix("220 ")
    with smtplib.SMTP(address, server.port, local_hostname="client.example", timeout=30) as client:
        client.starttls(context=anyone)
        _, answer = client.ehlo()
        assert isinstance(client.sock, ssl.SSLSocket)
        certificate = client.sock.getpeercert(binary_form=True)
    assert certificate is not None
    return banner.split()[0], answer.decode().split()[0], certificate


def seen_by_openssl(server: Example, address: str) -> bytes:
    """The certificate that `openssl s_client` is shown."""
    command = [program("openssl", "openssl"), "s_client", "-starttls", "smtp", "-connect", f"{address}:{server.port}"]
    done = subprocess.run(command, input=b"QUIT\r\n", capture_output=True, timeout=30, check=False)
    _, begin, rest = done.stdout.decode().partition("-----BEGIN CERTIFICATE-----")
    body, end, _ = rest.partition("-----END CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(begin + body + end)


class VirtualHostTests(ExampleTestCase):
    def assert_two_hosts(self, servers: list[Example]) -> None:
        for server in servers:
            for address, (name, file) in CUSTOMERS.items():
                self.assertEqual(seen_by_client(server, address), (name, name, certificate_in(file)), server.shown)
                self.assertEqual(seen_by_openssl(server, address), certificate_in(file), server.shown)
            banner, _, certificate = seen_by_client(server, IP_3)  # nobody's address
            self.assertEqual(banner, "mta.examplecorp.com", server.shown)
            self.assertNotIn(certificate, [certificate_in(file) for _, file in CUSTOMERS.values()])
            x509.load_der_x509_certificate(certificate)
        self.end(servers)

    def test_each_local_address_has_its_name_and_certificate(self) -> None:
        self.assert_two_hosts(self.start_both("virtual-hosts"))

    def test_they_may_come_from_a_file(self) -> None:
        self.assert_two_hosts(self.start_both("virtual-hosts-from-file"))
