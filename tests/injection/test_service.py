"""Injection from the request to the spool: who gets mail, what is answered, and what a crash leaves."""

from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from kumotwist.config.fields import Rate
from kumotwist.config.queues import QueuesSettings
from kumotwist.config.routing import RoutingMatch, RoutingRule
from kumotwist.hooks.context import Services
from kumotwist.hooks.message import PolicyMessage
from kumotwist.hooks.rejection import reject
from kumotwist.injection.request import BadRequest
from kumotwist.injection.service import Conflict, Unavailable
from kumotwist.reception.intake import Rules
from tests.injection.support import InjectionTestCase, Office, parsed, request


class InjectTests(InjectionTestCase):
    def test_each_recipient_gets_a_message_of_their_own(self) -> None:
        office = Office()
        answer = self.answer(office, request("a@one.example", "b@two.example"))
        self.assertEqual((answer.success_count, answer.fail_count), (2, 0))
        self.assertEqual([recipient for recipient, _ in office.kept], ["a@one.example", "b@two.example"])
        self.assertEqual([one["type"] for one in office.house.records()], ["Reception", "Reception"])
        self.assertEqual({one["reception_protocol"] for one in office.house.records()}, {"HTTP"})

    def test_whoever_cannot_get_one_is_reported_and_the_others_get_theirs(self) -> None:
        office = Office()
        given = request("a@one.example", "nonsense", "b@two.example", content="Subject: x\n\n{{ email.foo.bar }}{{ email }}")
        answer = self.answer(office, given)
        self.assertEqual((answer.success_count, answer.fail_count, answer.failed_recipients[1:2]), (0, 3, ["nonsense"]))
        answer = self.answer(office, request("nonsense", "b@two.example"))
        self.assertEqual((answer.success_count, answer.failed_recipients), (1, ["nonsense"]))
        self.assertEqual(answer.errors, ["nonsense: address without a domain: 'nonsense'"])

    def test_metadata_tell_where_it_came_from(self) -> None:
        office = Office()
        self.answer(office, request() | {"recipients": [{"email": "b@x.example", "metadata": {"segment": "gold"}}]})
        self.assertEqual(
            office.meta(),
            {
                "reception_protocol": "HTTP",
                "http_auth": "127.0.0.1",
                "received_from": "127.0.0.1",
                "received_via": "127.0.0.1",
                "hostname": "mta.example",
                "extra": {"segment": "gold"},
            },
        )

    def test_tenants_and_routes_hold_as_for_smtp(self) -> None:
        queues = QueuesSettings(tenant_header="X-Tenant", remove_tenant_header=True, scheduling_header="X-Schedule")
        routes = (RoutingRule(match=RoutingMatch(recipient_domain="null.example"), set={"queue": "null"}),)
        office = Office(rules=Rules(queues=queues, routing=routes))
        when = "2030-01-01T00:00:00Z"
        content = f'X-Tenant: t1\nX-Schedule: {{"first_attempt": "{when}"}}\nSubject: x\n\nbody'
        self.answer(office, request("a@x.example", "b@null.example", content=content, template_dialect="Static"))
        self.assertEqual([one["queue"] for one in office.house.records("Reception")], ["t1@x.example", "null"])
        self.assertEqual(office.house.records("Delayed")[0]["recipient"], "a@x.example")
        ((_, kept),) = office.kept
        self.assertNotIn(b"X-Tenant", kept)

    def test_trace_fields_are_those_that_were_asked_for(self) -> None:
        table: list[tuple[dict[str, Any], bool, bool]] = [
            ({}, False, True),
            ({"received_header": True}, True, True),
            ({"supplemental_header": False}, False, False),
            ({"header_name": "X-Ours", "include_meta_names": ["http_auth"]}, False, True),
        ]
        for trace, received, supplemental in table:
            with self.subTest(trace):
                message = self.message(request(trace_headers=trace))
                self.assertEqual("received" in message, received)
                self.assertEqual(trace.get("header_name", "X-KumoRef") in message, supplemental)

    def test_the_policy_sees_each_message_and_has_the_last_word(self) -> None:
        def generated(message: PolicyMessage, auth: Any) -> None:
            if message.recipient.user == "refused":
                reject(550, "5.7.1 not you")
            if message.recipient.user == "broken":
                raise ValueError("a bug")
            message.set_meta("tenant", "t2")
            message.append_header("X-Seen", str(auth.peer_address))

        office = Office(handlers={"http_message_generated": generated})
        answer = self.answer(office, request("a@x.example", "refused@x.example", "broken@x.example"))
        self.flushLoggedErrors(ValueError)
        self.assertEqual(answer.success_count, 1)
        self.assertEqual(answer.errors, ["refused@x.example: 550 5.7.1 not you", "broken@x.example: 451 4.3.0 internal error"])
        ((_, kept),) = office.kept
        self.assertEqual(parsed(kept)["x-seen"], "127.0.0.1")
        self.assertEqual(office.house.records()[0]["queue"], "t2@x.example")

    def test_what_is_wrong_with_the_whole_request_is_said_before_anybody_gets_mail(self) -> None:
        table: list[tuple[dict[str, Any], type[Exception]]] = [
            (request(envelope_sender="nonsense"), BadRequest),
            (request(content="Subject: {{ x\n\n"), BadRequest),
            (request(content={"subject": "no body"}), BadRequest),
            (request(content={"text_body": "x", "from": {"email": "bad"}}), BadRequest),
            (request(template_dialect="Handlebars", content="Subject: x\n\n"), BadRequest),
            (request(unknown=1), msgspec.ValidationError),
            (request() | {"recipients": [{"email": "a@x.example"}, {"email": 5}]}, msgspec.ValidationError),
            (request() | {"recipients": [{"email": "a@x.example", "nmae": "x"}]}, msgspec.ValidationError),
        ]
        for deferred in (False, True):
            for given, kind in table:
                with self.subTest((given, deferred)):
                    office = Office()
                    self.failureResultOf(office.ask(given | {"deferred_generation": deferred}), kind)
                    self.assertEqual(office.spool.store.kept, {})

    def test_the_place_of_a_faulty_recipient_is_named(self) -> None:
        failure = self.failureResultOf(Office().ask(request() | {"recipients": [{"email": "a@x.example"}, {"email": 5}]}))
        self.assertIn("$.recipients[1].email", failure.getErrorMessage())

    def test_nobody_is_answered_before_the_messages_are_on_disk(self) -> None:
        office = Office()
        office.spool.stalled = True
        answer = office.ask(request())
        self.assertNoResult(answer)
        office.spool.run()
        self.assertEqual(self.successResultOf(answer).success_count, 1)

    def test_deferred_spool_is_accepted_and_the_answer_waits_for_the_disk_all_the_same(self) -> None:
        for deferred_generation in (False, True):
            with self.subTest(deferred_generation):
                office = Office()
                office.spool.stalled = True
                answer = office.ask(request(deferred_spool=True, deferred_generation=deferred_generation))
                self.assertNoResult(answer)
                office.spool.run()
                self.assertEqual(self.successResultOf(answer).fail_count, 0)

    def test_a_spool_that_fails_is_said_so_and_nothing_is_kept(self) -> None:
        office = Office()
        office.spool.store.failing = OSError("disk")
        self.failureResultOf(office.ask(request()), Unavailable)
        self.assertEqual(office.kept, [])

    def test_a_server_that_stops_takes_no_more(self) -> None:
        office = Office()
        self.successResultOf(office.injection.stop())
        self.assertEqual(self.failureResultOf(office.ask(request()), Unavailable).getErrorMessage(), "shutting down")

    def test_a_rate_makes_requests_wait(self) -> None:
        office = Office()
        services = Services(clock=office.house.clock, resolver=None, inject=None, message_id=None)  # type: ignore[arg-type]
        services.injection_rate.append(Rate(limit=2, period=10.0))
        office.standing.policy.services = services
        self.assertEqual(self.answer(office, request("a@x.example", "b@x.example")).success_count, 2)
        waiting = office.ask(request("c@x.example"))
        self.assertNoResult(waiting)
        office.house.forward(6)
        self.assertEqual(self.successResultOf(waiting).success_count, 1)

    def test_many_recipients_go_into_custody_in_batches(self) -> None:
        office = Office()
        answer = self.answer(office, request(*(f"r{n}@x.example" for n in range(1000))))
        self.assertEqual(answer.success_count, 1000)
        self.assertGreaterEqual(office.spool.store.writes, 20)
        self.assertEqual(len({recipient for recipient, _ in office.kept}), 1000)


class IdempotencyTests(InjectionTestCase):
    def test_the_same_key_gives_the_same_answer_and_no_second_mail(self) -> None:
        office = Office()
        given = request("a@x.example", "nonsense")
        first = self.answer(office, given, "key")
        self.assertEqual(self.answer(office, given, "key"), first)
        self.assertEqual(len(office.kept), 1)

    def test_also_after_a_restart(self) -> None:
        office = Office()
        first = self.answer(office, request(), "key")
        again = Office(store=office.spool.store)
        self.assertEqual(self.answer(again, request(), "key"), first)
        self.assertEqual(len(again.kept), 1)

    def test_key_and_answer_are_in_the_write_that_has_the_messages(self) -> None:
        office = Office()
        self.answer(office, request(), "key")
        self.assertEqual(office.spool.store.writes, 1)

    def test_another_key_is_another_mailing(self) -> None:
        office = Office()
        self.answer(office, request(), "key")
        self.answer(office, request(), "other")
        self.assertEqual(len(office.kept), 2)

    def test_a_key_for_another_request_is_refused(self) -> None:
        office = Office()
        self.answer(office, request(), "key")
        self.failureResultOf(office.ask(request("other@x.example"), "key"), Conflict)

    def test_a_key_is_forgotten_after_its_time(self) -> None:
        office = Office()
        self.answer(office, request(), "key")
        office.house.clock.advance(86401)
        self.answer(office, request(), "key")
        self.assertEqual(len(office.spool.store.shelf), 1)
        self.assertEqual(len(office.house.records("Reception")), 2)

    def test_who_asks_again_while_it_is_being_made_waits_for_the_same_answer(self) -> None:
        office = Office()
        office.spool.stalled = True
        first, second = office.ask(request(), "key"), office.ask(request(), "key")
        self.assertNoResult(second)
        office.spool.run()
        self.assertEqual(self.successResultOf(first), self.successResultOf(second))
        self.assertEqual(len(office.kept), 1)

    def test_a_crash_in_the_middle_doubles_and_loses_nobody(self) -> None:
        recipients = [f"r{n}@x.example" for n in range(500)]
        for crash_after in (1, 3, 7):
            with self.subTest(crash_after):
                office = Office()
                before = office.spool.store.write

                def write(changes: Any, first: int, left: list[int] = [crash_after], write: Any = before) -> None:  # noqa: B006
                    left[0] -= 1
                    if left[0] < 0:
                        raise OSError("crash")
                    write(changes, first)

                self.patch(office.spool.store, "write", write)
                office.ask(request(*recipients), "key").addErrback(lambda _: None)
                self.patch(office.spool.store, "write", before)
                again = Office(store=office.spool.store)
                answer = self.answer(again, request(*recipients), "key")
                self.assertEqual((answer.success_count, answer.fail_count), (500, 0))
                self.assertEqual(sorted(recipient for recipient, _ in again.kept), sorted(recipients))


class DeferredGenerationTests(InjectionTestCase):
    def test_the_request_is_kept_before_the_answer_and_generated_later(self) -> None:
        office = Office()
        office.spool.stalled = True
        answer = office.ask(request("a@x.example", "nonsense", deferred_generation=True))
        self.assertNoResult(answer)
        office.spool.stalled = False
        office.spool.run()
        self.assertEqual(self.successResultOf(answer).success_count, 0)
        told = [(one["type"], one["queue"], one["delivery_protocol"]) for one in office.house.records()]
        self.assertEqual(
            told,
            [
                ("Reception", "generator.kumomta.internal", None),
                ("Reception", "x.example", None),
                ("Delivery", "generator.kumomta.internal", "HttpInjectionGenerator"),
            ],
        )
        self.assertEqual([recipient for recipient, _ in office.kept], ["a@x.example"])
        self.assertEqual(office.spool.store.shelf, {})

    def test_a_crash_while_it_is_generated_doubles_and_loses_nobody(self) -> None:
        recipients = [f"r{n}@x.example" for n in range(300)]
        office = Office()
        self.successResultOf(office.generator.stop())
        self.answer(office, request(*recipients, deferred_generation=True))
        store = office.spool.store
        half = Office(store=store)
        takes = half.house.custody.take
        count = [0]

        def take(*given: Any, **named: Any) -> Any:
            count[0] += 1
            if count[0] > 3:
                return Deferred()  # the crash: nothing comes any more
            return takes(*given, **named)

        self.patch(half.house.custody, "take", take)
        self.admit_stored(half)
        self.assertEqual(len(half.kept), 60)
        again = Office(store=store)
        self.admit_stored(again)
        self.assertEqual(sorted(recipient for recipient, _ in again.kept), sorted(recipients))
        self.assertEqual([one["type"] for one in again.house.records()][-1], "Delivery")
        self.assertEqual(store.shelf, {})

    def test_a_request_that_cannot_be_fulfilled_any_more_bounces(self) -> None:
        office = Office()
        self.successResultOf(office.generator.stop())
        self.answer(office, request(deferred_generation=True))
        ((message_id, (envelope, content)),) = office.spool.store.kept.items()
        office.spool.store.kept[message_id] = (envelope, content.replace(b"{{ email }}", b"{{ email "))
        again = Office(store=office.spool.store)
        self.admit_stored(again)
        (bounce,) = again.house.records("Bounce")
        self.assertEqual((bounce["response"]["code"], bounce["delivery_protocol"]), (500, "HttpInjectionGenerator"))
        self.assertEqual(again.spool.store.kept, {})

    def admit_stored(self, office: Office) -> None:
        from kumotwist.scheduled.enumeration import enumerate_spool

        for message in self.stored(office, enumerate_spool):
            if office.generator.wants(message):
                office.generator.admit(message)

    def stored(self, office: Office, enumerate_spool: Any) -> list[Any]:
        found: list[Any] = []
        enumerate_spool(iter(list(office.spool.store.envelopes())), found.extend)
        return found
