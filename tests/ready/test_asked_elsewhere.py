"""
Limits that are kept elsewhere, where the answer comes later: everything that keeps to a limit takes that too.

The rates and leases here know nothing until the test lets them; then they are what this process keeps.
"""

from collections.abc import Callable, Mapping

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.config.fields import Limit, Rate
from kumotwist.config.queues import QueueSettings
from kumotwist.egress.leases import Leases
from kumotwist.egress.limits import RateLimit
from kumotwist.egress.sharing import NOT_KNOWN_YET
from tests.support.house import House
from tests.support.senders import Sender

TRIP = 0.02  # seconds until an answer comes


class FarRate:
    """Asks for each single message; what it was granted is spent, or forgotten after a second."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self.rate = rate
        self.asked = 0
        self._near = RateLimit(rate)
        self.capacity = self._near.capacity
        self._clock = clock
        self._granted = 0
        self._refused_until = 0.0
        self._asking = False
        self._calls: list[Callable[[], None]] = []

    def wait(self, now: float, quantity: int = 1) -> float:
        if self._granted:
            return 0.0
        if now < self._refused_until - 1e-6:
            return self._refused_until - now
        if not self._asking:
            self._asking = True
            self.asked += 1
            self._clock.callLater(TRIP, self._answer)
        return NOT_KNOWN_YET

    def spend(self, now: float, quantity: int = 1) -> float:
        wait = self.wait(now, quantity)
        if wait == 0.0:
            self._granted -= 1
        return wait

    def when_known(self, call: Callable[[], None]) -> None:
        self._calls.append(call)

    def _answer(self) -> None:
        self._asking = False
        now = self._clock.seconds()
        wait = self._near.spend(now)
        if wait == 0.0:
            self._granted += 1
        else:
            self._refused_until = now + wait
        calls, self._calls = self._calls, []
        for call in calls:
            call()


class FarRates:
    def __init__(self) -> None:
        self.clock: Clock | None = None
        self.known: dict[str, FarRate] = {}

    def get(self, name: str, rate: Rate) -> FarRate:
        assert self.clock is not None
        if name not in self.known:
            self.known[name] = FarRate(rate, self.clock)
        return self.known[name]


class FarLeases(Leases):
    """The first answer about any lease is that it has to ask."""

    def __init__(self) -> None:
        super().__init__()
        self.clock: Clock | None = None
        self._asked: set[str] = set()

    def take(self, limits: Mapping[str, int], call_again: Callable[[], None]) -> bool:
        assert self.clock is not None
        if not self._asked.issuperset(limits):
            self._asked.update(limits)
            self.clock.callLater(TRIP, call_again)
            return False
        return super().take(limits, call_again)


class AskedElsewhereTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rates, self.leases = FarRates(), FarLeases()
        self.house = House(throttles=self.rates, leases=self.leases)
        self.rates.clock = self.leases.clock = self.house.clock
        self.senders: list[Sender] = []
        self.house.open_with(lambda supply: Sender.start(supply, self.house.clock, self.senders))

    def deliver(self, seconds: float, count: int = 20) -> int:
        for _ in range(count):
            self.house.take()
        self.house.run(seconds)
        return len(self.house.records("Delivery"))

    def test_leases_that_have_to_be_asked_for(self) -> None:
        self.assertEqual(self.deliver(1.0), 20)

    def test_the_rate_of_a_queue(self) -> None:
        self.house.queues["example.org"] = QueueSettings(max_message_rate=Rate(1, 10.0))
        self.assertEqual(self.deliver(55.0), 6)
        self.assertLess(sum(rate.asked for rate in self.rates.known.values()), 15)

    def test_the_rate_of_messages_of_a_path(self) -> None:
        self.house.paths["example.org"] = PathSettings(max_message_rate=Rate(1, 10.0), connection_limit=Limit(1))
        self.assertEqual(self.deliver(55.0), 6)

    def test_a_rate_of_messages_that_paths_share(self) -> None:
        self.house.paths["example.org"] = PathSettings(additional_message_rate_throttles={"p": Rate(1, 10.0)})
        self.assertEqual(self.deliver(55.0), 6)

    def test_the_rate_of_connections_of_a_path(self) -> None:
        self.house.paths["example.org"] = PathSettings(max_connection_rate=Rate(1, 10.0), max_deliveries_per_connection=1)
        self.assertEqual(self.deliver(55.0), 6)

    def test_the_rate_at_which_a_source_is_chosen(self) -> None:
        self.house.paths["example.org"] = PathSettings(source_selection_rate=Rate(1, 10.0))
        self.assertEqual(self.deliver(55.0), 6)
