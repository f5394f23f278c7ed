"""What systemd is told and what is taken from it, without systemd: a table of environments, datagrams, a clock."""

import os
import socket

from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.systemd import Systemd, environment_at_start
from kumotwist.transport import Bound


class NotifyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.channel.bind(f"\0kumotwist-test-{os.getpid()}-{id(self)}")
        self.addCleanup(self.channel.close)
        self.environ = {"NOTIFY_SOCKET": "@" + self.channel.getsockname()[1:].decode()}
        self.systemd = Systemd(self.environ, lambda: 7, lambda: 12.5)

    def told(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.channel.recv(1000).decode())
            except BlockingIOError:
                return found

    def test_a_life(self) -> None:
        self.systemd.ready(self.clock)
        self.systemd.reloading(True)
        self.systemd.reloading(False)
        self.systemd.stopping()
        self.systemd.stopped()
        self.assertEqual(self.told(), ["READY=1", "RELOADING=1\nMONOTONIC_USEC=12500000", "READY=1", "STOPPING=1"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_is_told_twice_in_its_time_that_we_are_alive(self) -> None:
        self.environ.update(WATCHDOG_USEC="4000000", WATCHDOG_PID="7")
        self.systemd.ready(self.clock)
        self.clock.pump([2.0] * 3)
        self.systemd.stopping()
        self.clock.advance(2)
        self.systemd.stopped()
        self.assertEqual(self.told().count("WATCHDOG=1"), 5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_watchdog_that_is_not_for_us_or_that_makes_no_sense_is_not_told(self) -> None:
        for wrong in ({"WATCHDOG_PID": "8"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}):
            self.environ.update({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "7", **wrong})
            self.systemd.ready(self.clock)
            self.assertEqual((self.told(), self.clock.getDelayedCalls()), (["READY=1"], []), wrong)

    def test_without_it_nothing_is_said(self) -> None:
        for address in ("", "nonsense"):
            self.environ["NOTIFY_SOCKET"] = address
            self.systemd.ready(self.clock)
        self.assertEqual(self.told(), [])

    def test_when_it_does_not_listen_the_server_goes_on(self) -> None:
        self.environ["NOTIFY_SOCKET"] = "/nowhere/at/all"
        self.systemd.stopping()
        self.assertEqual(self.told(), [])

    def test_sockets_for_another_process_are_not_ours(self) -> None:
        for environ in ({}, {"LISTEN_PID": "8", "LISTEN_FDS": "1"}, {"LISTEN_PID": "7", "LISTEN_FDS": "x"}):
            self.environ.update(environ)
            self.assertEqual(list(self.systemd.sockets()), [])

    def test_the_environment_at_the_start_is_known(self) -> None:
        self.assertIn("PATH", environment_at_start())


class Listens:
    """A reactor that notes how it is asked to listen."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def listenTCP(self, port: int, factory: Factory, backlog: int, interface: str) -> str:
        self.asked.append((interface, port))
        return "new"

    def adoptStreamPort(self, number: int, family: int, factory: Factory) -> str:
        self.asked.append((number, family))
        return "adopted"


class BoundTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.bound = Bound()
        self.reactor = Listens()

    def test_a_socket_that_is_bound_already_is_listened_on_each_time(self) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.bound.add(one)
            address = one.getsockname()
            for _ in range(2):
                self.assertEqual(self.bound.listen(self.reactor, address, Factory(), 5), "adopted")
            self.assertEqual(self.reactor.asked, [(one.fileno(), socket.AF_INET)] * 2)
            with socket.create_connection(address, timeout=30) as client:
                self.assertEqual(client.getpeername(), address)  # the kernel has it, though nobody accepts
            self.assertFalse(one.getblocking())
            self.assertEqual(list(self.bound), [address])

    def test_another_address_is_bound_anew(self) -> None:
        self.assertEqual(self.bound.listen(self.reactor, ("127.0.0.1", 25), Factory(), 5), "new")
        self.assertEqual(self.reactor.asked, [("127.0.0.1", 25)])

    def test_what_is_bound_early_keeps_the_address(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = probe.getsockname()
        self.bound.bind(address)
        self.bound.bind(address)  # once is enough
        with socket.socket() as other:
            self.assertRaises(OSError, other.bind, address)
        self.assertEqual(self.bound.listen(self.reactor, address, Factory(), 5), "adopted")

    def test_an_address_that_is_not_ours_cannot_be_bound(self) -> None:
        self.assertRaises(OSError, self.bound.bind, ("192.0.2.1", 25))
