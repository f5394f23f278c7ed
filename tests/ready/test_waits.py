"""What waits for a path's limit: which limit, until when, one record a message; and nobody looks before it is time."""

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Limit, Rate
from kumotwist.config.queues import QueueSettings
from kumotwist.mail.reason import Reason
from tests.support.house import House
from tests.support.senders import Sender


class WaitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()

    def send(self, count: int, settings: PathSettings) -> list[Sender]:
        """Take so much mail, with sessions that send it as fast as the path lets them."""
        senders: list[Sender] = []
        self.house.paths["example.org"] = settings
        self.house.open_with(lambda supply: Sender.start(supply, self.house.clock, senders))
        for _ in range(count):
            self.house.take()
        return senders

    def test_each_message_that_a_message_rate_holds_up_has_one_record_that_names_it(self) -> None:
        self.send(4, PathSettings(max_message_rate=Rate(1, 60.0), connection_limit=Limit(1)))
        self.house.run(0.5)
        [delayed] = self.house.records("Delayed")
        self.assertIn(
            "MessageRateThrottle. Next due in 1m at 2023-11-14T22:14:20.000000Z for "
            "max_message_rate of unspecified->mx.example.org@smtp_client (1/m)",
            delayed["response"]["content"],
        )
        self.house.run(200.0)
        self.assertEqual([one["timestamp"] - 1_700_000_000 for one in self.house.records("Delivery")], [0, 60, 120, 180])
        delayed_ids = [one["id"] for one in self.house.records("Delayed")]
        self.assertEqual(delayed_ids, [one["id"] for one in self.house.records("Delivery")][1:])

    def test_order_is_kept_however_long_a_rate_holds_up(self) -> None:
        self.send(0, PathSettings(max_message_rate=Rate(1, 30.0), connection_limit=Limit(1)))
        taken = [self.house.take().id for _ in range(12)]
        self.house.run(400.0)
        self.assertEqual([one["id"] for one in self.house.records("Delivery")], taken)
        self.assertEqual({one["num_attempts"] for one in self.house.records("Delivery")}, {0})

    def test_a_shared_rate_is_named_as_it_is_shared(self) -> None:
        self.send(2, PathSettings(additional_message_rate_throttles={"provider": Rate(1, 3600.0)}))
        [delayed] = self.house.records("Delayed")
        self.assertIn("for additional_message_rate_throttles provider (1/h)", delayed["response"]["content"])

    def test_a_rate_of_connections_opens_no_session_before_its_time_and_is_named(self) -> None:
        settings = PathSettings(max_connection_rate=Rate(1, 60.0), max_deliveries_per_connection=1, connection_limit=Limit(5))
        senders = self.send(3, settings)
        self.house.run(0.0)
        self.assertEqual(len(senders), 1)
        [delayed] = self.house.records("Delayed")
        self.assertIn("ConnectionRateThrottle. Next due in 1m at", delayed["response"]["content"])
        self.assertIn("max_connection_rate of unspecified->mx.example.org@smtp_client (1/m)", delayed["response"]["content"])
        [state] = self.house.ready.states().values()
        self.assertEqual(list(state), ["connection_rate_throttled"])
        self.house.run(130.0)
        self.assertEqual([one["timestamp"] - 1_700_000_000 for one in self.house.records("Delivery")], [0, 60, 120])
        self.assertEqual(len(senders), 3)
        self.assertEqual(len(self.house.records("Delayed")), 2)

    def test_what_has_a_connection_goes_on_while_no_other_may_be_opened(self) -> None:
        self.send(50, PathSettings(max_connection_rate=Rate(1, 3600.0), connection_limit=Limit(5)))
        self.house.run(1.0)
        self.assertEqual(len(self.house.records("Delivery")), 50)
        self.assertEqual(self.house.records("Delayed"), [])

    def test_the_end_of_a_shared_limit_on_connections_is_waited_for_and_shown(self) -> None:
        shared = PathSettings(additional_connection_limits={"provider": Limit(1)})
        for domain in ("a.example", "b.example"):
            self.house.paths[domain] = shared
            self.house.take(f"x@{domain}")
        self.assertEqual(
            {name: (list(state), state["connection_limited"].context) for name, state in self.house.ready.states().items()},
            {"unspecified->mx.b.example@smtp_client": (["connection_limited"], "no lease of provider")},
        )
        self.house.sessions[0].drain()
        self.house.sessions[0].end()
        self.house.clock.advance(0)
        self.assertEqual(self.house.ready.states(), {})

    def test_what_waits_too_long_for_a_rate_ends_with_an_expiration(self) -> None:
        self.house.queues["example.org"] = QueueSettings(max_age=1800.0)
        self.send(5, PathSettings(max_message_rate=Rate(1, 1000.0), connection_limit=Limit(1)))
        self.house.run(7200.0)
        self.assertEqual(len(self.house.records("Delivery")), 2)
        self.assertEqual(len(self.house.records("Expiration")), 3)
        self.assertEqual(self.house.spool.store.kept, {})

    def test_a_raised_limit_lets_it_go_on_at_once(self) -> None:
        self.send(3, PathSettings(max_message_rate=Rate(1, 3600.0), connection_limit=Limit(1)))
        self.house.run(1.0)
        path = self.house.queue_of().path
        self.house.queue_of().reshape(replace(path, settings=PathSettings()))
        self.house.run(1.0)
        self.assertEqual(len(self.house.records("Delivery")), 3)

    def test_nothing_polls_while_a_rate_holds_up_a_path(self) -> None:
        self.send(3, PathSettings(max_message_rate=Rate(1, 86400.0), connection_limit=Limit(1)))
        self.house.run(1.0)
        asked: list[float] = []
        ready = self.house.queue_of()
        ready.may_send = lambda: asked.append(self.house.clock.seconds()) or 0.0  # type: ignore[method-assign,func-returns-value]
        self.house.run(86000.0)
        self.assertEqual(asked, [])

    def test_a_session_that_was_refused_by_a_rate_it_has_not_goes_back_to_its_queue(self) -> None:
        self.house.take()
        supply = self.house.sessions[0].supply
        message = supply.next_message()
        assert message is not None
        supply.give_back(message, Reason.MESSAGE_RATE_THROTTLE, 30.0)
        self.assertEqual(supply.size, 0)
        kept = self.house.spool.store
        self.house.run(31.0)
        self.assertEqual(supply.size, 1)
        self.assertEqual(list(kept.kept), [message.id])


class SessionTests(SynchronousTestCase):
    """Looking at sessions, and ending one."""

    def setUp(self) -> None:
        self.house = House()
        self.senders: list[Sender] = []
        self.house.open_with(lambda supply: Sender.start(supply, self.house.clock, self.senders, latency=10.0))

    def test_a_queue_shows_its_sessions_what_they_do_and_what_they_did(self) -> None:
        for _ in range(3):
            self.house.take()
        self.house.run(12.0)
        view = self.house.ready.inspect("unspecified->mx.example.org@smtp_client")
        assert view is not None
        one = view.sessions[0]
        self.assertEqual((one.session_id, one.phase, one.age), ("s-0", "DeliveringMessage", 12.0))
        self.assertEqual((one.messages_delivered, one.delivered_this_connection, one.time_in_current_phase), (1, 1, 2.0))
        self.assertEqual((view.delivered, view.connection_count, view.suspended), (2, 2, None))
        self.assertIsNone(self.house.ready.inspect("nobody"))

    def test_an_aborted_connection_gives_its_message_back_uncounted(self) -> None:
        message = self.house.take()
        self.house.run(1.0)
        name = self.house.queue_of().name
        self.assertFalse(self.house.ready.abort(name, "another"))
        self.assertFalse(self.house.ready.abort("another", "s-0"))
        self.assertTrue(self.house.ready.abort(name, "s-0"))
        self.house.run(11.0)
        [delivery] = self.house.records("Delivery")
        self.assertEqual((delivery["id"], delivery["num_attempts"], len(self.senders)), (message.id, 0, 2))

    def test_constraints_name_the_option_that_binds(self) -> None:
        self.house.paths["example.org"] = PathSettings(
            connection_limit=Limit(10),
            additional_connection_limits={"provider": Limit(4)},
            max_message_rate=Rate(100, 1.0),
            additional_message_rate_throttles={"slow": Rate(50, 1.0)},
            max_connection_rate=Rate(1, 60.0),
            max_deliveries_per_connection=60,
        )
        self.house.take()
        view = self.house.ready.inspect("unspecified->mx.example.org@smtp_client")
        assert view is not None
        found = view.constraints
        self.assertEqual((found.max_concurrent_dispatchers.value, found.max_concurrent_dispatchers.source), (
            4, "additional_connection_limits provider"))  # fmt: skip
        assert found.max_message_rate is not None
        assert found.max_message_rate_declared is not None
        self.assertEqual((found.max_message_rate.value, found.max_message_rate.display), (1.0, "60 x 1/m"))
        self.assertEqual(found.max_message_rate_declared.source, "additional_message_rate_throttles slow (50/s)")
        self.assertIsNone(found.max_source_selection_rate)
