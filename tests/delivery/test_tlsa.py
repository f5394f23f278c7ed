"""TLSA records and the certificates that they mean."""

from hashlib import sha256, sha512
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate, load_pem_x509_certificate, load_pem_x509_certificates
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.delivery.tlsa import Tlsa, means, usable, vouched_for
from tests.delivery.certificates import Authority

HOST = "mx.example.com"


def der(certificate: Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def key(certificate: Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def records(usage: int, certificate: Certificate) -> list[Tlsa]:
    """Every way to name a certificate."""
    return [
        Tlsa(usage, selector, matching, digest(octets))
        for selector, octets in ((0, der(certificate)), (1, key(certificate)))
        for matching, digest in ((0, bytes), (1, lambda one: sha256(one).digest()), (2, lambda one: sha512(one).digest()))
    ]


class UsableTests(SynchronousTestCase):
    """RFC 7672 section 3.1."""

    def test_only_what_needs_no_public_authority_and_is_well_formed(self) -> None:
        for record, expected in (
            (Tlsa(3, 1, 1, b"x" * 32), True),
            (Tlsa(2, 0, 2, b"x" * 64), True),
            (Tlsa(3, 0, 0, b"anything"), True),
            (Tlsa(3, 0, 0, b""), False),
            (Tlsa(0, 1, 1, b"x" * 32), False),
            (Tlsa(1, 1, 1, b"x" * 32), False),
            (Tlsa(4, 1, 1, b"x" * 32), False),
            (Tlsa(3, 2, 1, b"x" * 32), False),
            (Tlsa(3, 1, 3, b"x" * 32), False),
            (Tlsa(3, 1, 1, b"x" * 31), False),
            (Tlsa(3, 1, 2, b"x" * 32), False),
        ):
            self.assertIs(usable(record), expected, record)


class VouchedForTests(SynchronousTestCase):
    """A chain of two: a host's certificate, and its authority's."""

    def setUp(self) -> None:
        self.authority, self.stranger = Authority(), Authority("stranger")
        self.root = load_pem_x509_certificate(self.authority.pem)
        self.other = load_pem_x509_certificate(self.stranger.pem)
        self.own = self.signed(HOST)

    def signed(self, *names: str, authority: Authority | None = None, **ways: Any) -> Certificate:
        (certificate,) = load_pem_x509_certificates((authority or self.authority).sign(*names, **ways))
        return certificate

    def check(self, expected: bool, found: list[Tlsa], *chain: Certificate, names: tuple[str, ...] = (HOST,)) -> None:
        for record in found:
            self.assertIs(vouched_for([record], chain, names), expected, record)

    def test_the_host_s_own_certificate_in_every_form(self) -> None:
        self.check(True, records(3, self.own), self.own, self.root)
        self.check(True, records(3, self.own), self.own)
        self.check(False, records(3, self.own), self.signed(HOST), self.root)
        self.check(False, records(3, self.root), self.own, self.root)

    def test_neither_its_name_nor_its_dates_matter(self) -> None:
        expired = self.signed("elsewhere.example.org", days=-3)
        self.check(True, records(3, expired), expired)

    def test_an_authority_in_every_form(self) -> None:
        self.check(True, records(2, self.root), self.own, self.root)
        self.check(False, records(2, self.other), self.own, self.root)
        self.check(False, records(2, self.root), self.signed(HOST, authority=self.stranger), self.other)

    def test_an_authority_that_is_shown_but_signed_nothing(self) -> None:
        self.check(False, records(2, self.root), self.signed(HOST, authority=self.stranger), self.root)

    def test_an_authority_that_the_record_holds_itself_need_not_be_shown(self) -> None:
        self.check(True, [Tlsa(2, 0, 0, der(self.root))], self.own)
        self.check(False, [Tlsa(2, 0, 1, sha256(der(self.root)).digest())], self.own)
        self.check(False, [Tlsa(2, 0, 0, b"no certificate")], self.own, self.root)

    def test_what_an_authority_signed_must_be_for_the_host_or_the_domain_that_led_to_it(self) -> None:
        for name, expected in ((HOST, True), ("example.com", True), ("*.example.com", True), ("mx.example.org", False)):
            self.check(expected, records(2, self.root), self.signed(name), self.root, names=(HOST, "example.com"))

    def test_and_for_now(self) -> None:
        self.check(False, records(2, self.root), self.signed(HOST, days=-3), self.root)

    def test_one_record_of_several_is_enough(self) -> None:
        several = [*records(3, self.other), *records(3, self.own)]
        self.assertTrue(vouched_for(several, [self.own], (HOST,)))

    def test_nobody_vouches_for_nothing(self) -> None:
        self.check(False, records(3, self.own))
        self.assertFalse(vouched_for([], [self.own], (HOST,)))
        self.assertFalse(means(Tlsa(3, 0, 1, b"x" * 32), self.own))
