"""What a listener does with reports: who may send them, what is logged, what is kept."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.listeners import ListenerDomain, ReportHandling
from kumotwist.config.queues import QueuesSettings
from kumotwist.logs.record import RecordType
from tests.reports.arriving import Arriving, message

IGNORE, RELAY, DROP = ReportHandling.IGNORE, ReportHandling.LOG_THEN_RELAY, ReportHandling.LOG_THEN_DROP
BOUNCE, COMPLAINT, PLAIN = message("postfix-unknown-user"), message("arf-minimal"), b"Subject: hello\r\n\r\nworld\r\n"


class HandlingTests(SynchronousTestCase):
    def outcome(self, arriving: Arriving, content: bytes) -> tuple[bytes, list[str], int]:
        """The code of the reply, the types of the records, and how many messages were kept."""
        answer = arriving.send(content)
        return answer[:3], [record["type"] for record in arriving.records()], arriving.kept

    def test_every_combination(self) -> None:
        table = {
            # log_oob, log_arf, relay_to, content: code, records, kept
            (DROP, DROP, False, BOUNCE): (b"250", ["Reception", "OOB"], 0),
            (RELAY, DROP, False, BOUNCE): (b"250", ["Reception", "OOB"], 1),
            (DROP, DROP, True, BOUNCE): (b"250", ["Reception", "OOB"], 0),
            (IGNORE, DROP, False, BOUNCE): (b"550", ["Rejection"], 0),
            (IGNORE, DROP, True, BOUNCE): (b"250", ["Reception"], 1),
            (DROP, DROP, False, COMPLAINT): (b"250", ["Feedback"], 0),
            (DROP, RELAY, False, COMPLAINT): (b"250", ["Feedback"], 1),
            (DROP, IGNORE, False, COMPLAINT): (b"550", ["Rejection"], 0),
            (DROP, IGNORE, True, COMPLAINT): (b"250", ["Reception"], 1),
            (DROP, DROP, False, PLAIN): (b"550", ["Rejection"], 0),
            (DROP, DROP, True, PLAIN): (b"250", ["Reception"], 1),
            (IGNORE, IGNORE, False, PLAIN): (b"550", ["Rejection"], 0),
        }
        for (log_oob, log_arf, relay_to, content), expected in table.items():
            with self.subTest(oob=log_oob, arf=log_arf, relay_to=relay_to):
                self.assertEqual(self.outcome(Arriving(log_oob, log_arf, relay_to=relay_to), content), expected)

    def test_where_nothing_is_awaited_the_recipient_is_refused_at_once(self) -> None:
        arriving = Arriving(IGNORE, IGNORE)
        self.assertEqual(arriving.send(BOUNCE), b"550 5.7.1 relaying not permitted for 192.0.2.99:54321\r\n")

    def test_other_domains_stay_closed(self) -> None:
        self.assertEqual(Arriving().send(BOUNCE, recipient="ann@example.net")[:3], b"550")

    def test_each_type_of_record_has_its_own_switch(self) -> None:
        table = {
            (RecordType.RECEPTION,): ["OOB"],
            (RecordType.OOB,): ["Reception"],
            (RecordType.RECEPTION, RecordType.OOB): [],
        }
        for disabled, expected in table.items():
            self.assertEqual(self.outcome(Arriving(disabled=frozenset(disabled)), BOUNCE), (b"250", expected, 0))
        self.assertEqual(self.outcome(Arriving(disabled=frozenset({RecordType.FEEDBACK})), COMPLAINT), (b"250", [], 0))
        self.assertEqual(self.outcome(Arriving(disabled=frozenset({RecordType.RECEPTION})), COMPLAINT), (b"250", ["Feedback"], 0))

    def test_a_report_that_goes_on_is_put_into_its_queue(self) -> None:
        arriving = Arriving(RELAY, RELAY)
        arriving.send(BOUNCE)
        self.assertEqual([one.queue for one in arriving.admitted], ["bounces.example.com"])

    def test_before_the_records_are_on_disk_there_is_no_250(self) -> None:
        for content in (BOUNCE, COMPLAINT):
            arriving = Arriving()
            arriving.spool.stalled = True
            self.assertEqual(arriving.send(content), b"")
            arriving.spool.run()
            self.assertEqual(arriving.line.heard()[:3], b"250")

    def test_records_that_cannot_be_written_refuse_the_report_for_now(self) -> None:
        arriving = Arriving(disabled=frozenset({RecordType.REJECTION}))
        arriving.spool.store.failing = OSError("disk full")
        self.assertEqual(arriving.send(BOUNCE)[:3], b"451")
        self.assertEqual(arriving.records(), [])

    def test_a_report_needs_no_tenant_and_other_mail_does(self) -> None:
        queues = QueuesSettings(tenant_header="X-Tenant", require_tenant=True)
        self.assertEqual(self.outcome(Arriving(queues=queues), BOUNCE)[0], b"250")
        arriving = Arriving(queues=queues, relay_to=True)
        self.assertEqual(arriving.send(PLAIN), b"500 5.7.1 missing X-Tenant header\r\n")

    def test_a_policy_may_say_what_holds_for_a_domain(self) -> None:
        def domain(name: str, listener: str, conn_meta: object) -> ListenerDomain | None:
            return ListenerDomain(log_oob=DROP) if name == "bounces.example.com" else None

        arriving = Arriving(IGNORE, IGNORE, policy={"get_listener_domain": [domain]})
        self.assertEqual(self.outcome(arriving, BOUNCE), (b"250", ["Reception", "OOB"], 0))

    def test_several_recipients_have_records_of_their_own(self) -> None:
        arriving = Arriving()
        line = arriving.line
        line.say(b"MAIL FROM:<>", b"RCPT TO:<a@bounces.example.com>", b"RCPT TO:<b@bounces.example.com>", b"DATA")
        self.assertEqual(line.send(BOUNCE + b".\r\n")[:3], b"250")
        found = [(record["type"], record["sender"]) for record in arriving.records() if record["type"] == "OOB"]
        self.assertEqual(found, [("OOB", "a@bounces.example.com"), ("OOB", "b@bounces.example.com")])

    def test_reports_to_very_many_addresses_at_once_are_not_taken_apart(self) -> None:
        arriving = Arriving()
        line = arriving.line
        line.say(b"MAIL FROM:<>", *(b"RCPT TO:<a%d@bounces.example.com>" % n for n in range(11)), b"DATA")
        self.assertEqual(line.send(BOUNCE + b".\r\n"), b"550 5.7.1 relaying not permitted\r\n")
        self.assertEqual((arriving.kept, [record["type"] for record in arriving.records()]), (0, ["Rejection"]))
