"""How much memory there is, is in use, and may still be taken: by table, over time on a clock, and of this machine."""

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.server import MemorySettings
from kumotwist.metrics.exposition import as_text
from kumotwist.spool.memory import COPIES, LOOK_AGAIN, WRITTEN, Arrivals, Machine, MemoryWatch, Thresholds, thresholds
from kumotwist.spool.residence import Memory

MIB = 1 << 20


class ThresholdTests(SynchronousTestCase):
    def test_what_is_not_configured_follows_from_what_there_is(self) -> None:
        table = [
            (MemorySettings(), (1000, False), (600, 750, 1000, True)),
            (MemorySettings(), (1000, True), (600, 750, 1000, False)),
            (MemorySettings(hard_limit=2000), (1000, True), (1200, 1500, 2000, True)),
            (MemorySettings(soft_limit=500), (1000, True), (400, 500, 1000, False)),
            (MemorySettings(soft_limit=5000), (1000, False), (800, 1000, 1000, True)),
            (MemorySettings(low_threshold=100), (1000, False), (100, 750, 1000, True)),
            (MemorySettings(low_threshold=900), (1000, False), (750, 750, 1000, True)),
        ]
        for settings, machine, (low, soft, hard, own) in table:
            wanted = Thresholds(low=low, soft=soft, hard=hard, own=own)
            self.assertEqual(thresholds(settings, machine), wanted, settings)

    def test_a_small_server_gives_its_store_and_its_waiting_messages_less(self) -> None:
        small = thresholds(MemorySettings(hard_limit=400 * MIB), (1, False))
        self.assertEqual((small.resident, small.buffers), (75 * MIB, 50 * MIB))
        large = thresholds(MemorySettings(hard_limit=16 << 30), (1, False))
        self.assertEqual((large.resident, large.buffers), (256 * MIB, None))


class MachineTests(SynchronousTestCase):
    """What the files of the kernel say, in directories that look like theirs."""

    def setUp(self) -> None:
        self.place = Path(self.mktemp())
        self.place.mkdir()
        self.proc = self.place / "proc"
        self.put("proc/statm", "900 25 3 0 0 0 0\n")

    def put(self, name: str, content: str) -> None:
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def machine(self) -> Machine:
        return Machine(str(self.place / "groups"), str(self.proc))

    def test_a_group_of_version_2_counts_what_the_kernel_cannot_drop(self) -> None:
        self.put("proc/cgroup", "0::/mail.slice/kumotwist.service\n")
        self.put("groups/mail.slice/kumotwist.service/memory.max", "104857600\n")
        self.put("groups/mail.slice/kumotwist.service/memory.current", "5000000\n")
        self.put("groups/mail.slice/kumotwist.service/memory.stat", "anon 1000\ninactive_file 4000000\n")
        machine = self.machine()
        self.assertEqual(machine.limit(), (104857600, True))
        self.assertEqual(machine.used(own=False), 1000000)
        self.put("groups/mail.slice/kumotwist.service/memory.stat", "anon 3000000\ninactive_file 4000000\n")
        self.assertEqual(machine.used(own=False), 3000000)
        self.assertEqual(machine.used(own=True), 25 * 4096)

    def test_a_container_sees_its_own_group_as_the_root(self) -> None:
        self.put("proc/cgroup", "0::/\n")
        self.put("groups/memory.max", "1000000\n")
        self.assertEqual(self.machine().limit(), (1000000, True))

    def test_a_group_of_version_1(self) -> None:
        self.put("groups/memory/memory.limit_in_bytes", "2000000\n")
        self.put("groups/memory/memory.usage_in_bytes", "900\n")
        self.put("groups/memory/memory.stat", "total_rss 100\ntotal_inactive_file 300\n")
        machine = self.machine()
        self.assertEqual(machine.limit(), (2000000, True))
        self.assertEqual(machine.used(own=False), 600)

    def test_without_a_limit_the_machine_has_what_it_has(self) -> None:
        self.put("groups/memory.max", "max\n")
        self.put("groups/memory/memory.limit_in_bytes", f"{1 << 62}\n")
        machine = self.machine()
        self.assertEqual(machine.limit(), (machine.physical(), False))
        self.assertEqual(machine.used(own=False), 25 * 4096)

    def test_this_machine_can_be_measured(self) -> None:
        self.assertGreater(Machine().used(own=True), MIB)


class Told(Machine):
    """A machine that uses what a test says."""

    now = 0
    fault: OSError | None = None
    looks = 0

    def limit(self) -> tuple[int, bool]:
        return 1000 * MIB, False

    def used(self, own: bool) -> int:
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        return self.now


class MemoryWatchTests(SynchronousTestCase):
    """Low above 600 MiB, none above 750."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.machine = Told()
        self.changes: list[Memory] = []
        self.purges: list[int] = []
        self.watch = MemoryWatch(self.clock, MemorySettings(), self.machine, self.changes.append, lambda: self.purges.append(1))
        self.watch.start()
        self.addCleanup(self.watch.stop)

    def use(self, mebibytes: int) -> None:
        self.machine.now = mebibytes * MIB
        self.clock.advance(LOOK_AGAIN)

    def test_each_threshold_is_told_once_when_it_is_crossed(self) -> None:
        for mebibytes in (500, 600, 601, 700, 751, 900, 750, 600, 751):
            self.use(mebibytes)
        self.assertEqual(self.changes, [Memory.LOW, Memory.NONE, Memory.LOW, Memory.ENOUGH, Memory.NONE])
        self.assertEqual((self.watch.times_low, self.watch.times_over), (1, 2))

    def test_new_mail_is_refused_above_the_soft_limit_and_taken_again_below(self) -> None:
        closed = []
        for mebibytes in (700, 751, 700):
            self.use(mebibytes)
            closed.append(self.watch.closed_for)
        self.assertEqual(closed, [None, "load shedding. Try later", None])

    def test_what_was_freed_is_given_back_to_the_system_while_memory_is_low(self) -> None:
        self.use(500)
        self.assertEqual(self.purges, [])
        self.use(601)
        self.use(601)
        self.assertEqual(self.purges, [1, 1])

    def test_memory_that_cannot_be_measured_refuses_no_mail(self) -> None:
        self.machine.fault = OSError(2, "No such file")
        self.clock.advance(LOOK_AGAIN)
        self.assertIsNone(self.watch.closed_for)
        self.assertTrue(self.watch.arrivals.take(MIB, MIB))

    def test_other_limits_hold_at_the_next_look(self) -> None:
        self.use(500)
        self.watch.configure(MemorySettings(hard_limit=400 * MIB))
        self.clock.advance(LOOK_AGAIN)
        self.assertEqual(self.watch.memory, Memory.NONE)

    def test_what_it_measures_can_be_asked_for(self) -> None:
        self.use(751)
        said = "".join(as_text(self.watch.measures()))
        for line in (f"memory_usage {751 * MIB}", f"memory_limit {750 * MIB}", "memory_over_limit_count 1", "memory_arriving 0"):
            self.assertIn(line, said)


class ArrivalsTests(SynchronousTestCase):
    """Of 1000 MiB 300 are in use, and 750 is the soft limit: 450 are free up to that, 650 up to the hard limit less its waste."""

    def setUp(self) -> None:
        self.machine = Told()
        self.machine.now = 300 * MIB
        self.watch = MemoryWatch(Clock(), MemorySettings(), self.machine, lambda memory: None, lambda: None)
        self.watch.measure()
        self.arrivals = self.watch.arrivals

    def take(self, mebibytes: int, whole: int = 0) -> bool:
        """As if each octet that is counted were in use, too."""
        taken = self.arrivals.take(mebibytes * MIB, whole * MIB)
        if taken:
            self.machine.now += mebibytes * MIB
        return taken

    def test_there_is_room_up_to_the_soft_limit(self) -> None:
        taken = 0
        while self.take(20):
            taken += 20
        self.assertEqual(taken, 440)

    def test_a_message_needs_room_for_its_copies_too(self) -> None:
        whole = 0
        while self.take(20, whole + 20):
            whole += 20
        self.assertEqual(whole, 160)  # 300 + 180 + 3 * 180 > 950
        self.assertEqual(COPIES, 3)

    def test_what_is_handed_to_the_disk_counts_as_often_as_it_is_there(self) -> None:
        self.assertEqual(WRITTEN, 3)
        self.assertFalse(self.arrivals.take_whole(217 * MIB))
        self.assertEqual((self.arrivals.octets, self.arrivals.refused), (0, 1))
        self.assertTrue(self.arrivals.take_whole(216 * MIB))
        self.arrivals.give_back_whole(216 * MIB)
        self.assertEqual(self.arrivals.octets, 0)

    def test_what_is_given_back_can_be_taken_again_at_once(self) -> None:
        while self.take(20):
            pass
        self.arrivals.give_back(40 * MIB)
        self.machine.now -= 40 * MIB
        self.assertEqual([self.take(20) for _ in range(3)], [True, True, False])

    def test_a_burst_is_measured_while_it_comes(self) -> None:
        looks = self.machine.looks
        for _ in range(100):
            self.take(1)
        self.assertGreater(self.machine.looks - looks, 10)
        self.assertLess(self.machine.looks - looks, 50)

    def test_so_many_copies_of_a_declared_size_fit(self) -> None:
        self.assertEqual(self.arrivals.most_copies(20 * MIB), 9)  # (950 - 300 - 60) / 60
        self.assertEqual(self.arrivals.most_copies(900 * MIB), 1)
        self.assertIsNone(self.arrivals.most_copies(None))

    def test_without_a_watch_there_is_room_for_everything(self) -> None:
        arrivals = Arrivals()
        self.assertTrue(arrivals.take(1 << 50, 1 << 50))
        self.assertTrue(arrivals.take_whole(1 << 40))
        self.assertIsNone(arrivals.most_copies(1 << 40))

    def test_what_is_handed_to_the_disk_is_not_forgotten_when_it_is_measured_before_it_is_there(self) -> None:
        self.assertTrue(self.arrivals.take_whole(100 * MIB))
        self.watch.measure()
        self.assertFalse(self.arrivals.take_whole(120 * MIB))
        self.assertFalse(self.take(160))
