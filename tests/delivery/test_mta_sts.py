"""Policies of domains: found, kept, renewed, and never forgotten too early."""

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.delivery.mta_sts import FetchFailed, StsPolicies
from kumotwist.delivery.sts_policy import StsMode, StsPolicy
from kumotwist.dns.answers import LookupFailed
from tests.delivery.secured import NOBODY, Secured, found

TXT = "_mta-sts.example.com TXT"
TIMED_OUT = LookupFailed("TXT lookup for _mta-sts.example.com failed after 5.000s: timeout")


def text(mode: str = "enforce", age: int = 86400) -> bytes:
    return f"version: STSv1\nmode: {mode}\nmx: mx.example.com\nmax_age: {age}\n".encode()


class PoliciesTests(SynchronousTestCase):
    """One domain over time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000.0)
        self.dns = Secured({TXT: found('"v=STSv1; id=1;"')})
        self.served: Any = text()
        self.fetched: list[str] = []
        self.policies = StsPolicies(self.clock, self.dns.find, self.fetch)

    def fetch(self, domain: str) -> "Deferred[bytes]":
        self.fetched.append(domain)
        if isinstance(self.served, Deferred):
            return self.served
        return fail(self.served) if isinstance(self.served, Exception) else succeed(self.served)

    def mode(self, domain: str = "example.com") -> StsMode | None:
        policy: Any = self.policies.policy(domain)
        if isinstance(policy, Deferred):
            policy = self.successResultOf(policy)
        return None if policy is None else policy.mode

    def publish(self, record: Any, policy: Any) -> None:
        self.dns.answers[TXT] = record
        self.served = policy

    def test_a_policy_is_fetched_once_and_then_known_at_once(self) -> None:
        self.assertIs(self.mode(), StsMode.ENFORCE)
        self.assertEqual((self.dns.asked, self.fetched), ([TXT], ["example.com"]))
        again = self.policies.policy("example.com")
        self.assertIsInstance(again, StsPolicy)
        self.assertEqual((len(self.dns.asked), len(self.fetched)), (1, 1))

    def test_a_domain_without_one_is_known_at_once_too(self) -> None:
        for record in (NOBODY, found(), found('"v=spf1 -all"'), found('"v=STSv1; id=a"', '"v=STSv1; id=b"')):
            self.setUp()
            self.publish(record, text())
            self.assertIsNone(self.mode())
            self.assertIsNone(self.policies.policy("example.com"))
            self.assertEqual(self.fetched, [])

    def test_a_record_in_pieces_is_joined(self) -> None:
        self.publish(found('"v=STSv1; " "id=1;"'), text())
        self.assertIs(self.mode(), StsMode.ENFORCE)

    def test_the_record_is_looked_at_again_when_it_may_have_changed(self) -> None:
        self.mode()
        self.clock.advance(599.0)
        self.mode()
        self.assertEqual(len(self.dns.asked), 1)
        self.clock.advance(2.0)
        self.mode()
        self.assertEqual((len(self.dns.asked), len(self.fetched)), (2, 1), "the same id is the same policy")

    def test_another_id_is_another_policy(self) -> None:
        self.mode()
        self.publish(found('"v=STSv1; id=2;"'), text("none"))
        self.clock.advance(601.0)
        self.assertIs(self.mode(), StsMode.NONE)
        self.assertEqual(len(self.fetched), 2)

    def test_what_was_fetched_holds_until_it_is_too_old_whatever_becomes_of_the_record(self) -> None:
        for record in (NOBODY, found(), found('"v=STSv1; id=2;"'), TIMED_OUT):
            self.setUp()
            self.mode()
            self.publish(record, FetchFailed("the server is gone"))
            for _ in range(23):
                self.clock.advance(3700.0)
                self.assertIs(self.mode(), StsMode.ENFORCE, record)
            self.clock.advance(3700.0)
            if record is TIMED_OUT:
                self.failureResultOf(self.policies.policy("example.com"), LookupFailed)  # type: ignore[arg-type]
            else:
                self.assertIsNone(self.mode(), record)

    def test_a_policy_that_gets_too_old_is_fetched_anew(self) -> None:
        self.publish(found('"v=STSv1; id=1;"', ttl=86400.0), text(age=3600))
        self.mode()
        self.clock.advance(3601.0)
        self.assertIs(self.mode(), StsMode.ENFORCE)
        self.assertEqual(len(self.fetched), 2)

    def test_a_dns_that_does_not_answer_leaves_it_open(self) -> None:
        self.publish(TIMED_OUT, text())
        for _ in range(2):
            failure = self.failureResultOf(self.policies.policy("example.com"), LookupFailed)  # type: ignore[arg-type]
            self.assertIn("timeout", str(failure.value))
        self.publish(found('"v=STSv1; id=1;"'), text())
        self.assertIs(self.mode(), StsMode.ENFORCE)

    def test_a_record_without_a_policy_that_can_be_had_is_no_policy_for_a_while(self) -> None:
        for served in (FetchFailed("mta-sts.example.com answered 404"), b"<html>", text("enforced")):
            self.setUp()
            self.served = served
            self.assertIsNone(self.mode())
            self.clock.advance(299.0)
            self.assertIsNone(self.mode())
            self.assertEqual(len(self.fetched), 1)
            self.served = text()
            self.clock.advance(2.0)
            self.assertIs(self.mode(), StsMode.ENFORCE)

    def test_many_who_ask_at_once_wait_for_one_fetch(self) -> None:
        self.served = serving = Deferred[bytes]()
        waiting: list[Any] = [self.policies.policy("example.com") for _ in range(3)]
        self.assertEqual((len(self.dns.asked), len(self.fetched)), (1, 1))
        serving.callback(text())
        self.assertEqual([self.successResultOf(one).mode for one in waiting], [StsMode.ENFORCE] * 3)

    def test_domains_are_apart(self) -> None:
        self.mode()
        self.assertIsNone(self.mode("example.org"))
        self.assertEqual(self.dns.asked[-1], "_mta-sts.example.org TXT")
