"""Ready queues that operators suspend by name: what is ready goes another way, or waits."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Rate
from kumotwist.config.queues import QueueSettings
from tests.support.house import House

HEAVY = "heavy->mx.example.org@smtp_client"
LIGHT = "light->mx.example.org@smtp_client"


class ReadySuspensionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.house.pool("both", heavy=2, light=1)
        self.house.queues["example.org"] = QueueSettings(egress_pool="both")

    def sizes(self) -> tuple[int, int]:
        self.house.clock.advance(0)
        return self.house.queue_of("heavy").size, self.house.queue_of("light").size

    def test_what_is_ready_goes_through_another_source_of_the_pool(self) -> None:
        for _ in range(30):
            self.house.take()
        self.assertEqual(self.sizes(), (20, 10))
        self.house.ready.suspend(HEAVY, "blocked by the peer")
        self.assertEqual(self.sizes(), (0, 30))
        self.house.take()
        self.assertEqual(self.sizes(), (0, 31))
        self.assertEqual(self.house.records("Delayed"), [])
        self.house.run(301.0)
        for _ in range(3):
            self.house.take()
        self.assertEqual(self.sizes(), (2, 32))

    def test_with_all_suspended_mail_waits_uncounted_until_the_first_ends(self) -> None:
        for _ in range(3):
            self.house.take()
        self.house.ready.suspend(HEAVY, "one", duration=900.0)
        self.house.ready.suspend(LIGHT, "two", duration=600.0)
        self.assertEqual(self.sizes(), (0, 0))
        [delayed] = self.house.records("Delayed")
        self.assertIn("ReadyQueueWasSuspended. Next due in 10m at", delayed["response"]["content"])
        self.assertIn(f"the end of the suspension of {LIGHT}: two", delayed["response"]["content"])
        self.house.run(599.0)
        self.assertEqual(self.sizes(), (0, 0))
        self.house.run(2.0)
        self.assertEqual(self.sizes(), (0, 3))
        self.assertEqual({message.attempts for message in self.house.sessions[-1].drain()}, {0})

    def test_cancelled_the_path_is_used_again_at_once(self) -> None:
        order = self.successResultOf(self.house.ready.suspend(HEAVY, "one"))
        self.house.ready.suspend(LIGHT, "two")
        self.house.take()
        self.assertEqual([one.order.name for one in self.house.ready.suspensions()], [HEAVY, LIGHT])
        cancelled = self.house.ready.resume(order.id)
        assert cancelled is not None
        self.assertTrue(self.successResultOf(cancelled))
        self.assertEqual(self.sizes(), (1, 0))
        self.assertIsNone(self.house.ready.resume(order.id))

    def test_what_is_on_the_wire_is_finished_and_idle_connections_close(self) -> None:
        self.house.take()
        busy = self.house.sessions[0]
        message = busy.supply.next_message()
        assert message is not None
        idle = busy.supply.message_or_none(60.0)
        self.house.ready.suspend(busy.supply.name, "why")
        self.assertIsNone(self.successResultOf(idle))
        self.assertIsNone(busy.supply.next_message())

    def test_a_path_that_comes_later_is_suspended_too_and_over_restarts(self) -> None:
        self.house.ready.suspend(HEAVY, "why", duration=600.0)
        for _ in range(6):
            self.house.take()
        self.assertEqual(self.sizes(), (0, 6))
        after = House(store=self.house.spool.store, started=self.house.clock.seconds() + 60.0)
        self.assertEqual([round(one.remaining) for one in after.ready.suspensions()], [540])
        after.run(600.0)
        self.assertEqual((after.ready.suspensions(), after.spool.store.shelf), ([], {}))

    def test_one_that_is_full_and_one_that_is_suspended_wait_for_whichever_comes_first(self) -> None:
        self.house.paths["example.org"] = PathSettings(max_ready=2)
        self.house.ready.suspend(HEAVY, "why", duration=60.0)
        for _ in range(4):
            self.house.take()
        self.assertEqual(self.sizes(), (0, 2))
        self.house.run(61.0)
        self.assertEqual(self.sizes(), (2, 2))

    def test_one_that_is_full_and_one_that_was_chosen_too_often_wait_for_whichever_comes_first(self) -> None:
        slow = PathSettings(max_ready=2, source_selection_rate=Rate(1, 60.0))
        directions = self.house.directions
        full = PathSettings(max_ready=2)
        directions._configured_path = lambda domain, source, destination: slow if source == "heavy" else full
        for _ in range(4):
            self.house.take()
        self.assertEqual(self.sizes(), (1, 2))
        self.house.run(60.0)
        self.assertEqual(self.sizes(), (2, 2))
