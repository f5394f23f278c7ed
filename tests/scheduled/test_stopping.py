"""After the stop nothing sets out any more: everything that waits is in the spool."""

from twisted.trial.unittest import SynchronousTestCase

from tests.support.house import House


class StoppingTests(SynchronousTestCase):
    def test_a_message_that_comes_after_the_stop_opens_no_session_and_stays(self) -> None:
        """Found by the simulation: a ready queue made after the stop opened sessions that ended at once, without end."""
        house = House()
        house.scheduler.stop()
        message = house.take()
        house.forward(10)
        self.assertEqual(house.sessions, [])
        self.assertEqual(list(house.scheduler.queue(message.queue).held), [message])
        self.assertIn(message.id, house.spool.store.kept)
