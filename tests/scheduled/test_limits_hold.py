"""
Limits as a whole, on a simulated clock: over any window none is exceeded, with a backlog each is used, and what waits for
one is served fairly.  Sessions send as fast as they are let (tests.support.senders).
"""

from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Limit, Rate
from kumotwist.config.queues import QueueSettings, QueuesSettings, TenantSettings
from kumotwist.ready.queue import ReadyQueue
from tests.support.house import House
from tests.support.senders import Sender

USED = 0.98  # of what a limit allows, at least, as long as there is a backlog

RATES = st.builds(
    Rate,
    st.integers(1, 40),
    st.sampled_from([1.0, 10.0, 60.0]),
    max_burst=st.none() | st.integers(0, 5),
)
FEW = settings(max_examples=25, deadline=None)


def at_once(rate: Rate) -> int:
    """So many are admitted from idle."""
    return min(rate.limit if rate.max_burst is None else rate.max_burst, rate.limit - 1) + 1


def most_in_any_window(instants: list[float], window: float) -> int:
    """The most of the instants that lie in a window that is open at its end."""
    most = first = 0
    for last, instant in enumerate(instants):
        while instant - instants[first] >= window - 1e-6:
            first += 1
        most = max(most, last - first + 1)
    return most


class Sent(SynchronousTestCase):
    def check(self, instants: list[float], rate: Rate, begin: float, end: float) -> None:
        """No window of any length has more than the burst and what the rate adds; and no less than USED of it was used."""
        interval = rate.period / rate.limit
        for count in {1, 2, 3, rate.limit, 2 * rate.limit}:
            window = count * interval
            self.assertLessEqual(most_in_any_window(instants, window), at_once(rate) + count - 1 + 1e-9, (rate, window))
        allowed = at_once(rate) + int((end - begin) / interval)
        self.assertGreaterEqual(len(instants), USED * allowed - 1, (rate, len(instants), allowed))


class RateTests(Sent):
    """Each of the rates, with more mail than it admits."""

    def run_house(self, house: House, duration: float, count: int, *domains: str, latency: float = 0.0) -> list[Sender]:
        senders: list[Sender] = []
        house.open_with(lambda supply: Sender.start(supply, house.clock, senders, latency=latency))
        for n in range(count):
            house.take(f"x@{domains[n % len(domains)]}")
        house.run(duration)
        return senders

    def sent(self, senders: list[Sender]) -> list[float]:
        return sorted(instant for sender in senders for instant, _ in sender.sent)

    @FEW
    @given(RATES, st.integers(1, 6), st.sampled_from([0.0, 0.05]))
    def test_max_message_rate_of_a_path(self, rate: Rate, connections: int, latency: float) -> None:
        house = House()
        house.paths["a.example"] = PathSettings(max_message_rate=rate, connection_limit=Limit(connections))
        duration = 20 * rate.period / rate.limit
        begin = house.clock.seconds()
        senders = self.run_house(house, duration, at_once(rate) + 30, "a.example", latency=min(latency, duration / 1000))
        self.check(self.sent(senders), rate, begin, begin + duration)

    @FEW
    @given(RATES)
    def test_a_message_rate_that_paths_share(self, rate: Rate) -> None:
        house = House()
        for domain in ("a.example", "b.example"):
            house.paths[domain] = PathSettings(additional_message_rate_throttles={"both": rate}, connection_limit=Limit(3))
        duration = 20 * rate.period / rate.limit
        begin = house.clock.seconds()
        senders = self.run_house(house, duration, 2 * (at_once(rate) + 30), "a.example", "b.example")
        self.check(self.sent(senders), rate, begin, begin + duration)

    @FEW
    @given(RATES)
    def test_a_message_rate_to_share_that_only_one_path_uses(self, rate: Rate) -> None:
        house = House()
        house.paths["a.example"] = PathSettings(additional_message_rate_throttles={"one": rate}, connection_limit=Limit(5))
        duration = 20 * rate.period / rate.limit
        begin = house.clock.seconds()
        senders = self.run_house(house, duration, at_once(rate) + 30, "a.example")
        self.check(self.sent(senders), rate, begin, begin + duration)

    @FEW
    @given(RATES, st.integers(1, 6))
    def test_max_connection_rate(self, rate: Rate, connections: int) -> None:
        house = House()
        house.paths["a.example"] = PathSettings(
            max_connection_rate=rate, max_deliveries_per_connection=1, connection_limit=Limit(connections)
        )
        duration = 20 * rate.period / rate.limit
        begin = house.clock.seconds()
        senders = self.run_house(house, duration, at_once(rate) + 30, "a.example")
        connected = sorted(sender.connected for sender in senders if sender.connected is not None)
        self.check(connected, rate, begin, begin + duration)

    @FEW
    @given(RATES)
    def test_max_message_rate_of_a_queue(self, rate: Rate) -> None:
        house = House()
        house.queues["a.example"] = QueueSettings(max_message_rate=rate)
        duration = 20 * rate.period / rate.limit
        begin = house.clock.seconds()
        senders = self.run_house(house, duration, at_once(rate) + 30, "a.example")
        self.check(self.sent(senders), rate, begin, begin + duration)

    @FEW
    @given(RATES)
    def test_source_selection_rate(self, rate: Rate) -> None:
        house = House()
        house.paths["a.example"] = PathSettings(source_selection_rate=rate)
        duration = 20 * rate.period / rate.limit
        begin = house.clock.seconds()
        senders = self.run_house(house, duration, at_once(rate) + 30, "a.example")
        self.check(self.sent(senders), rate, begin, begin + duration)

    @FEW
    @given(RATES, st.integers(2, 6))
    def test_the_overall_rate_of_a_tenant_holds_and_is_shared_fairly_among_its_queues(self, rate: Rate, queues: int) -> None:
        house = House()
        tenant = TenantSettings(overall_max_message_rate=rate)
        house.directions._config = replace(house.directions._config, queues=QueuesSettings(tenant={"acme": tenant}))
        senders: list[Sender] = []
        house.open_with(lambda supply: Sender.start(supply, house.clock, senders))
        begin = house.clock.seconds()
        for _ in range(at_once(rate)):
            house.take("first@z.example", tenant="acme")  # so that all others have to wait
        for n in range(30):
            for queue in range(queues if n else queues + 1):  # one has more than the others
                house.take(f"x@d{queue % queues}.example", tenant="acme")
        duration = 20 * rate.period / rate.limit
        house.run(duration)
        self.check(self.sent(senders), rate, begin, begin + duration)
        served = dict.fromkeys((f"d{n}.example" for n in range(queues)), 0)
        for _, domain in sorted(
            (instant, message.queue.partition("@")[2]) for sender in senders for instant, message in sender.sent
        ):
            if domain in served:
                served[domain] += 1
        self.assertLessEqual(max(served.values()) - min(served.values()), 1, served)


class ConnectionTests(SynchronousTestCase):
    @FEW
    @given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8), st.integers(1, 4))
    def test_connection_limits_of_paths_and_those_that_they_share(self, a: int, b: int, both: int, per_connection: int) -> None:
        house = House()
        senders: list[Sender] = []
        house.open_with(lambda supply: Sender.start(supply, house.clock, senders, latency=1.0))
        limits = {"a.example": a, "b.example": b}
        for domain, limit in limits.items():
            house.paths[domain] = PathSettings(
                connection_limit=Limit(limit),
                additional_connection_limits={"both": Limit(both)},
                max_deliveries_per_connection=per_connection,
                max_ready=2000,
            )
            for _ in range(400):
                house.take(f"x@{domain}")
        busy = []
        for _ in range(20):
            house.run(1.0)
            open_now = [sender for sender in senders if sender.ended is None]
            by_domain = Counter(sender.supply.path.destination.domain for sender in open_now)
            for domain, limit in limits.items():
                self.assertLessEqual(by_domain[domain], limit)
            self.assertLessEqual(len(open_now), both)
            busy.append(len(open_now))
        self.assertGreaterEqual(min(busy), USED * min(both, a + b))


class FairnessTests(SynchronousTestCase):
    @FEW
    @given(st.integers(2, 5), st.sampled_from([8, 20, 64]), st.lists(st.integers(60, 120), min_size=5, max_size=5))
    def test_queues_that_share_a_path_are_served_in_turn_however_large_they_are(
        self, queues: int, room: int, sizes: list[int]
    ) -> None:
        house = House()
        house.paths["example.org"] = PathSettings(max_ready=room, connection_limit=Limit(1))
        senders: list[Sender] = []
        house.open_with(lambda supply: Sender.start(supply, house.clock, senders, latency=1.0))
        for n in range(max(sizes)):
            for queue in range(queues):
                if n < sizes[queue]:
                    house.take(tenant=f"t{queue}")
        house.run(float(60 * queues))
        served: Counter[str] = Counter()
        shortest = min(sizes[:queues])
        for sender in senders:
            for _, message in sender.sent:
                served[message.queue] += 1
                if max(served.values()) >= shortest:
                    break
                self.assertLessEqual(max(served.values()) - min(served[f"t{n}@example.org"] for n in range(queues)), 1, served)

    def test_a_newcomer_does_not_overtake_those_that_wait_for_room(self) -> None:
        house = House()
        house.paths["example.org"] = PathSettings(max_ready=8, connection_limit=Limit(1))
        senders: list[Sender] = []
        house.open_with(lambda supply: Sender.start(supply, house.clock, senders, latency=1.0))
        for tenant in ("early", "patient"):
            for _ in range(30):
                house.take(tenant=tenant)
        for _ in range(200):
            house.run(0.5)
            house.take(tenant="late")
        served = Counter(message.queue for sender in senders for _, message in sender.sent)
        self.assertEqual((served["early@example.org"], served["patient@example.org"]), (30, 30))

    @FEW
    @given(st.integers(1, 20), st.integers(2, 4))
    def test_paths_that_share_a_rate_both_get_on(self, limit: int, paths: int) -> None:
        house = House()
        senders: list[Sender] = []
        house.open_with(lambda supply: Sender.start(supply, house.clock, senders))
        domains = [f"d{n}.example" for n in range(paths)]
        for domain in ("first.example", *domains):  # the first takes what is there at once, so that the others have to wait
            house.paths[domain] = PathSettings(
                additional_message_rate_throttles={"all": Rate(limit, 10.0, max_burst=0)}, connection_limit=Limit(1)
            )
            for _ in range(60 if domain in domains else 1):
                house.take(f"x@{domain}")
        house.run(600.0 / limit)
        served = Counter(sender.supply.path.destination.domain for sender in senders for _ in sender.sent)
        self.assertLessEqual(max(served.values()) - min(served[domain] for domain in domains), 1, served)


class LeaseFairnessTests(SynchronousTestCase):
    def test_paths_that_share_a_limit_on_connections_take_turns(self) -> None:
        house = House()
        senders: list[Sender] = []

        def opened(supply: ReadyQueue) -> "Deferred[None]":
            return Sender.start(supply, house.clock, senders, latency=1.0)

        house.open_with(opened)
        for domain in ("a.example", "b.example", "c.example"):
            house.paths[domain] = PathSettings(additional_connection_limits={"all": Limit(1)}, max_deliveries_per_connection=1)
            for _ in range(20):
                house.take(f"x@{domain}")
        house.run(30.0)
        # The first asked for a second one before anybody else was there.
        order = [sender.supply.path.destination.domain for sender in senders][1:]
        self.assertEqual({len({a, b}) for a, b in pairwise(order)}, {2}, order)
        counts = Counter(order)
        self.assertLessEqual(max(counts.values()) - min(counts.values()), 1)
