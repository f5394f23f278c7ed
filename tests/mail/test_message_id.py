"""Message ids: version 1 UUIDs that tell when a message was received."""

from random import Random
from uuid import UUID

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.mail.message_id import MessageIds, created


class MessageIdTests(SynchronousTestCase):
    """MessageIds and created."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000.25)
        self.ids = MessageIds(self.clock.seconds, Random(1).getrandbits)

    def test_an_id_is_a_uuid_of_version_1(self) -> None:
        uuid = UUID(hex=self.ids.next())
        self.assertEqual((uuid.version, uuid.variant), (1, UUID(int=0, version=4).variant))
        self.assertEqual(len(self.ids.next()), 32)

    def test_the_id_tells_the_time_of_reception(self) -> None:
        self.assertAlmostEqual(created(self.ids.next()), 1_700_000_000.25, places=5)
        self.assertEqual((UUID(hex=self.ids.next()).time - 0x01B21DD213814000) // 10_000_000, 1_700_000_000)

    def test_ids_of_one_moment_differ(self) -> None:
        self.assertEqual(len({self.ids.next() for _ in range(1000)}), 1000)

    def test_a_clock_that_goes_back_repeats_no_id(self) -> None:
        seen = {self.ids.next()}
        self.clock.rightNow -= 10
        seen.add(self.ids.next())
        self.clock.rightNow += 10
        seen.update(self.ids.next() for _ in range(100))
        self.assertEqual(len(seen), 102)

    def test_two_processes_make_different_ids(self) -> None:
        other = MessageIds(self.clock.seconds, Random(2).getrandbits)
        self.assertNotEqual(self.ids.next(), other.next())
