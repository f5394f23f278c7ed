"""The list as the server has it: over restarts, as time goes by, and beside the records that fill it."""

import os
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.suppression import Scope, SuppressionRule, SuppressionSettings
from kumotwist.mail.address import parse_mailbox
from kumotwist.mail.reply import reply
from kumotwist.spool.change import Change
from kumotwist.suppression.entry import Entry, stored_entry
from kumotwist.suppression.service import SWEEP, Suppression
from tests.support.memory import MemoryStore, Messages

NOW = 1_700_000_000.0
MANY = int(os.environ.get("KUMOTWIST_SUPPRESSED", "5000"))


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.store = MemoryStore()
        self.suppression = self.started()

    def started(self) -> Suppression:
        found = Suppression(self.clock, self.shelve, self.store.shelved)
        found.start()
        self.addCleanup(found.stop)
        return found

    def shelve(self, entries: Any) -> "Deferred[None]":
        change = Change()
        for key, value in entries:
            change.shelve(key, value)
        self.store.write([change], 1)
        return succeed(None)

    def stops(self, recipient: str, tenant: str | None = None) -> bool:
        return self.suppression.listed.find(parse_mailbox(recipient), tenant, self.clock.seconds()) is not None

    def test_entries_outlive_a_restart_and_a_cancelled_one_does_not(self) -> None:
        self.suppression.add([Entry("a@b.example", None, "x", NOW), Entry("c.example", "acme", "x", NOW)])
        self.assertIsNotNone(self.suppression.cancel("a@b.example", None))
        self.assertIsNone(self.suppression.cancel("a@b.example", None))
        self.suppression = self.started()
        self.assertEqual([self.stops("a@b.example"), self.stops("x@c.example", "acme")], [False, True])

    def test_what_expires_leaves_memory_and_shelf(self) -> None:
        self.suppression.add([Entry(f"r{n}@b.example", None, "x", NOW, NOW + 60) for n in range(1200)])
        self.suppression.add([Entry("c.example", None, "x", NOW)])
        self.clock.pump([SWEEP, 0, 0, 0, 0])
        self.assertEqual(self.suppression.listed.size, 1)
        self.assertEqual(len(self.store.shelf), 1)

    def test_what_expired_while_nobody_ran_is_taken_off_the_shelf(self) -> None:
        old = Entry("a@b.example", None, "x", NOW, NOW + 60)
        self.store.shelf[old.key] = stored_entry(old)
        self.clock.advance(61)
        self.suppression = self.started()
        self.assertEqual((self.suppression.listed.size, self.store.shelf), (0, {}))

    def test_what_is_none_of_ours_is_left_there_and_told(self) -> None:
        self.store.shelf["suppressed/00"] = b"\xc1"
        self.suppression = self.started()
        self.assertEqual((self.suppression.listed.size, list(self.store.shelf)), (0, ["suppressed/00"]))

    def test_many_entries_are_listed_in_pages_without_a_gap(self) -> None:
        self.suppression.add([Entry(f"r{n}@b.example", None, "x", NOW) for n in range(MANY)])
        found: list[Entry] = []
        while page := self.suppression.kept(700, found[-1].id if found else "", lambda _: True):
            self.assertLessEqual(len(page), 700)
            found += page
        self.assertEqual(len({one.subject for one in found}), MANY)
        self.assertEqual([one.id for one in found], sorted(one.id for one in found))
        self.assertEqual(self.started().listed.size, MANY)

    def learn(self, expires: float | None) -> int:
        rule = SuppressionRule(record_types=("Bounce",), classes=("Any",), scope=Scope.GLOBAL, expires=expires)
        self.suppression.configure(SuppressionSettings(rules=(rule, rule)), lambda _: "InvalidRecipient")
        message = Messages(self.clock.seconds).make("bob@example.org")
        answer = reply("550 5.1.1 no")
        found = self.suppression.of_failure("Bounce", answer, message.recipients, message, self.clock.seconds())
        self.suppression.learn(found)
        return len(found)

    def test_a_rule_prolongs_an_entry_and_never_shortens_one(self) -> None:
        self.assertEqual(self.learn(60.0), 1)
        self.assertEqual(self.learn(30.0), 0)
        self.assertEqual(self.learn(90.0), 1)
        self.assertEqual(self.learn(None), 1)
        self.assertEqual(self.learn(None), 0)
        self.assertEqual(self.learn(60.0), 0)
        self.assertEqual(self.suppression.listed.lasts("bob@example.org", None), float("inf"))
        shown = {family.name: list(family.samples) for family in self.suppression.measures()}
        self.assertEqual(shown, {"suppression_entries": [((), 1)], "suppression_learned_total": [((), 3)]})
