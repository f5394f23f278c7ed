"""Where memory is used up, what waits leaves it, paths get few connections, and everything is delivered all the same."""

from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.config.queues import QueueSettings, Shrinking, ShrinkRule
from kumotwist.mail.message import Message
from kumotwist.scheduled.portions import in_portions
from kumotwist.scheduled.relief import relieve
from kumotwist.spool.residence import Memory
from tests.support.house import House


class ReliefTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()
        self.residence = self.house.custody._residence

    def run_out(self) -> None:
        self.residence.server = Memory.NONE
        house = self.house
        done = in_portions(house.clock, relieve(house.ready, house.scheduler, house.custody), "testing")
        house.run(1)
        self.successResultOf(done)

    def assert_shrunk(self, message: Message, shrunk: bool = True) -> None:
        self.assertIs(message.content is None, shrunk, message)

    def test_what_is_ready_leaves_memory_as_its_path_has_it(self) -> None:
        self.house.paths["kept.example"] = PathSettings(no_memory_reduction_policy=Shrinking.NO_SHRINK)
        ready, kept = self.house.take(), self.house.take("bob@kept.example")
        self.assertGreater(ready.resident, 0)
        self.run_out()
        self.assert_shrunk(ready)
        self.assertFalse(ready.envelope_loaded)
        self.assert_shrunk(kept, shrunk=False)

    def test_what_is_held_up_and_what_is_due_later_leaves_memory_too(self) -> None:
        self.house.paths["full.example"] = PathSettings(max_ready=1)
        self.house.queues["later.example"] = QueueSettings(shrink_policy=(ShrinkRule(interval=0.0, policy=Shrinking.NO_SHRINK),))
        held = [self.house.take("bob@full.example") for _ in range(3)][-1]
        later = self.house.take("bob@later.example")
        self.assert_shrunk(held, shrunk=False)
        self.run_out()
        self.assert_shrunk(held)
        self.assert_shrunk(later)
        self.assertEqual(self.residence.held, 0)

    def test_what_a_session_has_in_hand_stays_whole(self) -> None:
        message = self.house.take()
        supply = self.house.sessions[0].supply
        self.assertIs(supply.next_message(), message)
        self.run_out()
        self.assert_shrunk(message, shrunk=False)
        self.assertTrue(message.recipients)

    def test_what_comes_meanwhile_goes_to_the_spool_at_once(self) -> None:
        self.run_out()
        self.assert_shrunk(self.house.take())

    def test_all_of_it_is_delivered(self) -> None:
        messages = [self.house.take() for _ in range(5)]
        self.run_out()
        session = self.house.sessions[0]
        self.assertEqual(session.drain(), messages)
        self.assertEqual(len(self.house.records("Delivery")), 5)
        self.assertEqual(self.residence.held, 0)

    def test_a_path_gets_few_connections_and_more_again_afterwards(self) -> None:
        most = [2]
        self.house.ready.most_connections = lambda: most[0]
        for _ in range(100):
            self.house.take()
        self.house.run(1)
        self.assertEqual(len(self.house.sessions), 2)
        most[0] = 1 << 30
        self.house.take()
        self.house.run(1)
        self.assertGreater(len(self.house.sessions), 10)


class ResidenceTests(SynchronousTestCase):
    def test_how_much_memory_there_is_for_messages(self) -> None:
        """What the server has counts where it is less than what they may use among themselves."""
        house = House(memory=100_000)
        residence = house.custody._residence
        table = [
            (0, Memory.ENOUGH, Memory.ENOUGH),
            (0, Memory.LOW, Memory.LOW),
            (0, Memory.NONE, Memory.NONE),
            (85_000, Memory.ENOUGH, Memory.LOW),
            (96_000, Memory.LOW, Memory.NONE),
            (85_000, Memory.NONE, Memory.NONE),
        ]
        for held, server, memory in table:
            residence.held, residence.server = held, server
            self.assertIs(residence.memory, memory, (held, server))
