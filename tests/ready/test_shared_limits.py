"""Limits that several paths or queues share by name, and limits on choosing a source: exact, on a clock."""

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Limit, Rate
from kumotwist.config.queues import CampaignSettings, QueueSettings, QueuesSettings, TenantSettings
from tests.support.house import House


class SharedLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()

    def test_connections_of_several_sites_count_together_and_are_handed_on(self) -> None:
        shared = PathSettings(additional_connection_limits={"provider": Limit(3)})
        for domain in ("a.example", "b.example"):
            self.house.paths[domain] = shared
            for _ in range(40):
                self.house.take(f"x@{domain}")
        self.assertEqual(len(self.house.sessions), 3)
        self.assertEqual({session.supply.path.destination.domain for session in self.house.sessions}, {"a.example"})
        for session in list(self.house.sessions):
            session.drain()
            session.end()
        self.house.clock.advance(0)
        open_now = [session for session in self.house.sessions if not session.ended.called]
        self.assertEqual([session.supply.path.destination.domain for session in open_now], ["b.example"] * 3)

    def test_a_queue_that_needs_no_connection_any_more_does_not_keep_others_waiting(self) -> None:
        for domain in ("a.example", "b.example", "c.example"):
            self.house.paths[domain] = PathSettings(additional_connection_limits={"provider": Limit(1)})
            self.house.take(f"x@{domain}")
        first = self.house.sessions[0]
        self.house.queue_of(site="mx.b.example")._take_all()
        first.drain()
        first.end()
        self.house.clock.advance(0)
        self.assertEqual(self.house.sessions[-1].supply.path.destination.domain, "c.example")

    def test_message_rates_with_one_name_are_one_rate(self) -> None:
        shared = PathSettings(additional_message_rate_throttles={"provider": Rate(2, 10.0)})
        supplies = []
        for domain in ("a.example", "b.example"):
            self.house.paths[domain] = shared
            self.house.take(f"x@{domain}")
            supplies.append(self.house.queue_of(site=f"mx.{domain}"))
        self.assertEqual([supply.may_send() for supply in supplies], [0.0, 0.0])
        self.assertAlmostEqual(supplies[0].may_send(), 5.0)
        self.house.clock.advance(5.0)
        self.assertEqual([supplies[1].may_send(), supplies[0].may_send()], [5.0, 0.0])  # who asked first is served first
        self.house.clock.advance(5.0)
        self.assertEqual(supplies[1].may_send(), 0.0)

    def test_what_one_of_several_rates_refuses_is_spent_of_none(self) -> None:
        self.house.paths["example.org"] = PathSettings(
            max_message_rate=Rate(100, 1.0), additional_message_rate_throttles={"slow": Rate(1, 60.0)}
        )
        self.house.take()
        supply = self.house.queue_of()
        self.assertEqual(supply.may_send(), 0.0)
        for _ in range(500):
            self.assertGreater(supply.may_send(), 0.0)
        self.house.clock.advance(60.0)
        self.assertEqual(supply.may_send(), 0.0)

    def test_a_source_that_was_chosen_often_enough_leaves_the_rest_to_the_others(self) -> None:
        self.house.pool("both", warm=1, cold=1)
        self.house.queues["example.org"] = QueueSettings(egress_pool="both")
        path = PathSettings(source_selection_rate=Rate(5, 3600.0))
        directions = self.house.directions
        directions._configured_path = lambda domain, source, destination: path if source == "cold" else PathSettings()
        for _ in range(100):
            self.house.take()
        self.assertEqual((self.house.queue_of("cold").size, self.house.queue_of("warm").size), (5, 95))

    def test_when_no_source_may_be_chosen_the_queue_waits_until_exactly_then_and_counts_nothing(self) -> None:
        self.house.paths["example.org"] = PathSettings(source_selection_rate=Rate(2, 7200.0))
        for _ in range(4):
            self.house.take()
        self.assertEqual(self.house.queue_of().size, 2)
        [delayed] = self.house.records("Delayed")
        self.assertIn("Next due in 1h at", delayed["response"]["content"])
        self.assertIn("source_selection_rate", delayed["response"]["content"])
        self.house.forward(3598, 2.0)
        self.assertEqual(self.house.queue_of().size, 2)
        self.house.forward(4)
        self.assertEqual(self.house.queue_of().size, 3)
        self.assertEqual({message.attempts for message in self.house.sessions[0].drain()}, {0})

    def test_a_tenants_overall_rate_holds_over_its_queues_and_a_campaigns_within(self) -> None:
        tenant = TenantSettings(
            overall_max_message_rate=Rate(6, 3600.0),
            campaigns={"spring": CampaignSettings(overall_max_message_rate=Rate(2, 3600.0))},
        )
        directions = self.house.directions
        directions._config = replace(directions._config, queues=QueuesSettings(tenant={"acme": tenant}))
        for n in range(5):
            self.house.take(f"x@d{n}.example", tenant="acme", campaign="spring")
        for n in range(10):
            self.house.take(f"x@f{n}.example", tenant="acme")
        self.house.take(tenant="other")
        ready = {queue.path.destination.domain: queue.size for queue in self.house.ready}
        self.assertEqual(sum(size for domain, size in ready.items() if domain.startswith("d")), 2)
        self.assertEqual(sum(size for domain, size in ready.items() if domain.startswith("f")), 4)
        self.assertEqual(ready["example.org"], 1)
