"""The rest of what a policy imports: lookups, messages of its own, throttles, and the names themselves."""

from twisted.internet.defer import Deferred, fail, succeed

from kumotwist import kumo
from kumotwist.config.fields import parse_rate
from kumotwist.dns.answers import LookupFailed, NoSuchDomain
from kumotwist.egress.limits import RateLimit
from kumotwist.hooks.context import entered
from kumotwist.hooks.message import message_of
from kumotwist.mail.reply import Refusal, refuse
from tests.hooks.around import START, Answers, PolicyCase


class LookupTests(PolicyCase):
    """`kumo.dns.lookup_mx`."""

    def setUp(self) -> None:
        super().setUp()
        self.resolver = Answers(
            {"example.org": (("mx1.example.org",), ("mx2.example.org", "mx3.example.org")), "[10.0.0.1]": (("10.0.0.1",),)}
        )
        self.services = self.new_services(1)
        self.use_services()

    def test_what_a_policy_learns(self) -> None:
        found = self.successResultOf(Deferred.fromCoroutine(kumo.dns.lookup_mx("example.org")))
        self.assertEqual(found.domain_name, "example.org")
        self.assertEqual(found.site_name, "(mx1|mx2|mx3).example.org")
        self.assertEqual(found.hosts, ("mx1.example.org", "mx2.example.org", "mx3.example.org"))
        self.assertEqual(found.by_pref, {0: ("mx1.example.org",), 1: ("mx2.example.org", "mx3.example.org")})
        self.assertEqual((found.is_mx, found.is_domain_literal, found.is_secure), (True, False, False))

    def test_a_literal(self) -> None:
        self.assertTrue(self.successResultOf(Deferred.fromCoroutine(kumo.dns.lookup_mx("[10.0.0.1]"))).is_domain_literal)

    def test_an_answer_that_takes_its_time(self) -> None:
        self.resolver.late = True
        found = Deferred.fromCoroutine(kumo.dns.lookup_mx("example.org"))
        self.assertNoResult(found)
        self.resolver.come()
        self.assertEqual(self.successResultOf(found).hosts[0], "mx1.example.org")

    def test_no_answer_is_an_error_that_a_policy_can_catch(self) -> None:
        failure = self.failureResultOf(Deferred.fromCoroutine(kumo.dns.lookup_mx("nowhere.example")), NoSuchDomain)
        self.assertIsInstance(failure.value, kumo.LookupFailed)
        self.assertIs(kumo.LookupFailed, LookupFailed)


class InjectionTests(PolicyCase):
    """Messages that a policy makes."""

    def setUp(self) -> None:
        super().setUp()
        self.use_services()

    def test_a_message_is_made_and_goes_to_its_queue(self) -> None:
        made = kumo.make_message("alice@example.com", "bob@example.org", "Subject: hello\n\nworld\n")
        made.set_meta("tenant", "t")
        self.assertEqual(made.get_data(), b"Subject: hello\r\n\r\nworld\r\n")
        self.assertEqual(made.get_first_named_header_value("subject"), "hello")
        self.assertRegex(made.id, r"\A[0-9a-f]{32}\Z")
        self.successResultOf(kumo.inject_message(made))
        self.assertEqual(self.injected, [message_of(made)])
        self.assertEqual(self.injected[0].queue, "t@example.org")

    def test_bytes_are_taken_as_they_are_and_recipients_may_be_several(self) -> None:
        made = kumo.make_message("", ["a@example.org", "b@example.org"], b"A: b\n\nc\n")
        self.assertEqual((made.sender.email, [one.email for one in made.recipients]), ("", ["a@example.org", "b@example.org"]))
        self.assertEqual(made.get_data(), b"A: b\n\nc\n")

    def test_what_makes_no_message(self) -> None:
        for sender, recipient, body in (
            ("no address", "a@example.org", "x"),
            ("", "", "x"),
            ("", [], "x"),
            ("", "a@example.org", ""),
        ):
            with self.assertRaises(ValueError):
                kumo.make_message(sender, recipient, body)

    def test_a_message_is_injected_once_and_only_if_it_was_made(self) -> None:
        made = kumo.make_message("alice@example.com", "bob@example.org", "x")
        kumo.inject_message(made)
        with self.assertRaisesRegex(ValueError, "was injected already"):
            kumo.inject_message(made)
        with self.assertRaisesRegex(ValueError, "was received"):
            kumo.inject_message(self.message())
        self.assertEqual(len(self.injected), 1)

    def test_a_message_that_was_not_taken_can_be_tried_again(self) -> None:
        refusals: list[Deferred[None]] = [fail(refuse("451 4.3.2 disk is full")), succeed(None)]
        self.patch(self, "_inject", lambda message: refusals.pop(0))
        made = kumo.make_message("alice@example.com", "bob@example.org", "x")
        with entered(self.new_services(1)):
            self.failureResultOf(kumo.inject_message(made), Refusal)
            self.successResultOf(kumo.inject_message(made))

    def test_a_message_without_a_queue_can_be_mended_and_injected(self) -> None:
        made = kumo.make_message("alice@example.com", "bob@example.org", "x")
        message_of(made).meta["tenant"] = 3
        with self.assertRaises(ValueError):
            kumo.inject_message(made)
        made.set_meta("tenant", "t")
        kumo.inject_message(made)
        self.assertEqual(len(self.injected), 1)


class ThrottleTests(PolicyCase):
    """`kumo.make_throttle`."""

    def setUp(self) -> None:
        super().setUp()
        self.use_services()

    def test_what_one_spending_says(self) -> None:
        throttle = kumo.make_throttle("t", "3/min")
        first = throttle.throttle()
        self.assertEqual((first.throttled, first.limit, first.remaining, first.retry_after), (False, 3, 2, None))
        self.assertAlmostEqual(first.reset_after, 20)
        self.assertEqual([throttle.throttle().remaining for _ in range(2)], [1, 0])
        refused = throttle.throttle()
        self.assertEqual((refused.throttled, refused.remaining), (True, 0))
        self.assertAlmostEqual(refused.retry_after or 0, 20)
        self.clock.advance(30)
        self.assertEqual(throttle.throttle().remaining, 0)
        self.clock.advance(1000)
        self.assertEqual(throttle.throttle().remaining, 2)

    def test_a_burst(self) -> None:
        throttle = kumo.make_throttle("t", "6/m,max_burst=1")
        self.assertEqual([throttle.throttle().throttled for _ in range(3)], [False, False, True])

    def test_the_same_name_and_rate_are_one_bucket_also_after_a_reload(self) -> None:
        one, other = kumo.make_throttle("t", "1/m"), kumo.make_throttle("t", parse_rate("1/minute"))
        self.assertFalse(one.throttle().throttled)
        self.assertTrue(other.throttle().throttled)
        self.assertTrue(kumo.make_throttle("t", "1/min").throttle().throttled)
        self.assertFalse(kumo.make_throttle("t", "2/min").throttle().throttled)
        self.assertFalse(kumo.make_throttle("u", "1/m").throttle().throttled)

    def test_sleeping_until_there_is_one(self) -> None:
        throttle = kumo.make_throttle("t", "1/min")
        self.assertFalse(self.successResultOf(Deferred.fromCoroutine(throttle.sleep_if_throttled())))
        waiting = Deferred.fromCoroutine(throttle.sleep_if_throttled())
        self.clock.advance(59)
        self.assertNoResult(waiting)
        self.clock.advance(1.001)
        self.assertTrue(self.successResultOf(waiting))

    def test_two_that_sleep_are_let_go_one_after_the_other(self) -> None:
        throttle = kumo.make_throttle("t", "1/min")
        throttle.throttle()
        waiting = [Deferred.fromCoroutine(throttle.sleep_if_throttled()) for _ in range(2)]
        self.clock.pump([1.0] * 61)
        self.assertEqual([one.called for one in waiting], [True, False])
        self.clock.pump([1.0] * 61)
        self.assertEqual([one.called for one in waiting], [True, True])

    def test_delaying_a_message(self) -> None:
        throttle = kumo.make_throttle("t", "1/min")
        message = self.message()
        self.assertFalse(throttle.delay_message_if_throttled(message))
        self.assertEqual(message_of(message).due, 0.0)
        self.assertTrue(throttle.delay_message_if_throttled(message))
        self.assertAlmostEqual(message_of(message).due, START + 60)

    def test_explaining(self) -> None:
        throttle = kumo.make_throttle("mine", "1/min")
        self.assertEqual(throttle.explain(), "mine: 1/m, 1 at once from idle, free now")
        throttle.throttle()
        self.assertEqual(throttle.explain(), "mine: 1/m, 1 at once from idle, free again in 60.000 s")

    def test_what_is_no_rate(self) -> None:
        for spec in ("10", "ten/s", "1/fortnight", "0/s"):
            with self.assertRaisesRegex(ValueError, "make_throttle: "):
                kumo.make_throttle("t", spec)
        with self.assertRaises(ValueError):
            kumo.make_throttle("", "1/s")

    def test_it_spends_as_queues_do(self) -> None:
        rate = parse_rate("100/h,max_burst=7")
        throttle, limit = kumo.make_throttle("t", rate), RateLimit(rate)
        for _ in range(20):
            self.assertEqual(throttle.throttle().throttled, limit.spend(self.clock.seconds()) > 0)
            self.clock.advance(17)


class NameTests(PolicyCase):
    """The facade itself."""

    def test_every_name_that_it_promises_is_there(self) -> None:
        for name in kumo.__all__:
            self.assertTrue(hasattr(kumo, name), name)

    def test_what_is_missing_says_why(self) -> None:
        table = {
            "redis": "kumo.redis is not implemented yet",
            "mimepart": "kumo.mimepart is not implemented yet",
            "make_egress_pol": 'kumo has no "make_egress_pol", did you mean "make_egress_pool"?',
            "uuid": 'kumo has no "uuid": Python has it, as uuid',
        }
        for name, text in table.items():
            with self.assertRaises(AttributeError) as caught:
                getattr(kumo, name)
            self.assertEqual(str(caught.exception), text)
        with self.assertRaisesRegex(AttributeError, "kumo.dns.lookup_txt is not implemented yet"):
            print(kumo.dns.lookup_txt)
        with self.assertRaisesRegex(AttributeError, 'kumo.dns has no "lookup_mxx", did you mean "lookup_mx"'):
            print(kumo.dns.lookup_mxx)

    def test_nothing_that_is_there_is_said_to_come(self) -> None:
        from kumotwist.hooks import absent

        self.assertEqual({name for name in absent._AWAITED["kumo"] | set(absent._PYTHONS) if name in kumo.__dict__}, set())
        self.assertEqual({name for name in absent._AWAITED["message"] if hasattr(kumo.Message, name)}, set())
