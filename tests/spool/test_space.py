"""Minimum free space: by table, and over time on a clock."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.spool.space import DiskSpace, Minimum, Room, measure


class RoomTests(SynchronousTestCase):
    def test_what_is_too_little(self) -> None:
        table = [
            (Room(9, 100), "10%", True),
            (Room(10, 100), "10%", False),
            (Room(999, 10**6), 1000, True),
            (Room(1000, 10**6), 1000, False),
            (Room(0, 0), "10%", False),
            (Room(0, 100), 0, False),
        ]
        for room, minimum, below in table:
            self.assertIs(room.below(minimum), below, (room, minimum))

    def test_a_path_that_is_still_to_be_made_is_measured_where_it_will_be(self) -> None:
        space, _ = measure(self.mktemp() + "/not/yet")
        self.assertGreater(space.whole, 0)


class DiskSpaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.free = 50
        self.broken = False
        self.disk = DiskSpace(self.clock, [Minimum("/spool", "10%", 5)], self._measure)
        self.disk.start()
        self.addCleanup(self.disk.stop)

    def _measure(self, path: str) -> tuple[Room, Room]:
        if self.broken:
            raise OSError(5, "Input/output error")
        return Room(self.free, 100), Room(10, 10)

    def test_it_notices_a_full_disk_and_room_again_by_itself(self) -> None:
        self.assertIsNone(self.disk.full)
        self.free = 9
        self.clock.advance(5)
        self.assertEqual(self.disk.full, "/spool")
        self.free = 11
        self.clock.advance(5)
        self.assertIsNone(self.disk.full)

    def test_a_disk_that_cannot_be_measured_refuses_no_mail(self) -> None:
        self.broken = True
        self.clock.advance(5)
        self.assertIsNone(self.disk.full)
