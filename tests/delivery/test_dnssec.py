"""Answers and whether they are authentic: from servers on sockets, and remembered."""

from collections.abc import Sequence
from typing import Any

import dns.flags
import dns.message
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kumotwist.config.server import DnsSettings
from kumotwist.delivery.dnssec import Found, SecuredNameservers, SecuredRecords
from kumotwist.dns.answers import LookupFailed
from tests.dns.fakes import Threads
from tests.dns.server import Answer, TableServer, code, nothing, records


def authentic(answer: Answer) -> Answer:
    """The same with the AD bit, for those who ask for it."""

    def signed(query: dns.message.QueryMessage, tcp: bool) -> Sequence[bytes]:
        wants = bool(query.flags & dns.flags.AD) and bool(query.ednsflags & dns.flags.DO)
        found = []
        for wire in answer(query, tcp):
            message = dns.message.from_wire(wire)
            if wants:
                message.flags |= dns.flags.AD
            found.append(message.to_wire())
        return found

    return signed


MX = records("example.com. 600 IN MX 10 mx.example.com.")
ALIAS = records("alias.example.com. 600 IN CNAME mx.example.com.", "mx.example.com. 300 IN A 192.0.2.1")


class NameserverTests(TestCase):
    """`SecuredNameservers` on real sockets."""

    async def ask(self, table: dict[str, Answer], name: str, kind: str) -> Found:
        server = TableServer(table)
        address = server.listen(reactor)
        try:
            seconds = reactor.seconds  # type: ignore[attr-defined]
            nameservers = SecuredNameservers(DnsSettings(nameservers=(address,), timeout=2.0), seconds)
            return await deferToThread(nameservers.find, name, kind)
        finally:
            await server.close()

    async def test_the_bit_of_a_server_on_this_machine_counts(self) -> None:
        found = await self.ask({"example.com": authentic(MX)}, "example.com", "MX")
        self.assertEqual([record.to_text() for record in found.records], ["10 mx.example.com."])
        self.assertEqual((found.secure, found.exists, found.alias, found.ttl), (True, True, False, 600.0))

    async def test_without_the_bit_nothing_is_authentic(self) -> None:
        self.assertFalse((await self.ask({"example.com": MX}, "example.com", "MX")).secure)

    async def test_that_there_is_nothing_can_be_authentic_too(self) -> None:
        found = await self.ask({"example.com": authentic(nothing(60))}, "example.com", "MX")
        self.assertEqual((found.records, found.secure, found.exists), ((), True, True))

    async def test_a_name_that_does_not_exist_is_an_answer(self) -> None:
        found = await self.ask({"example.com": authentic(code("NXDOMAIN"))}, "example.com", "TLSA")
        self.assertEqual((found.records, found.secure, found.exists), ((), False, False))

    async def test_an_alias_is_noticed(self) -> None:
        found = await self.ask({"alias.example.com": authentic(ALIAS)}, "alias.example.com", "A")
        self.assertEqual((found.secure, found.alias, len(found.records)), (True, True, 1))

    async def test_an_alias_that_has_to_be_followed_is_as_authentic_as_nothing(self) -> None:
        table = {
            "alias.example.com": nothing(60, "alias.example.com. 600 IN CNAME mx.example.com."),
            "mx.example.com": authentic(records("mx.example.com. 300 IN A 192.0.2.1")),
        }
        found = await self.ask(table, "alias.example.com", "A")
        self.assertEqual((found.secure, found.alias), (False, True))

    async def test_bogus_and_broken_is_what_cannot_be_known(self) -> None:
        for answer in (code("SERVFAIL"), code("REFUSED")):
            with self.assertRaises(LookupFailed):
                await self.ask({"example.com": answer}, "example.com", "TLSA")

    def test_the_bit_of_a_server_elsewhere_does_not_count(self) -> None:
        nameservers = SecuredNameservers(DnsSettings(nameservers=("192.0.2.53",)), lambda: 0.0)

        class Answered:
            class response:
                flags = dns.flags.AD

            qname = canonical_name = dns.name.from_text("example.com.")
            nameserver = "192.0.2.53"
            rrset = None

        nameservers._ask = lambda *question: (Answered(), 60.0)  # type: ignore[method-assign,assignment,return-value]
        self.assertFalse(nameservers.find("example.com", "MX").secure)
        Answered.nameserver = "::1"
        self.assertTrue(nameservers.find("example.com", "MX").secure)


class RecordsTests(SynchronousTestCase):
    """`SecuredRecords`: what was learnt is known until it expires."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.threads = Threads()
        self.asked: list[str] = []
        self.answer: Any = Found(secure=True, ttl=100.0)
        self.records = SecuredRecords(DnsSettings(), self.clock, self.threads, self.find)

    def find(self, name: str, kind: str) -> Found:
        self.asked.append(f"{name} {kind}")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]

    def found(self) -> "Deferred[Found]":
        finding = self.records.find("example.com", "MX")
        self.threads.run()
        return finding

    def test_an_answer_is_asked_for_once_until_it_expires(self) -> None:
        self.assertTrue(self.successResultOf(self.found()).secure)
        self.clock.advance(99.0)
        self.successResultOf(self.found())
        self.assertEqual(self.asked, ["example.com MX"])
        self.clock.advance(2.0)
        self.successResultOf(self.found())
        self.assertEqual(len(self.asked), 2)

    def test_many_askers_wait_for_one_lookup(self) -> None:
        finding = [self.records.find("example.com", "MX") for _ in range(3)]
        self.threads.run()
        self.assertEqual([self.successResultOf(one) for one in finding], [self.answer] * 3)
        self.assertEqual(len(self.asked), 1)

    def test_a_failure_is_one_for_a_minute(self) -> None:
        self.answer = LookupFailed("SERVFAIL")
        for _ in range(2):
            self.assertEqual(str(self.failureResultOf(self.found(), LookupFailed).value), "SERVFAIL")
        self.assertEqual(len(self.asked), 1)
        self.answer = Found(ttl=100.0)
        self.clock.advance(61.0)
        self.successResultOf(self.found())

    def test_what_nobody_foresaw_is_a_failed_lookup(self) -> None:
        self.answer = ZeroDivisionError("a bug")
        self.failureResultOf(self.found(), LookupFailed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_other_servers_are_believed_for_themselves(self) -> None:
        self.successResultOf(self.found())
        self.records.configure(DnsSettings(nameservers=("127.0.0.1:1",), timeout=0.01))
        self.failureResultOf(self.found(), LookupFailed)

    def test_after_the_end_nothing_is_asked(self) -> None:
        self.successResultOf(self.records.stop())
        self.failureResultOf(self.records.find("example.com", "MX"), LookupFailed)
        self.assertEqual(self.asked, [])
