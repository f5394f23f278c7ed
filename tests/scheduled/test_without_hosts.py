"""Queues whose mail goes to no host: it comes to ready queues of its own, and ends in maildirs or with the policy."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Limit
from kumotwist.config.path_template import parse_path_template
from kumotwist.config.queues import MaildirDelivery, PolicyDelivery, QueueSettings
from kumotwist.delivery.by_policy import ByPolicy
from kumotwist.delivery.hand_over import Around, hand_over
from kumotwist.delivery.maildir import Maildir, Maildirs
from kumotwist.delivery.stop import Stop
from kumotwist.hooks.policy import Handler, Policy
from kumotwist.hooks.rejection import Rejection
from kumotwist.ready.queue import ReadyQueue
from tests.support.house import House

HOOK = PolicyDelivery(constructor="make.webhook")


class WithoutHostsCase(SynchronousTestCase):
    """The house, with the sessions that the server would open."""

    def setUp(self) -> None:
        self.house = House()
        self.place = Path(self.mktemp()).resolve()
        self.box = MaildirDelivery(maildir_path=parse_path_template(f"{self.place}/{{{{ local_part }}}}", "x"))
        self.sent: list[str] = []
        self.says: Any = "taken"
        self.house.ready._open_session = self.open  # type: ignore[assignment]  # instead of the house's scripted ones

    def open(self, supply: ReadyQueue) -> "Deferred[None]":
        instead = supply.path.destination.instead_of_smtp
        clock: Any = self.house.clock
        taker: Any
        if isinstance(instead, MaildirDelivery):
            taker = Maildir(instead, Maildirs(in_thread=execute, seconds=clock.seconds, hostname="mta.example"))
        else:
            assert isinstance(instead, PolicyDelivery)
            policy = Policy({instead.constructor: (Handler(lambda: self, 0, "policy.py:1"),)}, clock)
            taker = ByPolicy(policy, instead)
        around = Around(reactor=clock, draw=lambda: 0.5, session_id=lambda: "s-1", stop=Stop())
        return Deferred.fromCoroutine(hand_over(supply, taker, around))

    def send(self, view: Any) -> Any:
        self.sent.append(view.recipient.email)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


class PolicyTests(WithoutHostsCase):
    def setUp(self) -> None:
        super().setUp()
        self.house.queues["example.org"] = QueueSettings(instead_of_smtp=HOOK)

    def test_a_delivery_by_the_policy_ends_as_any_other(self) -> None:
        self.house.take()
        self.house.clock.advance(1.0)
        [record] = self.house.records("Delivery")
        self.assertEqual((record["response"]["code"], record["response"]["content"]), (200, "taken"))
        self.assertEqual(record["site"], "unspecified->example.org@lua:make.webhook")
        self.assertEqual(self.house.spool.store.kept, {})

    def test_what_it_refuses_for_now_is_tried_again_when_the_queue_says(self) -> None:
        self.says = Rejection(450, "4.2.1 later")
        self.house.take()
        self.house.clock.advance(1.0)
        [record] = self.house.records("TransientFailure")
        self.assertEqual((record["response"]["code"], record["num_attempts"]), (450, 0))
        self.says = "taken"
        self.house.forward(1250)
        self.assertEqual((len(self.house.records("Delivery")), len(self.sent)), (1, 2))

    def test_a_bug_of_the_policy_loses_nothing(self) -> None:
        self.says = RuntimeError("no route")
        for _ in range(5):
            self.house.take()
        self.house.clock.advance(10.0)
        self.assertEqual(len(self.house.records("TransientFailure")), 5)
        self.assertEqual(len(self.house.spool.store.kept), 5)
        self.flushLoggedErrors(RuntimeError)
        self.says = "taken"
        self.house.forward(1300)
        self.assertEqual((len(self.house.records("Delivery")), self.house.spool.store.kept), (5, {}))

    def test_it_goes_through_the_sources_and_limits_of_the_queue_s_pool(self) -> None:
        self.house.pool("pair", one=1, two=1)
        self.house.queues["example.org"] = QueueSettings(instead_of_smtp=HOOK, egress_pool="pair")
        self.house.paths["example.org"] = PathSettings(connection_limit=Limit(1), max_ready=3)
        for _ in range(4):
            self.house.take()
        self.house.clock.advance(1.0)
        sites = sorted(record["site"] for record in self.house.records("Delivery"))
        self.assertEqual(sites, [f"{one}->example.org@lua:make.webhook" for one in ("one", "one", "two", "two")])

    def test_no_host_is_looked_up(self) -> None:
        self.house.destinations.answers["example.org"] = lambda: self.fail("looked up")
        self.house.take()
        self.house.clock.advance(1.0)
        self.assertEqual(self.sent, ["bob@example.org"])

    def test_a_queue_that_changes_its_protocol_sends_by_the_new_one(self) -> None:
        self.house.take()
        self.house.clock.advance(1.0)
        self.house.queues["example.org"] = QueueSettings(instead_of_smtp=replace(HOOK, constructor="make.other"))
        self.house.scheduler.direct(type(self.house.directions)(self.house, 1))
        self.house.take()
        self.house.clock.advance(1.0)
        sites = [record["site"] for record in self.house.records("Delivery")]
        self.assertEqual([site.partition("@")[2] for site in sites], ["lua:make.webhook", "lua:make.other"])

    def test_another_size_of_batches_holds_at_once(self) -> None:
        self.house.take()
        self.house.clock.advance(10.0)
        larger = replace(HOOK, batch_size=5)
        self.house.queues["example.org"] = QueueSettings(instead_of_smtp=larger)
        self.house.scheduler.direct(type(self.house.directions)(self.house, 1))
        self.house.take()
        [ready] = self.house.ready
        self.assertEqual(ready.path.destination.instead_of_smtp, larger)


class MaildirTests(WithoutHostsCase):
    def setUp(self) -> None:
        super().setUp()
        self.house.queues["example.org"] = QueueSettings(instead_of_smtp=self.box, egress_pool="pair")
        self.house.pool("pair", one=1, two=1)

    def test_mail_ends_in_the_maildir_whatever_the_pool(self) -> None:
        self.house.take(egress_pool="pair")
        self.house.take("ann@example.org")
        self.house.clock.advance(1.0)
        records = self.house.records("Delivery")
        self.assertEqual({record["site"] for record in records}, {f"unspecified->example.org@maildir:{self.box.maildir_path.text}"})
        self.assertEqual([record["delivery_protocol"] for record in records], ["Maildir", "Maildir"])
        self.assertEqual(sorted(file.parts[-3] for file in self.place.rglob("new/*")), ["ann", "bob"])
        self.assertEqual(self.house.spool.store.kept, {})

    def test_no_rate_or_limit_of_a_path_holds_there(self) -> None:
        asked: list[Any] = []
        self.house.handlers["get_egress_path_config"] = (Handler(lambda *names: asked.append(names), 3, "policy.py:1"),)
        self.house.directions = type(self.house.directions)(self.house, 1)
        self.house.scheduler.direct(self.house.directions)
        self.house.ready.direct(self.house.directions)
        self.house.take()
        self.house.clock.advance(1.0)
        self.assertEqual((len(self.house.records("Delivery")), asked), (1, []))

    def test_a_disk_that_refuses_costs_an_attempt_and_no_message(self) -> None:
        self.place.write_text("in the way")
        self.house.take()
        self.house.clock.advance(1.0)
        [record] = self.house.records("TransientFailure")
        self.assertIn("bob@example.org: failed to write to maildir: [Errno 20] Not a directory", record["response"]["content"])
        self.place.unlink()
        self.house.forward(1250)
        self.assertEqual(len(self.house.records("Delivery")), 1)
