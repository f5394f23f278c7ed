"""Which hosts a secure MX names, and which TLSA records count."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.delivery.dane import secure_hosts, tlsa_of
from kumotwist.delivery.plan import Address
from kumotwist.delivery.tlsa import Tlsa
from kumotwist.dns.answers import LookupFailed
from tests.delivery.secured import NOBODY, Secured, found

HOST = "mx.example.com"
ADDRESS = Address(name=f"{HOST}.", ip="192.0.2.1", port=25)
DIGEST = "aa" * 32
A, AAAA, CNAME, TLSA, MX = f"{HOST} A", f"{HOST} AAAA", f"{HOST} CNAME", f"_25._tcp.{HOST} TLSA", "example.com MX"
RECORD = Tlsa(3, 1, 1, b"\xaa" * 32)
SERVFAIL = LookupFailed("SERVFAIL")


def tlsa(*texts: str, secure: bool = True) -> Any:
    return found(*texts, kind="TLSA", secure=secure)


class SecureHostsTests(SynchronousTestCase):
    """The chain up to the hosts."""

    def hosts(self, answer: Any) -> frozenset[str] | None:
        return self.successResultOf(Deferred.fromCoroutine(secure_hosts(Secured({MX: answer}).find, "example.com")))

    def test_the_hosts_of_an_authentic_answer(self) -> None:
        hosts = frozenset({"mx1.example.com", "mx2.example.net"})
        self.assertEqual(self.hosts(found("10 MX1.example.com.", "20 mx2.example.net.", kind="MX")), hosts)

    def test_a_domain_that_proves_to_have_no_mx_is_its_own_host(self) -> None:
        self.assertEqual(self.hosts(found(kind="MX")), frozenset({"example.com"}))

    def test_nothing_follows_from_what_is_not_authentic(self) -> None:
        for answer in (found("10 mx1.example.com.", kind="MX", secure=False), found(kind="MX", secure=False), NOBODY):
            self.assertIsNone(self.hosts(answer))

    def test_what_cannot_be_known_is_not_taken_for_nothing(self) -> None:
        asking = Deferred.fromCoroutine(secure_hosts(Secured({MX: SERVFAIL}).find, "example.com"))
        self.failureResultOf(asking, LookupFailed)


class TlsaTests(SynchronousTestCase):
    """The records of one host."""

    def look(self, answers: dict[str, Any], address: Address = ADDRESS) -> "tuple[Deferred[Any], list[str]]":
        secured = Secured(answers)
        return Deferred.fromCoroutine(tlsa_of(secured.find, address.host, address)), secured.asked

    def test_the_table_of_the_reference(self) -> None:
        secure, insecure = found("192.0.2.1", kind="A"), found("192.0.2.1", kind="A", secure=False)
        record = tlsa(f"3 1 1 {DIGEST}")
        for answers, expected in (
            ({A: secure, TLSA: record}, (RECORD,)),
            ({A: secure, TLSA: tlsa(f"3 1 1 {DIGEST}", f"1 1 1 {DIGEST}", f"3 2 1 {DIGEST}")}, (RECORD,)),
            ({A: secure, TLSA: tlsa(f"1 1 1 {DIGEST}")}, ()),
            ({A: secure, TLSA: tlsa()}, None),
            ({A: secure, TLSA: NOBODY}, None),
            ({A: secure, TLSA: tlsa(f"3 1 1 {DIGEST}", secure=False)}, None),
            ({A: insecure, TLSA: record}, None),
            ({A: NOBODY, TLSA: record}, None),
        ):
            self.assertEqual(self.successResultOf(self.look(answers)[0]), expected, answers)

    def test_where_the_address_is_not_authentic_nobody_asks_for_them(self) -> None:
        _, asked = self.look({A: found("192.0.2.1", kind="A", secure=False)})
        self.assertEqual(asked, [A])

    def test_an_authentic_alias_is_enough(self) -> None:
        address = found("192.0.2.1", kind="A", secure=False, alias=True)
        record = tlsa(f"3 1 1 {DIGEST}")
        for alias, expected in (
            (found("elsewhere.example.org.", kind="CNAME"), (RECORD,)),
            (found("elsewhere.example.org.", kind="CNAME", secure=False), None),
            (found(kind="CNAME"), None),
        ):
            looking, asked = self.look({A: address, CNAME: alias, TLSA: record})
            self.assertEqual(self.successResultOf(looking), expected)
            self.assertEqual(asked[:2], [A, CNAME])

    def test_the_family_and_the_port_are_those_of_the_connection(self) -> None:
        address = Address(name=f"{HOST}.", ip="2001:db8::1", port=2525)
        looking, asked = self.look({AAAA: found("2001:db8::1", kind="AAAA")}, address)
        self.assertIsNone(self.successResultOf(looking))
        self.assertEqual(asked, [AAAA, f"_2525._tcp.{HOST} TLSA"])

    def test_an_address_literal_has_none(self) -> None:
        looking, asked = self.look({}, Address(name="192.0.2.1", ip="192.0.2.1", port=25))
        self.assertIsNone(self.successResultOf(looking))
        self.assertEqual(asked, [])

    def test_a_lookup_that_fails_at_any_step_leaves_it_open(self) -> None:
        secure, aliased = found("192.0.2.1", kind="A"), found("192.0.2.1", kind="A", secure=False, alias=True)
        for answers in ({A: SERVFAIL}, {A: secure, TLSA: SERVFAIL}, {A: aliased, CNAME: SERVFAIL}):
            self.failureResultOf(self.look(answers)[0], LookupFailed)
