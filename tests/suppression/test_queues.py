"""The list and mail that is here already: each recipient for himself, before each attempt, in one change with the record."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.queues import QueueSettings
from kumotwist.config.suppression import Scope, SuppressionRule, SuppressionSettings
from kumotwist.logs.record import RecordType
from kumotwist.mail.disposition import Outcome, Verdict
from kumotwist.reports.arrived import Reported
from kumotwist.reports.delivery_status import BounceReport, Failed
from kumotwist.reports.original import Original
from kumotwist.suppression.entry import Entry
from tests.support.house import ARRIVAL, LATER, NEVER, OK, START, House

SAID = "KumoMTA internal: recipient is suppressed: address bob@example.org: asked"


class QueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()

    def forbid(self, subject: str, tenant: str | None = None) -> None:
        self.house.suppression.add([Entry(subject, tenant, "asked", START)])

    def heed(self, **given: object) -> None:
        rule = SuppressionRule(**{"record_types": ("Bounce", "OOB"), "classes": ("InvalidRecipient",), **given})  # type: ignore[arg-type]
        self.house.suppression.configure(SuppressionSettings(rules=(rule,)), lambda _: "InvalidRecipient")
        self.house.custody.learn_by(self.house.suppression)

    def test_a_suppressed_recipient_ends_with_a_bounce_and_nobody_connects(self) -> None:
        self.forbid("bob@example.org")
        self.house.take("bob@example.org")
        self.house.clock.advance(1)
        [told] = self.house.records("Bounce")
        self.assertEqual((told["recipient"], told["response"]["code"], told["response"]["content"]), ("bob@example.org", 550, SAID))
        self.assertEqual((self.house.sessions, self.house.spool.store.kept), ([], {}))

    def test_the_other_recipients_of_the_message_get_it(self) -> None:
        self.forbid("bob@example.org")
        self.house.take("ann@example.org", "bob@example.org", "cid@example.org")
        self.house.clock.advance(1)
        [session] = self.house.sessions
        message = session.answer(Verdict.DELIVERED, OK)
        self.assertEqual([one.email for one in message.recipients], ["ann@example.org", "cid@example.org"])
        self.assertEqual([one["recipient"] for one in self.house.records("Bounce")], ["bob@example.org"])
        self.assertEqual([one["recipient"] for one in self.house.records("Delivery")], [["ann@example.org", "cid@example.org"]])

    def test_it_holds_for_the_tenant_that_it_is_about(self) -> None:
        self.forbid("bob@example.org", "acme")
        self.house.take("bob@example.org", tenant="other")
        self.house.take("bob@example.org", tenant="acme")
        self.house.take("bob@example.org")
        self.house.clock.advance(1)
        self.assertEqual([one["queue"] for one in self.house.records("Bounce")], ["acme@example.org"])
        self.assertEqual(len(self.house.sessions[0].drain()), 2)

    def test_who_is_suppressed_while_a_message_waits_gets_no_second_attempt(self) -> None:
        """The envelope is then only in the spool, and is read back before anything is decided."""
        self.house.queues["example.org"] = QueueSettings(retry_interval=600.0)
        message = self.house.take("ann@example.org", "bob@example.org")
        self.house.sessions[0].answer(Verdict.POSTPONED, LATER)
        self.assertFalse(message.envelope_loaded)
        self.forbid("bob@example.org")
        self.house.run(700)
        self.assertEqual([one["recipient"] for one in self.house.records("Bounce")], ["bob@example.org"])
        self.house.sessions[0].drain()
        self.assertEqual([one["recipient"] for one in self.house.records("Delivery")], ["ann@example.org"])
        self.assertEqual(self.house.spool.store.kept, {})

    def test_mail_that_waits_goes_on_in_order_beside_a_list(self) -> None:
        self.house.queues["example.org"] = QueueSettings(retry_interval=600.0)
        self.forbid("nobody@elsewhere.example")
        waiting = [self.house.take(f"r{n}@example.org") for n in range(30)]
        for _ in waiting:
            self.house.sessions[0].answer(Verdict.POSTPONED, LATER)
        self.house.run(2000)
        self.assertEqual(len(self.house.sessions[0].drain()), 30)
        self.assertEqual(self.house.spool.store.kept, {})

    def test_an_envelope_that_cannot_be_read_waits_and_its_queue_goes_on(self) -> None:
        self.house.queues["example.org"] = QueueSettings(retry_interval=600.0)
        self.forbid("nobody@elsewhere.example")
        lost = self.house.take("lost@example.org")
        self.house.sessions[0].answer(Verdict.POSTPONED, LATER)
        del self.house.spool.store.kept[lost.id]
        self.house.run(700)
        self.flushLoggedErrors()
        self.house.take("bob@example.org")
        self.house.run(1)
        self.assertEqual([one.recipients[0].email for one in self.house.sessions[-1].drain()], ["bob@example.org"])

    def test_a_bounce_puts_its_recipient_on_the_list_in_the_same_change(self) -> None:
        self.heed(scope=Scope.TENANT, expires=60.0)
        self.house.take("bob@example.org", tenant="acme")
        writes = self.house.spool.store.writes
        message = self.house.sessions[0].answer(Verdict.BOUNCED, NEVER)
        self.assertEqual(self.house.spool.store.writes, writes + 1)
        [(key, _)] = self.house.spool.shelved("suppressed/")
        entry = self.house.suppression.entry(key.removeprefix("suppressed/"))
        self.assertEqual(entry, Entry("bob@example.org", "acme", "Bounce InvalidRecipient", START, START + 60, message.id))
        self.house.take("bob@example.org", tenant="acme")
        self.house.take("bob@example.org", tenant="other")
        self.house.clock.advance(1)
        self.assertEqual(len(self.house.records("Bounce")), 2)
        self.assertEqual([one.meta["tenant"] for one in self.house.sessions[-1].drain()], ["other"])

    def test_a_bounce_by_the_list_keeps_nobody_on_it(self) -> None:
        self.heed(expires=60.0)
        self.house.take("bob@example.org", tenant="acme")
        self.house.sessions[0].answer(Verdict.BOUNCED, NEVER)
        self.house.clock.advance(30)
        self.house.take("bob@example.org", tenant="acme")
        self.house.clock.advance(1)
        self.assertEqual(len(self.house.records("Bounce")), 2)
        self.assertEqual(self.house.suppression.listed.lasts("bob@example.org", "acme"), START + 60)

    def test_each_recipient_of_a_message_is_judged_by_his_own_reply(self) -> None:
        self.heed(scope=Scope.GLOBAL)
        self.house.suppression.configure(
            SuppressionSettings(rules=(SuppressionRule(record_types=("Bounce",), classes=("InvalidRecipient",)),)),
            lambda line: "InvalidRecipient" if line.startswith("550 5.1.1") else "Uncategorized",
        )
        self.house.take("ann@example.org", "bob@example.org")
        session = self.house.sessions[0]
        message = session.supply.next_message()
        assert message is not None
        ann, bob = message.recipients
        outcomes = [Outcome(Verdict.DELIVERED, (ann,), OK), Outcome(Verdict.BOUNCED, (bob,), NEVER)]
        session.supply.settle(message, session.attempt, outcomes)
        listed = self.house.suppression.listed
        self.assertEqual([listed.find(one, "", START) is not None for one in (ann, bob)], [False, True])

    def reported(self) -> Reported:
        original = Original(id="ab" * 16, recipient="bob@example.org", trace={"tenant": "acme"})
        failed = Failed(recipient="bob@example.org", reply=NEVER)
        return Reported(BounceReport(reporting_mta="mx", failed=(failed,), original=original), True)

    def test_a_report_puts_its_recipient_on_the_list_once_it_is_on_disk(self) -> None:
        self.heed()
        report = self.house.messages.make("bounces@mta.example")
        self.house.spool.stalled = True
        taken = self.house.custody.take_reports([report], ARRIVAL, {report.id: self.reported()})
        self.assertFalse(self.house.suppression.listed.stands)
        self.house.spool.run()
        self.successResultOf(taken)
        self.assertEqual(self.house.suppression.listed.lasts("bob@example.org", "acme"), float("inf"))
        self.assertEqual(len(self.house.records(RecordType.OOB.value)), 1)
        self.assertEqual(len(self.house.spool.shelved("suppressed/")), 1)

    def test_a_report_that_was_not_taken_puts_nobody_on_it(self) -> None:
        self.heed()
        report = self.house.messages.make("bounces@mta.example")
        self.house.spool.store.failing = OSError("full")
        self.failureResultOf(self.house.custody.take_reports([report], ARRIVAL, {report.id: self.reported()}))
        self.assertFalse(self.house.suppression.listed.stands)

    def test_the_list_outlives_a_restart(self) -> None:
        self.heed(scope=Scope.GLOBAL)
        self.house.take("bob@example.org")
        self.house.sessions[0].answer(Verdict.BOUNCED, NEVER)
        after = House(store=self.house.spool.store, started=self.house.clock.seconds() + 5)
        after.take("bob@example.org")
        after.clock.advance(1)
        self.assertEqual((len(after.records("Bounce")), after.sessions), (1, []))
