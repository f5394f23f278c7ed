"""Destinations and addresses: remembered, shared, forgotten; with a clock and a DNS from a table."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import IpLookupStrategy
from kumotwist.config.server import DnsSettings
from kumotwist.dns.answers import (
    FAILURE_KEPT,
    NO_SUCH_DOMAIN_KEPT,
    Family,
    HostAddresses,
    LookupFailed,
    MailExchangers,
    NoSuchDomain,
    NotAsked,
)
from kumotwist.dns.lookups import THREADS
from kumotwist.dns.resolver import Resolver
from kumotwist.egress.path import Destination
from tests.dns.fakes import Table, Threads

START = 1_792_000_000.0

NO_DOMAINS = [
    *("", ".", "-", "a..b", "foo bar", "a\nb", "example.com:x", "[10.0.0.1", "[10.0.0.1:25]:25"),
    *("x" * 64 + ".example", "ü" * 80),
]


class ResolverTestCase(SynchronousTestCase):
    """A resolver whose clock, threads and DNS are ours."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.threads = Threads()
        self.table = Table()
        self.resolver = Resolver(DnsSettings(), self.clock, self.threads, self.table)

    def ask(self, domain: str) -> "Deferred[Destination]":
        """What is asked and not known yet."""
        d = self.resolver.destination(domain)
        self.assertIsInstance(d, Deferred)
        assert isinstance(d, Deferred)
        return d

    def found(self, domain: str) -> Destination:
        """Ask and look up."""
        d = self.ask(domain)
        self.threads.run()
        return self.successResultOf(d)


class DestinationTests(ResolverTestCase):
    def test_what_is_known_is_answered_at_once_until_it_expires(self) -> None:
        self.table.mx["example.com"] = MailExchangers(((10, "mx.example.com"),), 300.0)
        where = self.found("example.com")
        self.assertEqual((where.site, where.expires), ("mx.example.com", START + 300.0))
        self.clock.advance(299.5)
        self.assertIs(self.resolver.destination("example.com"), where)
        self.assertEqual(self.table.asked, ["example.com"])
        self.clock.advance(0.5)
        self.table.mx["example.com"] = MailExchangers(((10, "new.example.com"),), 300.0)
        self.assertEqual(self.found("example.com").site, "new.example.com")
        self.assertEqual(self.table.asked, ["example.com"] * 2)

    def test_ttl_counts_from_the_answer_and_not_from_the_question(self) -> None:
        self.table.mx["example.com"] = MailExchangers((), 10.0)
        d = self.ask("example.com")
        self.clock.advance(4.0)
        self.threads.run()
        self.assertEqual(self.successResultOf(d).expires, START + 14.0)

    def test_a_thousand_askers_cost_one_query(self) -> None:
        asked = [self.ask("example.com") for _ in range(1000)]
        self.assertEqual(self.threads.run(), 1)
        self.assertEqual({self.successResultOf(d).site for d in asked}, {"example.com"})
        self.assertEqual(self.table.asked, ["example.com"])

    def test_who_gives_up_leaves_the_answer_to_the_others(self) -> None:
        first, second = self.ask("example.com"), self.ask("example.com")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.threads.run()
        self.assertEqual(self.successResultOf(second).site, "example.com")

    def test_a_name_is_the_same_in_any_spelling(self) -> None:
        self.table.mx["xn--mnchen-3ya.example"] = MailExchangers(((1, "mx.example"),), 300.0)
        where = self.found("München.Example.")
        for spelling in ("münchen.example", "MÜNCHEN.example", "xn--mnchen-3ya.example", "XN--mnchen-3ya.EXAMPLE."):
            self.assertIs(self.resolver.destination(spelling), where, spelling)
        self.assertEqual(self.table.asked, ["xn--mnchen-3ya.example"])

    def test_a_port_makes_another_destination(self) -> None:
        self.table.mx["example.com"] = MailExchangers(((1, "a.example.com"), (2, "b.example.com")), 300.0)
        self.assertEqual(self.found("example.com:2025").site, "(a|b).example.com:2025")
        self.assertEqual(self.found("Example.com").site, "(a|b).example.com")
        where = self.resolver.destination("EXAMPLE.com:2025")
        assert isinstance(where, Destination)
        self.assertEqual([host.port for group in where.groups for host in group], [2025, 2025])

    def test_a_literal_needs_no_dns(self) -> None:
        for text, site in [("[10.0.0.1]", "10.0.0.1"), ("[10.0.0.1]:2025", "10.0.0.1:2025"), ("[IPv6:::1]", "::1")]:
            where = self.resolver.destination(text)
            assert isinstance(where, Destination)
            self.assertEqual(where.site, site)
            self.assertIs(self.resolver.destination(text), where)
            self.assertEqual(self.resolver.cached_site(text), site)
        self.assertEqual((self.table.asked, self.threads.started), ([], []))

    def test_what_is_no_domain_fails_like_any_lookup(self) -> None:
        for text in NO_DOMAINS:
            fault = self.failureResultOf(self.ask(text), LookupFailed).value
            self.assertTrue(str(fault).startswith("no MX lookup: "), str(fault))
            self.assertNotIn("\n", str(fault))
        self.assertEqual(self.table.asked, [])

    def test_a_null_mx_is_an_answer(self) -> None:
        self.table.mx["example.com"] = MailExchangers(((0, ""),), 300.0)
        where = self.found("example.com")
        self.assertEqual((where.null_mx, where.site), (True, ""))
        self.assertEqual(self.resolver.cached_site("example.com"), "")


class FailureTests(ResolverTestCase):
    def fails(self, domain: str) -> LookupFailed:
        d = self.ask(domain)
        self.threads.run()
        fault = self.failureResultOf(d, LookupFailed).value
        assert isinstance(fault, LookupFailed)
        return fault

    def test_a_failure_is_the_answer_for_a_while(self) -> None:
        for fault, kept in [(NoSuchDomain("NXDOMAIN"), NO_SUCH_DOMAIN_KEPT), (LookupFailed("SERVFAIL"), FAILURE_KEPT)]:
            domain = str(fault).lower()
            self.table.mx[domain] = fault
            self.table.asked.clear()
            self.assertEqual(str(self.fails(domain)), str(fault))
            self.clock.advance(kept - 0.5)
            remembered = self.fails(domain)
            self.assertEqual((type(remembered), str(remembered)), (type(fault), str(fault)))
            self.assertEqual(self.table.asked, [domain])
            self.clock.advance(0.5)
            self.table.mx[domain] = MailExchangers((), 60.0)
            self.assertEqual(self.found(domain).site, domain)

    def test_names_that_do_not_exist_are_remembered_longer_than_trouble(self) -> None:
        self.assertEqual((NO_SUCH_DOMAIN_KEPT, FAILURE_KEPT), (300.0, 60.0))

    def test_an_expired_answer_is_not_used_when_the_dns_fails(self) -> None:
        self.table.mx["example.com"] = MailExchangers(((1, "old.example.com"),), 60.0)
        self.found("example.com")
        self.table.mx["example.com"] = LookupFailed("SERVFAIL")
        self.clock.advance(60.0)
        self.assertEqual(str(self.fails("example.com")), "SERVFAIL")
        self.assertIsNone(self.resolver.cached_site("example.com"))

    def test_each_asker_gets_an_exception_of_its_own(self) -> None:
        self.table.mx["example.com"] = LookupFailed("SERVFAIL")
        asked = [self.ask("example.com"), self.ask("example.com")]
        self.threads.run()
        asked.append(self.ask("example.com"))
        faults = {id(self.failureResultOf(d, LookupFailed).value) for d in asked}
        self.assertEqual(len(faults), 3)

    def test_a_dead_name_does_not_hold_up_another(self) -> None:
        dead = [self.ask(f"dead{n}.example") for n in range(100)]
        for n in range(100):
            self.table.mx[f"dead{n}.example"] = LookupFailed("timeout")
        self.threads.run()
        for d in dead:
            self.failureResultOf(d, LookupFailed)
        self.clock.advance(FAILURE_KEPT)
        dead = [self.ask(f"dead{n}.example") for n in range(100)]
        living = self.ask("example.com")
        work, answered = self.threads.started.pop()
        answered.callback(work())
        self.assertEqual(self.successResultOf(living).site, "example.com")
        self.threads.run()
        for d in dead:
            self.failureResultOf(d, LookupFailed)

    def test_a_name_that_lives_again_is_no_longer_doubted(self) -> None:
        names = [f"d{n}.example" for n in range(THREADS)]
        for answer, kept in [(LookupFailed("timeout"), FAILURE_KEPT), (MailExchangers((), 60.0), 60.0)]:
            for name in names:
                self.table.mx[name] = answer
                self.ask(name).addErrback(lambda failure: failure.trap(LookupFailed))
            self.threads.run()
            self.clock.advance(kept)
        for name in names:
            self.ask(name)
        self.assertEqual(len(self.threads.started), THREADS)

    def test_a_question_never_put_says_nothing_about_the_name(self) -> None:
        self.resolver._queue._most_waiting = 1
        running = [self.ask(f"d{n}.example") for n in range(THREADS + 1)]
        self.failureResultOf(self.ask("example.com"), NotAsked)
        self.threads.run()
        self.assertEqual(len([self.successResultOf(d) for d in running]), THREADS + 1)
        self.assertEqual(self.found("example.com").site, "example.com")
        self.assertEqual(self.resolver.failed, 0)

    def test_a_fault_of_ours_costs_one_lookup_and_is_logged(self) -> None:
        self.table.mx["example.com"] = KeyError("surprise")
        self.assertEqual(str(self.fails("example.com")), "lookup for example.com failed: KeyError")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.table.mx["other.example"] = MailExchangers(((1, "mx" * 200),), -1.0)
        self.assertEqual(self.found("other.example").site, "")

    def test_a_dns_that_fails_for_all_is_said_once_and_its_return_too(self) -> None:
        said: list[tuple[LogLevel, str]] = []

        def observe(event: dict[str, object]) -> None:
            level = event["log_level"]
            if event.get("log_namespace") == "kumotwist.dns.resolver.Resolver" and level in (LogLevel.warn, LogLevel.info):
                said.append((level, str(event["log_format"])))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        for n in range(100):
            self.table.mx[f"d{n}.example"] = LookupFailed("timeout")
            self.fails(f"d{n}.example")
        self.assertEqual([level for level, _ in said], [LogLevel.warn])
        self.table.mx["no.example"] = NoSuchDomain("NXDOMAIN")
        self.fails("no.example")
        self.found("example.com")
        self.assertEqual([level for level, _ in said], [LogLevel.warn, LogLevel.info])
        self.assertEqual((self.resolver.succeeded, self.resolver.failed, self.resolver.in_progress), (2, 100, 0))


class MemoryTests(ResolverTestCase):
    def test_the_site_of_a_known_domain_can_be_asked_without_a_lookup(self) -> None:
        self.assertIsNone(self.resolver.cached_site("example.com"))
        self.assertEqual(self.threads.started, [])
        self.found("example.com")
        for spelling in ("example.com", "Example.COM", "example.com."):
            self.assertEqual(self.resolver.cached_site(spelling), "example.com")
        for other in ("example.com:25", "www.example.com", "[no domain", ""):
            self.assertIsNone(self.resolver.cached_site(other))
        self.clock.advance(60.0)
        self.assertIsNone(self.resolver.cached_site("example.com"))

    def test_what_is_forgotten_is_asked_again(self) -> None:
        self.found("example.com:25")
        self.table.mx["bad.example"] = LookupFailed("SERVFAIL")
        d = self.ask("bad.example")
        self.threads.run()
        self.failureResultOf(d, LookupFailed)
        for name in ("EXAMPLE.com:25", "bad.example", "never.example", "[no domain", ""):
            self.resolver.forget(name)
        self.table.mx["bad.example"] = MailExchangers((), 60.0)
        self.found("bad.example")
        self.found("example.com:25")
        self.assertEqual(self.table.asked, ["example.com", "bad.example", "bad.example", "example.com"])

    def test_other_servers_get_a_fresh_chance_and_what_was_learnt_stays(self) -> None:
        where = self.found("example.com")
        self.table.mx["bad.example"] = LookupFailed("SERVFAIL")
        d = self.ask("bad.example")
        self.threads.run()
        self.failureResultOf(d, LookupFailed)
        self.resolver.configure(DnsSettings(nameservers=("192.0.2.53",)))
        self.assertIs(self.resolver.destination("example.com"), where)
        self.assertNoResult(self.ask("bad.example"))
        self.assertEqual(len(self.threads.started), 1)

    def test_servers_that_are_none_change_nothing(self) -> None:
        self.assertRaises(ValueError, self.resolver.configure, DnsSettings(nameservers=("ns.example",)))
        self.assertEqual(self.found("example.com").site, "example.com")

    def test_after_the_stop_nothing_is_asked_and_what_waits_fails(self) -> None:
        where = self.found("known.example")
        running = self.ask("example.com")
        stopped = self.resolver.stop()
        self.assertNoResult(stopped)
        self.failureResultOf(self.ask("late.example"), LookupFailed)
        self.threads.run()
        self.assertEqual(self.successResultOf(running).site, "example.com")
        self.successResultOf(stopped)
        self.assertIs(self.resolver.destination("known.example"), where)


A, AAAA = Family.A, Family.AAAA
V4, V6 = HostAddresses(("10.0.0.1", "10.0.0.2"), 60.0), HostAddresses(("2001:db8::1",), 60.0)
NONE = HostAddresses((), 60.0)
BROKEN = LookupFailed("SERVFAIL")

# strategy, A, AAAA, what is found (None: LookupFailed), which families are asked
STRATEGIES = [
    (IpLookupStrategy.IPV4_AND_IPV6, V4, V6, ("10.0.0.1", "10.0.0.2", "2001:db8::1"), "A AAAA"),
    (IpLookupStrategy.IPV4_AND_IPV6, V4, NONE, ("10.0.0.1", "10.0.0.2"), "A AAAA"),
    (IpLookupStrategy.IPV4_AND_IPV6, NONE, NONE, (), "A AAAA"),
    (IpLookupStrategy.IPV4_AND_IPV6, BROKEN, V6, ("2001:db8::1",), "A AAAA"),
    (IpLookupStrategy.IPV4_AND_IPV6, V4, BROKEN, ("10.0.0.1", "10.0.0.2"), "A AAAA"),
    (IpLookupStrategy.IPV4_AND_IPV6, NONE, BROKEN, None, "A AAAA"),
    (IpLookupStrategy.IPV4_AND_IPV6, BROKEN, BROKEN, None, "A AAAA"),
    (IpLookupStrategy.IPV4_ONLY, V4, V6, ("10.0.0.1", "10.0.0.2"), "A"),
    (IpLookupStrategy.IPV4_ONLY, NONE, V6, (), "A"),
    (IpLookupStrategy.IPV4_ONLY, BROKEN, V6, None, "A"),
    (IpLookupStrategy.IPV6_ONLY, V4, V6, ("2001:db8::1",), "AAAA"),
    (IpLookupStrategy.IPV6_ONLY, V4, NONE, (), "AAAA"),
    (IpLookupStrategy.IPV4_THEN_IPV6, V4, V6, ("10.0.0.1", "10.0.0.2"), "A"),
    (IpLookupStrategy.IPV4_THEN_IPV6, NONE, V6, ("2001:db8::1",), "A AAAA"),
    (IpLookupStrategy.IPV4_THEN_IPV6, BROKEN, V6, ("2001:db8::1",), "A AAAA"),
    (IpLookupStrategy.IPV4_THEN_IPV6, BROKEN, NONE, None, "A AAAA"),
    (IpLookupStrategy.IPV6_THEN_IPV4, V4, V6, ("2001:db8::1",), "AAAA"),
    (IpLookupStrategy.IPV6_THEN_IPV4, V4, NONE, ("10.0.0.1", "10.0.0.2"), "AAAA A"),
    (IpLookupStrategy.IPV6_THEN_IPV4, NONE, BROKEN, None, "AAAA A"),
    (IpLookupStrategy.IPV6_THEN_IPV4, NONE, NONE, (), "AAAA A"),
]


class AddressesTests(ResolverTestCase):
    def look_up(self, host: str, strategy: IpLookupStrategy = IpLookupStrategy.IPV4_AND_IPV6) -> "Deferred[tuple[str, ...]]":
        d = self.resolver.addresses(host, strategy)
        while self.threads.run():
            pass
        return d

    def test_the_strategy_says_what_is_asked_and_in_which_order_it_counts(self) -> None:
        for n, (strategy, v4, v6, expected, families) in enumerate(STRATEGIES):
            host = f"mx{n}.example.com"
            self.table.hosts = {(host, A): v4, (host, AAAA): v6}
            self.table.asked.clear()
            d = self.look_up(host, strategy)
            if expected is None:
                self.assertEqual(str(self.failureResultOf(d, LookupFailed).value), "SERVFAIL", (n, strategy))
            else:
                self.assertEqual(self.successResultOf(d), expected, (n, strategy))
            self.assertEqual(self.table.asked, [f"{host} {family}" for family in families.split()], (n, strategy))

    def test_both_families_are_asked_at_once(self) -> None:
        d = self.resolver.addresses("mx.example.com", IpLookupStrategy.IPV4_AND_IPV6)
        self.assertEqual(len(self.threads.started), 2)
        self.threads.run()
        self.assertEqual(self.successResultOf(d), ())

    def test_addresses_are_remembered_each_family_for_its_ttl(self) -> None:
        self.table.hosts = {("mx.example.com", A): HostAddresses(("10.0.0.1",), 30.0), ("mx.example.com", AAAA): V6}
        self.successResultOf(self.look_up("mx.example.com"))
        self.clock.advance(29.0)
        self.assertEqual(self.successResultOf(self.look_up("MX.example.com.")), ("10.0.0.1", "2001:db8::1"))
        self.assertEqual(len(self.table.asked), 2)
        self.clock.advance(1.0)
        self.successResultOf(self.look_up("mx.example.com"))
        self.assertEqual(self.table.asked[2:], ["mx.example.com A"])

    def test_failures_are_remembered_too(self) -> None:
        self.table.hosts = {("mx.example.com", A): BROKEN}
        self.failureResultOf(self.look_up("mx.example.com", IpLookupStrategy.IPV4_ONLY), LookupFailed)
        self.failureResultOf(self.look_up("mx.example.com", IpLookupStrategy.IPV4_ONLY), LookupFailed)
        self.assertEqual(len(self.table.asked), 1)
        self.clock.advance(FAILURE_KEPT)
        self.table.hosts = {("mx.example.com", A): V4}
        self.assertEqual(self.successResultOf(self.look_up("mx.example.com", IpLookupStrategy.IPV4_ONLY)), V4.addresses)

    def test_askers_for_one_host_share_the_queries(self) -> None:
        asked = [self.resolver.addresses("mx.example.com", IpLookupStrategy.IPV4_AND_IPV6) for _ in range(50)]
        self.assertEqual(self.threads.run(), 2)
        self.assertEqual([self.successResultOf(d) for d in asked], [()] * 50)

    def test_who_gives_up_leaves_no_failure_unhandled(self) -> None:
        self.table.hosts = {("mx.example.com", A): BROKEN, ("mx.example.com", AAAA): BROKEN}
        d = self.resolver.addresses("mx.example.com", IpLookupStrategy.IPV4_AND_IPV6)
        d.cancel()
        self.failureResultOf(d, CancelledError)
        self.threads.run()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_an_address_stands_for_itself(self) -> None:
        for host, address in [
            ("10.0.0.1", "10.0.0.1"),
            ("[10.0.0.1]", "10.0.0.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("[IPv6:2001:db8::1]", "2001:db8::1"),
            ("[::1]", "::1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
        ]:
            self.assertEqual(self.successResultOf(self.look_up(host, IpLookupStrategy.IPV4_ONLY)), (address,), host)
        self.assertEqual(self.table.asked, [])

    def test_a_name_that_looks_a_little_like_an_address_is_a_name(self) -> None:
        self.table.hosts = {("mx1", A): V4}
        self.assertEqual(self.successResultOf(self.look_up("mx1")), V4.addresses)
        self.assertEqual(self.successResultOf(self.look_up("10.0.0.256")), ())

    def test_international_names_become_a_labels(self) -> None:
        self.table.hosts = {("xn--mnchen-3ya.example", A): V4}
        self.assertEqual(self.successResultOf(self.look_up("MÜNCHEN.example")), V4.addresses)
        self.failureResultOf(self.look_up("ü" * 80), LookupFailed)
