"""The resolver with real threads and real servers on the loopback interface: what they answer, well or badly."""

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from kumotwist.config.egress import IpLookupStrategy
from kumotwist.config.server import DnsSettings
from kumotwist.dns.answers import MOST_HOSTS, LookupFailed, NoSuchDomain
from kumotwist.dns.resolver import Resolver
from kumotwist.egress.path import Destination
from tests.dns.server import Answer, TableServer, code, cut_off, forged_first, garbage, nothing, records, silence

MX = records("example.com. 300 IN MX 10 mx.example.com.")


class NetworkTestCase(TestCase):
    """One server that answers from `self.table`, and a resolver that asks it."""

    timeout = 30

    def setUp(self) -> None:
        self.table: dict[str, Answer] = {}
        self.server, address = self.serve(self.table)
        self.resolver = self.resolve(address)

    def serve(self, table: dict[str, Answer]) -> tuple[TableServer, str]:
        server = TableServer(table)
        address = server.listen(reactor)
        self.addCleanup(server.close)
        return server, address

    def resolve(self, *nameservers: str, patience: float = 5.0) -> Resolver:
        resolver = Resolver(DnsSettings(nameservers=nameservers, timeout=patience), reactor)
        self.addCleanup(resolver.stop)
        return resolver

    async def found(self, domain: str, resolver: Resolver | None = None) -> Destination:
        where = (resolver or self.resolver).destination(domain)
        return await where if isinstance(where, Deferred) else where

    async def fails(self, domain: str, resolver: Resolver | None = None) -> LookupFailed:
        with self.assertRaises(LookupFailed, msg=domain) as caught:
            await self.found(domain, resolver)
        return caught.exception


class DestinationTests(NetworkTestCase):
    async def test_mx_records_make_a_destination(self) -> None:
        self.table["example.com MX"] = records(
            "example.com. 300 IN MX 20 B.example.com.",
            "example.com. 300 IN MX 10 Z.Example.com.",
            "example.com. 300 IN MX 20 a.example.com.",
        )
        before = reactor.seconds()
        where = await self.found("example.com")
        self.assertEqual(
            [[host.name for host in group] for group in where.groups], [["z.example.com"], ["a.example.com", "b.example.com"]]
        )
        self.assertEqual((where.site, where.is_mx), ("(z|a|b).example.com", True))
        self.assertTrue(before + 300.0 <= where.expires <= before + 330.0)
        self.assertIs(self.resolver.destination("example.com"), where)
        self.assertEqual(self.server.asked, ["example.com MX"])

    async def test_a_domain_without_mx_is_its_own_host(self) -> None:
        for minimum, kept in [(600, 600.0), (10_000_000, 900.0), (0, 60.0)]:
            domain = f"d{minimum}.example"
            self.table[domain] = nothing(minimum)
            before = reactor.seconds()
            where = await self.found(domain)
            self.assertEqual((where.site, where.is_mx, where.null_mx), (domain, False, False))
            self.assertTrue(before + kept <= where.expires <= before + kept + 30.0, (minimum, where.expires - before))

    async def test_a_null_mx_says_that_no_mail_is_taken(self) -> None:
        self.table["example.com"] = records("example.com. 300 IN MX 0 .")
        where = await self.found("example.com")
        self.assertEqual((where.null_mx, where.site, where.groups), (True, "", ()))

    async def test_an_alias_is_followed_in_the_answer(self) -> None:
        self.table["www.example.com"] = records(
            "www.example.com. 30 IN CNAME web.example.net.", "web.example.net. 300 IN MX 5 mx.example.net."
        )
        where = await self.found("www.example.com")
        self.assertEqual((where.domain, where.site), ("www.example.com", "mx.example.net"))
        self.assertLess(where.expires - reactor.seconds(), 31.0)
        self.assertEqual(self.server.asked, ["www.example.com MX"])

    async def test_an_alias_is_followed_past_the_answer(self) -> None:
        self.table["www.example.com"] = records("www.example.com. 300 IN CNAME web.example.net.")
        self.table["web.example.net"] = records("web.example.net. 300 IN MX 5 mx.example.net.")
        self.assertEqual((await self.found("www.example.com")).site, "mx.example.net")
        self.table["to-none.example"] = records("to-none.example. 300 IN CNAME none.example.")
        self.table["none.example"] = nothing()
        where = await self.found("to-none.example")
        self.assertEqual((where.site, where.is_mx), ("to-none.example", False))

    async def test_an_international_name_is_asked_for_in_ascii(self) -> None:
        self.table["xn--mnchen-3ya.example"] = records("xn--mnchen-3ya.example. 300 IN MX 5 mx.xn--mnchen-3ya.example.")
        self.assertEqual((await self.found("münchen.example")).site, "mx.xn--mnchen-3ya.example")

    async def test_a_long_answer_comes_over_tcp(self) -> None:
        self.table["example.com"] = records(*(f"example.com. 300 IN MX {n} mx{n:04}.example.com." for n in range(1500)))
        where = await self.found("example.com")
        self.assertEqual(len(where.groups), MOST_HOSTS)
        self.assertEqual(where.groups[0][0].name, "mx0000.example.com")
        self.assertEqual(self.server.asked, ["example.com MX", "example.com MX tcp"])

    async def test_forged_answers_are_not_believed(self) -> None:
        self.table["example.com"] = forged_first(MX, records("other.example. 300 IN MX 1 evil.example."))
        self.assertEqual((await self.found("example.com")).site, "mx.example.com")

    async def test_many_domains_at_once_are_all_found(self) -> None:
        domains = [f"d{n}.example" for n in range(100)]
        for domain in domains:
            self.table[domain] = records(f"{domain}. 300 IN MX 1 mx.{domain}.")
        asked = [self.resolver.destination(domain) for domain in domains for _ in range(3)]
        sites = {(await d).site for d in asked if isinstance(d, Deferred)}
        self.assertEqual(sites, {f"mx.{domain}" for domain in domains})
        self.assertEqual(sorted(self.server.asked), sorted(f"{domain} MX" for domain in domains))


class FailureTests(NetworkTestCase):
    async def test_whatever_the_dns_answers_instead_is_a_failure_for_now(self) -> None:
        loop = records("loop.example. 300 IN CNAME pool.example.", "pool.example. 300 IN CNAME loop.example.")
        for domain, answer, kind, text in [
            ("nxdomain.example", code("NXDOMAIN"), NoSuchDomain, ": NXDOMAIN"),
            ("servfail.example", code("SERVFAIL"), LookupFailed, "{server}: SERVFAIL"),
            ("refused.example", code("REFUSED"), LookupFailed, "{server}: REFUSED"),
            ("formerr.example", code("FORMERR"), LookupFailed, "{server}: FORMERR"),
            ("cut.example", cut_off, LookupFailed, "{server}: "),
            ("loop.example", loop, LookupFailed, "{server}: "),
        ]:
            self.table[domain] = answer
            fault = await self.fails(domain)
            self.assertIs(type(fault), kind, domain)
            self.assertRegex(str(fault), rf"^MX lookup for {domain} failed after [0-9]+\.[0-9]{{3}}s: ")
            self.assertTrue(
                str(fault).endswith(text) or text.format(server=f"127.0.0.1:{self.server.port}") in str(fault), str(fault)
            )
            self.assertNotIn("\n", str(fault))

    async def test_silence_and_garbage_end_with_the_timeout(self) -> None:
        resolver = self.resolve(f"127.0.0.1:{self.server.port}", patience=0.4)
        self.table["silent.example"] = silence
        self.table["garbage.example"] = garbage
        for domain in ("silent.example", "garbage.example"):
            start = reactor.seconds()
            fault = await self.fails(domain, resolver)
            self.assertIn(": timeout", str(fault))
            self.assertTrue(0.3 < reactor.seconds() - start < 3.0)
        self.assertGreater(self.server.asked.count("silent.example MX"), 1)

    async def test_a_loop_of_aliases_one_at_a_time_ends(self) -> None:
        self.table["a.example"] = records("a.example. 300 IN CNAME b.example.")
        self.table["b.example"] = records("b.example. 300 IN CNAME a.example.")
        self.assertIn("aliases", str(await self.fails("a.example")))
        self.assertLess(len(self.server.asked), 20)

    async def test_a_failure_is_remembered(self) -> None:
        self.table["example.com"] = code("SERVFAIL")
        await self.fails("example.com")
        self.table["example.com"] = MX
        self.assertIn("SERVFAIL", str(await self.fails("example.com")))
        self.resolver.forget("example.com")
        self.assertEqual((await self.found("example.com")).site, "mx.example.com")

    async def test_the_next_server_is_asked_when_one_cannot_help(self) -> None:
        for bad in (code("SERVFAIL"), code("REFUSED"), silence, garbage, cut_off):
            first, first_address = self.serve({"example.com": bad})
            second, second_address = self.serve({"example.com": MX})
            resolver = self.resolve(first_address, second_address, patience=1.5)
            self.assertEqual((await self.found("example.com", resolver)).site, "mx.example.com")
            self.assertEqual((first.asked[0], second.asked), ("example.com MX", ["example.com MX"]))

    async def test_a_server_that_was_silent_is_asked_last(self) -> None:
        first, first_address = self.serve({"a.example": silence, "b.example": silence})
        second, second_address = self.serve({"a.example": nothing(), "b.example": nothing()})
        resolver = self.resolve(first_address, second_address, patience=1.5)
        await self.found("a.example", resolver)
        await self.found("b.example", resolver)
        self.assertEqual((first.asked, second.asked), (["a.example MX"], ["a.example MX", "b.example MX"]))

    async def test_what_is_known_is_answered_while_the_dns_is_dead(self) -> None:
        self.table["example.com"] = MX
        resolver = self.resolve(f"127.0.0.1:{self.server.port}", patience=0.4)
        where = await self.found("example.com", resolver)
        await self.server.close()
        dead = [resolver.destination(f"d{n}.example") for n in range(40)]
        self.assertIs(resolver.destination("example.com"), where)
        await resolver.stop()
        for d in dead:
            assert isinstance(d, Deferred)
            with self.assertRaises(LookupFailed):
                await d


class AddressesTests(NetworkTestCase):
    async def test_addresses_of_both_families(self) -> None:
        self.table["mx.example.com A"] = records("mx.example.com. 300 IN A 10.0.0.1", "mx.example.com. 300 IN A 10.0.0.2")
        self.table["mx.example.com AAAA"] = records(
            "mx.example.com. 300 IN AAAA 2001:db8::1", "mx.example.com. 300 IN AAAA ::ffff:127.0.0.1"
        )
        found = await self.resolver.addresses("mx.example.com", IpLookupStrategy.IPV4_AND_IPV6)
        self.assertEqual(sorted(found[:2]), ["10.0.0.1", "10.0.0.2"])
        # The mapped address would lead to 127.0.0.1 past prohibited_hosts.
        self.assertEqual(found[2:], ("2001:db8::1",))
        self.assertEqual(sorted(self.server.asked), ["mx.example.com A", "mx.example.com AAAA"])

    async def test_a_host_without_addresses_or_that_does_not_exist_has_none(self) -> None:
        self.table["none.example"] = nothing()
        self.table["nxdomain.example"] = code("NXDOMAIN")
        for host in ("none.example", "nxdomain.example"):
            self.assertEqual(await self.resolver.addresses(host, IpLookupStrategy.IPV4_AND_IPV6), ())

    async def test_an_alias_of_a_host_is_followed(self) -> None:
        self.table["mx.example.com"] = records("mx.example.com. 300 IN CNAME host.example.net.")
        self.table["host.example.net A"] = records("host.example.net. 300 IN A 10.0.0.1")
        self.table["host.example.net AAAA"] = nothing()
        self.assertEqual(await self.resolver.addresses("mx.example.com", IpLookupStrategy.IPV4_AND_IPV6), ("10.0.0.1",))

    async def test_trouble_is_a_failure_unless_the_other_family_helps(self) -> None:
        self.table["bad.example"] = code("SERVFAIL")
        with self.assertRaises(LookupFailed) as caught:
            await self.resolver.addresses("bad.example", IpLookupStrategy.IPV4_AND_IPV6)
        self.assertRegex(str(caught.exception), r"^A lookup for bad.example failed after .*SERVFAIL$")
        self.table["half.example AAAA"] = code("SERVFAIL")
        self.table["half.example A"] = records("half.example. 300 IN A 10.0.0.1")
        self.assertEqual(await self.resolver.addresses("half.example", IpLookupStrategy.IPV4_AND_IPV6), ("10.0.0.1",))

    async def test_of_very_many_addresses_some_are_taken(self) -> None:
        self.table["mx.example.com A"] = records(*(f"mx.example.com. 300 IN A 10.0.{n // 250}.{n % 250}" for n in range(1000)))
        found = await self.resolver.addresses("mx.example.com", IpLookupStrategy.IPV4_ONLY)
        self.assertEqual(len(found), MOST_HOSTS)

    async def test_the_local_host_is_known_without_a_question(self) -> None:
        for host in ("localhost", "LocalHost.", "mta.localhost"):
            self.assertEqual(await self.resolver.addresses(host, IpLookupStrategy.IPV4_AND_IPV6), ("127.0.0.1", "::1"))
        self.assertEqual((await self.found("localhost")).site, "localhost")
        self.assertEqual(self.server.asked, [])

    async def test_names_that_the_dns_cannot_hold_are_failures(self) -> None:
        for host in ("a..b", "x" * 64, ".".join(["x" * 60] * 5)):
            with self.assertRaises(LookupFailed):
                await self.resolver.addresses(host, IpLookupStrategy.IPV4_ONLY)
        self.assertEqual(self.server.asked, [])
