"""Sites of the domains that shaping rules name."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.server import DnsSettings
from kumotwist.dns.answers import LookupFailed, MailExchangers, NoSuchDomain
from kumotwist.dns.resolver import Resolver
from kumotwist.dns.rollup import Rollup
from tests.dns.fakes import Table, Threads


class RollupTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.threads = Threads()
        self.table = Table()
        self.changes: list[dict[str, str]] = []
        self.resolver = Resolver(DnsSettings(), self.clock, self.threads, self.table)
        self.table.mx["a.example"] = MailExchangers(((1, "mx.a.example"),), 90.0)
        self.table.mx["b.example"] = NoSuchDomain("NXDOMAIN")

    def rollup(self, *domains: str) -> Rollup:
        rollup = Rollup(domains, self.resolver, self.clock, lambda: self.changes.append(dict(rollup.sites)))
        return rollup

    def look(self, rollup: Rollup) -> None:
        """One look, to its end."""
        d = rollup.refresh()
        self.threads.run()
        self.successResultOf(d)

    def test_nothing_is_known_before_the_first_look_has_ended(self) -> None:
        rollup = self.rollup("a.example", "b.example")
        d: Deferred[None] = rollup.refresh()
        self.assertEqual((rollup.sites, self.changes), ({}, []))
        self.threads.run()
        self.successResultOf(d)
        self.assertEqual(rollup.sites, {"a.example": "mx.a.example"})
        self.assertEqual(self.changes, [{"a.example": "mx.a.example"}])

    def test_a_look_that_finds_the_same_is_no_change(self) -> None:
        rollup = self.rollup("a.example")
        self.look(rollup)
        self.look(rollup)
        self.clock.advance(90.0)
        self.look(rollup)
        self.assertEqual(len(self.changes), 1)
        self.assertEqual(self.table.asked, ["a.example", "a.example"])

    def test_a_site_follows_the_dns(self) -> None:
        rollup = self.rollup("a.example")
        self.look(rollup)
        self.table.mx["a.example"] = MailExchangers(((1, "new.a.example"),), 90.0)
        self.clock.advance(90.0)
        self.look(rollup)
        self.assertEqual(self.changes, [{"a.example": "mx.a.example"}, {"a.example": "new.a.example"}])

    def test_a_lookup_that_fails_keeps_what_was_known(self) -> None:
        rollup = self.rollup("a.example")
        self.look(rollup)
        self.table.mx["a.example"] = LookupFailed("SERVFAIL")
        self.clock.advance(90.0)
        self.look(rollup)
        self.assertEqual(rollup.sites, {"a.example": "mx.a.example"})

    def test_a_null_mx_has_no_site_to_share(self) -> None:
        rollup = self.rollup("a.example", "null.example")
        self.table.mx["null.example"] = MailExchangers(((0, ""),), 90.0)
        self.look(rollup)
        self.assertEqual(rollup.sites, {"a.example": "mx.a.example"})
        self.table.mx["a.example"] = MailExchangers(((0, ""),), 90.0)
        self.clock.advance(90.0)
        self.look(rollup)
        self.assertEqual(self.changes[-1], {})

    def test_failures_are_tried_again_until_they_end(self) -> None:
        rollup = self.rollup("a.example", "b.example")
        rollup.start()
        self.threads.run()
        self.table.mx["b.example"] = MailExchangers((), 3600.0)
        for _ in range(5):
            self.assertNotIn("b.example", rollup.sites)
            self.clock.advance(60.0)
            self.threads.run()
        self.assertEqual(rollup.sites, {"a.example": "mx.a.example", "b.example": "b.example"})
        rollup.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_after_the_stop_nothing_is_looked_up_or_changed(self) -> None:
        rollup = self.rollup("a.example")
        rollup.start()
        rollup.stop()
        self.threads.run()
        self.assertEqual((rollup.sites, self.changes, self.clock.getDelayedCalls()), ({}, [], []))
        rollup.stop()

    def test_rules_for_no_domain_at_all_are_looked_up_at_once(self) -> None:
        rollup = self.rollup()
        self.successResultOf(rollup.refresh())
        self.assertEqual((rollup.sites, self.changes), ({}, []))

    def test_a_listener_that_breaks_does_not_end_the_looking(self) -> None:
        def broken() -> None:
            raise RuntimeError("no rule today")

        rollup = Rollup(["a.example"], self.resolver, self.clock, broken)
        rollup.start()
        self.threads.run()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        rollup.stop()
