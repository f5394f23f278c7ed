"""Records that become messages because the policy says so."""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.log_hooks import PolicyHook
from kumotwist.hooks.policy import Handler, Policy
from kumotwist.mail.message import Message
from kumotwist.mail.reply import refuse
from kumotwist.publishing.queue import EVENT, Enqueue
from kumotwist.publishing.source import Record
from kumotwist.publishing.target import NeverTaken, NotTaken, PartlyTaken
from tests.publishing.logs import record


class EnqueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.taken: list[Message] = []
        self.fault: Exception | None = None

    def adopt(self, message: Message) -> "Deferred[None]":
        if self.fault is not None:
            raise self.fault
        self.taken.append(message)
        return succeed(None)

    def send(self, handler: Any, *lines: bytes) -> None:
        policy = Policy({EVENT: (Handler(handler, 2, "policy.py:1"),)}, Clock())
        target = Enqueue(PolicyHook(name="hook"), lambda: policy, self.adopt, lambda: f"{len(self.taken):032x}")
        work = Deferred.fromCoroutine(target.send([Record("Delivery", line) for line in lines]))
        work.addErrback(lambda failure: failure)
        outcome = self.successResultOf(work) if not work.called or work.result is None else work.result
        if outcome is not None:
            work.addErrback(lambda _: None)
            outcome.raiseException()

    def test_a_wanted_record_is_a_message_with_the_record_as_content_and_metadata(self) -> None:
        def wanted(message: Any, hook: str) -> bool:
            message.set_meta("queue", f"{hook}.log_hook")
            return True

        line = record(1, sender="a@example.com", recipient=["b@example.org", "c@example.org"], meta={"tenant": "t"})
        self.send(wanted, line)
        [message] = self.taken
        self.assertEqual(message.sender.email, "a@example.com")
        self.assertEqual([one.email for one in message.recipients], ["b@example.org", "c@example.org"])
        self.assertEqual((message.meta["tenant"], message.meta["queue"]), ("t", "hook.log_hook"))
        self.assertEqual((message.meta["reception_protocol"], message.meta["log_record"]["n"]), ("LogRecord", 1))
        self.assertEqual(message.content, Record("Delivery", line).marked)

    def test_what_is_not_wanted_is_no_message(self) -> None:
        self.send(lambda message, hook: message.get_meta("log_record")["n"] == 2, record(1), record(2), record(3))
        self.assertEqual([one.meta["log_record"]["n"] for one in self.taken], [2])

    def test_what_happens_to_such_messages_is_not_told_again(self) -> None:
        asked = []
        self.send(lambda message, hook: asked.append(message), record(1, reception_protocol="LogRecord"))
        self.assertEqual(asked, [])

    def test_a_policy_that_takes_its_time_is_waited_for(self) -> None:
        self.send(lambda message, hook: succeed(True), record(1))
        self.assertEqual(len(self.taken), 1)

    def test_a_policy_that_breaks_loses_no_record(self) -> None:
        with self.assertRaises(NotTaken):
            self.send(lambda message, hook: 1 / 0, record(1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_what_was_taken_before_something_went_wrong_is_not_taken_again(self) -> None:
        def one_breaks(message: Any, hook: str) -> bool:
            return bool(1 / (3 - message.get_meta("log_record")["n"]))

        with self.assertRaises(PartlyTaken) as caught:
            self.send(one_breaks, record(1), record(2), record(3), record(4))
        self.assertEqual((caught.exception.taken, len(self.taken)), (2, 2))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_a_spool_that_does_not_take_it_is_waited_for_and_an_impossible_queue_is_not(self) -> None:
        self.fault = refuse("451 4.3.2 the spool is not accepting writes")
        with self.assertRaises(NotTaken):
            self.send(lambda message, hook: True, record(1))
        self.fault = ValueError("meta queue must be a string")
        with self.assertRaises(NeverTaken):
            self.send(lambda message, hook: True, record(1))
