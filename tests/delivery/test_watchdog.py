"""A session that does not get on is ended, and its message goes back; one that is only slow is left alone."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kumotwist.config.egress import PathSettings
from kumotwist.delivery.watchdog import Watchdog, watchdog_patience
from kumotwist.mail.message import Message
from kumotwist.mail.reply import Reply
from tests.delivery.case import DELIVERED, POSTPONED, Names, SessionCase, host, message, settled
from tests.delivery.scripted import MODERN, SILENCE, Network

QUEUED = "250 2.0.0 Ok: queued"
ABORTED = "dispatcher watchdog aborted task; phase="
PERHAPS = "; the end of the message had been sent: it may have been delivered, and will be sent again"


class PatienceTests(SynchronousTestCase):
    def test_it_is_the_path_s_else_twice_the_longest_wait_of_a_transaction(self) -> None:
        for changes, seconds in (
            ({"dispatcher_progress_watchdog_timeout": 7.0}, 7.0),
            ({}, 600.0),
            ({"data_timeout": 1000.0}, 2000.0),
            ({"mail_from_timeout": 1.0, "rcpt_to_timeout": 1.0, "data_timeout": 1.0, "data_dot_timeout": 1.0}, 60.0),
        ):
            self.assertEqual(watchdog_patience(PathSettings(**changes)), seconds)  # type: ignore[arg-type]


class WatchdogTests(SynchronousTestCase):
    """The watchdog alone."""

    def setUp(self) -> None:
        self.clock = Network()
        self.stuck: list[float] = []
        self.place: object = "here"

    def watch(self, patience: float) -> Watchdog:
        return Watchdog(self.clock, patience, lambda: self.place, self.stuck.append)

    def test_it_bites_once_when_nothing_changed_for_so_long(self) -> None:
        self.watch(100.0)
        self.clock.pump([10.0] * 10)
        self.assertEqual(self.stuck, [])
        self.clock.pump([10.0] * 5)
        self.assertEqual(self.stuck, [100.0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_any_change_is_progress(self) -> None:
        dog = self.watch(100.0)
        for step in range(100):
            self.place = step // 5
            self.clock.advance(10.0)
        self.assertEqual(self.stuck, [])
        dog.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_looks_rarely_however_short_its_patience(self) -> None:
        dog = self.watch(0.0)
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [1.0])
        dog.stop()
        dog.stop()


class StuckSessionTests(SessionCase):
    """Sessions that wait for what never comes."""

    def setUp(self) -> None:
        super().setUp()
        self.dropped: list[tuple[int, str, float]] = []

    def drop(self, message: Message, why: Reply, delay: float) -> None:
        self.supplies[-1].answered.append(message.id)
        self.dropped.append((int(message.id, 16), why.single_line, delay))

    def stuck(self, supply: Any, **means: Any) -> list[tuple[Any, ...]]:
        ended = self.start(supply, draw=lambda: 0.5, **means)
        for _ in range(60):
            if ended.called:
                break
            self.network.wait(10.0)
        self.successResultOf(ended)
        self.assertGreater(self.network.seconds(), 300.0)
        return supply.calls

    def never(self, **changes: Any) -> Any:
        """A session whose content never comes."""
        self.mx(MODERN)
        supply = self.supply(dispatcher_progress_watchdog_timeout=300.0, idle_timeout=3600.0, **changes)
        supply.contents[supply.ready[0].id] = Deferred()
        return supply

    def test_content_that_never_comes(self) -> None:
        self.assertEqual(self.stuck(self.never(), dropped=self.drop), [("connected",)])
        ((number, why, delay),) = self.dropped
        self.assertEqual((number, delay), (1, 30.0))
        self.assertEqual(why, f"451 4.4.1 {ABORTED}DeliveringMessage detail=none session=session-1 age=5m 30s time_in_phase=5m")

    def test_where_nobody_wants_to_know_why_it_goes_back(self) -> None:
        self.assertEqual(self.stuck(self.never()), [("connected",), ("give_back", 1, "DispatcherDrop", 30.0)])

    def test_a_lookup_that_never_ends(self) -> None:
        supply = self.supply(path=self.path(host("mx.example.com"), dispatcher_progress_watchdog_timeout=300.0))
        self.assertEqual(self.stuck(supply, names=Names({"mx.example.com": Deferred()}), dropped=self.drop), [])
        self.assertIn(f"{ABORTED}Starting detail=none session=none ", self.dropped[0][1])

    def test_a_message_whose_end_was_sent_says_what_may_have_happened(self) -> None:
        self.mx(MODERN, **{".": SILENCE})
        supply = self.supply(dispatcher_progress_watchdog_timeout=300.0, data_dot_timeout=3000.0)
        ((_, _, told),) = self.stuck(supply, dropped=self.drop)[1:]
        ((verdict, _, text),) = told
        self.assertEqual(verdict, POSTPONED)
        self.assertTrue(text.startswith(f"451 4.4.1 {ABORTED}DeliveringMessage detail=. session=session-1 "), text)
        self.assertTrue(text.endswith(PERHAPS), text)
        self.assertEqual(self.dropped, [])

    def test_a_slow_peer_gets_on(self) -> None:
        mx = self.mx(MODERN, MAIL=SILENCE)
        supply = self.supply(message(1, "a@example.com", "b@example.com"), dispatcher_progress_watchdog_timeout=30.0)
        ended = self.start(supply)
        for said in (b"250 Ok\r\n", b"250 Ok\r\n", b"250 Ok\r\n", b"354 go\r\n", b"250 taken\r\n"):
            for _ in range(5):
                self.network.wait(5.0)
            mx.connections[0].send(said)
        calls = self.finish(supply, ended)
        self.assertEqual(calls[1], settled(1, DELIVERED, "250 taken", "a@example.com", "b@example.com"))

    def test_an_idle_connection_and_one_that_waits_for_a_limit_are_not_stuck(self) -> None:
        self.mx(MODERN)
        supply = self.supply(dispatcher_progress_watchdog_timeout=10.0, idle_timeout=300.0)
        supply.connect_waits = [100.0, 0.0]
        supply.send_waits = [100.0, 0.0]
        ended = self.start(supply)
        for _ in range(49):
            self.network.wait(10.0)
        self.assertNoResult(ended)
        self.assertEqual(supply.calls, [("connected",), settled(1, DELIVERED, QUEUED)])
        self.finish(supply, ended)
