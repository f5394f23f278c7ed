"""`kumo.suppression`: the list as a policy uses it."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kumotwist import kumo
from kumotwist.hooks.context import NoPolicyRuns, Services, entered
from kumotwist.mail.address import parse_mailbox
from tests.support.house import START, House


class PolicyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.services = Services(
            clock=self.house.clock,
            resolver=self.house.destinations,
            inject=self.house.custody.adopt,
            message_id=lambda: "ab" * 16,
            suppression=lambda: self.house.suppression,
        )

    def run_policy(self, coroutine: Any) -> Any:
        with entered(self.services):
            return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def find(self, recipient: Any, tenant: str | None = None) -> str | None:
        with entered(self.services):
            return kumo.suppression.find(recipient, tenant)

    def test_what_is_added_is_found_and_on_disk_and_gone_when_removed(self) -> None:
        bob = parse_mailbox("Bob@example.org")
        self.run_policy(kumo.suppression.add(recipient=bob, tenant="shop", reason="asked", expires="1 hour"))
        self.run_policy(kumo.suppression.add(domain="gone.example", reason="gone"))
        self.assertEqual(self.find("bob@example.org", "shop"), "asked")
        self.assertEqual([self.find(bob), self.find(bob, "bank"), self.find("x@gone.example")], [None, None, "gone"])
        self.assertEqual(self.house.suppression.listed.lasts("bob@example.org", "shop"), START + 3600)
        self.assertEqual(len(self.house.spool.shelved("suppressed/")), 2)
        self.assertFalse(self.run_policy(kumo.suppression.remove(recipient=bob)))
        self.assertTrue(self.run_policy(kumo.suppression.remove(recipient=bob, tenant="shop")))
        self.assertIsNone(self.find(bob, "shop"))
        self.assertEqual(len(self.house.spool.shelved("suppressed/")), 1)

    def test_what_makes_no_sense_is_an_error(self) -> None:
        calls: list[dict[str, Any]] = [
            {"reason": "x"},
            {"recipient": "a@b.example", "domain": "b.example", "reason": "x"},
            {"recipient": "no address", "reason": "x"},
            {"recipient": "a@b.example", "reason": ""},
            {"recipient": "a@b.example", "reason": "x", "expires": "soon"},
        ]
        for given in calls:
            with entered(self.services):
                self.failureResultOf(Deferred.fromCoroutine(kumo.suppression.add(**given)), ValueError)
        self.assertFalse(self.house.suppression.listed.stands)

    def test_it_is_there_for_policies_and_once_the_server_has_started(self) -> None:
        self.assertRaises(NoPolicyRuns, kumo.suppression.find, "a@b.example")
        before = Services(
            clock=self.house.clock,
            resolver=self.house.destinations,
            inject=self.house.custody.adopt,
            message_id=lambda: "ab" * 16,
        )
        with entered(before):
            self.assertRaises(RuntimeError, kumo.suppression.find, "a@b.example")
